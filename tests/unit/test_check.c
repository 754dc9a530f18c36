// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the checks let through, and with which defaults: test_bad_input.c has what they refuse.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "decode_fixture.h"

// Resolves for the stricter backend.
static lathe_decode_args resolve(const lathe_decode_desc *desc, const lathe_decode_args *args) {
  lathe_decode_desc filled;
  lathe_decode_args resolved;
  lathe_decode_args before = *args;
  lathep_decode_desc_defaults(desc, &filled);
  cr_assert_eq(lathep_decode_desc_check(&filled, LATHE_BACKEND_CUDA), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  cr_assert_eq(lathep_decode_args_resolve(&filled, LATHE_BACKEND_CUDA, 4096, args, &resolved),
               LATHE_STATUS_OK, "%s", lathe_last_error()->message);
  cr_expect_eq(memcmp(&before, args, sizeof before), 0, "args are the caller's");
  return resolved;
}

Test(check, desc_defaults) {
  lathe_decode_desc desc = good_desc(), filled;
  desc.max_q_len = 0;
  desc.q_dtype = LATHE_DTYPE_F16;
  lathep_decode_desc_defaults(&desc, &filled);
  cr_expect_eq(filled.max_q_len, 1);
  cr_expect_eq(filled.out_dtype, LATHE_DTYPE_F16);
  desc.out_dtype = LATHE_DTYPE_BF16;
  lathep_decode_desc_defaults(&desc, &filled);
  cr_expect_eq(filled.out_dtype, LATHE_DTYPE_BF16);
  desc.out_dtype = LATHE_DTYPE_NONE;
  desc.q_dtype = LATHE_DTYPE_E4M3;
  lathep_decode_desc_defaults(&desc, &filled);
  cr_expect_eq(filled.out_dtype, LATHE_DTYPE_BF16);
}

Test(check, a_window_of_all_rows_is_none) {
  lathe_decode_desc desc = good_desc(), filled;
  desc.sliding_window = desc.max_seq_len - 1;
  lathep_decode_desc_defaults(&desc, &filled);
  cr_expect_eq(filled.sliding_window, desc.max_seq_len - 1);
  desc.sliding_window = desc.max_seq_len;
  lathep_decode_desc_defaults(&desc, &filled);
  cr_expect_eq(filled.sliding_window, 0);
}

Test(check, defaults_of_ranks) {
  lathe_decode_desc desc = good_desc(), filled;
  lathep_decode_desc_defaults(&desc, &filled);
  cr_expect_eq(filled.cp_world, 1);
  cr_expect_eq(filled.cp_interleave, 1);
  desc.cp_lens = LATHE_CP_LENS_LOCAL; // of one rank they are all
  lathep_decode_desc_defaults(&desc, &filled);
  cr_expect_eq(filled.cp_lens, LATHE_CP_LENS_GLOBAL);
  desc.cp_world = 2;
  desc.sliding_window = desc.max_seq_len; // of its own rows: the window hides some of the whole
  lathep_decode_desc_defaults(&desc, &filled);
  cr_expect_eq(filled.cp_lens, LATHE_CP_LENS_LOCAL);
  cr_expect_eq(filled.sliding_window, desc.max_seq_len);
}

// Of ranks, tables have room for the rows of rank 0, which has the most.
Test(check, default_tables_of_ranks) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  desc.cp_world = 3;
  desc.cp_interleave = 4;
  for (desc.cp_rank = 0; desc.cp_rank < 3; desc.cp_rank++) { // 20 positions: 8, 8 and 4 rows
    lathe_decode_args filled = resolve(&desc, &args);
    cr_expect_eq(filled.block_table_stride, 2);
  }
}

Test(check, default_stride_of_a_tree_mask) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), filled;
  desc.mask = LATHE_MASK_TREE;
  args.tree_mask = memory.tree;
  for (desc.max_q_len = 2; desc.max_q_len <= 65; desc.max_q_len += 31) { // 2, 33, 64
    args.q_len = 2;
    filled = resolve(&desc, &args);
    cr_expect_eq(filled.tree_mask_stride, desc.max_q_len > 32 ? 2 : 1);
  }
  args.tree_mask_stride = 5;
  filled = resolve(&desc, &args);
  cr_expect_eq(filled.tree_mask_stride, 5);
}

