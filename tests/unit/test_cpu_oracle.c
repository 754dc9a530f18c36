// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The CPU backend against attention in double (tests/ref): every shape, layout, dtype and option of
// the API, then random mixtures of them; and both against un-absorbed attention, which is what the
// model defines.
#include "cpu_case.h"

#include <criterion/parameterized.h>

#define F16  LATHE_DTYPE_F16
#define BF16 LATHE_DTYPE_BF16
#define E4M3 LATHE_DTYPE_E4M3

typedef struct oracle_case {
  char name[48];
  int heads, l, r, page, q_len, max_seq_len;
  lathe_dtype q, kv, out;
  int split_q, split_kv, padding, head_major, base2, no_mask;
} oracle_case;

// clang-format off
static oracle_case oracle_cases[] = {
    /* name                   H    L    R  page S  K     q     kv    out   sq sk pad hm b2 nomask */
    {"bf16",                  3,   32,  16,  8, 1, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"f16",                   3,   32,  16,  8, 1, 70,   F16,  F16,  F16,  0, 0, 0, 0, 0, 0},
    {"bf16_e4m3",             3,   32,  16,  8, 1, 70,   BF16, E4M3, BF16, 0, 0, 0, 0, 0, 0},
    {"f16_e4m3",              3,   32,  16,  8, 1, 70,   F16,  E4M3, F16,  0, 0, 0, 0, 0, 0},
    {"bf16_to_f16",           3,   32,  16,  8, 1, 70,   BF16, BF16, F16,  0, 0, 0, 0, 0, 0},
    {"f16_to_bf16",           3,   32,  16,  8, 1, 70,   F16,  F16,  BF16, 0, 0, 0, 0, 0, 0},
    {"bf16_e4m3_to_f16",      3,   32,  16,  8, 2, 70,   BF16, E4M3, F16,  1, 1, 0, 0, 0, 0},
    {"f16_e4m3_to_bf16",      3,   32,  16,  8, 2, 70,   F16,  E4M3, BF16, 1, 1, 0, 0, 0, 0},
    {"one_head",              1,   32,  16,  8, 1, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"16_heads",              16,  32,  16,  8, 1, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"17_heads",              17,  32,  16,  8, 3, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"40_heads",              40,  32,  16,  8, 1, 70,   F16,  F16,  F16,  0, 0, 0, 0, 0, 0},
    {"128_heads",             128, 32,  16,  8, 1, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"no_rope",               3,   32,  0,   8, 1, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"no_rope_split",         3,   32,  0,   8, 2, 70,   BF16, BF16, BF16, 1, 1, 0, 0, 0, 0},
    {"no_rope_e4m3",          3,   48,  0,   8, 1, 70,   F16,  E4M3, F16,  0, 0, 0, 0, 0, 0},
    {"odd_dims",              2,   13,  5,   4, 2, 40,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"odd_dims_split",        2,   13,  5,   4, 2, 40,   F16,  E4M3, F16,  1, 1, 3, 0, 0, 0},
    {"dims_of_one",           1,   1,   1,   4, 1, 40,   F16,  F16,  F16,  0, 0, 0, 0, 0, 0},
    {"rope_wider_than_latent",3,   16,  64,  8, 1, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"page_1",                3,   32,  16,  1, 1, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"page_3",                3,   32,  16,  3, 2, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"page_16",               3,   32,  16, 16, 1, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"page_64",               3,   32,  16, 64, 1, 200,  BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"page_longer_than_all",  3,   32,  16, 99, 2, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"split_query",           3,   32,  16,  8, 2, 70,   BF16, BF16, BF16, 1, 0, 0, 0, 0, 0},
    {"split_cache",           3,   32,  16,  8, 2, 70,   BF16, BF16, BF16, 0, 1, 0, 0, 0, 0},
    {"split_both",            3,   32,  16,  8, 2, 70,   BF16, BF16, BF16, 1, 1, 0, 0, 0, 0},
    {"padded",                3,   32,  16,  8, 2, 70,   BF16, BF16, BF16, 0, 0, 8, 0, 0, 0},
    {"padded_oddly",          3,   32,  16,  8, 2, 70,   BF16, BF16, BF16, 0, 0, 7, 0, 0, 0},
    {"padded_split",          3,   32,  16,  8, 2, 70,   F16,  F16,  F16,  1, 1, 5, 0, 0, 0},
    {"padded_e4m3",           3,   32,  16,  3, 2, 70,   F16,  E4M3, F16,  0, 1, 9, 0, 0, 0},
    {"head_major",            3,   32,  16,  8, 2, 70,   BF16, BF16, BF16, 0, 0, 0, 1, 0, 0},
    {"head_major_padded",     3,   32,  16,  8, 2, 70,   BF16, BF16, BF16, 1, 1, 3, 1, 0, 0},
    {"base_2",                3,   32,  16,  8, 1, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 1, 0},
    {"causal_2",              3,   32,  16,  8, 2, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"causal_8",              5,   32,  16,  8, 8, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"no_mask_2",             3,   32,  16,  8, 2, 70,   BF16, BF16, BF16, 0, 0, 0, 0, 0, 1},
    {"no_mask_8",             5,   32,  16,  8, 8, 70,   F16,  E4M3, F16,  0, 0, 0, 0, 1, 1},
    {"deepseek_v3",           16,  512, 64, 64, 1, 150,  BF16, BF16, BF16, 0, 0, 0, 0, 0, 0},
    {"deepseek_v3_mtp",       9,   512, 64, 64, 2, 150,  BF16, E4M3, BF16, 1, 1, 0, 0, 0, 0},
    {"minicpm3",              40,  256, 32, 16, 1, 90,   F16,  F16,  F16,  0, 0, 0, 0, 0, 0},
};
// clang-format on

