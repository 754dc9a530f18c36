// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// One decode step of DeepSeek-V3 over 32 requests of uneven lengths, made from random weights
// before absorption (W_UK, W_UV) and checked against un-absorbed multi-head attention in double,
// which shares no code with the library. Ends non-zero if the result is wrong.
//
//     demo [auto | cpu | cuda]
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "../tests/ref/attention.h"
#include "gpu_memory.h"

#include <pthread.h>

enum {
  REQUESTS = 32,
  HEADS = 128,
  LORA_RANK = 512,
  ROPE_DIM = 64,
  NOPE_DIM = 128,
  V_DIM = 128,
  PAGE_SIZE = 64,
  MAX_SEQ_LEN = 2048,
  HEADS_CHECKED = 2,   /* of each request */
  CHECKERS = 2,        /* threads */
  L2_BYTES = 256 << 20 /* more than any GPU's L2 */
};

static int fail(const char *what) {
  fprintf(stderr, "demo: %s: %s: %s\n", what, lathe_status_string(lathe_last_error()->status),
          lathe_last_error()->message);
  return 1;
}

/* ---------------------------------------------------------------------------------------- problem
 */

/* Lengths on and around page boundaries, and anything up to 2000. */
static void make_problem(ref_problem *problem, ref_model *model) {
  static const int32_t edges[] = {1, 63, 64, 65, 128, 2000};
  int32_t seq_lens[REQUESTS];
  ref_random random = {2026};
  ref_options options;
  for (int i = 0; i < REQUESTS; i++)
    seq_lens[i] = i < 6 ? edges[i] : ref_between(&random, 2, 2000);
  ref_shuffle(&random, seq_lens, REQUESTS);
  memset(&options, 0, sizeof options);
  options.desc.num_heads = HEADS;
  options.desc.kv_lora_rank = LORA_RANK;
  options.desc.qk_rope_head_dim = ROPE_DIM;
  options.desc.q_dtype = options.desc.kv_dtype = LATHE_DTYPE_BF16;
  options.desc.page_size = PAGE_SIZE;
  options.desc.max_batch = REQUESTS;
  options.desc.max_seq_len = MAX_SEQ_LEN;
  options.seq_lens = seq_lens;
  options.unused_pages = 8;
  options.softmax_scale =
      lathe_softmax_scale(NOPE_DIM, ROPE_DIM, lathe_yarn_q_scaling(40.0f, 1.0f));
  options.seed = 1;
  ref_problem_make(problem, &options);
  ref_model_make(model, problem, NOPE_DIM, V_DIM, 2);
}

/* ------------------------------------------------------------------------------------------ check
 */

typedef struct checker {
  const ref_problem *problem;
  const ref_model *model;
  int which;
  ref_error error;
} checker;

/* Every request, in heads that differ from request to request, so that all are seen. */
static void *check(void *data) {
  checker *c = (checker *)data;
  for (int32_t i = c->which; i < REQUESTS; i += CHECKERS)
    for (int n = 0; n < HEADS_CHECKED; n++)
      ref_compare_row_unabsorbed(&c->error, &c->problem->desc, &c->problem->args, c->model, i, 0,
                                 (i * 37 + n * (HEADS / HEADS_CHECKED)) % HEADS);
  return NULL;
}

static int check_all(const ref_problem *problem, const ref_model *model) {
  checker checkers[CHECKERS];
  pthread_t threads[CHECKERS];
  int ok = 1;
  double worst = 0;
  for (int n = 0; n < CHECKERS; n++) {
    memset(&checkers[n], 0, sizeof checkers[n]);
    checkers[n].problem = problem;
    checkers[n].model = model;
    checkers[n].which = n;
    if (pthread_create(&threads[n], NULL, check, &checkers[n]))
      return fprintf(stderr, "demo: no thread\n"), 0;
  }
  for (int n = 0; n < CHECKERS; n++) {
    char message[512];
    pthread_join(threads[n], NULL);
    if (!ref_error_ok(&checkers[n].error, message, sizeof message)) {
      printf("%s\n", message);
      ok = 0;
    }
    worst = fmax(worst, checkers[n].error.worst_abs);
  }
  printf("check      %d of %d (request, head) rows against un-absorbed attention in double: "
         "worst error %.2g, %s\n",
         REQUESTS * HEADS_CHECKED, REQUESTS * HEADS, worst, ok ? "within the bar" : "WRONG");
  return ok;
}

/* ------------------------------------------------------------------------------------------ timing
 */

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Median seconds of a run whose cache rows are not in the GPU's L2; negative if a run failed. */
static double time_runs(lathe_decode_plan *plan, const lathe_decode_args *args) {
  double seconds[21];
  int runs = 21;
  void *flush = gpu_alloc(L2_BYTES);
  for (int n = 0; n < runs; n++) {
    gpu_timer timer;
    gpu_fill(flush, (unsigned char)n, L2_BYTES);
    gpu_synchronize();
    gpu_timer_start(&timer, NULL);
    if (lathe_decode_run(plan, args, NULL))
      return -1;
    seconds[n] = gpu_timer_stop(&timer, NULL);
  }
  qsort(seconds, (size_t)runs, sizeof seconds[0], compare_doubles);
  return seconds[runs / 2];
}

