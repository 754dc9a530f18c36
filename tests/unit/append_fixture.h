// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// An append and a merge that are right in every field, for tests that then spoil one. Device memory
// is the host's, as in decode_fixture.h.
#ifndef LATHE_TESTS_APPEND_FIXTURE_H
#define LATHE_TESTS_APPEND_FIXTURE_H

#include "recording_driver.h"

static _Alignas(256) struct {
  unsigned char q_nope[6 * 4 * 32 * 2], q_pe[6 * 4 * 16 * 2], q_out[6 * 4 * 48 * 2];
  _Alignas(256) unsigned char q_pe_out[6 * 4 * 16 * 2], latent[6 * 576 * 2], k_pe[6 * 16 * 2];
  _Alignas(256) unsigned char kv[NUM_PAGES * 4 * 656], kpe[NUM_PAGES * 4 * 16 * 2];
  _Alignas(256) float cos_sin[20 * 16], scales[4], scale[4];
  _Alignas(256) int64_t slots[8];
  _Alignas(256) int32_t tables[3 * TABLE_STRIDE], lens[4], cu[4], positions[8], inactive[4];
  _Alignas(256) unsigned char in[2][6 * 4 * 32 * 4], out[6 * 4 * 32 * 4];
  _Alignas(256) float in_lse[2][6 * 4], lse[6 * 4];
} step;

static inline lathe_append_desc good_append_desc(void) {
  lathe_append_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.num_heads = 4;
  desc.kv_lora_rank = 32;
  desc.qk_rope_head_dim = 16;
  desc.q_dtype = desc.kv_dtype = LATHE_DTYPE_BF16;
  desc.rope = LATHE_ROPE_INTERLEAVED;
  desc.page_size = 4;
  desc.max_batch = 3;
  desc.max_q_len = 2;
  desc.max_seq_len = 20;
  return desc;
}

static inline lathe_append_args good_append_args(void) {
  lathe_append_args args;
  int i;
  memset(&step, 0, sizeof step);
  memset(&args, 0, sizeof args);
  args.batch = 3;
  args.q_nope = step.q_nope;
  args.q_pe = step.q_pe;
  args.q_out = step.q_out;
  args.latent_cache = step.latent;
  args.kv_cache = step.kv;
  args.num_pages = NUM_PAGES;
  args.block_tables = step.tables;
  args.seq_lens = step.lens;
  args.cos_sin = step.cos_sin;
  for (i = 0; i < 3 * TABLE_STRIDE; i++)
    step.tables[i] = i;
  for (i = 0; i < 3; i++)
    step.lens[i] = 20 - 9 * i; // 20, 11, 2
  for (i = 0; i < 4; i++)
    step.cu[i] = 2 * i - (i > 1); // 0, 2, 3, 5
  return args;
}

static inline lathe_append_plan *recorded_append(lathe_context *context,
                                                 const lathe_append_desc *desc) {
  lathe_append_desc filled;
  lathep_variant variant;
  lathe_append_plan *plan;
  lathep_append_desc_defaults(desc, &filled);
  lathep_variant_append(&filled, &variant);
  if (context->backend == LATHE_BACKEND_CUDA)
    recorded_table(context, &variant, 1);
  cr_assert_eq(lathe_append_plan_create(context, desc, &plan), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  return plan;
}

static inline lathe_merge_desc good_merge_desc(void) {
  lathe_merge_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.num_heads = 4;
  desc.kv_lora_rank = 32;
  desc.in_dtype = LATHE_DTYPE_BF16;
  return desc;
}

static lathe_merge_state good_states[2];

static inline lathe_merge_args good_merge_args(void) {
  lathe_merge_args args;
  int i;
  memset(&args, 0, sizeof args);
  for (i = 0; i < 2; i++) {
    good_states[i].out = step.in[i];
    good_states[i].lse = step.in_lse[i];
  }
  args.num_tokens = 6;
  args.num_states = 2;
  args.states = good_states;
  args.out = step.out;
  args.lse = step.lse;
  return args;
}

static inline lathe_merge_plan *recorded_merge(lathe_context *context,
                                               const lathe_merge_desc *desc) {
  lathe_merge_desc filled;
  lathep_variant variant;
  lathe_merge_plan *plan;
  lathep_merge_prepare(context, desc, &filled);
  lathep_variant_join(&filled, &variant);
  if (context->backend == LATHE_BACKEND_CUDA)
    recorded_table(context, &variant, 1);
  cr_assert_eq(lathe_merge_plan_create(context, desc, &plan), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  return plan;
}

#endif
