// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The kernels that nvcc compiled into this program (symbols_kernels.cu) against NVRTC.
#include "aot.h"

GPU_TEST(symbols, compiled_in_equal_jit) {
  aot_compare_all(lathe_kernels());
}