static ref_options oracle_options(const oracle_case *c) {
  ref_options options = cpu_options();
  options.desc.num_heads = c->heads;
  options.desc.kv_lora_rank = c->l;
  options.desc.qk_rope_head_dim = c->r;
  options.desc.page_size = c->page;
  options.desc.max_q_len = c->q_len;
  options.desc.max_seq_len = c->max_seq_len;
  options.desc.q_dtype = c->q;
  options.desc.kv_dtype = c->kv;
  options.desc.out_dtype = c->out;
  options.desc.lse_base = c->base2 ? LATHE_LSE_BASE2 : LATHE_LSE_NATURAL;
  options.desc.mask = c->no_mask ? LATHE_MASK_NONE : LATHE_MASK_CAUSAL;
  options.split_q = c->split_q;
  options.split_kv = c->split_kv;
  options.padding = c->padding;
  options.head_major = c->head_major;
  if (c->kv == E4M3)
    options.kv_scale = 0.37f;
  return options;
}

ParameterizedTestParameters(cpu_oracle, shape) {
  return cr_make_param_array(oracle_case, oracle_cases,
                             sizeof oracle_cases / sizeof oracle_cases[0]);
}

/* lengths: three random ones, 0, 1, and another random one */
ParameterizedTest(oracle_case *c, cpu_oracle, shape) {
  ref_options options = oracle_options(c);
  cr_log_info("%s", c->name);
  cpu_check(&options);
}

Test(cpu_oracle, uneven_new_tokens) {
  const int32_t q_lens[] = {1, 4, 0, 2, 3, 1}, seq_lens[] = {9, 70, 5, 2, 1, 0};
  ref_options options = cpu_options();
  options.desc.max_q_len = 4;
  options.q_lens = q_lens;
  options.seq_lens = seq_lens;
  cpu_check(&options);
  options.desc.mask = LATHE_MASK_NONE;
  options.split_q = options.split_kv = options.padding = 1;
  cpu_check(&options);
}

