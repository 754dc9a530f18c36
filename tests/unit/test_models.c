// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Every model of the list on the CPU backend: its decode step against the attention that the model
// defines, with keys and values of every head, in double.
#include "cpu_case.h"

#include "../ref/models.h"

#include <criterion/parameterized.h>

static int numbers[LATHE_NUM_MODELS];

ParameterizedTestParameters(models, each_is_what_it_defines) {
  for (int i = 0; i < LATHE_NUM_MODELS; i++)
    numbers[i] = i;
  return cr_make_param_array(int, numbers, LATHE_NUM_MODELS);
}

// Two tokens of two requests, one of which sees a page in part and the other hardly any; each of
// the four compares other heads, and together they have all. On so many ranks that one has 32
// heads at most: they are alike, and their weights are what takes time.
ParameterizedTest(int *number, models, each_is_what_it_defines, .timeout = 300) {
  const int32_t seq_lens[] = {21, 2};
  const lathe_model *row = &lathe_models[*number];
  ref_options options = cpu_options();
  ref_problem problem;
  ref_model model;
  ref_error error;
  char message[512];
  int ranks = 1;
  while (model_heads(row, ranks) > 32)
    ranks *= 2;
  options.desc = model_desc(row, ranks);
  if (options.desc.sparse_topk)
    options.desc.sparse_topk = 12; // fewer than there are
  options.desc.page_size = 8;
  options.desc.max_batch = 2;
  options.desc.max_q_len = 2;
  options.desc.max_seq_len = 64;
  options.seq_lens = seq_lens;
  options.softmax_scale = model_softmax_scale(row);
  memset(&error, 0, sizeof error);
  ref_problem_make(&problem, &options);
  ref_model_make(&model, &problem, row->qk_nope_head_dim, row->v_head_dim, 5);
  cpu_run(&problem.desc, &problem.args);
  for (int32_t i = 0; i < 2; i++)
    for (int32_t t = 0; t < 2; t++)
      for (int32_t h = 2 * i + t; h < options.desc.num_heads; h += 4)
        ref_compare_row_unabsorbed(&error, &problem.desc, &problem.args, &model, i, t, h);
  cr_assert(ref_error_ok(&error, message, sizeof message), "%s: %s", row->name, message);
  cr_assert(error.elements == (int64_t)options.desc.num_heads * (row->v_head_dim + 1));
  ref_model_free(&model);
  ref_problem_free(&problem);
}

// By hand, from N, R, YaRN's factor and its mscale_all_dim.
Test(models, softmax_scales) {
  static const struct {
    const char *name;
    double scale;
  } wanted[] = {
      {"deepseek-v2-lite", 0.11472}, {"deepseek-v3", 0.13523},
      {"deepseek-v3.2", 0.13523},    {"deepseek-v4-pro", 0.04419},
      {"kimi-k2", 0.13086},          {"kimi-k2.5", 0.14468},
      {"kimi-k3", 0.07217},          {"longcat-flash", 0.07217},
      {"minicpm3-4b", 0.10206},      {"longcat-flash-lite", 0.10923},
      {"mistral-small-4", 0.08839},  {"glm-4.7-flash", 0.0625},
      {"glm-5.3-flash", 0.0625},
  };
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    const lathe_model *model = model_find(wanted[i].name);
    cr_assert(model, "%s", wanted[i].name);
    cr_expect(fabs((double)model_softmax_scale(model) - wanted[i].scale) < 6e-6, "%s has %.6f",
              model->name, (double)model_softmax_scale(model));
  }
  cr_expect(!model_find("no-such-model"));
}

// What a row says of one model each, so that no column is read for another.
Test(models, columns) {
  const lathe_model *m = model_find("deepseek-v4-flash");
  cr_assert(m);
  cr_expect(m->num_heads == 64 && m->kv_lora_rank == 512 && m->qk_rope_head_dim == 0);
  cr_expect(m->rope_in_latent == 64 && m->pairing == LATHE_MODEL_PAIRING_UNKNOWN);
  cr_expect(m->sliding_window == 128 && m->attention_sinks == 1 && m->logit_softcap == 0);
  cr_expect(m->sparse_topk == 512 && m->missing[0] == '\0');
  m = model_find("glm-4.7-flash");
  cr_assert(m);
  cr_expect(m->num_heads == 20 && m->qk_nope_head_dim == 192 && m->v_head_dim == 256);
  cr_expect(model_heads(m, 4) == 5 && model_heads(m, 8) == 0);
  m = model_find("openpangu-v2");
  cr_assert(m);
  cr_expect(m->pairing == LATHE_MODEL_PAIRING_HALF_SPLIT);
  m = model_find("deepseek-v3");
  cr_assert(m);
  cr_expect(m->pairing == LATHE_MODEL_PAIRING_INTERLEAVED && m->missing[0] == '\0');
  cr_expect(m->yarn_factor == 40.0f && m->yarn_mscale_all_dim == 1.0f);
}
