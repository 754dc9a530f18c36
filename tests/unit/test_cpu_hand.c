// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The CPU backend on cases small enough to be worked out by hand: logits are chosen as logarithms
// of whole numbers (softmax_scale = ln 3), so weights are fractions and outputs are exact.
#include "cpu_case.h"

enum { BF_0 = 0, BF_1 = 0x3f80, BF_2 = 0x4000, BF_4 = 0x4080, BF_8 = 0x4100, BF_NAN = 0x7fc0 };

/* one request, one head, L = 2, R = 0, pages of 2 rows in reverse order */
typedef struct tiny {
  lathe_decode_desc desc;
  lathe_decode_args args;
  uint16_t q[6], cache[3][2][2], out[6];
  int32_t table[2], seq_len;
  float lse[3];
} tiny;

static void tiny_make(tiny *t) {
  static const uint16_t cache[3][2][2] = {
      {{BF_NAN, BF_NAN}, {BF_NAN, BF_NAN}}, /* page 0 is no one's */
      {{BF_1, BF_2}, {BF_NAN, BF_NAN}},     /* row 2, and a row past the end */
      {{BF_0, BF_8}, {BF_1, BF_4}},         /* rows 0 and 1 */
  };
  memset(t, 0, sizeof *t);
  memcpy(t->cache, cache, sizeof cache);
  t->desc.num_heads = 1;
  t->desc.kv_lora_rank = 2;
  t->desc.q_dtype = t->desc.kv_dtype = LATHE_DTYPE_BF16;
  t->desc.page_size = 2;
  t->desc.max_batch = 1;
  t->desc.max_q_len = 3;
  t->desc.max_seq_len = 4;
  t->q[0] = t->q[2] = t->q[4] = BF_1; /* every query is (1, 0): logits 0, ln 3, ln 3 */
  t->table[0] = 2;
  t->table[1] = 1;
  t->args.batch = 1;
  t->args.q_len = 1;
  t->args.q = t->q;
  t->args.kv_cache = t->cache;
  t->args.num_pages = 3;
  t->args.block_tables = t->table;
  t->args.seq_lens = &t->seq_len;
  t->args.softmax_scale = (float)log(3.0);
  t->args.out = t->out;
  t->args.lse = t->lse;
  memset(t->out, 0xff, sizeof t->out);
}

static void tiny_expect(const tiny *t, int token, double x, double y, double lse) {
  double got_x = ref_load(LATHE_DTYPE_BF16, t->out, 2 * token);
  double got_y = ref_load(LATHE_DTYPE_BF16, t->out, 2 * token + 1);
  cr_assert(got_x == x && got_y == y, "token %d: (%g, %g), wanted (%g, %g)", token, got_x, got_y, x,
            y);
  cr_assert(t->lse[token] == lse || fabs(t->lse[token] - lse) < 1e-6, "token %d: lse %g, wanted %g",
            token, (double)t->lse[token], lse);
}

Test(cpu_hand, one_row_is_copied) {
  tiny t;
  tiny_make(&t);
  t.seq_len = 1;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 8, 0); /* weight 1 */
}

Test(cpu_hand, two_rows_one_to_three) {
  tiny t;
  tiny_make(&t);
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0.75, 8 * 0.25 + 4 * 0.75, log(4.0));
}

Test(cpu_hand, three_rows_over_two_pages) {
  tiny t;
  tiny_make(&t);
  t.seq_len = 3;
  cpu_run(&t.desc, &t.args);
  /* weights 1/7, 3/7, 3/7: (6/7, (8 + 12 + 6) / 7), rounded to bf16 */
  tiny_expect(&t, 0, 0.85546875, 3.71875, log(7.0));
}

Test(cpu_hand, lse_in_base_2) {
  tiny t;
  tiny_make(&t);
  t.desc.lse_base = LATHE_LSE_BASE2;
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0.75, 5, 2);
}

Test(cpu_hand, causal_tokens_see_a_growing_prefix) {
  tiny t;
  tiny_make(&t);
  t.args.q_len = 2;
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 8, 0);
  tiny_expect(&t, 1, 0.75, 5, log(4.0));
}

Test(cpu_hand, more_new_tokens_than_rows) {
  tiny t;
  tiny_make(&t);
  t.args.q_len = 3; /* token 0 sees max(0, 2 - 3 + 0 + 1) = 0 rows */
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 0, -INFINITY);
  tiny_expect(&t, 1, 0, 8, 0);
  tiny_expect(&t, 2, 0.75, 5, log(4.0));
}

Test(cpu_hand, without_mask_every_token_sees_every_row) {
  tiny t;
  tiny_make(&t);
  t.desc.mask = LATHE_MASK_NONE;
  t.args.q_len = 3;
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  for (int token = 0; token < 3; token++)
    tiny_expect(&t, token, 0.75, 5, log(4.0));
}

