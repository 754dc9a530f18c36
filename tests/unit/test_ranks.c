// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Decode context parallelism on the CPU backend: what each rank computes of its rows, and that
// lathe_merge_run makes of them what one rank with all of the rows would have computed.
#include "cpu_case.h"

#include "../ref/ranks.h"

enum { MOST_RANKS = 4 };

// ---------------------------------------------------------------------------------- one rank alone

Test(ranks, rows_and_positions_by_hand) {
  lathe_decode_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.cp_world = 3;
  desc.cp_rank = 1;
  desc.cp_interleave = 4; /* positions 4 to 7, 16 to 19, 28 to 31 ... */
  cr_expect_eq(lathep_rows_before(&desc, 0), 0);
  cr_expect_eq(lathep_rows_before(&desc, 4), 0);
  cr_expect_eq(lathep_rows_before(&desc, 5), 1);
  cr_expect_eq(lathep_rows_before(&desc, 8), 4);
  cr_expect_eq(lathep_rows_before(&desc, 16), 4);
  cr_expect_eq(lathep_rows_before(&desc, 18), 6);
  cr_expect_eq(lathep_position_of(&desc, 0), 4);
  cr_expect_eq(lathep_position_of(&desc, 3), 7);
  cr_expect_eq(lathep_position_of(&desc, 4), 16);
  cr_expect_eq(lathep_position_of(&desc, 9), 29);
  desc.max_seq_len = 13;
  cr_expect_eq(lathep_most_rows(&desc), 5, "of rank 0");
  desc.cp_lens = LATHE_CP_LENS_LOCAL;
  cr_expect_eq(lathep_rows_before(&desc, 18), 18);
  cr_expect_eq(lathep_position_of(&desc, 9), 9);
}

Test(ranks, rows_and_positions_of_every_size) {
  lathe_decode_desc desc;
  memset(&desc, 0, sizeof desc);
  for (desc.cp_world = 1; desc.cp_world < 6; desc.cp_world++)
    for (desc.cp_interleave = 1; desc.cp_interleave < 20; desc.cp_interleave++)
      for (desc.cp_rank = 0; desc.cp_rank < desc.cp_world; desc.cp_rank++) {
        int64_t rows = 0;
        for (int64_t g = 0; g < 150; g++) {
          cr_assert_eq(lathep_rows_before(&desc, g), rows);
          if (ref_row_of(&desc, g) < 0)
            continue;
          cr_assert_eq(ref_row_of(&desc, g), rows);
          cr_assert_eq(lathep_position_of(&desc, rows++), g);
        }
      }
}

// Two ranks, every other position. Queries are (1, 0), softmax_scale = ln 3; keys 0, 1, 1 and 0 at
// positions 0 to 3.
typedef struct pair {
  lathe_decode_desc desc;
  lathe_decode_args args;
  uint16_t q[4], cache[2][2], out[4];
  int32_t table[1], seq_len;
  float lse[2];
} pair;

enum { BF_0 = 0, BF_1 = 0x3f80, BF_2 = 0x4000, BF_4 = 0x4080, BF_8 = 0x4100 };

static void pair_make(pair *p, int rank) {
  static const uint16_t caches[2][2][2] = {{{BF_0, BF_8}, {BF_1, BF_4}},  /* positions 0 and 2 */
                                           {{BF_1, BF_2}, {BF_0, BF_1}}}; /* 1 and 3 */
  memset(p, 0, sizeof *p);
  memcpy(p->cache, caches[rank], sizeof p->cache);
  p->desc.num_heads = 1;
  p->desc.kv_lora_rank = 2;
  p->desc.q_dtype = p->desc.kv_dtype = LATHE_DTYPE_BF16;
  p->desc.page_size = 2;
  p->desc.max_batch = 1;
  p->desc.max_q_len = 2;
  p->desc.max_seq_len = 4;
  p->desc.cp_world = 2;
  p->desc.cp_rank = rank;
  p->q[0] = p->q[2] = BF_1;
  p->seq_len = 4;
  p->args.batch = 1;
  p->args.q = p->q;
  p->args.kv_cache = p->cache;
  p->args.num_pages = 1;
  p->args.block_tables = p->table;
  p->args.seq_lens = &p->seq_len;
  p->args.softmax_scale = (float)log(3.0);
  p->args.out = p->out;
  p->args.lse = p->lse;
}

