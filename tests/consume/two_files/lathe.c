// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The usual split: the implementation here, everyone else includes declarations.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>
