// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The cubins of lathe_cubins.h, with run-time compilation switched off, against NVRTC.
#include "aot.h"

GPU_TEST(aot, cubins_equal_jit) {
  aot_compare_all(lathe_cubins());
}

GPU_TEST(aot, appends_equal_jit) {
  aot_compare_appends(lathe_cubins());
}