static void pair_expect(const pair *p, int token, double x, double y, double lse) {
  double got_x = ref_load(LATHE_DTYPE_BF16, p->out, 2 * token);
  double got_y = ref_load(LATHE_DTYPE_BF16, p->out, 2 * token + 1);
  cr_assert(got_x == x && got_y == y, "token %d: (%g, %g), wanted (%g, %g)", token, got_x, got_y, x,
            y);
  cr_assert((double)p->lse[token] == lse || fabs((double)p->lse[token] - lse) < 1e-6,
            "token %d: lse %g, wanted %g", token, (double)p->lse[token], lse);
}

Test(ranks, causal_by_position) {
  pair p;
  pair_make(&p, 0);
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 0.75, 8 * 0.25 + 4 * 0.75, log(4.0)); /* positions 0 and 2, of 0 to 2 */
  pair_expect(&p, 1, 0.75, 5, log(4.0));
  pair_make(&p, 1);
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 1, 2, log(3.0)); /* position 1 of 0 to 2 */
  pair_expect(&p, 1, 0.75, 2 * 0.75 + 1 * 0.25, log(4.0));
}

Test(ranks, rows_of_others_alone_give_nothing) {
  pair p;
  pair_make(&p, 1);
  p.seq_len = 1;
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 0, 0, -INFINITY);
  pair_expect(&p, 1, 0, 0, -INFINITY);
}

Test(ranks, window_by_position) {
  pair p;
  pair_make(&p, 0);
  p.desc.sliding_window = 2; /* positions 1 and 2; 2 and 3 */
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 1, 4, log(3.0));
  pair_expect(&p, 1, 1, 4, log(3.0));
  pair_make(&p, 1);
  p.desc.sliding_window = 2;
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 1, 2, log(3.0));
  pair_expect(&p, 1, 0, 1, 0);
}

Test(ranks, tree_by_position) {
  const uint32_t mask[2] = {1, 2}; /* each its own, which are positions 2 and 3 */
  pair p;
  pair_make(&p, 0);
  p.desc.mask = LATHE_MASK_TREE;
  p.args.tree_mask = mask;
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 0.75, 5, log(4.0));
  pair_expect(&p, 1, 0, 8, 0);
}

Test(ranks, sink_of_rank_0_is_in_its_lse) {
  float sink = (float)log(4.0); /* beside weights 1 and 3 */
  pair p;
  pair_make(&p, 0);
  p.desc.attention_sinks = 1;
  p.args.sinks = &sink;
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 0.375, 2.5, log(8.0));
  p.seq_len = 0;
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 0, 0, log(4.0));
  sink = -INFINITY;
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 0, 0, -INFINITY);
  pair_make(&p, 1);
  p.desc.attention_sinks = 1; /* not this rank's: neither added nor read */
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 1, 2, log(3.0));
}

Test(ranks, lengths_of_its_own) {
  pair p;
  pair_make(&p, 1);
  p.desc.cp_lens = LATHE_CP_LENS_LOCAL;
  p.desc.max_q_len = 1;
  p.seq_len = 1;
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 1, 2, log(3.0));
  p.seq_len = 2;
  cpu_run(&p.desc, &p.args);
  pair_expect(&p, 0, 0.75, 1.75, log(4.0));
}

// A table of one page of 2 rows: lengths whose rows it has no room for are taken to end before the
// first such, at position 4 on rank 0 and 5 on rank 1.
Test(ranks, lengths_past_the_table) {
  lathe_decode_desc desc;
  lathe_decode_args args;
  memset(&desc, 0, sizeof desc);
  memset(&args, 0, sizeof args);
  desc.cp_world = 2;
  desc.cp_interleave = 1;
  desc.page_size = 2;
  desc.max_seq_len = 100;
  args.block_table_stride = 1;
  cr_expect_eq(lathep_seq_limit(&desc, &args), 4);
  desc.cp_rank = 1;
  cr_expect_eq(lathep_seq_limit(&desc, &args), 5);
  desc.max_seq_len = 5; /* 3 rows on rank 0, 2 on rank 1 */
  cr_expect_eq(lathep_seq_limit(&desc, &args), 5);
  args.block_table_stride = 2;
  cr_expect_eq(lathep_seq_limit(&desc, &args), 5);
}

