// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The smallest whole program: one decode step of two requests, on the GPU if there is one, else on
// the CPU. Every element of the query and of the cache is 1, so every output must be 1, too.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "gpu_memory.h" /* GPU or host memory; yours will come from elsewhere */

enum { BATCH = 2, HEADS = 16, L = 512, R = 64, PAGE = 64, PAGES = 3 };

static uint16_t ones[PAGES * PAGE * (L + R)], out[BATCH * HEADS * L];

int main(void) {
  for (size_t i = 0; i < sizeof ones / 2; i++)
    ones[i] = 0x3f80; /* bf16 1.0 */

  lathe_context *context;
  lathe_decode_plan *plan;
  lathe_status status = lathe_context_create(NULL, &context);
  if (!status)
    status = lathe_decode_plan_create(context,
                                      &(lathe_decode_desc){.num_heads = HEADS,
                                                           .kv_lora_rank = L,
                                                           .qk_rope_head_dim = R,
                                                           .q_dtype = LATHE_DTYPE_BF16,
                                                           .kv_dtype = LATHE_DTYPE_BF16,
                                                           .page_size = PAGE,
                                                           .max_batch = BATCH,
                                                           .max_seq_len = 2 * PAGE},
                                      &plan);
  if (status)
    return fprintf(stderr, "hello: %s\n", lathe_last_error()->message), 1;

  gpu_open(context);
  lathe_decode_args args = {
      .batch = BATCH,
      .q = gpu_copy(ones, BATCH * HEADS * (L + R) * 2),      /* [requests, heads, 512 + 64] */
      .kv_cache = gpu_copy(ones, sizeof ones),               /* [pages, 64 rows, 512 + 64] */
      .block_tables = gpu_copy((int32_t[]){2, 0, 1, 0}, 16), /* request 0: pages 2, 0; 1: page 1 */
      .seq_lens = gpu_copy((int32_t[]){100, 7}, 8),          /* 100 rows and 7 rows */
      .softmax_scale = lathe_softmax_scale(128, 64, 0),
      .out = gpu_alloc(sizeof out), /* [requests, heads, 512] */
      .workspace = gpu_alloc(lathe_decode_workspace_size(plan)),
      .workspace_size = lathe_decode_workspace_size(plan)};
  if (lathe_decode_run(plan, &args, NULL))
    return fprintf(stderr, "hello: %s\n", lathe_last_error()->message), 1;
  gpu_read(out, args.out, sizeof out); /* waits for the stream */

  size_t wrong = 0;
  for (size_t i = 0; i < sizeof out / 2; i++)
    wrong += out[i] != 0x3f80;
  lathe_decode_plan_info info;
  lathe_decode_plan_get_info(plan, &info);
  printf("hello: %s computed %zu outputs, %zu wrong\n", info.kernel, sizeof out / 2, wrong);
  gpu_close();
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return wrong != 0;
}
