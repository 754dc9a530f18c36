// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Kernels compiled into the program by nvcc, launched on a stream of the CUDA runtime. -arch
// decides which of them have a body; one that does not is absent from the table, never launched
// empty. Hopper's kernels need its "a" target:
//
//     nvcc -std=c++17 -arch=sm_90a -Iinclude -Ibuild/include examples/ahead_of_time.cu -o
//     ahead_of_time
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include <lathe/lathe_kernels.cuh>

#include "step.h"

int main() {
  lathe_context_desc context_desc = {};
  context_desc.backend = LATHE_BACKEND_CUDA;
  context_desc.kernels = lathe_kernels();
  context_desc.jit = LATHE_SWITCH_OFF; // nothing but what nvcc compiled
  context_desc.cache = LATHE_SWITCH_OFF;
  lathe_context *context;
  if (no_gpu("ahead_of_time", lathe_context_create(&context_desc, &context)))
    return SKIPPED;
  gpu_open(context);

  lathe_decode_desc desc = {};
  desc.num_heads = 128;
  desc.kv_lora_rank = 512;
  desc.qk_rope_head_dim = 64;
  desc.q_dtype = LATHE_DTYPE_BF16;
  desc.kv_dtype = LATHE_DTYPE_BF16;
  desc.page_size = 64;
  desc.max_batch = 2;
  desc.max_seq_len = 512;
  lathe_decode_plan *plan;
  expect_ok(lathe_decode_plan_create(context, &desc, &plan), "lathe_decode_plan_create");
  lathe_decode_plan_info info;
  lathe_decode_plan_get_info(plan, &info);

  const int32_t lens[] = {500, 65};
  step s;
  step_make(&s, &desc, lens, plan);
  cudaStream_t stream;
  if (cudaStreamCreate(&stream) != cudaSuccess)
    return 1;
  expect_ok(lathe_decode_run(plan, &s.args, stream), "lathe_decode_run"); // no cast: the same type
  if (cudaStreamSynchronize(stream) != cudaSuccess)
    return 1;
  const double error = step_error(&s);
  const bool ahead = info.source == LATHE_KERNEL_SOURCE_AHEAD_OF_TIME;
  printf("ahead_of_time: %s %s, worst error %.2g\n", info.kernel,
         ahead ? "compiled by nvcc" : "NOT from the table", error);
  cudaStreamDestroy(stream);
  step_free(&s);
  gpu_close();
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return !ahead || !step_close(error);
}