// 40 rows of each request exist, and lengths beyond them are read as far as the table goes.
Test(ranks, runs_end_with_the_table) {
  const int32_t seq_lens[] = {80, 80, 80, 80, 80, 80};
  for (int rank = 0; rank < 2; rank++) {
    ref_options options = cpu_options();
    ref_problem problem;
    int32_t *tables, *lens;
    options.seq_lens = seq_lens;
    options.desc.max_seq_len = 160;
    options.desc.cp_world = 2;
    options.desc.cp_rank = rank;
    options.desc.mask = LATHE_MASK_NONE;
    ref_problem_make(&problem, &options);
    tables = (int32_t *)problem.buffers[REF_TABLES].host;
    lens = (int32_t *)problem.buffers[REF_SEQ_LENS].host;
    for (int i = 0; i < 6; i++) {
      lens[i] = i % 2 ? 120 : INT32_MAX;
      for (int p = 0; p < 5; p++)
        tables[5 * i + p] = tables[problem.args.block_table_stride * i + p];
    }
    problem.args.block_table_stride = 5;
    cpu_run(&problem.desc, &problem.args);
    cpu_expect(&problem);
    ref_problem_free(&problem);
  }
}

Test(ranks, every_rank_against_the_oracle) {
  const int32_t q_lens[] = {1, 4, 0, 2, 3, 1};
  for (int n = 0; n < 60; n++) {
    ref_options options = cpu_options();
    options.desc.cp_world = 2 + n % 4;
    options.desc.cp_rank = n / 4 % options.desc.cp_world;
    options.desc.cp_interleave = n % 3 == 0 ? 0 : 1 + n * 5 % 17;
    options.desc.max_q_len = 4;
    options.desc.mask = (lathe_mask)(n % 3);
    options.desc.sliding_window = options.desc.mask == LATHE_MASK_CAUSAL && n % 2 ? 1 + n : 0;
    options.desc.attention_sinks = n % 5 < 2;
    options.desc.logit_softcap = n % 7 == 0 ? 3 : 0;
    options.desc.lse_base = n % 4 ? LATHE_LSE_NATURAL : LATHE_LSE_BASE2;
    options.q_lens = n % 4 < 2 ? q_lens : NULL;
    options.padding = n % 3;
    options.split_kv = n & 1;
    options.seed = (uint64_t)n;
    cpu_check(&options);
  }
}

// -------------------------------------------------------------------------------------- all of
// them

typedef struct joined {
  void *out;
  float *lse;
} joined;

// What ranks wrote, joined.
static joined join(const lathe_decode_desc *whole, const ref_share *shares, int world,
                   int64_t tokens) {
  lathe_context_desc cpu;
  lathe_context *context;
  lathe_merge_desc desc;
  lathe_merge_plan *plan;
  lathe_merge_state states[MOST_RANKS];
  lathe_merge_args args;
  joined result;
  memset(&cpu, 0, sizeof cpu);
  memset(&desc, 0, sizeof desc);
  memset(&args, 0, sizeof args);
  cpu.backend = LATHE_BACKEND_CPU;
  cpu_ok(lathe_context_create(&cpu, &context), "lathe_context_create");
  for (int rank = 0; rank < world; rank++) {
    states[rank].out = shares[rank].out;
    states[rank].lse = shares[rank].lse;
  }
  desc.num_heads = whole->num_heads;
  desc.kv_lora_rank = whole->kv_lora_rank;
  desc.in_dtype = whole->out_dtype;
  desc.out_dtype = LATHE_DTYPE_F32;
  desc.lse_base = whole->lse_base;
  result.out = ref_alloc(4 * (size_t)(tokens * desc.num_heads * desc.kv_lora_rank));
  result.lse = (float *)ref_alloc(4 * (size_t)(tokens * desc.num_heads));
  args.num_tokens = (int32_t)tokens;
  args.num_states = world;
  args.states = states;
  args.out = result.out;
  args.lse = result.lse;
  cpu_ok(lathe_merge_plan_create(context, &desc, &plan), "lathe_merge_plan_create");
  cpu_ok(lathe_merge_run(plan, &args, NULL), "lathe_merge_run");
  lathe_merge_plan_destroy(plan);
  lathe_context_destroy(context);
  return result;
}

