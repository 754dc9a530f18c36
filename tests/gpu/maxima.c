// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Maxima that go against an online softmax whose reference follows them late: scores that rise,
// fall, jump at the end or the start, swing, or are all far below zero, hundreds apart, in requests
// of many lengths, some shorter than their new tokens, so that rows have no visible key. Every
// family, in parts of many blocks and in as many parts as there are multiprocessors.
#include "families.h"
#include "oracle.h"

static const int q_lens[] = {1, 4};

static void maxima(const family *f, lathe_context *context, const shape *s, int num_sms,
                   float steep) {
  device_problem device;
  lathe_decode_plan *plan;
  problem p;
  memset(&device, 0, sizeof device);
  problem_make(&p, s);
  p.desc.num_sms = num_sms;
  p.args.softmax_scale *= steep;
  plan = family_plan(context, f, &p.desc);
  if (plan && family_run(&device, &p, plan) == 0)
    oracle_check(&p);
  lathe_decode_plan_destroy(plan);
  device_free(&device);
  problem_free(&p);
}

static void of_dims(int l, int r, lathe_dtype dtype, int page) {
  int f, kind, q, sms, steep;
  for (f = 0; f < FAMILIES; f++) {
    lathe_context *context;
    if (!family_runs(&families[f]))
      continue;
    context = family_context(&families[f]);
    for (kind = PATTERN_RISING; kind < NUM_PATTERNS; kind++)
      for (q = 0; q < 2; q++)
        for (sms = 0; sms < 2; sms++)
          for (steep = 1; steep <= 10; steep *= 10) {
            shape s;
            if (gpu_small() && (q != sms || steep == 1))
              continue;
            memset(&s, 0, sizeof s);
            s.batch = 7;
            s.q_len = q_lens[q];
            s.num_heads = families[f].heads;
            s.kv_len = gpu_small() ? 200 : 700;
            s.page_size = page;
            s.l = l;
            s.r = r;
            s.q = s.kv = s.out = dtype;
            s.lengths = LENGTHS_ZEROS;
            s.lse = 1 + q;
            s.pattern = (pattern)kind;
            s.seed = (unsigned long long)(kind * 8 + q * 4 + sms * 2 + (steep > 1));
            maxima(&families[f], context, &s, sms, (float)steep);
          }
    lathe_context_destroy(context);
  }
}

GPU_TEST(maxima, bf16) {
  of_dims(512, 64, LATHE_DTYPE_BF16, 64);
}
GPU_TEST(maxima, f16) {
  of_dims(512, 64, LATHE_DTYPE_F16, 64);
}
GPU_TEST(maxima, small_pages) {
  of_dims(512, 64, LATHE_DTYPE_BF16, 8);
}
GPU_TEST(maxima, no_rope) {
  of_dims(512, 0, LATHE_DTYPE_BF16, 64);
}
GPU_TEST(maxima, narrow) {
  of_dims(128, 64, LATHE_DTYPE_F16, 64);
}

// More new tokens than rows: the first tokens of most requests see nothing at all, others one row,
// whatever the scores of the rows that they do not see.
GPU_TEST(maxima, rows_without_a_key) {
  int f, kind;
  for (f = 0; f < FAMILIES; f++) {
    lathe_context *context;
    if (!family_runs(&families[f]))
      continue;
    context = family_context(&families[f]);
    for (kind = 0; kind < NUM_PATTERNS; kind++) {
      shape s;
      memset(&s, 0, sizeof s);
      s.batch = 18;
      s.q_len = 8;
      s.num_heads = families[f].heads;
      s.kv_len = 8;
      s.page_size = 8;
      s.l = 512;
      s.r = 64;
      s.q = s.kv = s.out = LATHE_DTYPE_BF16;
      s.lengths = LENGTHS_STEPS;
      s.lse = 1;
      s.pattern = (pattern)kind;
      s.seed = (unsigned long long)(100 + kind);
      maxima(&families[f], context, &s, 0, 10.0f);
      maxima(&families[f], context, &s, 1, 10.0f);
    }
    lathe_context_destroy(context);
  }
}
