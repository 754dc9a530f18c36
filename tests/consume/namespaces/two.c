// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
#define LATHE_NAMESPACE two_
#include "copy.h"

int other_works(void);
int other_works(void) {
  return copy_works();
}