// Runs every rank's share and joins them.
static joined run_ranks(const ref_problem *whole, int world, int interleave, lathe_cp_lens lens) {
  lathe_decode_args all;
  ref_share shares[MOST_RANKS];
  joined result;
  cpu_ok(lathep_decode_args_resolve(&whole->desc, LATHE_BACKEND_CPU, 0, &whole->args, &all),
         "resolve");
  for (int rank = 0; rank < world; rank++) {
    lathe_decode_desc own = whole->desc;
    own.cp_world = world;
    own.cp_rank = rank;
    own.cp_interleave = interleave;
    own.cp_lens = lens;
    ref_share_make(&shares[rank], &own, &all);
    cpu_run(&shares[rank].desc, &shares[rank].args);
  }
  result = join(&whole->desc, shares, world, all.num_tokens);
  for (int rank = 0; rank < world; rank++)
    ref_share_free(&shares[rank]);
  return result;
}

// What the ranks give together is what the whole gives by the oracle; its lse has the sinks. Frees
// what they gave.
static void expect_whole(const ref_problem *whole, const joined *got, int world, int interleave) {
  ref_error error;
  char message[512];
  memset(&error, 0, sizeof error);
  for (int32_t i = 0; i < whole->args.batch; i++) {
    int32_t first, q_len, kv_len, heads = whole->desc.num_heads, l = whole->desc.kv_lora_rank;
    double *want = (double *)ref_alloc(8 * (size_t)l), lse;
    ref_request(&whole->desc, &whole->args, i, &first, &q_len, &kv_len);
    for (int32_t t = 0; t < q_len; t++)
      for (int32_t h = 0; h < heads; h++) {
        const int64_t at = (int64_t)(first + t) * heads + h;
        ref_attend(&whole->desc, &whole->args, i, t, h, want, &lse);
        if (whole->desc.attention_sinks) {
          double unit = whole->desc.lse_base == LATHE_LSE_BASE2 ? log(2.0) : 1;
          lse = log(exp(lse * unit) + exp((double)whole->args.sinks[h])) / unit;
        }
        for (int32_t e = 0; e < l; e++)
          ref_error_add(&error, first + t, h, e, (double)((float *)got->out)[at * l + e], want[e]);
        ref_error_add_lse(&error, first + t, h, (double)got->lse[at], lse);
      }
    free(want);
  }
  cr_assert(ref_error_ok(&error, message, sizeof message), "%d ranks of %d positions: %s", world,
            interleave, message);
  free(got->out);
  free(got->lse);
}

static void expect_joined(const ref_options *options, int world, int interleave,
                          lathe_cp_lens lens) {
  ref_problem whole;
  joined got;
  ref_problem_make(&whole, options);
  got = run_ranks(&whole, world, interleave, lens);
  expect_whole(&whole, &got, world, interleave);
  ref_problem_free(&whole);
}

// Lengths 0 and 1, and about the ends of blocks and of rounds.
static ref_options ranks_options(int world, int interleave, int32_t *lens) {
  ref_options options = cpu_options();
  const int round = world * interleave;
  const int32_t some[] = {0,
                          1,
                          interleave - 1,
                          interleave,
                          round - 1,
                          round,
                          round + 1,
                          round + interleave,
                          2 * round,
                          round - 2,
                          2 * round + round / 3};
  enum { SOME = sizeof some / sizeof some[0] };
  for (int i = 0; i < SOME; i++)
    lens[i] = some[i] < 0 ? 2 : some[i];
  options.desc.max_batch = SOME;
  options.desc.max_seq_len = 3 * round;
  options.desc.out_dtype = LATHE_DTYPE_F16; /* ranks' outputs that cancel are rounded each */
  options.seq_lens = lens;
  options.softmax_scale = 0.25f;
  options.seed = (uint64_t)(world * 100 + interleave);
  return options;
}

static const int interleaves[] = {1, 16, 64};