Test(check, desc_limits_are_allowed) {
  lathe_decode_desc desc = good_desc();
  desc.out_dtype = desc.q_dtype;
  desc.page_size = desc.max_seq_len = LATHEP_MAX_ROWS;
  desc.max_batch = INT32_MAX;
  desc.num_heads = 1 << 15;
  desc.max_q_len = 1 << 15;
  desc.cp_world = desc.cp_interleave = 1 << 15;
  desc.cp_rank = (1 << 15) - 1;
  cr_expect_eq(lathep_decode_desc_check(&desc, LATHE_BACKEND_CUDA), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
}

Test(check, cpu_takes_any_dims) {
  lathe_decode_desc desc = good_desc();
  lathe_context *context = cpu_context();
  desc.kv_lora_rank = 5;
  desc.qk_rope_head_dim = 3;
  cr_expect_eq(lathe_decode_check(context, &desc), LATHE_STATUS_OK);
  desc.kv_lora_rank = 1;
  desc.qk_rope_head_dim = 0;
  cr_expect_eq(lathe_decode_check(context, &desc), LATHE_STATUS_OK);
  lathe_context_destroy(context);
}

#define DTYPES(q, kv, out)                                                                         \
  Test(check, dtypes_##q##_##kv##_##out) {                                                         \
    lathe_decode_desc desc = good_desc();                                                          \
    lathe_context *context = cpu_context();                                                        \
    desc.q_dtype = LATHE_DTYPE_##q;                                                                \
    desc.kv_dtype = LATHE_DTYPE_##kv;                                                              \
    desc.out_dtype = LATHE_DTYPE_##out;                                                            \
    cr_expect_eq(lathe_decode_check(context, &desc), LATHE_STATUS_OK);                             \
    lathe_context_destroy(context);                                                                \
  }
DTYPES(F16, F16, F16)
DTYPES(F16, F16, BF16)
DTYPES(F16, E4M3, F16)
DTYPES(F16, E4M3, BF16)
DTYPES(BF16, BF16, BF16)
DTYPES(BF16, BF16, F16)
DTYPES(BF16, E4M3, BF16)
DTYPES(BF16, E4M3, F16)
DTYPES(BF16, E4M3, NONE)
DTYPES(F16, F16, E4M3)
DTYPES(BF16, BF16, E4M3)
DTYPES(BF16, E4M3, E4M3)
DTYPES(E4M3, E4M3, NONE)
DTYPES(E4M3, E4M3, F16)
DTYPES(E4M3, E4M3, BF16)
DTYPES(E4M3, E4M3, E4M3)

Test(check, packed_joined_tensors) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a = resolve(&desc, &args);
  cr_expect_eq(a.q_len, 2);
  cr_expect_eq(a.num_tokens, 6);
  cr_expect_eq(a.q_token_stride, 192);
  cr_expect_eq(a.q_head_stride, 48);
  cr_expect_eq((const char *)a.q_pe - (const char *)a.q, 64);
  cr_expect_eq(a.q_pe_token_stride, 192);
  cr_expect_eq(a.q_pe_head_stride, 48);
  cr_expect_eq(a.kv_page_stride, 192);
  cr_expect_eq(a.kv_row_stride, 48);
  cr_expect_eq((const char *)a.kpe_cache - (const char *)a.kv_cache, 64);
  cr_expect_eq(a.kpe_page_stride, 192);
  cr_expect_eq(a.kpe_row_stride, 48);
  cr_expect_eq(a.block_table_stride, 5);
  cr_expect_eq(a.kv_scale, 1.0f);
  cr_expect_eq(a.q_scale, 1.0f);
  cr_expect_eq(a.out_scale, 1.0f);
  cr_expect_eq(a.out_token_stride, 128);
  cr_expect_eq(a.out_head_stride, 32);
  cr_expect_eq(a.lse_token_stride, 4);
  cr_expect_eq(a.lse_head_stride, 1);
}

Test(check, packed_split_tensors) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  args.q_pe = memory.q_pe;
  args.kpe_cache = memory.kpe;
  a = resolve(&desc, &args);
  cr_expect_eq(a.q_token_stride, 128);
  cr_expect_eq(a.q_head_stride, 32);
  cr_expect_eq(a.q_pe, memory.q_pe);
  cr_expect_eq(a.q_pe_token_stride, 64);
  cr_expect_eq(a.q_pe_head_stride, 16);
  cr_expect_eq(a.kv_page_stride, 128);
  cr_expect_eq(a.kv_row_stride, 32);
  cr_expect_eq(a.kpe_cache, memory.kpe);
  cr_expect_eq(a.kpe_page_stride, 64);
  cr_expect_eq(a.kpe_row_stride, 16);
}

Test(check, query_joined_and_cache_split) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  args.kpe_cache = memory.kpe;
  a = resolve(&desc, &args);
  cr_expect_eq(a.q_head_stride, 48);
  cr_expect_eq(a.kv_row_stride, 32);
  cr_expect_eq(a.kpe_row_stride, 16);
}

Test(check, e4m3_bytes) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  desc.kv_dtype = LATHE_DTYPE_E4M3;
  args.kv_scale = 0.25f;
  a = resolve(&desc, &args);
  cr_expect_eq(a.kv_scale, 0.25f);
  cr_expect_eq((const char *)a.kpe_cache - (const char *)a.kv_cache, 32);
  cr_expect_eq((const char *)a.q_pe - (const char *)a.q, 64);
}

