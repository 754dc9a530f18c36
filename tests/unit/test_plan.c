// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Plans and runs without a GPU: the choice and its log, the geometry and the workspace, and,
// through a driver that records, every launch with every parameter.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "recording_driver.h"

static lathe_decode_desc v3_desc(int32_t heads, int32_t q_len) {
  lathe_decode_desc desc = good_desc();
  desc.num_heads = heads;
  desc.kv_lora_rank = 512;
  desc.qk_rope_head_dim = 64;
  desc.page_size = 64;
  desc.max_batch = 32;
  desc.max_q_len = q_len;
  desc.max_seq_len = 16384;
  return desc;
}

static lathe_decode_plan_info info_of(const lathe_decode_plan *plan) {
  lathe_decode_plan_info info;
  cr_assert_eq(lathe_decode_plan_get_info(plan, &info), LATHE_STATUS_OK);
  return info;
}

// ------------------------------------------------------------------------------------------- plan

Test(plan, cpu_info) {
  lathe_decode_desc desc = v3_desc(128, 1);
  lathe_context *context = cpu_context();
  lathe_decode_plan *plan = recorded_plan(context, &desc);
  lathe_decode_plan_info info = info_of(plan);
  cr_expect_eq(info.backend, LATHE_BACKEND_CPU);
  cr_expect_str_eq(info.kernel, "decode_cpu");
  cr_expect_str_eq(info.merge_kernel, "");
  cr_expect_eq(info.source, LATHE_KERNEL_SOURCE_NONE);
  cr_expect_eq(info.workspace_size, 0);
  cr_expect_eq(info.splits, 1);
  cr_expect_str_eq(info.candidates, "decode_cpu: taken: the context is on the CPU backend\n");
  cr_expect_eq(lathe_decode_workspace_size(plan), 0);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

// The portable kernel, on a device with the shared memory of Hopper that is none.
Test(plan, geometry_of_deepseek_v3) {
  lathe_decode_desc desc = v3_desc(128, 1);
  lathe_context *context = recording_context(10, 0);
  lathe_decode_plan *plan = recorded_plan(context, &desc);
  lathe_decode_plan_info info = info_of(plan);
  cr_expect_eq(info.backend, LATHE_BACKEND_CUDA);
  cr_expect_str_eq(info.kernel, "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
  cr_expect_str_eq(info.merge_kernel, "merge_sm80_bf16_l512");
  cr_expect_eq(info.threads, 256);
  cr_expect_eq(info.blocks, 132);
  cr_expect_eq(info.splits, 66);
  cr_expect_eq(info.source, LATHE_KERNEL_SOURCE_AHEAD_OF_TIME);
  cr_expect_eq(info.registers, 96);
  cr_expect_eq(info.shared_bytes, 231424 + 256, "dynamic and static");
  cr_expect_eq(recorded.dynamic_shared, 231424);
  // 2 * 66 groups * 2 tiles * 64 rows, of each 512 halves, 64 exponents and a float; 66 * 16 bytes
  // of table, for a run and for a schedule, which has 66 * 32 bytes
  cr_expect_eq(info.workspace_size, 17301504 + 1081344 + 67584 + 2 * 1280 + 2304);
  cr_expect_eq(lathe_decode_workspace_size(plan), info.workspace_size);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(plan, geometry_of_deepseek_v3_on_hopper) {
  lathe_decode_desc desc = v3_desc(128, 1);
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan = recorded_plan(context, &desc);
  lathe_decode_plan_info info = info_of(plan);
  cr_expect_str_eq(info.kernel, "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
  cr_expect_str_eq(info.merge_kernel, "merge_sm80_bf16_l512");
  cr_expect_eq(info.threads, 512);
  cr_expect_eq(info.blocks, 132);
  cr_expect_eq(info.splits, 66);
  cr_expect_eq(info.shared_bytes, 225280 + 256, "dynamic and static");
  cr_expect_eq(recorded.dynamic_shared, 225280);
  cr_expect_eq(info.workspace_size, 17301504 + 1081344 + 67584 + 2 * 1280 + 2304);
  lathe_decode_plan_destroy(plan);
  desc.num_heads = 16;
  plan = recorded_plan(context, &desc);
  info = info_of(plan);
  cr_expect_str_eq(info.kernel, "decode_sm90_bf16_bf16_l512r64_m16t64s8p16");
  cr_expect_eq(info.threads, 288);
  cr_expect_eq(info.blocks, 132);
  cr_expect_eq(info.splits, 132);
  cr_expect_eq(recorded.dynamic_shared, 175104);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

// What a plan of `heads` and `q_len` gets of the portable kernel on 132 multiprocessors.
static void expect_geometry(int32_t heads, int32_t q_len, int row_tiles, int groups) {
  lathe_decode_desc desc = v3_desc(heads, q_len);
  lathe_context *context = recording_context(10, 0);
  lathe_decode_plan *plan = recorded_plan(context, &desc);
  lathe_decode_plan_info info = info_of(plan);
  cr_expect_eq(info.blocks, row_tiles * groups, "%d heads, %d tokens: %d blocks", (int)heads,
               (int)q_len, info.blocks);
  cr_expect_eq(info.splits, groups, "%d heads, %d tokens: %d groups", (int)heads, (int)q_len,
               info.splits);
  cr_expect_eq(info.workspace_size % 256, 0);
  cr_expect_eq(info.merge_kernel[0] == '\0', groups == 1);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(plan, geometry_of_few_rows) {
  expect_geometry(1, 1, 1, 264); // two blocks on a multiprocessor
  expect_geometry(16, 1, 1, 264);
  expect_geometry(8, 4, 1, 264);
}

Test(plan, geometry_of_many_rows) {
  expect_geometry(65, 1, 2, 66);
  expect_geometry(128, 8, 16, 8);
  expect_geometry(128, 66, 132, 1);
}

Test(plan, nothing_is_merged_where_tiles_fill_the_device) {
  expect_geometry(128, 128, 256, 1);
}

Test(plan, groups_are_bounded) {
  lathe_decode_desc desc = v3_desc(16, 1);
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan;
  context->device.num_sms = 2000;
  plan = recorded_plan(context, &desc);
  cr_expect_eq(info_of(plan).splits, 1024);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

// A plan that leaves multiprocessors to others.
Test(plan, num_sms) {
  lathe_decode_desc desc = v3_desc(128, 1);
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan;
  size_t all;
  plan = recorded_plan(context, &desc);
  all = lathe_decode_workspace_size(plan);
  cr_expect_eq(plan->choice.merge_blocks, 4 * 132);
  lathe_decode_plan_destroy(plan);
  desc.num_sms = 66;
  plan = recorded_plan(context, &desc);
  cr_expect_eq(info_of(plan).blocks, 66);
  cr_expect_eq(info_of(plan).splits, 33);
  cr_expect_eq(plan->choice.merge_blocks, 4 * 66);
  cr_expect_eq(lathe_decode_workspace_size(plan), all / 2 + 3 * 128, "the tables are rounded up");
  lathe_decode_plan_destroy(plan);
  desc.num_sms = 1;
  plan = recorded_plan(context, &desc);
  cr_expect_eq(info_of(plan).splits, 1);
  cr_expect_eq(info_of(plan).blocks, 2, "one group of both row tiles");
  lathe_decode_plan_destroy(plan);
  desc.num_sms = 133; // more than there are
  plan = recorded_plan(context, &desc);
  cr_expect_eq(info_of(plan).blocks, 132);
  cr_expect_eq(lathe_decode_workspace_size(plan), all);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(plan, candidates_say_why) {
  lathe_decode_desc desc = v3_desc(128, 1);
  lathe_context *context = recording_context(8, 6);
  lathe_decode_plan *plan;
  const char *candidates;
  context->device.shared_optin = 101376;
  plan = recorded_plan(context, &desc);
  candidates = info_of(plan).candidates;
  cr_expect(strstr(candidates,
                   "decode_sm80_bf16_bf16_l512r64_m64t64s2x1: passed over: needs 231424 "
                   "of 100352 bytes of shared memory\n"),
            "%s", candidates);
  cr_expect(strstr(candidates,
                   "decode_sm80_bf16_bf16_l512r64_m32t32s2x2: passed over: needs 114176 "
                   "of 49152 bytes of shared memory for two blocks at once\n"),
            "%s", candidates);
  cr_expect(strstr(candidates, "decode_sm80_bf16_bf16_l512r64_m32t16s3x1: taken: 94720 bytes of "
                               "shared memory, 128 threads\n"),
            "%s", candidates);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

typedef struct log_lines {
  int count;
  char topic[8][32], text[8][256];
} log_lines;

static void keep_line(const char *topic, const char *message, void *user_data) {
  log_lines *lines = (log_lines *)user_data;
  if (strcmp(topic, "dispatch") != 0)
    return;
  snprintf(lines->topic[lines->count % 8], 32, "%s", topic);
  snprintf(lines->text[lines->count++ % 8], 256, "%s", message);
}

Test(plan, dispatch_topic_has_a_line_per_candidate) {
  lathe_decode_desc desc = v3_desc(128, 1);
  lathe_context_desc context_desc;
  lathe_context *context;
  log_lines lines;
  memset(&lines, 0, sizeof lines);
  memset(&context_desc, 0, sizeof context_desc);
  context_desc.backend = LATHE_BACKEND_CPU;
  context_desc.logger.log = keep_line;
  context_desc.logger.user_data = &lines;
  cr_assert_eq(lathe_context_create(&context_desc, &context), LATHE_STATUS_OK);
  record_driver(context, 9, 0);
  context->device.shared_optin = 166912;
  cr_assert_eq(lathe_decode_check(context, &desc), LATHE_STATUS_OK);
  cr_assert_eq(lines.count, 5);
  cr_expect_str_eq(lines.text[0], "decode_sm90_bf16_bf16: passed over: num_heads x max_q_len is "
                                  "128, and it is taken for up to 16");
  cr_expect_str_eq(lines.text[1],
                   "decode_sm90_bf16_bf16: passed over: max_batch x max_seq_len is 524288, and for "
                   "that many rows it is taken for up to 8192");
  cr_expect_str_eq(lines.text[2], "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64: passed over: needs "
                                  "225280 of 165888 bytes of shared memory");
  cr_expect_str_eq(lines.text[3], "decode_sm80_bf16_bf16_l512r64_m64t64s2x1: passed over: needs "
                                  "231424 of 165888 bytes of shared memory");
  cr_expect_str_eq(lines.text[4],
                   "decode_sm80_bf16_bf16_l512r64_m64t32s2x1: taken: 154624 bytes of "
                   "shared memory, 256 threads");
  lathe_context_destroy(context);
}

// -------------------------------------------------------------------------------------------- run

// good_desc() has one row tile of 16, three blocks of which run on a multiprocessor.
enum { GROUPS = 3 * 132 };

typedef struct step {
  lathe_context *context;
  lathe_decode_plan *plan;
} step;

static step make_step(int major, const lathe_decode_desc *desc) {
  step s;
  s.context = recording_context(major, 0);
  s.plan = recorded_plan(s.context, desc);
  recorded.current = PLAN_CONTEXT;
  return s;
}

static void end_step(step s) {
  lathe_decode_plan_destroy(s.plan);
  lathe_context_destroy(s.context);
}

static void run_ok(step s, const lathe_decode_args *args) {
  cr_assert_eq(lathe_decode_run(s.plan, args, SOME_STREAM), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
}

Test(run, launches_on_hopper) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  const recorded_launch *a = &recorded.launches[0], *m = &recorded.launches[1];
  run_ok(s, &args);
  cr_assert_eq(recorded.num_launches, 2);
  cr_expect_eq(a->function, s.plan->kernel->function);
  cr_expect(a->grid[0] == GROUPS && a->grid[1] == 1 && a->grid[2] == 1);
  cr_expect(a->block[0] == 128 && a->block[1] == 1 && a->block[2] == 1);
  cr_expect_eq(a->shared_bytes, (unsigned)s.plan->choice.decode.shared_bytes);
  cr_expect_eq(a->stream, SOME_STREAM);
  cr_expect_not(a->programmatic);
  cr_expect_eq(m->function, s.plan->merge->function);
  cr_expect(m->grid[0] == 132 * LATHEP_MERGE_BLOCKS_PER_SM && m->grid[1] == 1 && m->grid[2] == 1);
  cr_expect(m->block[0] == 256 && m->block[1] == 1 && m->block[2] == 1);
  cr_expect_eq(m->shared_bytes, 0);
  cr_expect_eq(m->stream, SOME_STREAM);
  cr_expect(m->extended && m->programmatic);
  cr_expect_eq(memcmp(&a->params, &m->params, sizeof a->params), 0);
  end_step(s);
}

Test(run, no_programmatic_launch_before_hopper) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(8, &desc);
  run_ok(s, &args);
  cr_assert_eq(recorded.num_launches, 2);
  cr_expect_not(recorded.launches[1].programmatic);
  end_step(s);
}

Test(run, no_programmatic_launch_of_a_kernel_that_cannot_wait) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s;
  s.context = recording_context(9, 0);
  recorded.ptx_version = 80;
  s.plan = recorded_plan(s.context, &desc);
  recorded.current = PLAN_CONTEXT;
  run_ok(s, &args);
  cr_assert_eq(recorded.num_launches, 2);
  cr_expect_not(recorded.launches[1].programmatic);
  end_step(s);
}

Test(run, both_launches_programmatic_when_asked) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  const recorded_launch *a = &recorded.launches[0], *ordinary = &recorded.launches[2];
  args.programmatic_launch = 1;
  run_ok(s, &args);
  args.programmatic_launch = 0;
  run_ok(s, &args);
  cr_assert_eq(recorded.num_launches, 4);
  cr_expect(a[0].extended && a[0].programmatic);
  cr_expect(a[1].extended && a[1].programmatic);
  cr_expect_not(ordinary[0].extended);
  cr_expect(ordinary[1].programmatic);
  cr_expect_eq(a[0].function, ordinary[0].function); // and nothing else of the launch differs
  cr_expect_arr_eq(a[0].grid, ordinary[0].grid, sizeof a[0].grid);
  cr_expect_arr_eq(a[0].block, ordinary[0].block, sizeof a[0].block);
  cr_expect_eq(a[0].shared_bytes, ordinary[0].shared_bytes);
  cr_expect_eq(a[0].stream, ordinary[0].stream);
  cr_expect_eq(memcmp(&a[0].params, &ordinary[0].params, sizeof a[0].params), 0);
  end_step(s);
}

Test(run, no_programmatic_launch_if_the_driver_has_none) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  s.context->cuda.cuLaunchKernelEx = NULL;
  run_ok(s, &args);
  cr_assert_eq(recorded.num_launches, 2);
  cr_expect_not(recorded.launches[1].extended);
  end_step(s);
}

Test(run, one_launch_if_nothing_is_split) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s;
  desc.num_heads = 4096; // the addresses are never used
  desc.max_q_len = 4;
  args.q_len = 1;
  s = make_step(9, &desc);
  args.workspace_size = lathe_decode_workspace_size(s.plan);
  args.q = (const void *)((uintptr_t)1 << 40);
  args.out = (void *)((uintptr_t)1 << 41);
  args.lse = (float *)((uintptr_t)1 << 42);
  args.workspace = (void *)((uintptr_t)1 << 43);
  run_ok(s, &args);
  cr_expect_eq(recorded.num_launches, 1);
  cr_expect_eq(recorded.launches[0].grid[0], 256);
  cr_expect_not(recorded.launches[0].programmatic);
  args.programmatic_launch = 1;
  run_ok(s, &args);
  cr_expect_eq(recorded.num_launches, 2);
  cr_expect(recorded.launches[1].programmatic);
  end_step(s);
}

Test(run, params_of_joined_tensors) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  const struct lathep_decode_params *p = &recorded.launches[0].params;
  run_ok(s, &args);
  cr_expect_eq(p->q_nope, memory.q);
  cr_expect_eq(p->q_pe, memory.q + 64);
  cr_expect_eq(p->ckv, memory.kv);
  cr_expect_eq(p->kpe, memory.kv + 64);
  cr_expect_eq(p->block_tables, memory.tables);
  cr_expect_eq(p->seq_lens, memory.seq_lens);
  cr_expect_null(p->cu_q_lens);
  cr_expect_eq(p->out, memory.out);
  cr_expect_eq(p->lse, memory.lse);
  cr_expect_eq((void *)p->partial_out, memory.workspace);
  cr_expect_eq((unsigned char *)p->partial_exponents - memory.workspace, 2 * GROUPS * 16 * 32 * 2);
  cr_expect_eq((unsigned char *)p->partial_lse - (unsigned char *)p->partial_exponents,
               2 * GROUPS * 16 * 32 / 8);
  cr_expect_eq((unsigned char *)p->split_table - (unsigned char *)p->partial_lse,
               2 * GROUPS * 16 * 4);
  cr_expect_eq(p->q_nope_token_stride, 384);
  cr_expect_eq(p->q_nope_head_stride, 96);
  cr_expect_eq(p->q_pe_token_stride, 384);
  cr_expect_eq(p->q_pe_head_stride, 96);
  cr_expect_eq(p->ckv_page_stride, 384);
  cr_expect_eq(p->ckv_row_stride, 96);
  cr_expect_eq(p->kpe_page_stride, 384);
  cr_expect_eq(p->kpe_row_stride, 96);
  cr_expect_eq(p->out_token_stride, 256);
  cr_expect_eq(p->out_head_stride, 64);
  cr_expect_eq(p->lse_token_stride, 16);
  cr_expect_eq(p->lse_head_stride, 4);
  cr_expect_eq(p->block_table_stride, 5);
  cr_expect_eq(p->num_pages, NUM_PAGES);
  cr_expect_eq(p->batch, 3);
  cr_expect_eq(p->num_heads, 4);
  cr_expect_eq(p->num_tokens, 6);
  cr_expect_eq(p->q_len, 2);
  cr_expect_eq(p->max_q_len, 2);
  cr_expect_eq(p->max_seq_len, 20);
  cr_expect_eq(p->page_size, 4);
  cr_expect_eq(p->page_shift, 2);
  cr_expect_eq(p->causal, 1);
  cr_expect_eq(p->groups, GROUPS);
  cr_expect_eq(p->row_tiles, 1);
  cr_expect_eq(p->slot_rows, 16);
  cr_expect_float_eq(p->scale_log2, 0.18033688f, 1e-8);
  cr_expect_eq(p->out_scale, 1.0f);
  cr_expect_eq(p->lse_scale, 0.69314718f);
  end_step(s);
}

Test(run, params_of_everything_else) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  const struct lathep_decode_params *p = &recorded.launches[0].params;
  step s;
  desc.kv_dtype = LATHE_DTYPE_E4M3;
  desc.mask = LATHE_MASK_NONE;
  desc.lse_base = LATHE_LSE_BASE2;
  desc.page_size = 3;
  args.q_pe = memory.q_pe;
  args.kpe_cache = memory.kpe;
  args.cu_q_lens = memory.cu_q_lens;
  args.num_tokens = 5;
  args.q_len = 1;
  args.kv_page_stride = INT64_C(1) << 33;
  args.kpe_page_stride = 1024;
  args.kpe_row_stride = 48;
  args.num_pages = 0;
  args.block_table_stride = 6;
  args.kv_scale = 2.0f;
  args.lse = NULL;
  s = make_step(9, &desc);
  run_ok(s, &args);
  cr_expect_eq(p->q_pe, memory.q_pe);
  cr_expect_eq(p->kpe, memory.kpe);
  cr_expect_eq(p->q_nope_token_stride, 256);
  cr_expect_eq(p->q_pe_token_stride, 128);
  cr_expect_eq(p->q_pe_head_stride, 32);
  cr_expect_eq(p->ckv_page_stride, INT64_C(1) << 33);
  cr_expect_eq(p->ckv_row_stride, 32);
  cr_expect_eq(p->kpe_page_stride, 1024);
  cr_expect_eq(p->kpe_row_stride, 48);
  cr_expect_eq(p->cu_q_lens, memory.cu_q_lens);
  cr_expect_null(p->lse);
  cr_expect_eq(p->num_tokens, 5);
  cr_expect_eq(p->q_len, 2);
  cr_expect_eq(p->max_seq_len, 18, "six pages of three rows");
  cr_expect_eq(p->page_shift, -1);
  cr_expect_eq(p->num_pages, INT64_C(1) << 31);
  cr_expect_eq(p->causal, 0);
  cr_expect_float_eq(p->scale_log2, 0.36067376f, 1e-7);
  cr_expect_eq(p->out_scale, 2.0f);
  cr_expect_eq(p->lse_scale, 1.0f);
  end_step(s);
}

Test(run, params_of_options) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan;
  const struct lathep_decode_params *p = &recorded.launches[0].params;
  desc.sliding_window = 7;
  desc.logit_softcap = 30;
  desc.attention_sinks = 1;
  args.sinks = memory.lse;
  plan = recorded_plan(context, &desc);
  recorded.current = PLAN_CONTEXT;
  cr_assert_eq(lathe_decode_run(plan, &args, NULL), LATHE_STATUS_OK);
  cr_expect_eq(p->window, 7);
  cr_expect_float_eq(p->cap_log2, 30 / log(2.0), 1e-5);
  cr_expect_eq(p->sinks, memory.lse);
  cr_expect_eq(recorded.launches[1].params.sinks, memory.lse, "the merge kernel's too");
  cr_expect_float_eq(p->cap_inverse, log(2.0) / 30, 1e-8);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

static struct lathep_decode_params params_of(const lathe_decode_desc *desc,
                                             const lathe_decode_args *args) {
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan = recorded_plan(context, desc);
  recorded.current = PLAN_CONTEXT;
  cr_assert_eq(lathe_decode_run(plan, args, NULL), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return recorded.launches[0].params;
}

Test(run, params_of_a_tree_mask) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  struct lathep_decode_params p;
  desc.mask = LATHE_MASK_TREE;
  args.tree_mask = memory.tree;
  p = params_of(&desc, &args);
  cr_expect_eq(p.tree_mask, memory.tree);
  cr_expect_eq(p.tree_mask_stride, 1);
  cr_expect_eq(p.causal, 0);
  args.tree_mask_stride = 2;
  p = params_of(&desc, &args);
  cr_expect_eq(p.tree_mask_stride, 2);
}

Test(run, params_of_ranks) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  struct lathep_decode_params p = params_of(&desc, &args);
  cr_expect(p.cp_interleave == 1 && p.cp_round == 1 && p.cp_first == 0, "rows are positions");
  desc.cp_world = 3;
  desc.cp_rank = 2;
  p = params_of(&desc, &args);
  cr_expect(p.cp_interleave == 1 && p.cp_round == 3 && p.cp_first == 2);
  cr_expect_eq(p.max_seq_len, 20);
  cr_expect_eq(p.block_table_stride, 2, "7 rows in pages of 4");
  desc.cp_interleave = 4;
  p = params_of(&desc, &args);
  cr_expect(p.cp_interleave == 4 && p.cp_round == 12 && p.cp_first == 8);
  args.block_table_stride = 1; // the fifth row is position 20
  p = params_of(&desc, &args);
  cr_expect_eq(p.max_seq_len, 20);
  desc.cp_rank = 0; // position 12
  p = params_of(&desc, &args);
  cr_expect_eq(p.max_seq_len, 12);
  desc.attention_sinks = 1;
  desc.max_q_len = 1;
  desc.cp_lens = LATHE_CP_LENS_LOCAL; // a kernel of ranks for the sinks' sake
  args.sinks = memory.lse;
  p = params_of(&desc, &args);
  cr_expect(p.cp_interleave == 1 && p.cp_round == 1 && p.cp_first == 0, "rows are positions");
}

Test(run, scales_of_e4m3_tensors) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan;
  const struct lathep_decode_params *p = &recorded.launches[0].params;
  desc.q_dtype = desc.kv_dtype = desc.out_dtype = LATHE_DTYPE_E4M3;
  args.kv_scale = 0.5f;
  args.q_scale = 8;
  args.out_scale = 0.25f;
  plan = recorded_plan(context, &desc);
  recorded.current = PLAN_CONTEXT;
  cr_assert_eq(lathe_decode_run(plan, &args, NULL), LATHE_STATUS_OK);
  cr_expect_float_eq(p->scale_log2, 0.125 * 0.5 * 8 / log(2.0), 1e-6);
  cr_expect_eq(p->out_scale, 2.0f);
  cr_expect_eq(p->q_nope_head_stride, 48, "bytes");
  cr_expect_eq(p->q_nope_token_stride, 4 * 48);
  cr_expect_eq((const char *)p->q_pe - (const char *)p->q_nope, 32);
  cr_expect_eq(p->out_head_stride, 32);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(run, softmax_scale_on_the_device) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan;
  const struct lathep_decode_params *p = &recorded.launches[0].params;
  desc.softmax_scale_on_device = 1;
  desc.kv_dtype = LATHE_DTYPE_E4M3;
  args.kv_scale = 0.5f;
  args.softmax_scale = 0; // not read
  args.softmax_scale_at = memory.lse;
  memory.lse[0] = 0.125f;
  plan = recorded_plan(context, &desc);
  recorded.current = PLAN_CONTEXT;
  cr_assert_eq(lathe_decode_run(plan, &args, NULL), LATHE_STATUS_OK);
  cr_expect_eq(p->softmax_scale, memory.lse);
  cr_expect_float_eq(p->scale_log2, 0.5 / log(2.0), 1e-6);
  args.lse = NULL;
  cr_expect_eq(lathe_decode_validate(plan, &args, NULL), LATHE_STATUS_OK);
  memory.lse[0] = -1;
  expect_refused(lathe_decode_validate(plan, &args, NULL), LATHE_STATUS_CHECK_FAILED,
                 "the float at lathe_decode_args.softmax_scale_at is -1; write a finite");
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(run, workspace_of_exactly_its_size) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  args.workspace_size = lathe_decode_workspace_size(s.plan);
  run_ok(s, &args);
  args.workspace_size--;
  expect_refused(lathe_decode_run(s.plan, &args, SOME_STREAM), LATHE_STATUS_WORKSPACE_TOO_SMALL,
                 "workspace_size is ");
  end_step(s);
}

