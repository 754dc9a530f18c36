// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Options of a plan, alone and together as models have them, on shapes of every row tile, cut in
// every way: by each run, at fixed places, and by a schedule made beforehand, which gives a run's
// bits. Whatever an option hides is poison: table entries, rows of the cache.
static int warm(const char *share);
#define GPU_CHILD(name) warm(name)

#include "families.h"
#include "oracle.h"
#include "warm.h"

// Which options a case has: bits.
enum {
  WINDOW = 1,
  SOFTCAP = 2,
  SINKS = 4,
  SCALE = 8,
  QUERY = 16,
  OUTPUT = 32,
  TREE = 64,
  RANKS = 128,
  LOCAL = 256,
  ROW656 = 512
};

// Sizes of every row tile; requests whole, several to a group, and cut into parts.
static const struct {
  int batch, q_len, heads, kv_len, page;
} sizes[] = {{1, 1, 16, 3000, 64}, {3, 2, 8, 517, 16},   {2, 1, 20, 1030, 32},
             {64, 1, 9, 300, 8},   {1, 4, 32, 2100, 64}, {5, 1, 128, 700, 1},
             {2, 8, 16, 260, 24},  {1, 2, 64, 4096, 128}};
enum { SIZES = sizeof sizes / sizeof sizes[0] };
static const int dims[][2] = {{512, 64}, {256, 32}, {512, 0}};
static const int windows[] = {128, 1, 33, 1000, 64, 17, 200, 4095};
static const int interleaves[] = {16, 1, 64, 3};
static const double caps[] = {50, 30, 5, 1000};

static shape options_shape(int size, int variant, unsigned options) {
  shape s;
  memset(&s, 0, sizeof s);
  s.batch = sizes[size].batch;
  s.q_len = sizes[size].q_len;
  s.num_heads = sizes[size].heads;
  s.kv_len = sizes[size].kv_len;
  s.page_size = sizes[size].page;
  s.l = dims[(options + (unsigned)variant) % 3]
            [0]; // not by size: a test has fewer kernels to compile
  s.r = dims[(options + (unsigned)variant) % 3][1];
  s.q = variant & 1 ? LATHE_DTYPE_F16 : LATHE_DTYPE_BF16;
  s.kv = variant & 2 ? LATHE_DTYPE_E4M3 : s.q;
  s.out = (size + variant) % 4 == 3 ? LATHE_DTYPE_F16 : LATHE_DTYPE_BF16;
  s.lengths = size % 2 ? LENGTHS_ZEROS : LENGTHS_EQUAL;
  s.ragged = size % 4 == 1;
  s.split_q = size & 1;
  s.split_kv = variant & 1;
  s.weird = (size + variant) % 3 == 1;
  s.lse = 1 + variant % 2;
  s.pattern = (pattern)((size + variant) % NUM_PATTERNS);
  s.seed = (unsigned long long)(size * 16 + variant) + 1000 * options;
  if (options & WINDOW)
    s.window = windows[(size + variant) % 8];
  if (options & QUERY)
    s.q = s.kv = LATHE_DTYPE_E4M3;
  if (options & ROW656) {
    s.row656 = 1;
    s.q = LATHE_DTYPE_BF16;
    s.kv = LATHE_DTYPE_E4M3;
    s.l = 512;
    s.r = 64;
  }
  if (options & OUTPUT)
    s.out = LATHE_DTYPE_E4M3;
  s.sinks = (options & SINKS) != 0;
  s.scale_at = (options & SCALE) != 0;
  s.tree = (options & TREE) != 0;
  if (options & RANKS) {
    s.world = 2 + size % 3;
    s.rank = (size / 2 + variant) % s.world;
    s.interleave = interleaves[(size + 3 * variant) % 4];
  }
  if (options & LOCAL)
    s.local = s.no_mask = 1;
  // Where all logits sink to the cap it is one that no number of rows brings the lse back from to
  // 0.
  if (options & SOFTCAP)
    s.softcap = s.pattern == PATTERN_SUNK ? 30 : caps[(size + 2 * variant) % 4];
  return s;
}

static int same_bits(const problem *p, const unsigned char *out, const float *lse,
                     const char *what) {
  char name[256];
  return gpu_check(memcmp(out, p->out, p->out_size) == 0 &&
                       (!p->lse || memcmp(lse, p->lse, p->lse_size) == 0),
                   "%s: other bits %s", problem_name(p, name, sizeof name), what);
}

// The families that a case runs on: the portable one, and where it computes this one of Hopper's,
// by turns.
enum { TURNS = 2 };
static const family *case_family(int size, int variant, const shape *s, int turn) {
  const family *f = turn == 0 ? families : families + 1 + (size / 2 + variant) % 2;
  if (turn && (s->kv != s->q || s->q == LATHE_DTYPE_E4M3 || s->out == LATHE_DTYPE_E4M3))
    return NULL;
  if (turn && (s->tree || (s->world > 1 && (!s->local || (s->sinks && s->rank == 0)))))
    return NULL;
  return family_runs(f) ? f : NULL;
}

