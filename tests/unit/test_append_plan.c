// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What append and merge hand to their kernels, on a driver that records it.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "append_fixture.h"

static void run(const lathe_append_desc *desc, const lathe_append_args *args) {
  lathe_context *context = recording_context(9, 0);
  lathe_append_plan *plan = recorded_append(context, desc);
  recorded.num_launches = 0;
  cr_assert_eq(lathe_append_run(plan, args, SOME_STREAM), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  cr_expect_eq(recorded.num_launches, 1);
  cr_expect(recorded.pushes == recorded.pops && recorded.synchronised == 0 && recorded.copies == 0);
  lathe_append_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(append_plan, joined_tensors) {
  lathe_append_desc desc = good_append_desc();
  lathe_append_args args = good_append_args();
  const struct lathep_append_params *p = &recorded.launches[0].append;
  run(&desc, &args);
  cr_expect_str_eq((const char *)recorded.launches[0].function, "append_sm80_bf16_bf16_l32r16");
  cr_expect_eq(recorded.launches[0].stream, SOME_STREAM);
  cr_expect(!recorded.launches[0].extended);
  cr_expect_eq(recorded.launches[0].block[0], 256);
  cr_expect_eq(recorded.launches[0].grid[0], 2); // one of rows, one of the query
  cr_expect_eq(p->row_blocks, 1);
  cr_expect_eq(p->q_nope, step.q_nope);
  cr_expect_eq(p->q_nope_token_stride, 4 * 32 * 2);
  cr_expect_eq(p->q_pe_head_stride, 16 * 2);
  cr_expect_eq(p->q_nope_out, step.q_out);
  cr_expect_eq(p->q_pe_out, step.q_out + 32 * 2);
  cr_expect_eq(p->q_pe_out_token_stride, 4 * 48 * 2);
  cr_expect_eq(p->q_pe_out_head_stride, 48 * 2);
  cr_expect_eq(p->k_pe, step.latent + 32 * 2);
  cr_expect_eq(p->k_pe_token_stride, 48 * 2);
  cr_expect_eq(p->kpe, step.kv + 32 * 2);
  cr_expect_eq(p->kpe_page_stride, 4 * 48 * 2);
  cr_expect_eq(p->cos_sin_row_stride, 16 * 4);
  cr_expect_eq(p->num_pages, NUM_PAGES);
  cr_expect_eq(p->block_table_stride, TABLE_STRIDE);
  cr_expect_eq(p->num_tokens, 6);
  cr_expect_eq(p->max_seq_len, 20);
  cr_expect_eq(p->max_positions, 20);
  cr_expect_eq(p->page_shift, 2);
  cr_expect_eq(p->pairing, 1);
}

Test(append_plan, one_byte_elements) {
  lathe_append_desc desc = good_append_desc();
  lathe_append_args args = good_append_args();
  const struct lathep_append_params *p = &recorded.launches[0].append;
  desc.kv_dtype = desc.q_out_dtype = LATHE_DTYPE_E4M3;
  args.kv_scale_device = step.scale;
  args.q_scale = 4;
  args.scales_out = step.scales;
  args.softmax_scale = 0.5f;
  run(&desc, &args);
  cr_expect_str_eq((const char *)recorded.launches[0].function,
                   "append_sm80_bf16_e4m3_oe4m3_l32r16");
  cr_expect_eq(p->q_pe_out, step.q_out + 32);
  cr_expect_eq(p->q_nope_out_head_stride, 48);
  cr_expect_eq(p->ckv_row_stride, 48);
  cr_expect_eq(p->latent_token_stride, 96);
  cr_expect_eq(p->kv_scale_at, step.scale);
  cr_expect_eq(p->q_scale, 4);
  cr_expect_eq(p->scales, step.scales);
}

Test(append_plan, rows_of_656_bytes) {
  lathe_append_desc desc = good_append_desc();
  lathe_append_args args = good_append_args();
  const struct lathep_append_params *p = &recorded.launches[0].append;
  desc.kv_lora_rank = 512;
  desc.qk_rope_head_dim = 64;
  desc.kv_dtype = LATHE_DTYPE_E4M3;
  desc.kv_format = LATHE_KV_FORMAT_ROW656;
  desc.row_scale = LATHE_ROW_SCALE_POW2;
  args.q_nope = args.q_pe = args.q_out = NULL;
  run(&desc, &args);
  cr_expect_str_eq((const char *)recorded.launches[0].function, "append_sm80_bf16_row656_l512r64");
  cr_expect_eq(recorded.launches[0].grid[0], 1); // no query
  cr_expect_eq(p->ckv_row_stride, 656);
  cr_expect_eq(p->ckv_page_stride, 4 * 656);
  cr_expect_eq(p->power_of_two, 1);
}

// Blocks of the query: as many pieces as threads ask for, of one token or of several whole ones.
Test(append_plan, tiles) {
  static const struct {
    int heads, l, r, nope, tokens;
    int tile_heads, head_tiles, tile_tokens, blocks;
  } cases[] = {
      {128, 512, 64, 1, 3, 16, 8, 1, 24}, {20, 512, 64, 1, 3, 10, 2, 1, 6},
      {4, 512, 64, 1, 6, 4, 1, 4, 2},     {128, 512, 64, 0, 3, 64, 2, 1, 6},
      {200, 512, 64, 0, 3, 50, 4, 1, 12}, {1, 512, 64, 0, 6, 1, 1, 64, 1},
      {8, 16384, 0, 1, 3, 1, 8, 1, 24},
  };
  size_t i;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    lathe_append_desc desc = good_append_desc();
    lathe_append_args args = good_append_args();
    const struct lathep_append_params *p = &recorded.launches[0].append;
    desc.num_heads = cases[i].heads;
    desc.kv_lora_rank = cases[i].l;
    desc.qk_rope_head_dim = cases[i].r;
    args.latent_cache = args.kv_cache = NULL;
    args.q_len = 1;
    args.num_tokens = cases[i].tokens;
    if (!cases[i].nope)
      args.q_nope = NULL;
    run(&desc, &args);
    cr_expect(p->tile_heads == cases[i].tile_heads && p->head_tiles == cases[i].head_tiles &&
                  p->tile_tokens == cases[i].tile_tokens &&
                  (int)recorded.launches[0].grid[0] == cases[i].blocks && p->row_blocks == 0,
              "case %zu: %d heads x %d tiles, %d tokens, %u blocks", i, p->tile_heads,
              p->head_tiles, p->tile_tokens, recorded.launches[0].grid[0]);
  }
}

Test(append_plan, trusted_pages_and_slots) {
  lathe_append_desc desc = good_append_desc();
  lathe_append_args args = good_append_args();
  const struct lathep_append_params *p = &recorded.launches[0].append;
  args.num_pages = 0;
  args.slot_mapping = step.slots;
  args.block_tables = NULL;
  args.block_table_stride = 1; // not read, and so no bound on lengths
  args.positions = step.positions;
  run(&desc, &args);
  cr_expect_eq(p->num_pages, INT64_MAX);
  cr_expect_eq((const void *)p->slots, step.slots);
  cr_expect_eq(p->max_seq_len, 20);
  cr_expect_null(p->seq_lens);
}

Test(append_plan, table_bounds_lengths) {
  lathe_append_desc desc = good_append_desc();
  lathe_append_args args = good_append_args();
  args.block_table_stride = 3;
  run(&desc, &args);
  cr_expect_eq(recorded.launches[0].append.max_seq_len, 12);
}

Test(append_plan, programmatic) {
  lathe_append_desc desc = good_append_desc();
  lathe_append_args args = good_append_args();
  args.programmatic_launch = 1;
  run(&desc, &args);
  cr_expect(recorded.launches[0].extended && recorded.launches[0].programmatic);
}

Test(append_plan, too_many_blocks) {
  lathe_append_desc desc = good_append_desc();
  lathe_append_args args = good_append_args();
  lathe_context *context = recording_context(9, 0);
  lathe_append_plan *plan;
  desc.num_heads = 1 << 20;
  plan = recorded_append(context, &desc);
  args.num_tokens = 1 << 30;
  expect_refused(lathe_append_run(plan, &args, NULL), LATHE_STATUS_UNSUPPORTED,
                 "num_tokens is 1073741824 with num_heads 1048576");
  cr_expect_eq(recorded.num_launches, 0);
  lathe_append_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(append_plan, info) {
  lathe_append_desc desc = good_append_desc();
  lathe_context *contexts[] = {recording_context(9, 0), cpu_context()};
  static const char *const names[] = {"append_sm80_bf16_bf16_l32r16", "append_cpu"};
  int i;
  for (i = 0; i < 2; i++) {
    lathe_append_plan *plan = recorded_append(contexts[i], &desc);
    lathe_append_plan_info info;
    cr_expect_eq(lathe_append_plan_get_info(plan, &info), LATHE_STATUS_OK);
    cr_expect_str_eq(info.kernel, names[i]);
    cr_expect_eq(info.threads, i ? 0 : 256);
    cr_expect_eq(info.source, i ? LATHE_KERNEL_SOURCE_NONE : LATHE_KERNEL_SOURCE_AHEAD_OF_TIME);
    lathe_append_plan_destroy(plan);
    lathe_context_destroy(contexts[i]);
  }
}

Test(merge_plan, launch) {
  lathe_merge_desc desc = good_merge_desc();
  lathe_merge_args args = good_merge_args();
  lathe_context *context = recording_context(9, 0);
  lathe_merge_plan *plan;
  lathe_merge_plan_info info;
  const struct lathep_join_params *p = &recorded.launches[0].join;
  desc.out_dtype = LATHE_DTYPE_F32;
  plan = recorded_merge(context, &desc);
  args.programmatic_launch = 1;
  cr_assert_eq(lathe_merge_run(plan, &args, SOME_STREAM), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  cr_expect_eq(recorded.num_launches, 1);
  cr_expect_str_eq((const char *)recorded.launches[0].function, "join_sm80_bf16_of32_l32");
  cr_expect(recorded.launches[0].programmatic);
  cr_expect_eq(recorded.launches[0].grid[0], 3); // 24 rows, 8 a block
  cr_expect_eq(p->states[1].out, step.in[1]);
  cr_expect_eq(p->states[1].lse, step.in_lse[1]);
  cr_expect_eq(p->in_token_stride, 4 * 32 * 2);
  cr_expect_eq(p->out_token_stride, 4 * 32 * 4);
  cr_expect_eq(p->in_lse_token_stride, 16);
  cr_expect_eq(p->rows, 24);
  cr_expect_eq(p->num_states, 2);
  cr_expect_eq(p->to_log2, 1.44269504f);
  cr_expect_eq(lathe_merge_plan_get_info(plan, &info), LATHE_STATUS_OK);
  cr_expect_str_eq(info.kernel, "join_sm80_bf16_of32_l32");
  lathe_merge_plan_destroy(plan);
  lathe_context_destroy(context);
}
