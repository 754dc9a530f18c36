// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Two files that each keep the whole library to themselves.
#define LATHE_STATIC
#include "../namespaces/copy.h"

int other_works(void); // two.c

int main(void) {
  return copy_works() && other_works() ? 0 : 1;
}