Test(cpu_oracle, windows) {
  static const int windows[] = {1, 2, 7, 8, 9, 16, 33, 69, 70, INT32_MAX};
  const int32_t q_lens[] = {1, 4, 0, 2, 3, 1}, seq_lens[] = {9, 70, 5, 2, 1, 0};
  for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
    ref_options options = cpu_options();
    options.desc.sliding_window = windows[i];
    options.desc.num_heads = 5;
    options.desc.max_q_len = 4;
    cpu_check(&options);
    options.q_lens = q_lens;
    options.seq_lens = seq_lens;
    cpu_check(&options);
  }
}

Test(cpu_oracle, trees) {
  static const int lens[] = {1, 4, 31, 32, 33, 64, 65};
  const int32_t q_lens[] = {1, 33, 0, 2, 65, 64}, seq_lens[] = {9, 70, 5, 2, 66, 20};
  for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
    ref_options options = cpu_options();
    options.desc.mask = LATHE_MASK_TREE;
    options.desc.max_q_len = lens[i];
    options.desc.attention_sinks = i & 1;
    options.padding = (int)i % 3;
    cpu_check(&options);
  }
  ref_options options = cpu_options();
  options.desc.mask = LATHE_MASK_TREE;
  options.desc.max_q_len = 65;
  options.q_lens = q_lens;
  options.seq_lens = seq_lens;
  cpu_check(&options);
}

Test(cpu_oracle, softcaps) {
  static const float caps[] = {50, 30, 1, 0.01f};
  for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
    ref_options options = cpu_options();
    options.desc.logit_softcap = caps[i];
    options.desc.max_q_len = 2;
    cpu_check(&options);
    options.desc.kv_dtype = E4M3;
    options.kv_scale = 0.37f;
    options.desc.sliding_window = 9;
    cpu_check(&options);
  }
}

Test(cpu_oracle, sinks_of_every_head) {
  float sinks[20];
  ref_problem problem;
  ref_options options = cpu_options();
  for (int i = 0; i < 20; i++)
    sinks[i] = i % 5 == 4 ? -INFINITY : (float)(i % 7) - 3;
  options.desc.attention_sinks = 1;
  options.desc.num_heads = 20;
  options.desc.max_q_len = 3;
  for (int i = 0; i < 2; i++) {
    ref_problem_make(&problem, &options);
    problem.args.sinks = sinks;
    cpu_run(&problem.desc, &problem.args);
    cpu_expect(&problem);
    ref_problem_free(&problem);
    options.desc.sliding_window = 11;
    options.desc.logit_softcap = 3;
    options.desc.lse_base = LATHE_LSE_BASE2;
  }
}

Test(cpu_oracle, e4m3_queries_and_outputs) {
  for (int i = 0; i < 4; i++) {
    ref_options options = cpu_options();
    options.desc.max_q_len = 2;
    options.desc.kv_dtype = E4M3;
    options.desc.q_dtype = i & 1 ? E4M3 : F16;
    options.desc.out_dtype = i & 2 ? E4M3 : BF16;
    options.kv_scale = 0.37f;
    options.q_scale = i & 1 ? 0.21f : 0;
    options.out_scale = i & 2 ? 0.013f : 0;
    options.split_q = options.split_kv = options.padding = i & 1;
    cpu_check(&options);
  }
}

/* Rows of any request, and entries that name none. */
static void draw_lists(const ref_problem *problem, int32_t *lists, int count, ref_random *random) {
  const lathe_decode_args *args = &problem->args;
  const int32_t page_size = problem->desc.page_size;
  for (int k = 0; k < count; k++) {
    int32_t i = (int32_t)ref_below(random, args->batch), length = args->seq_lens[i], j;
    if (k % 5 == 2 || length == 0) {
      lists[k] = k % 2 ? -1 : (int32_t)(args->num_pages * page_size) + k;
      continue;
    }
    j = (int32_t)ref_below(random, length);
    lists[k] = args->block_tables[i * args->block_table_stride + j / page_size] * page_size +
               j % page_size;
  }
}

