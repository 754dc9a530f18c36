// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// From a row of the list of models to a decode step of one of its ranks.
#ifndef LATHE_TESTS_REF_MODELS_H
#define LATHE_TESTS_REF_MODELS_H

#include <lathe/generated/models.h>
#include <lathe/lathe.h>

#include <string.h>

/* The model of this name; null: there is none. */
static inline const lathe_model *model_find(const char *name) {
  for (int i = 0; i < LATHE_NUM_MODELS; i++)
    if (strcmp(lathe_models[i].name, name) == 0)
      return &lathe_models[i];
  return NULL;
}

static inline float model_softmax_scale(const lathe_model *model) {
  float q_scaling = lathe_yarn_q_scaling(model->yarn_factor, model->yarn_mscale_all_dim);
  return lathe_softmax_scale(model->qk_nope_head_dim, model->qk_rope_head_dim, q_scaling);
}

/* Heads of each of `ranks` ranks; 0: they do not divide. */
static inline int model_heads(const lathe_model *model, int ranks) {
  return model->num_heads % ranks ? 0 : model->num_heads / ranks;
}

/* One rank's share, in bf16; pages, batch and lengths are the caller's. Lists have the rows of a
   window, too: beside them there is none. */
static inline lathe_decode_desc model_desc(const lathe_model *model, int ranks) {
  lathe_decode_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.num_heads = model_heads(model, ranks);
  desc.kv_lora_rank = model->kv_lora_rank;
  desc.qk_rope_head_dim = model->qk_rope_head_dim;
  desc.q_dtype = LATHE_DTYPE_BF16;
  desc.kv_dtype = LATHE_DTYPE_BF16;
  desc.sliding_window = model->sparse_topk ? 0 : model->sliding_window;
  desc.sparse_topk = model->sparse_topk;
  desc.logit_softcap = model->logit_softcap;
  desc.attention_sinks = model->attention_sinks;
  return desc;
}

#endif
