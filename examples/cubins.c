// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Kernels as cubins, made when Lathe was built: a C compiler is enough to build this, the driver
// enough to run it. Run-time compilation is switched off, so a kernel that the table lacks is an
// error that says which row would add it.
//
//     cc -Iinclude -Ibuild/include examples/cubins.c -o cubins -ldl -lpthread -lm
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include <lathe/lathe_cubins.h>

#include "step.h"

int main(void) {
  lathe_context_desc context_desc = {.backend = LATHE_BACKEND_CUDA,
                                     .kernels = lathe_cubins(),
                                     .jit = LATHE_SWITCH_OFF,
                                     .cache = LATHE_SWITCH_OFF};
  lathe_decode_desc desc = {.num_heads = 128,
                            .kv_lora_rank = 512,
                            .qk_rope_head_dim = 64,
                            .q_dtype = LATHE_DTYPE_BF16,
                            .kv_dtype = LATHE_DTYPE_BF16,
                            .page_size = 64,
                            .max_batch = 2,
                            .max_seq_len = 512};
  lathe_context *context;
  lathe_decode_plan *plan;
  lathe_decode_plan_info info;
  if (no_gpu("cubins", lathe_context_create(&context_desc, &context)))
    return SKIPPED;
  gpu_open(context);
  expect_ok(lathe_decode_plan_create(context, &desc, &plan), "lathe_decode_plan_create");
  lathe_decode_plan_get_info(plan, &info);

  step s;
  step_make(&s, &desc, (int32_t[]){512, 77}, plan);
  expect_ok(lathe_decode_run(plan, &s.args, NULL), "lathe_decode_run");
  double error = step_error(&s);
  int ahead = info.source == LATHE_KERNEL_SOURCE_AHEAD_OF_TIME;
  printf("cubins: %s %s, worst error %.2g\n", info.kernel,
         ahead ? "from the table" : "NOT from the table", error);
  step_free(&s);
  gpu_close();
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return !ahead || !step_close(error);
}
