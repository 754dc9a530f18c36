// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// An unusual shape in a program that brings no kernels: MiniCPM3 has 40 heads, kv_lora_rank 256 and
// qk_rope_head_dim 32. NVRTC compiles what it needs, once; later processes find it in the disk
// cache.
//
//     cc -Iinclude -Ibuild/include examples/unusual_shape.c -o unusual_shape -ldl -lpthread -lm
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "step.h"

static double seconds(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(void) {
  lathe_context_desc context_desc = {.backend = LATHE_BACKEND_CUDA};
  lathe_decode_desc desc = {.num_heads = 40,
                            .kv_lora_rank = 256,
                            .qk_rope_head_dim = 32,
                            .q_dtype = LATHE_DTYPE_BF16,
                            .kv_dtype = LATHE_DTYPE_BF16,
                            .page_size = 16,
                            .max_batch = 3,
                            .max_seq_len = 700};
  lathe_context *context;
  lathe_decode_plan *plan;
  lathe_decode_plan_info info;
  if (no_gpu("unusual_shape", lathe_context_create(&context_desc, &context)))
    return SKIPPED;
  gpu_open(context);

  double start = seconds();
  lathe_status status = lathe_decode_plan_create(context, &desc, &plan);
  double took = seconds() - start;
  if (status == LATHE_STATUS_NVRTC_UNAVAILABLE) {
    printf("unusual_shape: skipped: %s\n", lathe_last_error()->message);
    return SKIPPED;
  }
  expect_ok(status, "lathe_decode_plan_create");
  lathe_decode_plan_get_info(plan, &info);

  step s;
  step_make(&s, &desc, (int32_t[]){700, 1, 333}, plan);
  expect_ok(lathe_decode_run(plan, &s.args, NULL), "lathe_decode_run");
  double error = step_error(&s);
  printf("unusual_shape: %s, %s in %.0f ms, worst error %.2g\n", info.kernel,
         info.source == LATHE_KERNEL_SOURCE_NVRTC ? "compiled" : "from the cache", 1e3 * took,
         error);
  step_free(&s);
  gpu_close();
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return !step_close(error);
}
