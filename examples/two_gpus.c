// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Two GPUs from one thread, as one process of tensor parallelism drives them: a Lathe context each,
// half of the heads each, both at work before the first result is waited for.
//
//     cc -Iinclude -Ibuild/include examples/two_gpus.c -o two_gpus -ldl -lpthread -lm
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "step.h"

int main(void) {
  lathe_decode_desc desc = {.num_heads = 64,
                            .kv_lora_rank = 512,
                            .qk_rope_head_dim = 64,
                            .q_dtype = LATHE_DTYPE_BF16,
                            .kv_dtype = LATHE_DTYPE_BF16,
                            .page_size = 64,
                            .max_batch = 2,
                            .max_seq_len = 400};
  lathe_context *contexts[2];
  lathe_decode_plan *plans[2];
  step steps[2];
  double worst = 0;
  for (int i = 0; i < 2; i++) {
    lathe_context_desc context_desc = {.backend = LATHE_BACKEND_CUDA, .device = LATHE_DEVICE(i)};
    if (no_gpu("two_gpus", lathe_context_create(&context_desc, &contexts[i]))) {
      if (i == 1)
        lathe_context_destroy(contexts[0]);
      return SKIPPED;
    }
  }

  gpu_open(contexts[0]);
  for (int i = 0; i < 2; i++) {
    gpu_use_device(i); // run wants the plan's CUDA context to be current
    expect_ok(lathe_decode_plan_create(contexts[i], &desc, &plans[i]), "lathe_decode_plan_create");
    step_make(&steps[i], &desc, (int32_t[]){400, 123 + i}, plans[i]);
    expect_ok(lathe_decode_run(plans[i], &steps[i].args, NULL), "lathe_decode_run");
  }
  for (int i = 0; i < 2; i++) {
    gpu_use_device(i);
    double error = step_error(&steps[i]);
    if (!(error <= worst))
      worst = error;
    step_free(&steps[i]);
    lathe_decode_plan_destroy(plans[i]);
  }
  gpu_close();
  lathe_context_destroy(contexts[0]);
  lathe_context_destroy(contexts[1]);
  printf("two_gpus: %d heads on each of two GPUs, worst error %.2g\n", desc.num_heads, worst);
  return !step_close(worst);
}