// A run over one poison and over another, then one with a schedule: the same bits; and right.
static void run_case(lathe_context *context, const family *f, problem *p) {
  device_problem device;
  lathe_decode_plan *plan = family_plan(context, f, &p->desc);
  unsigned char *out = (unsigned char *)ref_alloc(p->out_size + 1);
  float *lse = (float *)ref_alloc(p->lse_size + 4);
  char name[256];
  memset(&device, 0, sizeof device);
  if (plan && family_run(&device, p, plan) == 0) {
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
      if (gpu_ok(lathe_decode_validate(plan, &device.args, NULL), "lathe_decode_validate") &&
          gpu_ok(lathe_decode_run(plan, &device.args, NULL), "lathe_decode_run")) {
        device_download(&device, p);
        same_bits(p, out, lse, "with a schedule");
      }
    }
  }
  free(out);
  free(lse);
  lathe_decode_plan_destroy(plan);
  device_free(&device);
}

enum { VARIANTS = 4 };

// Process WARM_PROCESSES * options + n makes every WARM_PROCESSES-th plan of run_options(options),
// from the n-th on.
static int warm(const char *share) {
  const unsigned options = (unsigned)atoi(share) / WARM_PROCESSES;
  int i, turn;
  if (gpu_missing())
    return 3;
  for (i = atoi(share) % WARM_PROCESSES; i < SIZES * VARIANTS; i += WARM_PROCESSES) {
    shape s = options_shape(i / VARIANTS, i % VARIANTS, options);
    problem p;
    problem_make(&p, &s);
    for (turn = 0; turn < TURNS; turn++) {
      const family *f = case_family(i / VARIANTS, i % VARIANTS, &s, turn);
      lathe_context *context = f ? family_context(f) : NULL;
      lathe_decode_plan *plan = NULL;
      if (context)
        lathe_decode_plan_create(context, &p.desc, &plan);
      lathe_decode_plan_destroy(plan);
      lathe_context_destroy(context);
    }
    problem_free(&p);
  }
  return 0;
}

// One case, cut in both ways, on its families.
static void run_size(lathe_context *const *contexts, int size, int variant, unsigned options) {
  int cut, turn;
  for (cut = 0; cut < (gpu_on_cpu ? 1 : 2); cut++) // the CPU cuts nothing
    for (turn = 0; turn < TURNS; turn++) {
      shape s = options_shape(size, variant, options);
      const family *f = case_family(size, variant, &s, turn);
      problem p;
      if (!f)
        continue;
      problem_make(&p, &s);
      p.desc.split_len = cut ? 128 : 0;
      p.desc.num_sms = (size + variant) % 3 == 2 ? 3 : 0;
      run_case(contexts[f - families], f, &p);
      problem_free(&p);
    }
}

static void run_options(unsigned options) {
  lathe_context *contexts[FAMILIES];
  const int few = gpu_small() || gpu_on_cpu; // the CPU's options have tests of their own
  int size, variant, i;
  for (i = 0; i < FAMILIES; i++)
    contexts[i] = family_runs(&families[i]) ? family_context(&families[i]) : NULL;
  if (!few)
    warm_cache((int)options * WARM_PROCESSES);
  for (size = 0; size < SIZES; size++)
    for (variant = 0; variant < VARIANTS; variant++)
      if (!few || variant == size % 4)
        run_size(contexts, size, variant, options);
  for (i = 0; i < FAMILIES; i++)
    lathe_context_destroy(contexts[i]);
}

GPU_TEST(options, sliding_window) {
  run_options(WINDOW);
}

GPU_TEST(options, softcap) {
  run_options(SOFTCAP);
}
GPU_TEST(options, sliding_window_and_softcap) { // Gemma 2's
  run_options(WINDOW | SOFTCAP);
}

GPU_TEST(options, sinks) {
  run_options(SINKS);
}
GPU_TEST(options, sliding_window_and_sinks) { // gpt-oss's, DeepSeek-V4's and openPangu's
  run_options(WINDOW | SINKS);
}
GPU_TEST(options, softcap_and_sinks) {
  run_options(SOFTCAP | SINKS);
}

