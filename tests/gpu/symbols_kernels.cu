// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Linked into the test symbols.
#include <lathe/lathe_kernels.cuh>
