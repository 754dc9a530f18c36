// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
#define LATHE_NAMESPACE one_
#include "copy.h"

int other_works(void); // two.c

int main(void) {
  return copy_works() && other_works() ? 0 : 1;
}
