// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Sparse attention over lists of rows, on shapes of every row tile, with every cache, alone and
// with what models have beside it; cut by each run, at fixed places, and by a schedule made
// beforehand.
#include "families.h"
#include "lists.h"
#include "oracle.h"

static const struct {
  int batch, q_len, heads, kv_len, page;
} sizes[] = {{1, 1, 16, 3000, 64}, {3, 2, 8, 517, 16},   {2, 1, 20, 1030, 32},
             {64, 1, 9, 300, 8},   {1, 4, 32, 2100, 64}, {5, 1, 128, 700, 1},
             {2, 8, 16, 260, 24},  {1, 2, 64, 2048, 64}, {70, 2, 4, 70, 64}};
enum { SIZES = sizeof sizes / sizeof sizes[0], VARIANTS = 5 }; // the last: rows of 656 bytes

static shape topk_shape(int size, int variant) {
  shape s;
  memset(&s, 0, sizeof s);
  s.batch = sizes[size].batch;
  s.q_len = sizes[size].q_len;
  s.num_heads = sizes[size].heads;
  s.kv_len = sizes[size].kv_len;
  s.page_size = sizes[size].page;
  s.l = variant == 3 ? 256 : 512;
  s.r = variant == 2 ? 0 : 64;
  s.row656 = variant == 4;
  s.q = variant & 1 ? LATHE_DTYPE_F16 : LATHE_DTYPE_BF16;
  s.kv = variant & 2 || s.row656 ? LATHE_DTYPE_E4M3 : s.q;
  s.out = s.q;
  s.lengths = size % 3 == 2 ? LENGTHS_STEPS : size % 2 ? LENGTHS_ZEROS : LENGTHS_EQUAL;
  s.ragged = size % 4 == 1;
  s.split_q = size & 1;
  s.split_kv = variant & 1;
  s.weird = (size + variant) % 3 == 1;
  s.bounded = (size + variant) % 2;
  s.lse = 1 + variant % 2;
  s.pattern = (pattern)((size + variant) % NUM_PATTERNS);
  s.seed = (unsigned long long)(size * 16 + variant);
  return s;
}

static int same_bits(const problem *p, const unsigned char *out, const float *lse,
                     const char *what) {
  char name[256];
  return gpu_check(memcmp(out, p->out, p->out_size) == 0 &&
                       (!p->lse || memcmp(lse, p->lse, p->lse_size) == 0),
                   "%s: other bits %s", problem_name(p, name, sizeof name), what);
}

// A run over one poison and over another, then one with a schedule: the same bits; and right.
static void run_lists(lathe_context *context, problem *p, int lens, int split_len) {
  device_problem device;
  lists l;
  lathe_decode_plan *plan;
  unsigned char *out = (unsigned char *)ref_alloc(p->out_size + 1);
  float *lse = (float *)ref_alloc(p->lse_size + 4);
  char name[256];
  memset(&device, 0, sizeof device);
  lists_make(&l, p, lens);
  l.desc.split_len = split_len;
  plan = family_plan(context, families, &l.desc);
  if (plan) {
    device_upload(&device, p, lathe_decode_workspace_size(plan));
    lists_args(&l, p, &device.args);
    gpu_ok(lathe_decode_validate(plan, &device.args, NULL), "lathe_decode_validate");
    if (device_run(&device, p, plan, 0xff) == 0) {
      memcpy(out, p->out, p->out_size);
      if (p->lse)
        memcpy(lse, p->lse, p->lse_size);
      oracle_check(p);
      if (device_run(&device, p, plan, 0x3c) == 0)
        same_bits(p, out, lse, "on the second run");
      device_poison(&device, 0x5a);
      if (gpu_ok(lathe_decode_schedule(plan, &device.args, NULL),
                 problem_name(p, name, sizeof name))) {
        device.args.scheduled = 1;
        gpu_ok(lathe_decode_validate(plan, &device.args, NULL), "lathe_decode_validate");
        if (gpu_ok(lathe_decode_run(plan, &device.args, NULL), "lathe_decode_run")) {
          device_download(&device, p);
          same_bits(p, out, lse, "with a schedule");
        }
      }
    }
  }
  free(out);
  free(lse);
  lathe_decode_plan_destroy(plan);
  device_free(&device);
  lists_free(&l);
}

GPU_TEST(topk, grid) {
  lathe_context *context = family_context(families);
  int size, variant, cut;
  for (size = 0; size < SIZES; size++)
    for (variant = 0; variant < VARIANTS; variant++)
      for (cut = 0; cut < 2; cut++) {
        shape s = topk_shape(size, variant);
        problem p;
        if (gpu_small() && (variant != size % VARIANTS || cut))
          continue;
        problem_make(&p, &s);
        p.desc.num_sms = (size + variant) % 3 == 2 ? 3 : 0;
        run_lists(context, &p, (size + cut) % 2, cut ? 128 : 0);
        problem_free(&p);
      }
  lathe_context_destroy(context);
}

// Soft-cap, sinks, the scale in memory; lists of what a window has; no mask, which has no say
// anyway.
GPU_TEST(topk, beside_other_options) {
  lathe_context *context = family_context(families);
  int i;
  for (i = 0; i < 8; i++) {
    shape s = topk_shape(i, i % VARIANTS);
    problem p;
    if (gpu_small() && i % 3)
      continue;
    s.softcap = i & 1 ? 30 : 0;
    s.sinks = i & 2;
    s.scale_at = i & 4;
    s.window = i % 3 == 1 ? 100 : 0;
    s.no_mask = i % 3 == 2;
    problem_make(&p, &s);
    run_lists(context, &p, i % 2, 0);
    problem_free(&p);
  }
  lathe_context_destroy(context);
}

// A query of e4m3, an output of e4m3, and both.
GPU_TEST(topk, of_e4m3_queries_and_outputs) {
  lathe_context *context = family_context(families);
  int i;
  for (i = 0; i < 9; i++) {
    shape s = topk_shape(i, i % 4);
    problem p;
    if (gpu_small() && i % 4 != 1)
      continue;
    if (i % 3 != 1)
      s.q = s.kv = LATHE_DTYPE_E4M3;
    s.out = i % 3 ? LATHE_DTYPE_E4M3 : LATHE_DTYPE_BF16;
    problem_make(&p, &s);
    run_lists(context, &p, i % 2, i & 4 ? 128 : 0);
    problem_free(&p);
  }
  lathe_context_destroy(context);
}

// A rank's lists are of its own rows; sinks are in the out and the lse of the first rank.
GPU_TEST(topk, of_ranks_with_sinks) {
  lathe_context *context = family_context(families);
  int i;
  for (i = 0; i < SIZES; i++) {
    shape s = topk_shape(i, i % VARIANTS);
    problem p;
    if (gpu_small() && i % 4 > 1)
      continue;
    s.world = 2 + i % 3;
    s.rank = i % 3;
    s.local = s.no_mask = 1;
    s.sinks = 1;
    problem_make(&p, &s);
    run_lists(context, &p, i % 2, i % 4 == 3 ? 128 : 0);
    problem_free(&p);
  }
  lathe_context_destroy(context);
}