static const char *source_of(lathe_kernel_source source) {
  switch (source) {
  case LATHE_KERNEL_SOURCE_AHEAD_OF_TIME:
    return "compiled ahead of time";
  case LATHE_KERNEL_SOURCE_MEMORY:
    return "already in memory";
  case LATHE_KERNEL_SOURCE_CACHE:
    return "from the disk cache";
  case LATHE_KERNEL_SOURCE_NVRTC:
    return "compiled now by NVRTC";
  case LATHE_KERNEL_SOURCE_NONE:
    break;
  }
  return "part of this program";
}

/* -------------------------------------------------------------------------------------------- main
 */

/* Enqueues one step on copies of the tensors, brings the result back, tells the time. */
static int run(lathe_context *context, lathe_decode_plan *plan, ref_problem *problem) {
  lathe_decode_args args = problem->args;
  lathe_context_info info;
  void *copies[REF_NUM_BUFFERS] = {0};
  double seconds;
  gpu_timer timer;
  lathe_context_get_info(context, &info);
  for (int n = 0; n < REF_NUM_BUFFERS; n++)
    if (problem->buffers[n].host) {
      copies[n] = gpu_copy(problem->buffers[n].host, problem->buffers[n].size);
      ref_args_point(&args, problem->buffers[n].field, copies[n]);
    }
  args.workspace_size = lathe_decode_workspace_size(plan);
  args.workspace = gpu_alloc(args.workspace_size);
  gpu_timer_start(&timer, NULL);
  if (lathe_decode_run(plan, &args, NULL))
    return fail("lathe_decode_run");
  seconds = gpu_timer_stop(&timer, NULL);
  for (int n = REF_OUT; n <= REF_LSE; n++)
    gpu_read(problem->buffers[n].host, copies[n], problem->buffers[n].size);
  if (info.backend == LATHE_BACKEND_CUDA) {
    double bytes = (double)problem->kv_rows * (LORA_RANK + ROPE_DIM) * 2;
    double operations = 2.0 * (double)problem->kv_rows * HEADS * (2 * LORA_RANK + ROPE_DIM);
    seconds = time_runs(plan, &args);
    if (seconds < 0)
      return fail("lathe_decode_run");
    printf("time       %.1f us a step (median of 21, KV not in L2): %.2f TB/s of KV cache, "
           "%.0f TFLOP/s\n",
           seconds * 1e6, bytes / seconds * 1e-12, operations / seconds * 1e-12);
  } else {
    printf("time       %.2f s a step\n", seconds);
  }
  gpu_close();
  return 0;
}

int main(int argc, char **argv) {
  lathe_context_desc context_desc;
  lathe_context *context;
  lathe_context_info info;
  lathe_decode_plan *plan;
  lathe_decode_plan_info plan_info;
  ref_problem problem;
  ref_model model;
  int result;

  memset(&context_desc, 0, sizeof context_desc);
  if (argc == 2 && strcmp(argv[1], "cpu") == 0)
    context_desc.backend = LATHE_BACKEND_CPU;
  else if (argc == 2 && strcmp(argv[1], "cuda") == 0)
    context_desc.backend = LATHE_BACKEND_CUDA;
  else if (argc > 2 || (argc == 2 && strcmp(argv[1], "auto") != 0))
    return fprintf(stderr, "usage: %s [auto | cpu | cuda]\n", argv[0]), 2;
#ifdef LATHE_DEMO_CUBINS
  context_desc.kernels = lathe_cubins();
#endif
  if (lathe_context_create(&context_desc, &context))
    return fail("lathe_context_create");
  lathe_context_get_info(context, &info);
  gpu_open(context);

  make_problem(&problem, &model);
  printf("DeepSeek-V3 decode step: %d requests of 1 to 2000 rows (%lld in all), %d heads, "
         "kv_lora_rank %d,\nqk_rope_head_dim %d, bf16, pages of %d rows\n",
         REQUESTS, (long long)problem.kv_rows, HEADS, LORA_RANK, ROPE_DIM, PAGE_SIZE);
  printf("backend    %s\n", info.backend == LATHE_BACKEND_CUDA ? "cuda" : "cpu");
  printf("device     %s\n", info.device_name);
  if (lathe_decode_plan_create(context, &problem.desc, &plan))
    return fail("lathe_decode_plan_create");
  lathe_decode_plan_get_info(plan, &plan_info);
  printf("kernel     %s, %s\n", plan_info.kernel, source_of(plan_info.source));
  if (plan_info.merge_kernel[0])
    printf("merge      %s\n", plan_info.merge_kernel);

  result = run(context, plan, &problem);
  if (result == 0)
    result = !check_all(&problem, &model);

  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  ref_model_free(&model);
  ref_problem_free(&problem);
  return result;
}
