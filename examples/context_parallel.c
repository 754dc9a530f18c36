// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Decode context parallelism: four ranks have the cache rows of each request in turns of 16
// positions; each attends to its own, and lathe_merge joins what they found by its lse. Here one
// GPU, or the CPU, is all four ranks; in earnest each has a device, and what is gathered between
// decode and merge are `out` and `lse`.
//
//     cc -Iinclude -Ibuild/include examples/context_parallel.c -o context_parallel -ldl -lpthread
//     -lm
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "step.h"

enum { RANKS = 4, TURN = 16, BATCH = 3, HEADS = 16, L = 512, R = 64, PAGE = 64, NEW = 2 };

// The rows of `rank` out of the whole cache of a step, in pages of its own: position g is row
// g / (TURN * RANKS) * TURN + g % TURN of the rank g / TURN % RANKS. An engine has them there from
// the beginning, for lathe_append writes each row on the rank whose it is (slot_mapping).
static void give_rows(const step *whole, int rank, lathe_decode_args *args) {
  const int most = (whole->desc.max_seq_len + TURN * RANKS - 1) / (TURN * RANKS) * TURN;
  const int pages = (most + PAGE - 1) / PAGE, tables = pages * BATCH;
  const int all = (whole->desc.max_seq_len + PAGE - 1) / PAGE; // of a row of the whole's table
  const uint16_t *from = (const uint16_t *)whole->host.kv_cache;
  uint16_t *rows = (uint16_t *)calloc((size_t)(tables * PAGE), (L + R) * sizeof *rows);
  int32_t *table = (int32_t *)malloc((size_t)tables * sizeof *table);
  if (!rows || !table)
    exit(1);
  for (int i = 0; i < tables; i++)
    table[i] = i;
  for (int i = 0; i < BATCH; i++)
    for (int g = 0; g < whole->host.seq_lens[i]; g++) {
      const int row = g / (TURN * RANKS) * TURN + g % TURN;
      const int page = whole->host.block_tables[i * all + g / PAGE];
      if (g / TURN % RANKS == rank)
        memcpy(rows + (size_t)(table[i * pages + row / PAGE] * PAGE + row % PAGE) * (L + R),
               from + (size_t)(page * PAGE + g % PAGE) * (L + R), (L + R) * sizeof *rows);
    }
  args->kv_cache = gpu_copy(rows, (size_t)(tables * PAGE) * (L + R) * sizeof *rows);
  args->num_pages = tables;
  args->block_tables = (const int32_t *)gpu_copy(table, (size_t)tables * sizeof *table);
  args->block_table_stride = pages;
  free(rows);
  free(table);
}

int main(void) {
  // All ranks' plans are alike but for cp_rank. Lengths are those of whole requests: what each of
  // the two new tokens sees is a matter of positions.
  lathe_decode_desc desc = {.num_heads = HEADS,
                            .kv_lora_rank = L,
                            .qk_rope_head_dim = R,
                            .q_dtype = LATHE_DTYPE_BF16,
                            .kv_dtype = LATHE_DTYPE_BF16,
                            .page_size = PAGE,
                            .max_batch = BATCH,
                            .max_q_len = NEW,
                            .max_seq_len = 1000,
                            .cp_world = RANKS,
                            .cp_interleave = TURN};
  lathe_decode_desc alone = desc; // one rank with all of the rows, to compare with
  lathe_merge_desc merge_desc = {
      .num_heads = HEADS, .kv_lora_rank = L, .in_dtype = LATHE_DTYPE_BF16};
  const size_t lse_size = sizeof(float) * BATCH * NEW * HEADS;
  lathe_context *context;
  lathe_decode_plan *plans[RANKS];
  lathe_merge_plan *merge;
  lathe_merge_state states[RANKS];
  step whole;
  alone.cp_world = 0;

  expect_ok(lathe_context_create(NULL, &context), "lathe_context_create");
  gpu_open(context);
  for (int rank = 0; rank < RANKS; rank++) {
    desc.cp_rank = rank;
    lathe_status status = lathe_decode_plan_create(context, &desc, &plans[rank]);
    if (status == LATHE_STATUS_NVRTC_UNAVAILABLE) {
      printf("context_parallel: skipped: %s\n", lathe_last_error()->message);
      return SKIPPED;
    }
    expect_ok(status, "lathe_decode_plan_create");
  }
  expect_ok(lathe_merge_plan_create(context, &merge_desc, &merge), "lathe_merge_plan_create");
  step_make(&whole, &alone, (int32_t[]){1000, 1, 333}, plans[0]);

  for (int rank = 0; rank < RANKS; rank++) {
    lathe_decode_args args = whole.args; // the whole query, on every rank
    give_rows(&whole, rank, &args);
    args.out = gpu_alloc(whole.out_size);
    args.lse = (float *)gpu_alloc(lse_size);
    expect_ok(lathe_decode_run(plans[rank], &args, NULL), "lathe_decode_run");
    states[rank] = (lathe_merge_state){.out = args.out, .lse = args.lse};
  }
  lathe_merge_args merge_args = {
      .num_tokens = BATCH * NEW, .num_states = RANKS, .states = states, .out = whole.args.out};
  expect_ok(lathe_merge_run(merge, &merge_args, NULL), "lathe_merge_run");

  double error = step_error(&whole); // against the CPU backend with all of the rows
  printf("context_parallel: %d ranks, worst error %.2g\n", RANKS, error);
  step_free(&whole);
  gpu_close();
  lathe_merge_plan_destroy(merge);
  for (int rank = 0; rank < RANKS; rank++)
    lathe_decode_plan_destroy(plans[rank]);
  lathe_context_destroy(context);
  return !step_close(error);
}
