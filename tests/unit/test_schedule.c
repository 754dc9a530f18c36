// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Schedules made beforehand and cuts at fixed places, without a GPU: launches and their parameters,
// what is refused, the workspace, and the validator on schedules written by hand.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "recording_driver.h"

enum { GROUPS = 3, BLOCK = 32 }; // of the plan below, on one multiprocessor; rows of a step

static int32_t tables[3 * 8];

// Three requests of 10, 0 and 4 blocks.
static lathe_decode_desc small_desc(int32_t split_len) {
  lathe_decode_desc desc = good_desc();
  desc.page_size = 64;
  desc.max_seq_len = 512;
  desc.num_sms = 1;
  desc.split_len = split_len;
  return desc;
}

static lathe_decode_args small_args(void) {
  lathe_decode_args args = good_args();
  args.block_tables = tables;
  memory.seq_lens[0] = 10 * BLOCK;
  memory.seq_lens[1] = 0;
  memory.seq_lens[2] = 4 * BLOCK - 28;
  return args;
}

typedef struct step {
  lathe_context *context;
  lathe_decode_plan *plan;
} step;

static step make_step(int32_t split_len) {
  lathe_decode_desc desc = small_desc(split_len);
  step s;
  s.context = recording_context(9, 0);
  s.plan = recorded_plan(s.context, &desc);
  recorded.current = PLAN_CONTEXT;
  cr_assert_eq(s.plan->choice.groups, GROUPS);
  cr_assert_eq(s.plan->choice.decode.tokens, BLOCK);
  return s;
}

static void end_step(step s) {
  lathe_decode_plan_destroy(s.plan);
  lathe_context_destroy(s.context);
}

#define OK(call) cr_assert_eq(call, LATHE_STATUS_OK, "%s", lathe_last_error()->message)

// ---------------------------------------------------------------------------------------- launches

Test(schedule, is_one_small_launch) {
  lathe_decode_args args = small_args();
  step s = make_step(0);
  const recorded_launch *l = &recorded.launches[0];
  const lathep_choice *c = &s.plan->choice;
  OK(lathe_decode_schedule(s.plan, &args, SOME_STREAM));
  cr_assert_eq(recorded.num_launches, 1);
  cr_expect_eq(l->function, s.plan->schedule->function);
  cr_expect_str_eq(s.plan->schedule->name, "schedule_sm80_t32");
  cr_expect(l->grid[0] == GROUPS && l->grid[1] == 1 && l->grid[2] == 1);
  cr_expect(l->block[0] == 256 && l->block[1] == 1 && l->block[2] == 1);
  cr_expect_eq(l->shared_bytes, 0);
  cr_expect_eq(l->stream, SOME_STREAM);
  cr_expect_not(l->programmatic);
  cr_expect_eq((unsigned char *)l->params.schedule - memory.workspace,
               (long)(c->partial_out_bytes + c->partial_exponents_bytes + c->partial_lse_bytes +
                      c->split_table_bytes));
  cr_expect_eq((unsigned char *)l->params.split_table - (unsigned char *)l->params.schedule,
               (long)c->schedule_bytes);
  cr_expect_eq((unsigned char *)l->params.split_table + c->split_table_bytes - memory.workspace,
               (long)lathe_decode_workspace_size(s.plan));
  cr_expect_eq(l->params.batch, 3);
  cr_expect_eq(l->params.seq_lens, memory.seq_lens);
  cr_expect_eq(l->params.num_tokens, 6);
  cr_expect_eq(l->params.q_len, 2);
  cr_expect_eq(l->params.splits, GROUPS);
  cr_expect_eq(l->params.split_blocks, 0);
  end_step(s);
}

Test(schedule, is_launched_early_if_asked) {
  lathe_decode_args args = small_args();
  step s = make_step(0);
  args.programmatic_launch = 1;
  OK(lathe_decode_schedule(s.plan, &args, SOME_STREAM));
  cr_expect(recorded.launches[0].programmatic);
  end_step(s);
}