Test(cpu_hand, tree_mask_is_taken_as_it_is) {
  static const uint32_t mask[3] = {1 | ~7u, 2, 5}; /* bits past the third token are not its */
  tiny t;
  tiny_make(&t);
  t.desc.mask = LATHE_MASK_TREE;
  t.args.tree_mask = mask;
  t.args.q_len = 3;
  t.seq_len = 3;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 8, 0);
  tiny_expect(&t, 1, 1, 4, log(3.0));
  tiny_expect(&t, 2, 0.75, 3.5, log(4.0)); /* rows 0 and 2, not its brother's */
  t.seq_len = 2;                           /* the first token has no row */
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 0, -INFINITY);
  tiny_expect(&t, 1, 0, 8, 0);
  tiny_expect(&t, 2, 1, 4, log(3.0));
}

Test(cpu_hand, tree_mask_hides_the_own_row_and_no_row_before) {
  static const uint32_t mask[4] = {0, 0, 2, 0}; /* rows of two words */
  tiny t;
  tiny_make(&t);
  t.desc.mask = LATHE_MASK_TREE;
  t.args.tree_mask = mask;
  t.args.tree_mask_stride = 2;
  t.args.q_len = 2;
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 0, -INFINITY);
  tiny_expect(&t, 1, 1, 4, log(3.0));
  t.seq_len = 3; /* row 0 is of before */
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 8, 0);
  tiny_expect(&t, 1, 0.75, 3.5, log(4.0));
}

Test(cpu_hand, window_of_one_is_the_own_row) {
  tiny t;
  tiny_make(&t);
  t.desc.sliding_window = 1;
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 1, 4, log(3.0));
}

Test(cpu_hand, window_moves_with_the_token) {
  tiny t;
  tiny_make(&t);
  t.desc.sliding_window = 2;
  t.args.q_len = 3;
  t.seq_len = 3; /* tokens at positions 0, 1 and 2 see rows 0; 0 and 1; 1 and 2 */
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 8, 0);
  tiny_expect(&t, 1, 0.75, 5, log(4.0));
  tiny_expect(&t, 2, 1, 3, log(6.0));
}

Test(cpu_hand, pages_before_the_window_are_not_read) {
  tiny t;
  tiny_make(&t);
  t.desc.sliding_window = 1;
  t.table[0] = 0; /* NaN */
  t.seq_len = 3;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 1, 2, log(3.0));
}

Test(cpu_hand, window_of_all_rows_hides_nothing) {
  tiny t;
  tiny_make(&t);
  t.desc.sliding_window = 3;
  t.seq_len = 3;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0.85546875, 3.71875, log(7.0));
}

Test(cpu_hand, softcap) {
  tiny t;
  tiny_make(&t);
  /* tanh(ln 3 / 2) = 1/2, so the logits ln 3 ln 3 under the cap 2 ln 3 become ln 3 */
  t.args.softmax_scale = (float)(log(3.0) * log(3.0));
  t.desc.logit_softcap = (float)(2 * log(3.0));
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0.75, 5, log(4.0));
}

Test(cpu_hand, softcap_of_huge_logits_is_the_cap) {
  tiny t;
  tiny_make(&t);
  t.args.softmax_scale = 1e30f;
  t.desc.logit_softcap = (float)log(3.0);
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0.75, 5, log(4.0));
}

Test(cpu_hand, sink_takes_its_share_and_leaves_the_lse) {
  tiny t;
  float sink = (float)log(4.0); /* weights 1 and 3 of 8 */
  tiny_make(&t);
  t.desc.attention_sinks = 1;
  t.args.sinks = &sink;
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0.375, 2.5, log(4.0));
  sink = -INFINITY; /* none */
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0.75, 5, log(4.0));
  sink = 1e4f; /* all but all */
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 0, log(4.0));
  t.seq_len = 0;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 0, -INFINITY);
}

Test(cpu_hand, softmax_scale_in_memory_counts_alone) {
  tiny t;
  float scale = (float)log(3.0);
  tiny_make(&t);
  t.desc.softmax_scale_on_device = 1;
  t.args.softmax_scale_at = &scale;
  t.args.softmax_scale = 17;
  t.seq_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0.75, 5, log(4.0));
}

Test(cpu_hand, lists_of_rows) {
  tiny t;
  /* row s of page p is 2 p + s: rows 0 to 2 of the request are 4, 5 and 2, and 6 is past the cache
   */
  const int32_t lists[3][5] = {{-1, 4, 6, INT32_MIN}, {5, INT32_MAX, 4, -1}, {2, 5, 4, 3}};
  const int32_t lens[3] = {4, 9, 2};
  tiny_make(&t);
  t.desc.sparse_topk = 4;
  t.args.sparse_indices = &lists[0][0];
  t.args.sparse_token_stride = 5;
  t.args.sparse_lens = lens;
  t.args.q_len = 3;
  t.args.block_tables = t.args.seq_lens = NULL;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 8, 0);
  tiny_expect(&t, 1, 0.75, 5,
              log(4.0)); /* masks have no say: its last row is the request's second */
  tiny_expect(&t, 2, 1, 3, log(6.0));
  t.args.sparse_lens = NULL;
  t.args.num_tokens = 2;
  t.args.q_len = 2;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 1, 0.75, 5, log(4.0));
}