Test(cpu_oracle, lists_of_rows) {
  enum { TOPK = 37, STRIDE = 41, TOKENS = 64 };
  static int32_t lists[TOKENS * STRIDE], lens[TOKENS];
  ref_random random = {3};
  ref_problem problem;
  ref_options options = cpu_options();
  options.desc.max_q_len = 3;
  options.desc.sparse_topk = TOPK;
  for (int i = 0; i < 4; i++) {
    options.split_kv = options.split_q = i & 1;
    ref_problem_make(&problem, &options);
    cr_assert(problem.args.num_tokens <= TOKENS && problem.args.num_pages > 0);
    draw_lists(&problem, lists, TOKENS * STRIDE, &random);
    for (int k = 0; k < TOKENS; k++)
      lens[k] = ref_between(&random, -1, TOPK + 1);
    problem.args.sparse_indices = lists;
    problem.args.sparse_token_stride = STRIDE;
    problem.args.sparse_lens = i & 2 ? lens : NULL;
    cpu_run(&problem.desc, &problem.args);
    cpu_expect(&problem);
    ref_problem_free(&problem);
    options.desc.logit_softcap = 3;
    options.desc.kv_dtype = LATHE_DTYPE_E4M3;
  }
}

Test(cpu_oracle, fewer_new_tokens_than_planned) {
  ref_options options = cpu_options();
  options.desc.max_q_len = 5;
  options.q_len = 2;
  options.batch = 3; /* of max_batch 6 */
  cpu_check(&options);
}

Test(cpu_oracle, without_lse) {
  ref_options options = cpu_options();
  options.no_lse = 1;
  cpu_check(&options);
}

Test(cpu_oracle, peaked_and_flat_softmax) {
  ref_options options = cpu_options();
  options.desc.max_seq_len = 200;
  options.q_amplitude =
      60; /* logits of some hundreds: exp overflows unless the largest is taken off */
  options.desc.q_dtype = options.desc.kv_dtype = F16;
  cpu_check(&options);
  options.q_amplitude = 1e-3;
  cpu_check(&options);
}

Test(cpu_oracle, random_mixtures) {
  const int pages[] = {1, 2, 3, 8, 16, 33, 64};
  ref_random random = {2026};
  for (int n = 0; n < 150; n++) {
    ref_options options = cpu_options();
    int32_t q_lens[6];
    options.seed = ref_next(&random);
    options.desc.num_heads = ref_between(&random, 1, 20);
    options.desc.kv_lora_rank = ref_between(&random, 1, 70);
    options.desc.qk_rope_head_dim = ref_between(&random, 0, 3) ? ref_between(&random, 1, 40) : 0;
    options.desc.q_dtype = ref_between(&random, 0, 1) ? BF16 : F16;
    options.desc.kv_dtype = ref_between(&random, 0, 1) ? E4M3 : options.desc.q_dtype;
    options.desc.out_dtype = ref_between(&random, 0, 1) ? BF16 : F16;
    options.desc.page_size = pages[ref_below(&random, 7)];
    options.desc.max_batch = ref_between(&random, 1, 6);
    options.desc.max_q_len = ref_between(&random, 1, 5);
    options.desc.max_seq_len = ref_between(&random, 1, 100);
    options.desc.mask = ref_between(&random, 0, 1) ? LATHE_MASK_NONE : LATHE_MASK_CAUSAL;
    options.desc.lse_base = ref_between(&random, 0, 1) ? LATHE_LSE_BASE2 : LATHE_LSE_NATURAL;
    options.kv_scale = options.desc.kv_dtype == E4M3 ? 1.7f : 0;
    options.split_q = ref_between(&random, 0, 1);
    options.split_kv = ref_between(&random, 0, 1);
    options.padding = ref_between(&random, 0, 9);
    options.head_major = ref_between(&random, 0, 1);
    options.trust_tables = ref_between(&random, 0, 1);
    options.no_lse = ref_between(&random, 0, 3) == 0;
    for (int i = 0; i < 6; i++)
      q_lens[i] = ref_between(&random, i == 0, options.desc.max_q_len);
    options.q_lens = ref_between(&random, 0, 1) ? q_lens : NULL;
    cpu_check(&options);
  }
}

