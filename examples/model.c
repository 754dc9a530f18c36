// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// One decode step of a model by its name, as one rank of a tensor-parallel group runs it, with
// random weights, and checked against un-absorbed attention in double. Without a name: the models.
//
//     model [name [ranks]]        model deepseek-v3 8
//
//     cc -Iinclude -Ibuild/include examples/model.c -o model -ldl -lpthread -lm
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "../tests/ref/attention.h"
#include "../tests/ref/models.h"
#include "gpu_memory.h"

enum { REQUESTS = 4, MAX_SEQ_LEN = 512, HEADS_CHECKED = 4 /* of each request */ };

static int fail(const char *what) {
  fprintf(stderr, "model: %s: %s\n", what, lathe_last_error()->message);
  return 1;
}

static int list(void) {
  printf("%-20s %5s %5s %5s %5s %5s  %s\n", "name", "H", "L", "N", "R", "V", "softmax scale");
  for (int i = 0; i < LATHE_NUM_MODELS; i++) {
    const lathe_model *m = &lathe_models[i];
    printf("%-20s %5d %5d %5d %5d %5d  %.5f%s%s\n", m->name, m->num_heads, m->kv_lora_rank,
           m->qk_nope_head_dim, m->qk_rope_head_dim, m->v_head_dim, (double)model_softmax_scale(m),
           m->missing[0] ? "  run without " : "", m->missing);
  }
  return 0;
}

/* A cache, tables, and queries that are absorbed from the weights of `weights`. */
static void make_problem(ref_problem *problem, ref_model *weights, const lathe_model *model,
                         int ranks) {
  static const int32_t seq_lens[REQUESTS] = {MAX_SEQ_LEN, 1, 64, 333};
  ref_options options;
  memset(&options, 0, sizeof options);
  options.desc = model_desc(model, ranks);
  options.desc.page_size = 64;
  options.desc.max_batch = REQUESTS;
  options.desc.max_seq_len = MAX_SEQ_LEN;
  options.seq_lens = seq_lens;
  options.softmax_scale = model_softmax_scale(model);
  options.seed = 1;
  ref_problem_make(problem, &options);
  ref_model_make(weights, problem, model->qk_nope_head_dim, model->v_head_dim, 2);
}

/* The step on copies of the tensors, where the plan computes, and its result back. */
static int run(lathe_decode_plan *plan, ref_problem *problem) {
  lathe_decode_args args = problem->args;
  void *copies[REF_NUM_BUFFERS] = {0};
  for (int n = 0; n < REF_NUM_BUFFERS; n++)
    if (problem->buffers[n].host) {
      copies[n] = gpu_copy(problem->buffers[n].host, problem->buffers[n].size);
      ref_args_point(&args, problem->buffers[n].field, copies[n]);
    }
  args.workspace_size = lathe_decode_workspace_size(plan);
  args.workspace = gpu_alloc(args.workspace_size);
  if (lathe_decode_run(plan, &args, NULL))
    return fail("lathe_decode_run");
  for (int n = REF_OUT; n <= REF_LSE; n++)
    gpu_read(problem->buffers[n].host, copies[n], problem->buffers[n].size);
  return 0;
}

static int check(const ref_problem *problem, const ref_model *weights) {
  const int heads = problem->desc.num_heads;
  ref_error error;
  char message[512];
  memset(&error, 0, sizeof error);
  for (int32_t i = 0; i < REQUESTS; i++)
    for (int n = 0; n < HEADS_CHECKED && n < heads; n++)
      ref_compare_row_unabsorbed(&error, &problem->desc, &problem->args, weights, i, 0,
                                 (i + n * (heads / HEADS_CHECKED)) % heads);
  if (ref_error_ok(&error, message, sizeof message))
    return printf("check    worst error %.2g, within the bar\n", error.worst_abs), 0;
  return printf("check    %s\n", message), 1;
}

int main(int argc, char **argv) {
  const lathe_model *model = argc > 1 ? model_find(argv[1]) : NULL;
  int ranks = argc > 2 ? atoi(argv[2]) : 1, result;
  lathe_context *context;
  lathe_decode_plan *plan;
  lathe_decode_plan_info info;
  ref_problem problem;
  ref_model weights;
  if (argc == 1)
    return list();
  if (argc > 3 || !model)
    return fprintf(stderr, "usage: %s [name [ranks]]; without a name: the names\n", argv[0]), 2;
  if (ranks < 1 || !model_heads(model, ranks))
    return fprintf(stderr, "model: %d heads do not divide among %s ranks\n", model->num_heads,
                   argv[2]),
           2;
  if (lathe_context_create(NULL, &context))
    return fail("lathe_context_create");
  gpu_open(context);
  make_problem(&problem, &weights, model, ranks);
  if (lathe_decode_plan_create(context, &problem.desc, &plan))
    return fail("lathe_decode_plan_create");
  lathe_decode_plan_get_info(plan, &info);
  printf("model    %s, rank of %d: %d heads, kv_lora_rank %d, qk_rope_head_dim %d, scale %.5f\n",
         model->title, ranks, (int)problem.desc.num_heads, model->kv_lora_rank,
         model->qk_rope_head_dim, (double)model_softmax_scale(model));
  if (problem.desc.sparse_topk)
    printf("lists    of %d rows\n", (int)problem.desc.sparse_topk);
  if (model->missing[0])
    printf("without  %s\n", model->missing);
  printf("kernel   %s\n", info.kernel);
  result = run(plan, &problem);
  if (!result)
    result = check(&problem, &weights);
  gpu_close();
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  ref_model_free(&weights);
  ref_problem_free(&problem);
  return result;
}