Test(ranks, joined_are_the_whole) {
  int32_t lens[16];
  for (int world = 2; world <= MOST_RANKS; world++)
    for (int n = 0; n < 3; n++)
      for (int q_len = 1; q_len <= 4; q_len += 3) {
        ref_options options = ranks_options(world, interleaves[n], lens);
        options.desc.max_q_len = q_len;
        expect_joined(&options, world, interleaves[n], LATHE_CP_LENS_GLOBAL);
        options.desc.mask = LATHE_MASK_NONE;
        options.desc.lse_base = LATHE_LSE_BASE2;
        expect_joined(&options, world, interleaves[n], LATHE_CP_LENS_LOCAL);
        options.desc.mask = LATHE_MASK_TREE;
        options.desc.attention_sinks = 1;
        expect_joined(&options, world, interleaves[n], LATHE_CP_LENS_GLOBAL);
      }
}

// A rank's part of every list: each `world`-th entry, from `rank` on, and their number.
static void deal_lists(const lathe_decode_args *whole, int topk, int world, int rank,
                       int32_t *lists, int32_t *lens) {
  for (int64_t token = 0; token < whole->num_tokens; token++) {
    lens[token] = 0;
    for (int k = rank; k < topk; k += world)
      lists[token * topk + lens[token]++] =
          whole->sparse_indices[token * whole->sparse_token_stride + k];
    for (int k = lens[token]; k < topk; k++)
      lists[token * topk + k] = INT32_MAX;
  }
}

// Lists of each rank's rows, and sinks, which the first adds: together what one rank makes of all.
Test(ranks, lists_joined_with_sinks) {
  enum { TOPK = 11 };
  for (int n = 0; n < 12; n++) {
    const int world = 2 + n % 3;
    ref_options options = cpu_options();
    options.desc.max_q_len = 1 + n % 2;
    options.desc.sparse_topk = TOPK;
    options.desc.attention_sinks = 1;
    options.desc.out_dtype = LATHE_DTYPE_F16;
    options.desc.lse_base = n % 4 ? LATHE_LSE_NATURAL : LATHE_LSE_BASE2;
    options.softmax_scale = 0.25f;
    options.seed = (uint64_t)n;
    ref_problem whole;
    ref_problem_make(&whole, &options);
    const int64_t tokens = whole.args.num_tokens;
    ref_share shares[MOST_RANKS];
    memset(shares, 0, sizeof shares);
    for (int rank = 0; rank < world; rank++) {
      ref_share *share = &shares[rank];
      share->desc = whole.desc;
      share->desc.cp_world = world;
      share->desc.cp_rank = rank;
      share->desc.cp_lens = LATHE_CP_LENS_LOCAL;
      share->args = whole.args;
      share->tables = (int32_t *)ref_alloc(4 * (size_t)(tokens * TOPK));
      share->lens = (int32_t *)ref_alloc(4 * (size_t)tokens);
      deal_lists(&whole.args, TOPK, world, rank, share->tables, share->lens);
      share->args.sparse_indices = share->tables;
      share->args.sparse_token_stride = 0;
      share->args.sparse_lens = share->lens;
      ref_share_outputs(share, tokens);
      cpu_run(&share->desc, &share->args);
    }
    joined got = join(&whole.desc, shares, world, tokens);
    expect_whole(&whole, &got, world, 0);
    for (int rank = 0; rank < world; rank++)
      ref_share_free(&shares[rank]);
    ref_problem_free(&whole);
  }
}

Test(ranks, joined_with_every_option) {
  int32_t lens[16];
  for (int world = 2; world <= MOST_RANKS; world++)
    for (int n = 0; n < 3; n++) {
      ref_options options = ranks_options(world, interleaves[n], lens);
      options.desc.max_q_len = 4;
      options.desc.sliding_window = interleaves[n] + 3;
      options.desc.attention_sinks = 1;
      options.desc.logit_softcap = 2;
      options.desc.kv_dtype = LATHE_DTYPE_E4M3;
      options.kv_scale = 0.37f;
      expect_joined(&options, world, interleaves[n], LATHE_CP_LENS_GLOBAL);
      options.desc.sliding_window = 0;
      options.desc.max_q_len = 1;
      expect_joined(&options, world, interleaves[n], LATHE_CP_LENS_LOCAL);
    }
}