/* --------------------------------------------------------------------------------- un-absorbed */

static void expect_unabsorbed(const ref_options *options, int32_t n, int32_t v) {
  ref_problem problem;
  ref_model model;
  ref_error backend, oracle;
  char message[512];
  double *latent = ref_alloc(8 * (size_t)options->desc.kv_lora_rank);
  double *want = ref_alloc(8 * (size_t)v), lse, want_lse;
  memset(&backend, 0, sizeof backend);
  memset(&oracle, 0, sizeof oracle);
  ref_problem_make(&problem, options);
  ref_model_make(&model, &problem, n, v, 99);
  cpu_run(&problem.desc, &problem.args);
  for (int32_t i = 0; i < problem.args.batch; i++) {
    int32_t first, q_len, kv_len;
    ref_request(&problem.desc, &problem.args, i, &first, &q_len, &kv_len);
    for (int32_t t = 0; t < q_len; t++)
      for (int32_t h = 0; h < problem.desc.num_heads; h++) {
        ref_compare_row_unabsorbed(&backend, &problem.desc, &problem.args, &model, i, t, h);
        /* the absorbed oracle, unrounded, must equal the un-absorbed one to the last few bits */
        ref_attend(&problem.desc, &problem.args, i, t, h, latent, &lse);
        ref_attend_unabsorbed(&problem.desc, &problem.args, &model, i, t, h, want, &want_lse);
        cr_assert(lse == want_lse || fabs(lse - want_lse) < 1e-11);
        for (int32_t p = 0; p < v; p++) {
          double got = 0;
          for (int32_t e = 0; e < model.l; e++)
            got += (double)model.w_uv[((int64_t)h * v + p) * model.l + e] * latent[e];
          cr_assert(fabs(got - want[p]) < 1e-11, "%.17g, wanted %.17g", got, want[p]);
        }
      }
  }
  cr_assert(ref_error_ok(&backend, message, sizeof message), "%s", message);
  ref_model_free(&model);
  ref_problem_free(&problem);
  free(latent);
  free(want);
}

Test(cpu_unabsorbed, small) {
  ref_options options = cpu_options();
  options.desc.max_q_len = 3;
  expect_unabsorbed(&options, 24, 20);
}

Test(cpu_unabsorbed, small_without_rope_and_mask) {
  ref_options options = cpu_options();
  options.desc.qk_rope_head_dim = 0;
  options.desc.mask = LATHE_MASK_NONE;
  options.desc.max_q_len = 2;
  expect_unabsorbed(&options, 24, 20);
}

Test(cpu_unabsorbed, split_f16_base_2) {
  ref_options options = cpu_options();
  options.desc.q_dtype = options.desc.kv_dtype = F16;
  options.desc.lse_base = LATHE_LSE_BASE2;
  options.split_q = options.split_kv = 1;
  options.padding = 8;
  expect_unabsorbed(&options, 64, 48);
}

Test(cpu_unabsorbed, e4m3_cache) {
  ref_options options = cpu_options();
  options.desc.kv_dtype = E4M3;
  options.kv_scale = 0.25f;
  options.kv_amplitude = 4;
  expect_unabsorbed(&options, 64, 48);
}

Test(cpu_unabsorbed, deepseek_v3_dims) {
  ref_options options = cpu_options();
  options.desc.num_heads = 4;
  options.desc.kv_lora_rank = 512;
  options.desc.qk_rope_head_dim = 64;
  options.desc.page_size = 64;
  options.softmax_scale = lathe_softmax_scale(128, 64, 1);
  expect_unabsorbed(&options, 128, 128);
}
