// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Every length from 0 to 130, which is every tail of a block of 64 twice: all in one batch, on all
// multiprocessors and on one, and each request alone. Every family, one to four new tokens, causal,
// pages of a block, of a box and of less.
#include "families.h"
#include "oracle.h"

enum { MOST = 130 };
static const int q_lens[] = {1, 2, 4};
static const int page_sizes[] = {64, 16, 8, 4, 3};
enum { PAGE_SIZES = sizeof page_sizes / sizeof page_sizes[0] };

static shape lengths_shape(const family *f, int q_len, int page, unsigned long long seed) {
  shape s;
  memset(&s, 0, sizeof s);
  s.batch = MOST + 1;
  s.q_len = q_len;
  s.num_heads = f->heads;
  s.kv_len = s.max_seq_len = MOST;
  s.page_size = page;
  s.l = 512;
  s.r = 64;
  s.q = s.kv = s.out = LATHE_DTYPE_BF16;
  s.lengths = LENGTHS_STEPS;
  s.lse = 1;
  s.bounded = 1;
  s.seed = seed;
  return s;
}

// `expect` judges what the run has left in the problem.
static void run_one(lathe_context *context, const family *f, const shape *s, int num_sms,
                    int (*expect)(const problem *)) {
  device_problem device;
  lathe_decode_plan *plan;
  problem p;
  memset(&device, 0, sizeof device);
  problem_make(&p, s);
  p.desc.num_sms = num_sms;
  plan = family_plan(context, f, &p.desc);
  if (plan && family_run(&device, &p, plan) == 0)
    expect(&p);
  lathe_decode_plan_destroy(plan);
  device_free(&device);
  problem_free(&p);
}

static void together(int num_sms) {
  int f, q, page;
  for (f = 0; f < FAMILIES; f++) {
    lathe_context *context;
    if (!family_runs(&families[f]))
      continue;
    context = family_context(&families[f]);
    for (q = 0; q < 3; q++)
      for (page = 0; page < PAGE_SIZES; page++)
        if (!(gpu_small() && q != page % 3)) {
          shape s = lengths_shape(&families[f], q_lens[q], page_sizes[page],
                                  (unsigned long long)(q * 5 + page));
          run_one(context, &families[f], &s, num_sms, oracle_each_token);
        }
    lathe_context_destroy(context);
  }
}

GPU_TEST(lengths, one_batch) {
  together(0);
}
GPU_TEST(lengths, one_batch_on_one_multiprocessor) {
  together(1);
}

GPU_TEST(lengths, each_alone) {
  int f, q, page, length;
  for (f = 0; f < FAMILIES; f++) {
    lathe_context *context;
    if (!family_runs(&families[f]))
      continue;
    context = family_context(&families[f]);
    for (q = 0; q < 3; q++)
      for (page = 0; page < PAGE_SIZES; page++) {
        if (gpu_small() && q != page % 3)
          continue;
        for (length = 0; length <= MOST; length += gpu_small() ? 21 : 1) {
          shape s = lengths_shape(&families[f], q_lens[q], page_sizes[page],
                                  (unsigned long long)(length * 15 + q * 5 + page));
          s.batch = 1;
          s.num_heads = 9;
          s.kv_len = length;
          s.lengths = LENGTHS_EQUAL;
          run_one(context, &families[f], &s, 0, oracle_check);
        }
      }
    lathe_context_destroy(context);
  }
}
