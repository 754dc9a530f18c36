// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What every consumer project here builds: a request that sees one row, so the output is its
// latent.
#ifndef CONSUME_DECLARATIONS_ONLY
#define LATHE_IMPLEMENTATION
#endif
#include <lathe/lathe.h>

#include <stdio.h>

enum { HEADS = 3, L = 32, R = 16 };

int main(void) {
  static uint16_t q[HEADS * (L + R)], row[L + R], out[HEADS * L];
  for (int i = 0; i < L; i++)
    row[i] = (uint16_t)(0x3f80 + i); // bf16, 1 and up
  const int32_t block_table = 0, seq_len = 1;

  const lathe_context_desc context_desc = {.backend = LATHE_BACKEND_CPU};
  const lathe_decode_desc desc = {.num_heads = HEADS,
                                  .kv_lora_rank = L,
                                  .qk_rope_head_dim = R,
                                  .q_dtype = LATHE_DTYPE_BF16,
                                  .kv_dtype = LATHE_DTYPE_BF16,
                                  .page_size = 1,
                                  .max_batch = 1,
                                  .max_seq_len = 1};
  const lathe_decode_args args = {.batch = 1,
                                  .q = q,
                                  .kv_cache = row,
                                  .num_pages = 1,
                                  .block_tables = &block_table,
                                  .seq_lens = &seq_len,
                                  .softmax_scale = lathe_softmax_scale(L, R, 1),
                                  .out = out};
  lathe_context *context = NULL;
  lathe_decode_plan *plan = NULL;
  if (lathe_context_create(&context_desc, &context) ||
      lathe_decode_plan_create(context, &desc, &plan) || lathe_decode_run(plan, &args, NULL)) {
    fprintf(stderr, "%s\n", lathe_last_error()->message);
    return 1;
  }
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);

  for (int i = 0; i < HEADS * L; i++) {
    if (out[i] != row[i % L]) {
      fprintf(stderr, "out[%d] is 0x%04x, not 0x%04x\n", i, out[i], row[i % L]);
      return 1;
    }
  }
  printf("lathe %d works\n", lathe_version());
  return lathe_version() == LATHE_VERSION ? 0 : 1;
}