Test(cpu_hand, empty_lists_give_zero_and_minus_infinity) {
  tiny t;
  const int32_t lists[3][2] = {{-1, -1}, {4, 5}, {7, 6}}, lens[3] = {2, 0, 2};
  float sink = 3;
  int i;
  tiny_make(&t);
  t.desc.sparse_topk = 2;
  t.desc.attention_sinks = 1;
  t.args.sinks = &sink;
  t.args.sparse_indices = &lists[0][0];
  t.args.sparse_lens = lens;
  t.args.q_len = 3;
  cpu_run(&t.desc, &t.args);
  for (i = 0; i < 3; i++)
    tiny_expect(&t, i, 0, 0, -INFINITY);
}

Test(cpu_hand, no_rows_give_zero_and_minus_infinity) {
  tiny t;
  tiny_make(&t);
  t.seq_len = 0;
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0, 0, -INFINITY);
}

Test(cpu_hand, page_out_of_range_is_one_of_zeros) {
  tiny t;
  tiny_make(&t);
  t.table[1] = 3;
  t.seq_len = 3; /* row 2 is (0, 0): logits 0, ln 3, 0 and weights 1/5, 3/5, 1/5 */
  cpu_run(&t.desc, &t.args);
  tiny_expect(&t, 0, 0.6015625, 4, log(5.0));
}

Test(cpu_hand, rope_part_adds_to_logits_and_not_to_output) {
  uint16_t q[2] = {BF_1, BF_1}, cache[2][2] = {{BF_0, BF_0}, {BF_0, BF_2}}, out[1];
  int32_t table = 0, seq_len = 2;
  float lse;
  tiny t;
  tiny_make(&t);
  t.desc.kv_lora_rank = t.desc.qk_rope_head_dim = 1;
  t.desc.max_seq_len = 2;
  cache[1][0] = BF_1; /* logits 0 and (1 + 2) ln 3: weights 1/28, 27/28 */
  t.args.q = q, t.args.kv_cache = cache, t.args.out = out, t.args.lse = &lse;
  t.args.block_tables = &table, t.args.seq_lens = &seq_len, t.args.num_pages = 1;
  cpu_run(&t.desc, &t.args);
  cr_assert(ref_load(LATHE_DTYPE_BF16, out, 0) == 0.96484375); /* 27/28 in bf16 */
  cr_assert(fabs(lse - log(28.0)) < 1e-6);
}

Test(cpu_hand, e4m3_with_a_scale) {
  /* stored 0.5 and 2 (times kv_scale 2: 1 and 4), q = (1): logits ln 3 and 4 ln 3 */
  uint16_t q = BF_1, out;
  uint8_t cache[2] = {0x30, 0x40};
  int32_t table = 0, seq_len = 2;
  float lse;
  tiny t;
  tiny_make(&t);
  t.desc.kv_lora_rank = 1;
  t.desc.kv_dtype = LATHE_DTYPE_E4M3;
  t.desc.max_seq_len = 2;
  t.args.kv_scale = 2;
  t.args.q = &q, t.args.kv_cache = cache, t.args.out = &out, t.args.lse = &lse;
  t.args.block_tables = &table, t.args.seq_lens = &seq_len, t.args.num_pages = 1;
  cpu_run(&t.desc, &t.args);
  /* weights 3/84 and 81/84: (3 + 324) / 84 = 3.8929, in bf16 steps of 1/64 */
  cr_assert(ref_load(LATHE_DTYPE_BF16, &out, 0) == 3.890625);
  cr_assert(fabs(lse - log(84.0)) < 1e-6);
}

Test(cpu_hand, e4m3_query_and_output_with_scales) {
  /* q = stored 2 times 0.5, the cache as above; 3.8929 / 0.25 = 15.57, in e4m3 steps of 1 */
  uint8_t q = 0x40, cache[2] = {0x30, 0x40}, out = 0xff;
  int32_t table = 0, seq_len = 2;
  float lse;
  tiny t;
  tiny_make(&t);
  t.desc.kv_lora_rank = 1;
  t.desc.q_dtype = t.desc.kv_dtype = t.desc.out_dtype = LATHE_DTYPE_E4M3;
  t.desc.max_seq_len = 2;
  t.args.kv_scale = 2;
  t.args.q_scale = 0.5f;
  t.args.out_scale = 0.25f;
  t.args.q = &q, t.args.kv_cache = cache, t.args.out = &out, t.args.lse = &lse;
  t.args.block_tables = &table, t.args.seq_lens = &seq_len, t.args.num_pages = 1;
  cpu_run(&t.desc, &t.args);
  cr_assert(ref_load(LATHE_DTYPE_E4M3, &out, 0) == 16);
  cr_assert(fabs(lse - log(84.0)) < 1e-6);
  t.args.out_scale = 0.001f; /* 3893: saturates */
  cpu_run(&t.desc, &t.args);
  cr_assert(ref_load(LATHE_DTYPE_E4M3, &out, 0) == 448);
  q = 0xff; /* NaN */
  cpu_run(&t.desc, &t.args);
  cr_assert(isnan(ref_load(LATHE_DTYPE_E4M3, &out, 0)) && isnan(lse));
}
