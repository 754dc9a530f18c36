// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Softmax scales of real models' configurations.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include <criterion/criterion.h>

static void expect_scale(int nope, int rope, float factor, float mscale_all_dim, double want) {
  float scale = lathe_softmax_scale(nope, rope, lathe_yarn_q_scaling(factor, mscale_all_dim));
  cr_assert(fabs(scale - want) < 1e-5, "scale %.7f, wanted %.5f", scale, want);
}

Test(scale, without_yarn) {
  cr_assert(lathe_softmax_scale(128, 64, 1.0f) == (float)(1 / sqrt(192.0)));
  cr_assert(lathe_softmax_scale(128, 64, 0.0f) == lathe_softmax_scale(128, 64, 1.0f));
  cr_assert(lathe_softmax_scale(64, 0, 1.0f) == 0.125f);
  cr_assert(lathe_softmax_scale(64, 0, 2.0f) == 0.0625f);
}

Test(scale, deepseek_v3) {
  expect_scale(128, 64, 40, 1, 0.13523);
}
Test(scale, deepseek_v2_lite) {
  expect_scale(128, 64, 40, 0.707f, 0.11472);
}
Test(scale, kimi_k2) {
  expect_scale(128, 64, 32, 1, 0.13086);
}
Test(scale, longcat_flash_lite) {
  expect_scale(128, 64, 10, 1, 0.10923);
}

Test(scale, yarn_mscale) {
  cr_assert(fabs(lathe_yarn_mscale(40, 1) - 1.3688879) < 1e-6);
  cr_assert(fabs(lathe_yarn_q_scaling(40, 1) - 1 / (1.3688879 * 1.3688879)) < 1e-6);
}

Test(scale, no_stretching_no_factor) {
  cr_assert(lathe_yarn_mscale(1, 1) == 1.0f);
  cr_assert(lathe_yarn_mscale(0.5f, 1) == 1.0f);
  cr_assert(lathe_yarn_mscale(0, 0) == 1.0f);
  cr_assert(lathe_yarn_mscale(40, 0) == 1.0f);
  cr_assert(lathe_yarn_q_scaling(1, 1) == 1.0f);
}

Test(scale, impossible_dims_give_a_scale_that_run_refuses) {
  cr_assert(lathe_softmax_scale(0, 0, 1.0f) == 0.0f);
  cr_assert(lathe_softmax_scale(-3, 1, 1.0f) == 0.0f);
}