Test(run, page_shifts) {
  int32_t shift;
  for (shift = 0; shift < 31; shift++)
    cr_expect_eq(lathep_page_shift((int32_t)1 << shift), shift);
  cr_expect_eq(lathep_page_shift(3), -1);
  cr_expect_eq(lathep_page_shift(48), -1);
  cr_expect_eq(lathep_page_shift(INT32_MAX), -1);
}

Test(run, refuses_another_context) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  recorded.current = OTHER_CONTEXT;
  expect_refused(lathe_decode_run(s.plan, &args, NULL), LATHE_STATUS_WRONG_CONTEXT,
                 "the current CUDA context is");
  expect_refused(lathe_decode_validate(s.plan, &args, NULL), LATHE_STATUS_WRONG_CONTEXT,
                 "the current CUDA context is");
  cr_expect_eq(recorded.num_launches, 0);
  cr_expect_eq(recorded.current, OTHER_CONTEXT);
  recorded.current = PLAN_CONTEXT;
  end_step(s);
}

Test(run, makes_its_context_current_if_none_is) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  int pushes = recorded.pushes, pops = recorded.pops;
  recorded.current = NULL;
  run_ok(s, &args);
  cr_expect_eq(recorded.num_launches, 2);
  cr_expect_eq(recorded.pushes - pushes, 1);
  cr_expect_eq(recorded.pops - pops, 1);
  cr_expect_null(recorded.current);
  recorded.launch_code = 719;
  expect_refused(lathe_decode_run(s.plan, &args, NULL), LATHE_STATUS_CUDA_ERROR, "launching ");
  cr_expect_eq(recorded.pushes - pushes, 2);
  cr_expect_eq(recorded.pops - pops, 2);
  end_step(s);
}

