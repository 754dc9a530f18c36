// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A small append on the CPU backend, for tests to vary: two requests, two heads, L = 4, R = 4,
// pages of two rows. Element values tell where they come from; everything that is written begins as
// 0xff.
#ifndef LATHE_TESTS_APPEND_CASE_H
#define LATHE_TESTS_APPEND_CASE_H

#include "../ref/number.h"
#include "decode_fixture.h"

enum {
  APPEND_TOKENS = 4,
  APPEND_HEADS = 2,
  APPEND_L = 4,
  APPEND_R = 4,
  APPEND_D = 8,
  APPEND_PAGES = 6,
  APPEND_POSITIONS = 8
};

typedef struct append_case {
  lathe_append_desc desc;
  lathe_append_args args;
  uint16_t q_nope[APPEND_TOKENS * APPEND_HEADS * APPEND_L];
  uint16_t q_pe[APPEND_TOKENS * APPEND_HEADS * APPEND_R];
  uint16_t q_out[APPEND_TOKENS * APPEND_HEADS * APPEND_D];
  uint16_t latent[APPEND_TOKENS * APPEND_D];
  uint16_t cache[APPEND_PAGES * 2 * APPEND_D];
  int32_t tables[2 * 4], lens[2], cu[3], positions[APPEND_TOKENS], inactive[2];
  int64_t slots[APPEND_TOKENS];
  float cos_sin[APPEND_POSITIONS * APPEND_R];
  float scales[3];
} append_case;

static inline void append_make(append_case *c) {
  int i;
  memset(c, 0, sizeof *c);
  c->desc.num_heads = APPEND_HEADS;
  c->desc.kv_lora_rank = APPEND_L;
  c->desc.qk_rope_head_dim = APPEND_R;
  c->desc.q_dtype = c->desc.kv_dtype = LATHE_DTYPE_BF16;
  c->desc.rope = LATHE_ROPE_INTERLEAVED;
  c->desc.page_size = 2;
  c->desc.max_batch = 2;
  c->desc.max_q_len = 2;
  c->desc.max_seq_len = APPEND_POSITIONS;
  for (i = 0; i < APPEND_TOKENS * APPEND_HEADS * APPEND_L; i++) {
    ref_store(LATHE_DTYPE_BF16, c->q_nope, i, 1 + i);
    ref_store(LATHE_DTYPE_BF16, c->q_pe, i, -1 - i);
  }
  for (i = 0; i < APPEND_TOKENS * APPEND_D; i++)
    ref_store(LATHE_DTYPE_BF16, c->latent, i, 100 + i);
  memset(c->q_out, 0xff, sizeof c->q_out);
  memset(c->cache, 0xff, sizeof c->cache);
  for (i = 0; i < 8; i++)
    c->tables[i] = INT32_MAX; // an entry that must not be read
  c->lens[0] = 5;             // positions 3 and 4: the second row of a page, the first of the next
  c->lens[1] = 2;
  c->tables[1] = 4;
  c->tables[2] = 1;
  c->tables[4] = 3;
  for (i = 0; i < APPEND_POSITIONS; i++) { // position p turns by p quarters
    const float cosines[4] = {1, 0, -1, 0};
    c->cos_sin[4 * i] = c->cos_sin[4 * i + 1] = cosines[i % 4];
    c->cos_sin[4 * i + 2] = c->cos_sin[4 * i + 3] = cosines[(i + 3) % 4];
  }
  c->args.batch = 2;
  c->args.q_nope = c->q_nope;
  c->args.q_pe = c->q_pe;
  c->args.q_out = c->q_out;
  c->args.latent_cache = c->latent;
  c->args.kv_cache = c->cache;
  c->args.block_tables = c->tables;
  c->args.seq_lens = c->lens;
  c->args.cos_sin = c->cos_sin;
}

static inline lathe_status append_try(const append_case *c) {
  lathe_context *context = cpu_context();
  lathe_append_plan *plan;
  lathe_status status = lathe_append_plan_create(context, &c->desc, &plan);
  if (!status)
    status = lathe_append_run(plan, &c->args, NULL);
  lathe_append_plan_destroy(plan);
  lathe_context_destroy(context);
  return status;
}

static inline void append_run(const append_case *c) {
  lathe_status status = append_try(c);
  cr_assert(status == LATHE_STATUS_OK, "%s", lathe_last_error()->message);
}

// `row` of page `page` is token `token`'s, its roped part turned by `quarters`, pairs as the desc
// has them.
static inline void append_expect_row(const append_case *c, int page, int row, int token,
                                     int quarters) {
  const uint16_t *got = c->cache + (page * 2 + row) * APPEND_D;
  int d;
  for (d = 0; d < APPEND_D; d++) {
    const int split = c->desc.rope == LATHE_ROPE_HALF_SPLIT, e = d - APPEND_L;
    const int second = split ? e >= 2 : e % 2, other = split ? e ^ 2 : e ^ 1;
    double want = 100 + token * APPEND_D + d;
    double partner = 100 + token * APPEND_D + APPEND_L + other;
    if (d >= APPEND_L && c->desc.rope != LATHE_ROPE_NONE && quarters % 2)
      want = (second ? 1 : -1) * (quarters % 4 == 1 ? 1 : -1) * partner;
    else if (d >= APPEND_L && c->desc.rope != LATHE_ROPE_NONE && quarters % 4 == 2)
      want = -want;
    cr_expect_eq(ref_load(LATHE_DTYPE_BF16, got, d), want,
                 "page %d row %d element %d is %g, wanted %g", page, row, d,
                 ref_load(LATHE_DTYPE_BF16, got, d), want);
  }
}

// Nothing but these rows (page * 2 + row) was written.
static inline void append_expect_only(const append_case *c, unsigned rows) {
  int row, d;
  for (row = 0; row < APPEND_PAGES * 2; row++)
    for (d = 0; d < APPEND_D; d++)
      if (!(rows >> row & 1))
        cr_expect_eq(c->cache[row * APPEND_D + d], 0xffff, "row %d was written", row);
}

#endif
