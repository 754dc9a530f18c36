// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The demo's kernels, compiled to cubins when Lathe was built: nothing but this include.
#include <lathe/lathe.h>

#include <lathe/lathe_cubins.h>