Test(run, leaves_its_own_context_alone) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  int pushes = recorded.pushes;
  run_ok(s, &args);
  cr_expect_eq(recorded.pushes, pushes);
  end_step(s);
}

Test(run, a_launch_that_fails_is_the_last) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  recorded.launch_code = 400;
  expect_refused(lathe_decode_run(s.plan, &args, SOME_STREAM), LATHE_STATUS_CUDA_ERROR,
                 "give a stream of the plan's CUDA context");
  cr_expect_eq(lathe_last_error()->driver_code, 400);
  cr_expect_eq(recorded.num_launches, 1);
  end_step(s);
}

// ----------------------------------------------------------------------------------------- checks

Test(run, only_enqueues) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  run_ok(s, &args);
  cr_expect_eq(recorded.copies, 0);
  cr_expect_eq(recorded.synchronised, 0);
  end_step(s);
}

Test(run, validates_first_under_lathe_check) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  s.context->env.check = 1;
  run_ok(s, &args);
  cr_expect_eq(recorded.copies, 4, "lengths and three rows of the table, not %d", recorded.copies);
  cr_expect_eq(recorded.synchronised, 2);
  cr_expect_eq(recorded.num_launches, 2);
  end_step(s);
}

Test(run, does_not_validate_in_a_capture) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  s.context->env.check = 1;
  memory.seq_lens[0] = -1;
  recorded.capturing = 1;
  run_ok(s, &args);
  recorded.capturing = 0;
  recorded.capture_code = 906; // the default stream while another one is captured
  run_ok(s, &args);
  cr_expect_eq(recorded.copies, 0);
  cr_expect_eq(recorded.num_launches, 4);
  end_step(s);
}