// A run of a schedule reads it and its split table; another leaves them alone.
Test(schedule, is_what_a_run_reads) {
  lathe_decode_args args = small_args();
  step s = make_step(0);
  const recorded_launch *l = recorded.launches;
  OK(lathe_decode_schedule(s.plan, &args, SOME_STREAM));
  args.scheduled = 1;
  OK(lathe_decode_run(s.plan, &args, SOME_STREAM));
  args.scheduled = 0;
  OK(lathe_decode_run(s.plan, &args, SOME_STREAM));
  cr_assert_eq(recorded.num_launches, 5);
  cr_expect_eq(l[1].params.schedule, l[0].params.schedule);
  cr_expect_eq(l[1].params.split_table, l[0].params.split_table);
  cr_expect_eq(l[2].params.split_table, l[0].params.split_table, "merge");
  cr_expect_null(l[3].params.schedule);
  cr_expect_eq((unsigned char *)l[3].params.split_table + s.plan->choice.split_table_bytes,
               (unsigned char *)l[0].params.schedule);
  cr_expect_eq(l[4].params.split_table, l[3].params.split_table, "merge");
  end_step(s);
}

Test(schedule, needs_lengths_and_workspace_alone) {
  lathe_decode_args all = small_args(), args;
  step s = make_step(0);
  memset(&args, 0, sizeof args);
  args.batch = 3;
  args.seq_lens = all.seq_lens;
  args.workspace = all.workspace;
  args.workspace_size = lathe_decode_workspace_size(s.plan);
  OK(lathe_decode_schedule(s.plan, &args, SOME_STREAM));
  cr_expect_eq(recorded.launches[0].params.max_seq_len, 512);
  args.block_table_stride = 3;
  OK(lathe_decode_schedule(s.plan, &args, SOME_STREAM));
  cr_expect_eq(recorded.launches[1].params.max_seq_len, 3 * 64);
  end_step(s);
}

