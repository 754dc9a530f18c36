// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the tests of the CPU backend share: run a problem through the public API, and hold the
// result to the oracle of tests/ref far closer than a GPU's would be: it may differ from the
// oracle's, rounded once, only where the two oracles' last bits of double can matter.
#ifndef LATHE_TESTS_UNIT_CPU_CASE_H
#define LATHE_TESTS_UNIT_CPU_CASE_H

#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "../ref/attention.h"

#include <criterion/criterion.h>

static inline void cpu_ok(lathe_status status, const char *what) {
  (void)what; /* where cr_assert drops its message */
  cr_assert(status == LATHE_STATUS_OK, "%s: %s: %s", what, lathe_status_string(status),
            lathe_last_error()->message);
}

static inline lathe_status cpu_run_with(const lathe_context_desc *context_desc,
                                        const lathe_decode_desc *desc,
                                        const lathe_decode_args *args) {
  lathe_context_desc cpu;
  lathe_context *context;
  lathe_decode_plan *plan;
  lathe_status status;
  memset(&cpu, 0, sizeof cpu);
  if (context_desc)
    cpu = *context_desc;
  cpu.backend = LATHE_BACKEND_CPU;
  cpu_ok(lathe_context_create(&cpu, &context), "lathe_context_create");
  cpu_ok(lathe_decode_plan_create(context, desc, &plan), "lathe_decode_plan_create");
  cr_assert(lathe_decode_workspace_size(plan) == 0);
  status = lathe_decode_run(plan, args, NULL);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return status;
}

static inline void cpu_run(const lathe_decode_desc *desc, const lathe_decode_args *args) {
  cpu_ok(cpu_run_with(NULL, desc, args), "lathe_decode_run");
}

static inline int cpu_same(lathe_dtype dtype, double got, double want) {
  double slack = 1e-12 * (1 + fabs(want)) * (dtype == LATHE_DTYPE_F32 ? 10 : 1);
  double low = ref_decode(dtype, ref_encode(dtype, want - slack));
  double high = ref_decode(dtype, ref_encode(dtype, want + slack));
  return isfinite(want) ? got >= low && got <= high : got == want;
}

static inline void cpu_expect_row(const lathe_decode_desc *desc, const lathe_decode_args *args,
                                  int32_t i, int32_t t, int32_t head) {
  double *want = (double *)ref_alloc(8 * (size_t)desc->kv_lora_rank), lse;
  int32_t first, q_len, kv_len;
  ref_request(desc, args, i, &first, &q_len, &kv_len);
  ref_attend(desc, args, i, t, head, want, &lse);
  for (int32_t e = 0; e < desc->kv_lora_rank; e++) {
    double got = ref_out(desc, args, first + t, head, e);
    cr_assert(cpu_same(desc->out_dtype, got, want[e]),
              "request %d token %d head %d element %d is %.9g, wanted %.9g", i, t, head, e, got,
              want[e]);
  }
  if (args->lse) {
    double got = ref_lse(args, first + t, head);
    cr_assert(cpu_same(LATHE_DTYPE_F32, got, lse),
              "lse of request %d token %d head %d is %.9g, "
              "wanted %.9g",
              i, t, head, got, lse);
  }
  free(want);
}

/* Every row equal to the oracle, and not a byte written beside them. */
static inline void cpu_expect(const ref_problem *problem) {
  for (int32_t i = 0; i < problem->args.batch; i++) {
    int32_t first, q_len, kv_len;
    ref_request(&problem->desc, &problem->args, i, &first, &q_len, &kv_len);
    for (int32_t t = 0; t < q_len; t++)
      for (int32_t head = 0; head < problem->desc.num_heads; head++)
        cpu_expect_row(&problem->desc, &problem->args, i, t, head);
  }
  cr_assert(ref_gaps_untouched(problem), "bytes between output rows were written");
}

static inline void cpu_check(const ref_options *options) {
  ref_problem problem;
  ref_problem_make(&problem, options);
  cpu_run(&problem.desc, &problem.args);
  cpu_expect(&problem);
  ref_problem_free(&problem);
}

/* A small problem for a test to vary. */
static inline ref_options cpu_options(void) {
  ref_options options;
  memset(&options, 0, sizeof options);
  options.desc.num_heads = 3;
  options.desc.kv_lora_rank = 32;
  options.desc.qk_rope_head_dim = 16;
  options.desc.q_dtype = LATHE_DTYPE_BF16;
  options.desc.kv_dtype = LATHE_DTYPE_BF16;
  options.desc.page_size = 8;
  options.desc.max_batch = 6;
  options.desc.max_q_len = 1;
  options.desc.max_seq_len = 70;
  options.unused_pages = 2;
  options.seed = 7;
  return options;
}

#endif