Test(validate, refuses_a_capture) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  recorded.capturing = 1;
  expect_refused(lathe_decode_validate(s.plan, &args, SOME_STREAM), LATHE_STATUS_INVALID_ARGUMENT,
                 "is being captured");
  cr_expect_eq(recorded.copies, 0);
  end_step(s);
}

Test(validate, passes_what_is_right) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  memory.tables[2 * TABLE_STRIDE + 1] = -1; // past the pages of request 2
  cr_expect_eq(lathe_decode_validate(s.plan, &args, SOME_STREAM), LATHE_STATUS_OK);
  args.cu_q_lens = memory.cu_q_lens;
  cr_expect_eq(lathe_decode_validate(s.plan, &args, SOME_STREAM), LATHE_STATUS_OK);
  memory.seq_lens[0] = memory.seq_lens[1] = memory.seq_lens[2] = 0;
  cr_expect_eq(lathe_decode_validate(s.plan, &args, SOME_STREAM), LATHE_STATUS_OK);
  cr_expect_eq(recorded.num_launches, 0);
  end_step(s);
}

Test(validate, passes_what_is_right_on_cpu) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  lathe_context *context = cpu_context();
  lathe_decode_plan *plan = recorded_plan(context, &desc);
  args.cu_q_lens = memory.cu_q_lens;
  cr_expect_eq(lathe_decode_validate(plan, &args, NULL), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(validate, copy_that_fails) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s = make_step(9, &desc);
  recorded.copy_code = 1;
  expect_refused(lathe_decode_validate(s.plan, &args, SOME_STREAM), LATHE_STATUS_CUDA_ERROR,
                 "lathe_decode_args.seq_lens");
  cr_expect_eq(lathe_last_error()->driver_code, 1);
  end_step(s);
  desc.sparse_topk = 2;
  args.sparse_indices = memory.lists;
  args.sparse_lens = memory.list_lens;
  s = make_step(9, &desc);
  recorded.copy_code = 1;
  expect_refused(lathe_decode_validate(s.plan, &args, SOME_STREAM), LATHE_STATUS_CUDA_ERROR,
                 "lathe_decode_args.sparse_lens");
  args.sparse_lens = NULL;
  expect_refused(lathe_decode_validate(s.plan, &args, SOME_STREAM), LATHE_STATUS_CUDA_ERROR,
                 "lathe_decode_args.sparse_indices");
  end_step(s);
}

// What dense runs have beside their lists is not looked at.
Test(run, lists_in_place_of_tables) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  step s;
  desc.sparse_topk = 2;
  args.sparse_indices = memory.lists;
  args.block_tables = args.seq_lens = NULL;
  args.block_table_stride = -1;
  s = make_step(9, &desc);
  run_ok(s, &args);
  cr_expect_eq(recorded.launches[0].params.block_tables, memory.lists);
  cr_expect_eq(recorded.launches[0].params.block_table_stride, 2);
  end_step(s);
}