Test(schedule, of_the_cpu_is_nothing) {
  lathe_decode_desc desc = good_desc();
  lathe_decode_args args = good_args();
  lathe_context *context = cpu_context();
  lathe_decode_plan *plan = plan_of(context, &desc);
  lathe_decode_plan_info info;
  args.workspace = NULL;
  args.workspace_size = 0;
  OK(lathe_decode_schedule(plan, &args, NULL));
  args.scheduled = 1;
  OK(lathe_decode_run(plan, &args, NULL));
  context->env.check = 1;
  OK(lathe_decode_schedule(plan, &args, NULL));
  OK(lathe_decode_run(plan, &args, NULL));
  memory.seq_lens[1] = -1;
  expect_refused(lathe_decode_schedule(plan, &args, NULL), LATHE_STATUS_CHECK_FAILED,
                 "seq_lens[1] is -1");
  OK(lathe_decode_plan_get_info(plan, &info));
  cr_expect_str_eq(info.schedule_kernel, "");
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(schedule, refusals) {
  const lathe_decode_args good = small_args();
  const lathe_status invalid = LATHE_STATUS_INVALID_ARGUMENT;
  step s = make_step(0);
  lathe_decode_args a = good;
  expect_refused(lathe_decode_schedule(NULL, &a, NULL), invalid, "plan is null; give");
  expect_refused(lathe_decode_schedule(s.plan, NULL, NULL), invalid, "args is null; give");
  a.batch = 4;
  expect_refused(lathe_decode_schedule(s.plan, &a, NULL), invalid, "batch is 4; give 1 to 3");
  a = good;
  a.seq_lens = NULL;
  expect_refused(lathe_decode_schedule(s.plan, &a, NULL), invalid, "seq_lens is null; give");
  a = good;
  a.workspace = NULL;
  expect_refused(lathe_decode_schedule(s.plan, &a, NULL), invalid, "workspace is null; give");
  a.scheduled = 1;
  expect_refused(lathe_decode_run(s.plan, &a, NULL), invalid, "workspace is null; give");
  a = good;
  a.workspace_size = lathe_decode_workspace_size(s.plan) - 1;
  expect_refused(lathe_decode_schedule(s.plan, &a, NULL), LATHE_STATUS_WORKSPACE_TOO_SMALL,
                 "workspace_size is ");
  a = good;
  a.seq_lens = (const int32_t *)(const void *)(memory.workspace + 512);
  expect_refused(lathe_decode_schedule(s.plan, &a, NULL), invalid, "inside the workspace; give");
  recorded.current = OTHER_CONTEXT;
  expect_refused(lathe_decode_schedule(s.plan, &good, NULL), LATHE_STATUS_WRONG_CONTEXT,
                 "the current CUDA context is");
  cr_expect_eq(recorded.num_launches, 0);
  recorded.current = PLAN_CONTEXT;
  end_step(s);
}

// Each is a request, and the workspace has a row of the split table for those of the plan.
Test(schedule, refuses_more_lists_than_the_plan_has_tokens) {
  lathe_decode_desc desc = small_desc(2 * BLOCK);
  lathe_decode_args args = small_args();
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan;
  desc.sparse_topk = 4 * BLOCK;
  plan = recorded_plan(context, &desc);
  args.num_tokens = desc.max_batch * desc.max_q_len + 1;
  expect_refused(lathe_decode_schedule(plan, &args, NULL), LATHE_STATUS_INVALID_ARGUMENT,
                 "in a plan with sparse_topk; give");
  cr_expect_eq(recorded.num_launches, 0);
  args.num_tokens--;
  OK(lathe_decode_schedule(plan, &args, NULL));
  cr_expect_eq(recorded.launches[0].params.splits, args.num_tokens);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(schedule, early_launch_before_hopper) {
  lathe_decode_desc desc = small_desc(0);
  lathe_decode_args args = small_args();
  lathe_context *context = recording_context(8, 0);
  lathe_decode_plan *plan = recorded_plan(context, &desc);
  recorded.current = PLAN_CONTEXT;
  args.programmatic_launch = 1;
  expect_refused(lathe_decode_schedule(plan, &args, NULL), LATHE_STATUS_UNSUPPORTED,
                 "programmatic_launch is 1");
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

// --------------------------------------------------------------------------------------- validator

Test(schedule, lengths_are_checked) {
  lathe_decode_args args = small_args();
  step s = make_step(0);
  s.context->env.check = 1;
  OK(lathe_decode_schedule(s.plan, &args, SOME_STREAM));
  cr_expect_eq(recorded.copies, 1);
  memory.seq_lens[2] = 513;
  expect_refused(lathe_decode_schedule(s.plan, &args, SOME_STREAM), LATHE_STATUS_CHECK_FAILED,
                 "seq_lens[2] is 513; request 2 may have 0 to 512 rows");
  recorded.capturing = 1;
  OK(lathe_decode_schedule(s.plan, &args, SOME_STREAM));
  cr_expect_eq(recorded.num_launches, 2);
  end_step(s);
}

typedef struct written {
  int32_t cuts[GROUPS][2][4], splits[GROUPS][4];
} written;

// Request 0 is of groups 0 and 1, request 2 of groups 1 and 2.
static const written right = {
    {{{0, 0, 0, 0}, {0, 6, 1, 0}}, {{0, 6, 1, 0}, {2, 1, 1, 0}}, {{2, 1, 1, 0}, {3, 0, 0, 0}}},
    {{0, 2, 0, 2}, {2, 2, 4, 2}, {-1, 1, 0, 0}}};
// Of two blocks each: request 0 has five parts, of which group 0 has three, and request 2 two.
static const written right_fixed = {
    {{{0, 0, 0, 0}, {0, 6, 0, 0}}, {{0, 6, 0, 0}, {2, 2, 0, 0}}, {{2, 2, 0, 0}, {3, 0, 0, 0}}},
    {{0, 5, 0, 2}, {-1, 0, 2, 2}, {2, 2, 4, 2}}};

static lathe_status validate_written(step s, const lathe_decode_args *args, const written *w) {
  const lathep_choice *c = &s.plan->choice;
  unsigned char *at = memory.workspace + c->partial_out_bytes + c->partial_exponents_bytes +
                      c->partial_lse_bytes + c->split_table_bytes;
  memcpy(at, w->cuts, sizeof w->cuts);
  memcpy(at + c->schedule_bytes, w->splits, sizeof w->splits);
  return lathe_decode_validate(s.plan, args, SOME_STREAM);
}

static void refuse_written(int32_t split_len, const written *w, const char *words) {
  lathe_decode_args args = small_args();
  step s = make_step(split_len);
  args.scheduled = 1;
  expect_refused(validate_written(s, &args, w), LATHE_STATUS_CHECK_FAILED, words);
  s.context->env.check = 1;
  expect_refused(lathe_decode_run(s.plan, &args, SOME_STREAM), LATHE_STATUS_CHECK_FAILED, words);
  cr_expect_eq(recorded.num_launches, 0);
  args.scheduled = 0;
  OK(validate_written(s, &args, w));
  end_step(s);
}

Test(schedule, a_right_one_passes) {
  lathe_decode_args args = small_args();
  step s = make_step(0);
  args.scheduled = 1;
  OK(validate_written(s, &args, &right));
  s.context->env.check = 1;
  OK(lathe_decode_run(s.plan, &args, SOME_STREAM));
  cr_expect_eq(recorded.num_launches, 2);
  end_step(s);
  s = make_step(2 * BLOCK);
  OK(validate_written(s, &args, &right_fixed));
  end_step(s);
}

Test(schedule, a_right_one_of_uneven_q_lens_passes) {
  lathe_decode_args args = small_args();
  written w = right;
  step s = make_step(0);
  args.scheduled = 1;
  args.cu_q_lens = memory.cu_q_lens; // 0, 2, 3, 5
  w.splits[1][2] = 3;
  OK(validate_written(s, &args, &w));
  w.splits[1][3] = 1;
  expect_refused(validate_written(s, &args, &w), LATHE_STATUS_CHECK_FAILED,
                 "tokens to be merged of group 1 are 2, 2, 3, 1; call lathe_decode_schedule()");
  end_step(s);
}

// Tokens 0 and 1 see rows 255 to 319 of request 0, hence three blocks of its ten; 35 to 99 of
// request 2, three of four.
Test(schedule, of_a_window_counts_the_blocks_that_it_touches) {
  lathe_decode_desc desc = small_desc(0);
  lathe_decode_args args = small_args();
  written w = right;
  step s;
  desc.sliding_window = 64;
  s.context = recording_context(9, 0);
  s.plan = recorded_plan(s.context, &desc);
  recorded.current = PLAN_CONTEXT;
  cr_assert_eq(s.plan->choice.groups, GROUPS);
  args.scheduled = 1;
  w.cuts[0][1][1] = w.cuts[1][0][1] = 2;
  OK(validate_written(s, &args, &w));
  w.cuts[0][1][1] = w.cuts[1][0][1] = 3;
  expect_refused(validate_written(s, &args, &w), LATHE_STATUS_CHECK_FAILED,
                 "where the work ends of group 0 are 0, 3, 1, 0;");
  args.scheduled = 0; // entries of pages that the window does not touch may be anything
  tables[0] = tables[1] = tables[2] = -1;
  OK(validate_written(s, &args, &w));
  tables[3] = -1;
  expect_refused(validate_written(s, &args, &w), LATHE_STATUS_CHECK_FAILED,
                 "block_tables[0][3] is -1; request 0 has 320 rows, so its entries 3 to 4");
  end_step(s);
}

// Of two ranks by turns of 64 positions, the first has 320 of 640 and 100 of 164.
Test(schedule, of_a_rank_counts_its_own_blocks) {
  lathe_decode_desc desc = small_desc(0);
  lathe_decode_args args = small_args();
  written w = right;
  lathe_decode_plan_info info;
  step s;
  desc.max_seq_len = 1024;
  desc.cp_world = 2;
  desc.cp_interleave = 64;
  s.context = recording_context(9, 0);
  s.plan = recorded_plan(s.context, &desc);
  recorded.current = PLAN_CONTEXT;
  OK(lathe_decode_plan_get_info(s.plan, &info));
  cr_expect_str_eq(info.schedule_kernel, "schedule_sm80_r_t32");
  cr_expect_str_eq(info.merge_kernel, "merge_sm80_bf16_l32");
  args.scheduled = 1;
  memory.seq_lens[0] = 640;
  memory.seq_lens[2] = 164;
  OK(validate_written(s, &args, &w));
  memory.seq_lens[0] = 320; // 6 blocks
  expect_refused(validate_written(s, &args, &w), LATHE_STATUS_CHECK_FAILED,
                 "where the work ends of group 0 are 0, 6, 1, 0;");
  args.scheduled = 0;
  tables[3] = -1; // 192 rows have no fourth page
  OK(validate_written(s, &args, &w));
  tables[2] = -1;
  expect_refused(validate_written(s, &args, &w), LATHE_STATUS_CHECK_FAILED,
                 "block_tables[0][2] is -1; request 0 has 192 rows, so its entries 0 to 2");
  end_step(s);
}

Test(schedule, of_a_window_is_a_kernel_of_its_own) {
  lathe_decode_desc desc = small_desc(0);
  lathe_decode_args args = small_args();
  lathe_decode_plan_info info;
  step s;
  desc.sliding_window = 64;
  s.context = recording_context(9, 0);
  s.plan = recorded_plan(s.context, &desc);
  recorded.current = PLAN_CONTEXT;
  OK(lathe_decode_plan_get_info(s.plan, &info));
  cr_expect_str_eq(info.kernel, "decode_sm80_bf16_bf16_w_l32r16_m16t32s4x3");
  cr_expect_str_eq(info.schedule_kernel, "schedule_sm80_w_t32");
  OK(lathe_decode_schedule(s.plan, &args, SOME_STREAM));
  cr_expect_eq(recorded.launches[0].params.window, 64);
  OK(lathe_decode_run(s.plan, &args, SOME_STREAM));
  cr_expect_eq(recorded.launches[1].params.window, 64);
  end_step(s);
}

#define WRONG(name, split_len, base, change, words)                                                \
  Test(wrong_schedule, name) {                                                                     \
    written w = base;                                                                              \
    change;                                                                                        \
    refuse_written(split_len, &w, words);                                                          \
  }
// clang-format off
WRONG(never_made, 0, right, memset(&w, 0xff, sizeof w), "where the work begins of group 0 are -1, -1, -1, -1; call lathe_decode_schedule()")
WRONG(first_block_left_out, 0, right, w.cuts[0][0][1] = 1, "where the work begins of group 0 are 0, 1, 0, 0;")
WRONG(gap, 0, right, w.cuts[1][0][1] = 7, "where the work begins of group 1 are 0, 7, 1, 0;")
WRONG(backwards, 0, right, w.cuts[1][1][0] = 0; w.cuts[1][1][1] = 5, "where the work ends of group 1 are 0, 5,")
WRONG(past_the_request, 0, right, w.cuts[1][1][1] = w.cuts[2][0][1] = 4, "where the work ends of group 1 are 2, 4,")
WRONG(in_an_empty_request, 0, right, w.cuts[1][1][0] = w.cuts[2][0][0] = 1, "where the work ends of group 1 are 1, 1,")
WRONG(past_the_batch, 0, right, w.cuts[2][1][0] = 4, "where the work ends of group 2 are 4, 0,")
WRONG(negative_block, 0, right, w.cuts[1][1][1] = w.cuts[2][0][1] = -1, "where the work ends of group 1 are 2, -1,")
WRONG(of_fewer_requests, 0, right, w.cuts[2][1][0] = 2; w.cuts[2][1][1] = 3, "where the work ends of group 2 are 2, 3,")
WRONG(parts_forgotten, 0, right, w.splits[0][1] = 3, "tokens to be merged of group 0 are 0, 3, 0, 2;")
WRONG(split_forgotten, 0, right, w.splits[1][0] = -1, "tokens to be merged of group 1 are -1, 2, 4, 2;")
WRONG(split_of_another, 0, right, w.splits[1][0] = 0, "tokens to be merged of group 1 are 0, 2, 4, 2;")
WRONG(split_of_nothing, 0, right, w.splits[2][0] = 2, "tokens to be merged of group 2 are 2, 1, 0, 0;")
WRONG(first_token_wrong, 0, right, w.splits[1][2] = 2, "tokens to be merged of group 1 are 2, 2, 2, 2;")
WRONG(inside_a_fixed_part, 64, right_fixed, w.cuts[0][1][1] = w.cuts[1][0][1] = 5, "where the work ends of group 0 are 0, 5,")
WRONG(fixed_parts_too_few, 64, right_fixed, w.splits[0][1] = 4, "tokens to be merged of group 0 are 0, 4, 0, 2;")
WRONG(fixed_part_of_nothing, 64, right_fixed, w.splits[1][0] = 1, "tokens to be merged of group 1 are 1, 0, 2, 2;")
// clang-format on

// -------------------------------------------------------------------------------------- fixed cuts

static lathe_decode_plan_info geometry(const lathe_decode_desc *desc, int *launches) {
  lathe_decode_args args = small_args();
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan = recorded_plan(context, desc);
  lathe_decode_plan_info info;
  recorded.current = PLAN_CONTEXT;
  OK(lathe_decode_plan_get_info(plan, &info));
  args.workspace = (void *)((uintptr_t)1 << 43); // never used
  args.workspace_size = info.workspace_size;
  OK(lathe_decode_run(plan, &args, SOME_STREAM));
  *launches = recorded.num_launches;
  info.candidates = NULL; // the plan's
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return info;
}

Test(split_len, sizes_the_workspace) {
  lathe_decode_desc desc = small_desc(128);
  lathe_decode_plan_info info;
  int launches;
  info = geometry(&desc, &launches);
  // 3 requests of 4 parts of 16 rows of 32 halves, 4 exponents and a float; tables of 3 rows of 16
  // bytes, 3 groups of 32
  cr_expect_eq(info.workspace_size, 12288 + 768 + 768 + 2 * 256 + 256);
  cr_expect_eq(info.splits, 12);
  cr_expect_eq(launches, 2);
  cr_expect_eq(recorded.launches[0].params.split_blocks, 4);
  cr_expect_eq(recorded.launches[0].params.split_parts, 4);
  cr_expect_eq(recorded.launches[0].params.splits, 3, "of this batch");
  cr_expect_eq(recorded.launches[0].params.groups, GROUPS);
  cr_expect_str_eq(info.merge_kernel, "merge_sm80_bf16_l32");
}

Test(split_len, of_whole_requests_merges_nothing) {
  lathe_decode_desc desc = small_desc(512);
  lathe_decode_plan_info info;
  int launches;
  info = geometry(&desc, &launches);
  cr_expect_eq(info.workspace_size, 3 * 256);
  cr_expect_eq(launches, 1);
  cr_expect_str_eq(info.merge_kernel, "");
  desc.split_len = 448;
  info = geometry(&desc, &launches);
  cr_expect_eq(launches, 2);
}

// One group has all parts of a request, which is merged all the same.
Test(split_len, merges_what_one_group_has) {
  lathe_decode_desc desc = small_desc(256);
  lathe_decode_plan_info info;
  int launches;
  desc.num_heads = 64;
  info = geometry(&desc, &launches);
  cr_expect_eq(launches, 2);
  cr_expect_eq(recorded.launches[0].params.groups, 1);
  cr_expect_eq(info.splits, 6);
}

Test(split_len, of_too_many_parts) {
  lathe_decode_desc desc = small_desc(64);
  lathe_context *context = recording_context(9, 0);
  desc.max_batch = 1024;
  desc.max_seq_len = 1 << 28;
  expect_refused(lathe_decode_check(context, &desc), LATHE_STATUS_UNSUPPORTED,
                 "max_batch x ceil(max_seq_len / split_len) = 1024 x 4194304 parts of 16 rows are");
  desc.split_len = 1 << 27;
  OK(lathe_decode_check(context, &desc));
  lathe_context_destroy(context);
}
