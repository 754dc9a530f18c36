// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The tests' own tools: bars that are too low or a problem without poison would hide every fault.
#include <lathe/lathe.h>

#include "../ref/attention.h"

#include <criterion/criterion.h>

static int ok(const ref_error *error) {
  char message[512];
  return ref_error_ok(error, message, sizeof message);
}

static ref_error one(double got, double want) {
  ref_error error;
  memset(&error, 0, sizeof error);
  for (int i = 0; i < 100000; i++) /* so that one element does not move the cosine */
    ref_error_add(&error, 0, 0, i, 1, 1);
  ref_error_add(&error, 4, 5, 6, got, want);
  return error;
}

static int accepts(double got, double want) {
  ref_error error = one(got, want);
  return ok(&error);
}

static int accepts_lse(double got, double want) {
  ref_error error;
  memset(&error, 0, sizeof error);
  ref_error_add_lse(&error, 0, 0, got, want);
  return ok(&error);
}

Test(ref, element_bar) {
  cr_assert(accepts(0, 0) && accepts(7.9e-4, 0) && !accepts(8.1e-4, 0) && !accepts(0, 8.1e-4));
  cr_assert(accepts(1 + 2.0 / 128, 1) && !accepts(1 + 2.02 / 128, 1));
  cr_assert(accepts(-1, -1) && !accepts(1, -1));
}

Test(ref, lse_bar) {
  cr_assert(accepts_lse(9e-7, 0) && !accepts_lse(1.1e-6, 0));
  cr_assert(accepts_lse(8 * (1 + 8.0 / 65536), 8) && !accepts_lse(8 * (1 + 8.1 / 65536), 8));
}

Test(ref, infinity_and_nan_in_the_same_places) {
  cr_assert(accepts(NAN, NAN) && !accepts(NAN, 0) && !accepts(0, NAN));
  cr_assert(accepts(INFINITY, INFINITY) && !accepts(INFINITY, -INFINITY) && !accepts(1, INFINITY));
  cr_assert(accepts_lse(-INFINITY, -INFINITY) && !accepts_lse(-INFINITY, 0));
  cr_assert(!accepts_lse(-1e30, -INFINITY) && !accepts_lse(NAN, -INFINITY));
}

Test(ref, cosine_bar) {
  ref_error error;
  memset(&error, 0, sizeof error);
  for (int i = 0; i < 1000; i++) /* each element is inside its own bar, all lean the same way */
    ref_error_add(&error, 0, 0, i, i % 2 ? 1.01 : 0.99, 1);
  cr_assert(error.failures == 0 && !ok(&error));
}

Test(ref, message_names_the_worst_element) {
  ref_error error = one(2, 1);
  char message[512];
  cr_assert(!ref_error_ok(&error, message, sizeof message));
  cr_assert(strstr(message, "out[token 4, head 5, element 6] = 2, wanted 1"), "%s", message);
}

static ref_options options_of(int padding) {
  ref_options options;
  memset(&options, 0, sizeof options);
  options.desc.num_heads = 2;
  options.desc.kv_lora_rank = 16;
  options.desc.qk_rope_head_dim = 8;
  options.desc.q_dtype = options.desc.kv_dtype = LATHE_DTYPE_BF16;
  options.desc.page_size = 4;
  options.desc.max_batch = 6;
  options.desc.max_seq_len = 30;
  options.unused_pages = 3;
  options.padding = padding;
  return options;
}

Test(ref, every_cache_row_is_filled_once_and_all_else_is_nan) {
  ref_options options = options_of(5);
  ref_problem problem;
  ref_problem_make(&problem, &options);
  const lathe_decode_args *args = &problem.args;
  int64_t elements = (int64_t)problem.buffers[REF_KV].size / 2, filled = 0;
  for (int64_t e = 0; e < elements; e++)
    filled += !isnan(ref_load(LATHE_DTYPE_BF16, args->kv_cache, e));
  cr_assert(filled == problem.kv_rows * 24);
  cr_assert(elements > filled + 3 * 4 * 24, "no unused pages");
  for (int32_t i = 0; i < args->batch; i++)
    for (int64_t j = 0; j < args->seq_lens[i]; j++)
      for (int64_t d = 0; d < 24; d++)
        cr_assert(!isnan(ref_load(LATHE_DTYPE_BF16, args->kv_cache,
                                  ref_cache_row(&problem.desc, args, i, j, 0) + d)));
  ref_problem_free(&problem);
}

Test(ref, outputs_start_as_nan_and_gaps_are_watched) {
  ref_options options = options_of(5);
  ref_problem problem;
  ref_problem_make(&problem, &options);
  unsigned char *out = (unsigned char *)problem.buffers[REF_OUT].host;
  cr_assert(isnan(ref_out(&problem.desc, &problem.args, 0, 0, 0)));
  cr_assert(isnan(ref_lse(&problem.args, 0, 0)));
  cr_assert(ref_gaps_untouched(&problem));
  out[0] = 0;
  cr_assert(ref_gaps_untouched(&problem));
  out[2 * 16] = 0; /* one past the first row */
  cr_assert(!ref_gaps_untouched(&problem));
  ref_problem_poison(&problem);
  cr_assert(ref_gaps_untouched(&problem) && out[0] == 0xff);
  ref_problem_free(&problem);
}

Test(ref, the_same_seed_makes_the_same_problem) {
  ref_options options = options_of(0);
  ref_problem a, b;
  ref_problem_make(&a, &options);
  ref_problem_make(&b, &options);
  cr_assert(memcmp(a.buffers[REF_KV].host, b.buffers[REF_KV].host, a.buffers[REF_KV].size) == 0);
  cr_assert(memcmp(a.buffers[REF_Q].host, b.buffers[REF_Q].host, a.buffers[REF_Q].size) == 0);
  ref_problem_free(&b);
  options.seed = 1;
  ref_problem_make(&b, &options);
  cr_assert(memcmp(a.buffers[REF_Q].host, b.buffers[REF_Q].host, a.buffers[REF_Q].size) != 0);
  ref_problem_free(&a);
  ref_problem_free(&b);
}

Test(ref, numbers) {
  cr_assert(ref_encode(LATHE_DTYPE_F16, 1) == 0x3c00 && ref_encode(LATHE_DTYPE_BF16, 1) == 0x3f80);
  cr_assert(ref_encode(LATHE_DTYPE_E4M3, 1) == 0x38 &&
            ref_encode(LATHE_DTYPE_F32, 1) == 0x3f800000);
  cr_assert(ref_encode(LATHE_DTYPE_E4M3, 448) == 0x7e && ref_encode(LATHE_DTYPE_E4M3, 1e9) == 0x7e);
  cr_assert(ref_decode(LATHE_DTYPE_E4M3, 0x01) == 0x1p-9 &&
            isnan(ref_decode(LATHE_DTYPE_E4M3, 0xff)));
  cr_assert(ref_decode(LATHE_DTYPE_F16, 0x0001) == 0x1p-24 &&
            isinf(ref_decode(LATHE_DTYPE_F16, 0xfc00)));
  cr_assert(ref_decode(LATHE_DTYPE_F16, 0x7bff) == 65504 &&
            ref_encode(LATHE_DTYPE_F16, -65520) == 0xfc00);
  cr_assert(ref_decode(LATHE_DTYPE_F32, 0x3f800001) == 1 + 0x1p-23);
}
