// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// One CUDA graph for a growing sequence: the run is captured once, then replayed token after token
// with new lengths written where the captured kernels read them. No replay needs the library or the
// host's knowledge of the lengths.
//
//     cc -Iinclude -Ibuild/include examples/cuda_graph.c -o cuda_graph -ldl -lpthread -lm
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "step.h"

struct CUgraph_st;
struct CUgraphExec_st;

static struct {
  int (*stream_create)(lathe_stream *, unsigned);
  int (*stream_synchronize)(lathe_stream);
  int (*begin_capture)(lathe_stream, int);
  int (*end_capture)(lathe_stream, struct CUgraph_st **);
  int (*instantiate)(struct CUgraphExec_st **, struct CUgraph_st *, unsigned long long);
  int (*launch)(struct CUgraphExec_st *, lathe_stream);
} graphs;

static void load_graph_functions(void) {
  gpu_symbol("cuStreamCreate", &graphs.stream_create);
  gpu_symbol("cuStreamSynchronize", &graphs.stream_synchronize);
  gpu_symbol("cuStreamBeginCapture_v2", &graphs.begin_capture);
  gpu_symbol("cuStreamEndCapture", &graphs.end_capture);
  gpu_symbol("cuGraphInstantiateWithFlags", &graphs.instantiate);
  gpu_symbol("cuGraphLaunch", &graphs.launch);
}

int main(void) {
  lathe_context_desc context_desc = {.backend = LATHE_BACKEND_CUDA};
  lathe_decode_desc desc = {.num_heads = 16,
                            .kv_lora_rank = 512,
                            .qk_rope_head_dim = 64,
                            .q_dtype = LATHE_DTYPE_BF16,
                            .kv_dtype = LATHE_DTYPE_BF16,
                            .page_size = 64,
                            .max_batch = 4,
                            .max_seq_len = 1024};
  enum { STEPS = 200 };
  int32_t lens[4] = {1, 60, 500, 800};
  lathe_context *context;
  lathe_decode_plan *plan;
  lathe_stream stream;
  struct CUgraph_st *graph;
  struct CUgraphExec_st *exec;
  step s;
  double worst = 0;
  if (no_gpu("cuda_graph", lathe_context_create(&context_desc, &context)))
    return SKIPPED;
  gpu_open(context);
  load_graph_functions();
  expect_ok(lathe_decode_plan_create(context, &desc, &plan), "lathe_decode_plan_create");
  step_make(&s, &desc, lens, plan);

  gpu_expect(graphs.stream_create(&stream, 1), "cuStreamCreate");
  gpu_expect(graphs.begin_capture(stream, 0), "cuStreamBeginCapture");
  expect_ok(lathe_decode_run(plan, &s.args, stream), "lathe_decode_run");
  gpu_expect(graphs.end_capture(stream, &graph), "cuStreamEndCapture");
  gpu_expect(graphs.instantiate(&exec, graph, 0), "cuGraphInstantiate");

  for (int token = 0; token < STEPS; token++) {
    for (int i = 0; i < 4; i++)
      lens[i]++; // an engine appends a row of cache here, too
    step_set_lengths(&s, lens);
    gpu_expect(graphs.launch(exec, stream), "cuGraphLaunch");
    gpu_expect(graphs.stream_synchronize(stream), "cuStreamSynchronize");
    if (token % 50 == 0 || token == STEPS - 1) {
      double error = step_error(&s);
      if (!(error <= worst))
        worst = error;
    }
  }
  printf("cuda_graph: one graph, %d tokens, worst error %.2g\n", STEPS, worst);
  step_free(&s);
  gpu_close();
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return !step_close(worst);
}