Test(check, no_rope_ignores_what_is_roped) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  desc.qk_rope_head_dim = 0;
  args.q_pe = (const char *)memory.q_pe + 1;
  args.q_pe_token_stride = -5;
  args.kpe_row_stride = 3;
  a = resolve(&desc, &args);
  cr_expect_null(a.q_pe);
  cr_expect_null(a.kpe_cache);
  cr_expect_eq(a.q_pe_token_stride, 0);
  cr_expect_eq(a.kpe_row_stride, 0);
  cr_expect_eq(a.q_head_stride, 32);
  cr_expect_eq(a.kv_row_stride, 32);
}

Test(check, heads_outside_tokens) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  args.q_head_stride = args.out_head_stride = 6 * 48;
  args.q_token_stride = args.out_token_stride = 48;
  args.lse_head_stride = 6;
  args.lse_token_stride = 1;
  a = resolve(&desc, &args);
  cr_expect_eq(a.q_head_stride, 288);
  cr_expect_eq(a.lse_head_stride, 6);
}

Test(check, rows_padded) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  args.kv_row_stride = 64;
  a = resolve(&desc, &args);
  cr_expect_eq(a.kv_page_stride, 256, "pages follow the stride of their rows");
  cr_expect_eq(a.kpe_page_stride, 256);
  args.kv_page_stride = 4096;
  a = resolve(&desc, &args);
  cr_expect_eq(a.kv_page_stride, 4096);
}

Test(check, page_may_end_with_its_last_row) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  args.kv_row_stride = 64;
  args.kv_page_stride = 3 * 64 + 48;
  resolve(&desc, &args);
}

Test(check, pages_inside_rows) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  args.kv_page_stride = 48;
  args.kv_row_stride = NUM_PAGES * 48;
  resolve(&desc, &args);
  args.num_pages = 0;
  args.kv_row_stride = 480;
  resolve(&desc, &args);
}

Test(check, strides_of_single_things_are_not_looked_at) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  desc.num_heads = 1;
  desc.max_q_len = 1;
  desc.page_size = 1;
  args.batch = 1;
  args.num_pages = 1;
  args.q_token_stride = args.q_head_stride = 1;
  args.kv_page_stride = args.kv_row_stride = -7;
  args.out_token_stride = args.out_head_stride = INT64_MAX;
  args.lse_token_stride = args.lse_head_stride = INT64_MIN;
  a = resolve(&desc, &args);
  cr_expect_eq(a.q_token_stride, 48);
  cr_expect_eq(a.kv_page_stride, 48);
  cr_expect_eq(a.out_head_stride, 32);
  cr_expect_eq(a.lse_token_stride, 1);
}

Test(check, cu_q_lens) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  args.cu_q_lens = memory.cu_q_lens;
  args.q_len = 77; // not read
  a = resolve(&desc, &args);
  cr_expect_eq(a.q_len, 2);
  cr_expect_eq(a.num_tokens, 6);
  args.num_tokens = 5;
  a = resolve(&desc, &args);
  cr_expect_eq(a.num_tokens, 5);
}

Test(check, fewer_tokens_than_the_plan_allows) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  args.q_len = 1;
  args.batch = 2;
  a = resolve(&desc, &args);
  cr_expect_eq(a.num_tokens, 2);
  args.num_tokens = 6; // a padded batch
  a = resolve(&desc, &args);
  cr_expect_eq(a.num_tokens, 6);
}

Test(check, caches_past_32_bits) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  args.num_pages = INT64_C(1) << 31;
  args.kv_page_stride = INT64_C(1) << 31;
  a = resolve(&desc, &args);
  cr_expect_eq(a.kv_page_stride, INT64_C(1) << 31);
  cr_expect_eq(a.num_pages, INT64_C(1) << 31);
}

Test(check, block_table_may_be_narrower_or_wider) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  args.block_table_stride = 2;
  a = resolve(&desc, &args);
  cr_expect_eq(lathep_seq_limit(&desc, &a), 8);
  args.block_table_stride = 100;
  a = resolve(&desc, &args);
  cr_expect_eq(lathep_seq_limit(&desc, &a), 20);
  desc.max_seq_len = 18;
  args.block_table_stride = 0;
  a = resolve(&desc, &args);
  cr_expect_eq(a.block_table_stride, 5);
  cr_expect_eq(lathep_seq_limit(&desc, &a), 18);
}

Test(check, no_lse) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  args.lse = NULL;
  a = resolve(&desc, &args);
  cr_expect_null(a.lse);
}

Test(check, cpu_needs_no_workspace_and_no_alignment) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args(), a;
  desc.out_dtype = desc.q_dtype;
  args.workspace = NULL;
  args.workspace_size = 0;
  args.q = memory.q + 2;
  args.q_head_stride = 50;
  args.q_token_stride = 201;
  cr_expect_eq(lathep_decode_args_resolve(&desc, LATHE_BACKEND_CPU, 0, &args, &a), LATHE_STATUS_OK,
               "%s", lathe_last_error()->message);
  cr_expect_eq(a.q_token_stride, 201);
}
