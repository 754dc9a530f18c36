// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The grid: sizes, dtypes, layouts, masks and data against each other, every case run twice over a
// differently poisoned workspace (the same bits), then compared with the CPU backend.
static int warm(const char *share);
#define GPU_CHILD(name) warm(name)

#include "families.h"
#include "oracle.h"
#include "pairs.h"
#include "warm.h"

enum {
  BATCH,
  Q_LEN,
  HEADS,
  KV_LEN,
  PAGE,
  DIMS,
  Q_DTYPE,
  KV_DTYPE,
  OUT_DTYPE,
  LENGTHS,
  RAGGED,
  SPLIT_Q,
  SPLIT_KV,
  WEIRD,
  LSE,
  MASK,
  BOUNDED,
  PATTERN,
  FACTORS
};

static const int batches[] = {1, 2, 6, 64};
static const int q_lens[] = {1, 2, 4, 8};
static const int heads[] = {1, 3, 8, 9, 16, 20, 40, 63, 64, 96, 126, 128};
static const int kv_lens[] = {0, 1, 5, 63, 64, 65, 140, 517, 1000, 4096};
static const int page_sizes[] = {1, 8, 16, 32, 64, 128, 24};
static const int dims[][2] = {{512, 64}, {512, 0},  {256, 64}, {256, 32},
                              {128, 32}, {320, 64}, {128, 64}};
static const int factor_levels[FACTORS] = {4, 4, 12, 10, 7, 7, 2, 2, 2,
                                           3, 2, 2,  2,  2, 3, 2, 2, NUM_PATTERNS};

static shape shape_of(const int *level, unsigned long long seed) {
  shape s;
  memset(&s, 0, sizeof s);
  s.batch = batches[level[BATCH]];
  s.q_len = q_lens[level[Q_LEN]];
  s.num_heads = heads[level[HEADS]];
  s.kv_len = kv_lens[level[KV_LEN]];
  s.page_size = page_sizes[level[PAGE]];
  s.l = dims[level[DIMS]][0];
  s.r = dims[level[DIMS]][1];
  s.q = level[Q_DTYPE] ? LATHE_DTYPE_F16 : LATHE_DTYPE_BF16;
  s.kv = level[KV_DTYPE] ? LATHE_DTYPE_E4M3 : s.q;
  s.out = level[OUT_DTYPE] ? (level[Q_DTYPE] ? LATHE_DTYPE_BF16 : LATHE_DTYPE_F16) : s.q;
  s.lengths = (lengths)level[LENGTHS];
  s.ragged = level[RAGGED];
  s.split_q = level[SPLIT_Q];
  s.split_kv = level[SPLIT_KV];
  s.weird = level[WEIRD];
  s.lse = level[LSE];
  s.no_mask = level[MASK];
  s.bounded = level[BOUNDED];
  s.pattern = (pattern)level[PATTERN];
  s.seed = seed;
  return s;
}

static lathe_context *context;
static device_problem device;

static void run_case(const shape *s, lathe_decode_plan *plan) {
  problem p;
  char name[256];
  unsigned char *first;
  float *first_lse = NULL;
  problem_make(&p, s);
  device_upload(&device, &p, lathe_decode_workspace_size(plan));
  if (device_run(&device, &p, plan, 0xff) == 0) {
    first = (unsigned char *)malloc(p.out_size);
    memcpy(first, p.out, p.out_size);
    if (p.lse) {
      first_lse = (float *)malloc(p.lse_size);
      memcpy(first_lse, p.lse, p.lse_size);
    }
    if (device_run(&device, &p, plan, 0x3c) == 0) {
      gpu_check(memcmp(first, p.out, p.out_size) == 0 &&
                    (!p.lse || memcmp(first_lse, p.lse, p.lse_size) == 0),
                "%s: another result on the second run", problem_name(&p, name, sizeof name));
      oracle_check(&p);
    }
    free(first);
    free(first_lse);
  }
  problem_free(&p);
}