GPU_TEST(options, softmax_scale_on_the_device) {
  run_options(SCALE);
}
GPU_TEST(options, softcap_and_softmax_scale_on_the_device) {
  run_options(SOFTCAP | SCALE);
}
GPU_TEST(options, e4m3_query) {
  run_options(QUERY);
}
GPU_TEST(options, e4m3_output) {
  run_options(OUTPUT);
}
GPU_TEST(options, e4m3_query_and_output) { // all in 8 bits
  run_options(QUERY | OUTPUT);
}
GPU_TEST(options, e4m3_query_and_output_and_softmax_scale_on_the_device) { // scales made on it
  run_options(QUERY | OUTPUT | SCALE);
}
GPU_TEST(options, e4m3_output_and_sinks) {
  run_options(OUTPUT | SINKS);
}
GPU_TEST(options, rows_of_656_bytes) { // DeepSeek-V3.2's cache
  run_options(ROW656);
}
GPU_TEST(options, rows_of_656_bytes_and_all) {
  run_options(ROW656 | WINDOW | SOFTCAP | SINKS | SCALE);
}
GPU_TEST(options, rows_of_656_bytes_and_e4m3_output) {
  run_options(ROW656 | OUTPUT);
}
GPU_TEST(options, all_at_once) {
  run_options(WINDOW | SOFTCAP | SINKS | SCALE);
}

GPU_TEST(options, tree_mask) {
  run_options(TREE);
}
GPU_TEST(options, tree_mask_and_softcap_and_sinks_and_softmax_scale_on_the_device) {
  run_options(TREE | SOFTCAP | SINKS | SCALE);
}
GPU_TEST(options, tree_mask_and_e4m3_query_and_output) {
  run_options(TREE | QUERY | OUTPUT);
}
GPU_TEST(options, ranks) {
  run_options(RANKS);
}
GPU_TEST(options, ranks_and_sinks) {
  run_options(RANKS | SINKS);
}
GPU_TEST(options, ranks_of_their_own_lengths_and_sinks) {
  run_options(RANKS | LOCAL | SINKS);
}
GPU_TEST(options, ranks_and_sliding_window) {
  run_options(RANKS | WINDOW);
}
GPU_TEST(options, ranks_and_tree_mask) {
  run_options(RANKS | TREE);
}
GPU_TEST(options, ranks_and_e4m3_query_and_softcap_and_softmax_scale_on_the_device) {
  run_options(RANKS | QUERY | SOFTCAP | SCALE);
}

// Every position of a window's ends against blocks: windows and lengths from 1 on, in one batch.
GPU_TEST(options, sliding_window_at_every_length) {
  static const int some[] = {1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 129};
  size_t i;
  int q_len, turn;
  for (turn = 0; turn < FAMILIES; turn++) {
    const family *f = &families[turn];
    lathe_context *context = family_runs(f) ? family_context(f) : NULL;
    for (i = 0; context && i < sizeof some / sizeof some[0]; i++)
      for (q_len = 1; q_len <= 4; q_len += 3) {
        shape s = options_shape(0, 0, WINDOW);
        problem p;
        if (gpu_small() && i % 5 != 0)
          continue;
        s.batch = 140;
        s.kv_len = 139;
        s.q_len = q_len;
        s.num_heads = i % 2 ? 16 : 40;
        s.page_size = i % 3 ? 8 : 64;
        s.lengths = LENGTHS_STEPS;
        s.window = some[i];
        problem_make(&p, &s);
        run_case(context, f, &p);
        problem_free(&p);
      }
    lathe_context_destroy(context);
  }
}

// Every place of the new tokens against blocks, in one batch: one word of the mask, and three.
GPU_TEST(options, tree_mask_at_every_length) {
  static const int q_lens[] = {4, 1, 33, 64, 65};
  lathe_context *context = family_context(families);
  size_t i;
  for (i = 0; i < (gpu_small() ? 1 : sizeof q_lens / sizeof q_lens[0]); i++) {
    shape s = options_shape(0, 0, TREE);
    problem p;
    s.batch = 140;
    s.kv_len = 139;
    s.q_len = q_lens[i];
    s.num_heads = gpu_small() ? 2 : i % 2 ? 16 : 5;
    s.page_size = i % 2 ? 8 : 64;
    s.ragged = i > 2;
    s.lengths = LENGTHS_STEPS;
    problem_make(&p, &s);
    run_case(context, families, &p);
    problem_free(&p);
  }
  lathe_context_destroy(context);
}

// Every end of a request against the ranks' turns, and these against blocks.
GPU_TEST(options, ranks_at_every_length) {
  lathe_context *context = family_context(families);
  size_t i;
  int world, q_len;
  for (world = 2; world <= 4; world++)
    for (i = 0; i < sizeof interleaves / sizeof interleaves[0]; i++)
      for (q_len = 1; q_len <= 4; q_len += 3) {
        shape s = options_shape(0, 0, RANKS);
        problem p;
        if (gpu_small() && (world + (int)i + q_len) % 5 != 1)
          continue;
        s.batch = 200;
        s.kv_len = 199;
        s.q_len = q_len;
        s.num_heads = gpu_small() ? 4 : i % 2 ? 16 : 40;
        s.page_size = i % 2 ? 8 : 64;
        s.lengths = LENGTHS_STEPS;
        s.world = world;
        s.rank = (int)(i + (size_t)q_len) % world;
        s.interleave = interleaves[i];
        problem_make(&p, &s);
        run_case(context, families, &p);
        problem_free(&p);
      }
  lathe_context_destroy(context);
}