// Only the desc of a case is wanted: the same, of next to no data.
static lathe_decode_plan *plan_of(lathe_context *of, const shape *s) {
  lathe_decode_plan *plan = NULL;
  problem p;
  shape little = *s;
  char name[256];
  little.batch = 1;
  little.kv_len = s->kv_len > 0 ? 1 : 0;
  problem_make(&p, &little);
  p.desc.max_batch = s->batch + (s->weird ? 2 : 0);
  p.desc.max_seq_len = s->kv_len + (s->weird ? 70 : 1);
  if (lathe_decode_plan_create(of, &p.desc, &plan) != LATHE_STATUS_OK)
    fprintf(stderr, "# %s: %s\n", problem_name(&p, name, sizeof name), lathe_last_error()->message);
  problem_free(&p);
  return plan;
}

// ------------------------------------------------------------------------------- compiling ahead

enum { CASES = 1000 };

static int pairwise_cases(shape *shapes) {
  static pairs all;
  int level[PAIRS_FACTORS], count = 0;
  unsigned sweep;
  for (sweep = 0; sweep < 2; sweep++) { // every pair in two different surroundings
    pairs_begin(&all, FACTORS, factor_levels);
    all.random.state += sweep;
    while (count < CASES && pairs_next(&all, level)) {
      shapes[count] = shape_of(level, (unsigned long long)count);
      count++;
    }
    gpu_check(all.left == 0, "%d pairs left", all.left);
  }
  return count;
}

// Of one family: all dims, 16-bit dtypes and outputs against pages of every kind.
static int family_cases(const family *f, shape *shapes) {
  static const int pages[] = {64, 32, 16, 8, 4, 5};
  int count = 0, d, q, out, page;
  for (d = 0; d < 7; d++)
    for (q = 0; q < 2; q++)
      for (out = 0; out < 2; out++)
        for (page = 0; page < (out ? 1 : 6); page++) {
          int level[FACTORS] = {0};
          shape s;
          level[DIMS] = d;
          level[Q_DTYPE] = q;
          level[OUT_DTYPE] = out;
          level[LENGTHS] = LENGTHS_ZEROS;
          level[LSE] = 1 + q;
          level[SPLIT_Q] = level[SPLIT_KV] = (d + page) % 2;
          level[WEIRD] = page % 2;
          level[BOUNDED] = q;
          s = shape_of(level, (unsigned long long)(3000 + count));
          s.batch = 5;
          s.q_len = 1 + d % 2;
          s.num_heads = f->heads;
          s.kv_len = 333;
          s.page_size = pages[page];
          shapes[count++] = s;
        }
  return count;
}

static int same_kernel(const shape *a, const shape *b) {
  int i = a->num_heads * a->q_len, k = b->num_heads * b->q_len;
  return a->l == b->l && a->r == b->r && a->q == b->q && a->kv == b->kv && a->out == b->out &&
         (i > 16) + (i > 32) == (k > 16) + (k > 32);
}

// Shares of the pairwise cases, then shares of the families'.
enum { WARM_PAIRWISE = 0, WARM_FAMILIES = WARM_PROCESSES };

static void warm_families(shape *shapes, int mine) {
  int count, distinct = 0, i, k;
  for (i = 0; i < FAMILIES; i++) {
    lathe_context *own;
    if (!family_runs(&families[i]))
      continue;
    own = family_context(&families[i]);
    count = family_cases(&families[i], shapes);
    for (k = 0; k < count; k++)
      if (distinct++ % WARM_PROCESSES == mine)
        lathe_decode_plan_destroy(plan_of(own, &shapes[k]));
    lathe_context_destroy(own);
  }
}

static int warm(const char *share) {
  static shape shapes[CASES];
  int mine = atoi(share), count, distinct = 0, i, k;
  lathe_context *own;
  if (gpu_missing())
    return 3;
  if (mine >= WARM_FAMILIES) {
    warm_families(shapes, mine - WARM_FAMILIES);
    return 0;
  }
  count = pairwise_cases(shapes);
  own = gpu_context_create(NULL, LATHE_SWITCH_ON);
  for (i = 0; i < count; i++) {
    for (k = 0; k < i && !same_kernel(&shapes[k], &shapes[i]); k++)
      ;
    if (k == i && distinct++ % WARM_PROCESSES == mine)
      lathe_decode_plan_destroy(plan_of(own, &shapes[i]));
  }
  lathe_context_destroy(own);
  return 0;
}

// ------------------------------------------------------------------------------------- the cases

static void run_cases(const family *f, const shape *shapes, int count) {
  double start = gpu_now();
  int i;
  context = family_context(f);
  for (i = 0; i < count; i++) {
    lathe_decode_plan *plan = plan_of(context, &shapes[i]);
    if (gpu_check(plan != NULL, "case %d: no plan", i))
      run_case(&shapes[i], plan);
    lathe_decode_plan_destroy(plan);
  }
  fprintf(stderr, "# %d cases in %.1f s\n", count, gpu_now() - start);
  device_free(&device);
  lathe_context_destroy(context);
}

// Small enough for tools that watch every memory access: all row tiles and dtypes, few rows.
static int small_cases(shape *shapes) {
  static const struct {
    int batch, q_len, heads, kv_len, page;
  } sizes[] = {{2, 1, 9, 65, 16},   {1, 2, 16, 300, 64}, {3, 1, 40, 140, 8},
               {1, 4, 32, 513, 64}, {2, 1, 16, 130, 64}, {1, 1, 64, 300, 128}};
  int count = 0, i, k;
  for (i = 0; i < 6; i++)
    for (k = 0; k < 4; k++) {
      int level[FACTORS] = {0};
      shape s;
      level[Q_DTYPE] = k & 1;
      level[KV_DTYPE] = k >> 1;
      level[DIMS] = (i + k) % 6;
      level[LENGTHS] = i % 3;
      level[RAGGED] = i == 3;
      level[SPLIT_Q] = level[SPLIT_KV] = i & 1;
      level[WEIRD] = i > 1;
      level[LSE] = 1 + (k & 1);
      level[BOUNDED] = k & 1;
      level[PATTERN] = i % 4;
      s = shape_of(level, (unsigned long long)(i * 4 + k));
      s.batch = sizes[i].batch;
      s.q_len = sizes[i].q_len;
      s.num_heads = sizes[i].heads;
      s.kv_len = sizes[i].kv_len;
      s.page_size = sizes[i].page;
      shapes[count++] = s;
    }
  return count;
}

GPU_TEST(grid, pairwise) {
  static shape shapes[CASES];
  if (gpu_small()) {
    run_cases(NULL, shapes, small_cases(shapes));
    return;
  }
  warm_cache(WARM_PAIRWISE);
  run_cases(NULL, shapes, pairwise_cases(shapes));
}

GPU_TEST(grid, families) {
  static shape shapes[CASES];
  int i;
  if (gpu_small()) {
    gpu_skip("compiles a kernel a case");
    return;
  }
  warm_cache(WARM_FAMILIES);
  for (i = 0; i < FAMILIES; i++)
    if (family_runs(&families[i]))
      run_cases(&families[i], shapes, family_cases(&families[i], shapes));
}

// What a release runs once: every combination of the five sizes, the rest drawn.
GPU_TEST(grid, full) {
  enum { CHUNK = 512 };
  static shape shapes[CHUNK];
  ref_random random = {7};
  int level[FACTORS], count = 0, i;
  long long at, total = 1;
  if (!gpu_full()) {
    gpu_skip("takes minutes: set LATHE_TEST_FULL=1");
    return;
  }
  warm_cache(WARM_PAIRWISE);
  for (i = 0; i <= PAGE; i++)
    total *= factor_levels[i];
  for (at = 0; at < total; at++) {
    long long rest = at;
    for (i = 0; i < FACTORS; i++) {
      level[i] =
          i <= PAGE ? (int)(rest % factor_levels[i]) : (int)ref_below(&random, factor_levels[i]);
      rest /= factor_levels[i];
    }
    shapes[count++] = shape_of(level, (unsigned long long)at);
    if (count == CHUNK || at + 1 == total) {
      run_cases(NULL, shapes, count);
      count = 0;
    }
  }
}
