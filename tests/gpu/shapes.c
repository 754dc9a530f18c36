// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A thousand random shapes: everything that a caller may choose, drawn anew for each, but for dims
// and dtypes, which come from a list, so that few kernels are compiled. LATHE_TEST_SEED=N draws
// others; the seed is printed, and a case is the same whatever came before it.
static int warm(const char *share);
#define GPU_CHILD(name) warm(name)

#include "families.h"
#include "oracle.h"
#include "warm.h"

enum { SHAPES = 1000, MOST_PAGES = 5 };

// Dims, dtypes and pages that are drawn together. named: families asked for by name, too.
typedef struct model {
  int l, r;
  lathe_dtype q, kv, out;
  int pages[MOST_PAGES];
  int named;
} model;

// About thirty kernels: with each page size comes one of a Hopper family's.
#define BF16 LATHE_DTYPE_BF16
#define F16  LATHE_DTYPE_F16
#define E4M3 LATHE_DTYPE_E4M3
static const model models[] = {
    {512, 64, BF16, BF16, BF16, {64, 128, 16, 8, 3}, 1},
    {512, 64, F16, F16, F16, {64, 192, 64, 128, 64}, 0},
    {512, 0, BF16, BF16, BF16, {64, 64, 128, 1, 1}, 0},
    {256, 64, BF16, BF16, F16, {32, 64, 96, 128, 32}, 0},
    {256, 32, BF16, BF16, BF16, {16, 48, 16, 80, 16}, 0},
    {128, 64, F16, F16, BF16, {64, 8, 24, 64, 8}, 0},
    {320, 64, BF16, BF16, BF16, {64, 128, 64, 64, 64}, 0},
    {512, 64, BF16, E4M3, BF16, {64, 16, 1, 48, 7}, 0},
};
enum { MODELS = sizeof models / sizeof models[0] };
static const int head_counts[] = {1, 3, 8, 16, 16, 20, 40, 64, 128};

typedef struct drawn {
  shape shape;
  int num_sms;
  const family *family; // null: dispatch
} drawn;

static unsigned long long shapes_seed(void) {
  const char *given = getenv("LATHE_TEST_SEED");
  return given && given[0] ? strtoull(given, NULL, 10) : 2026;
}

static int chance(ref_random *random, int of_ten) {
  return ref_below(random, 10) < of_ten;
}

static drawn draw(unsigned long long seed, int index) {
  ref_random random = {seed * 1000003 + (unsigned long long)index};
  const model *m = &models[ref_below(&random, MODELS)];
  drawn d;
  shape *s = &d.shape;
  memset(&d, 0, sizeof d);
  s->l = m->l;
  s->r = m->r;
  s->q = m->q;
  s->kv = m->kv;
  s->out = m->out;
  s->page_size = m->pages[ref_below(&random, MOST_PAGES)];
  s->num_heads =
      chance(&random, 7) ? head_counts[ref_below(&random, 9)] : ref_between(&random, 1, 70);
  s->q_len = chance(&random, 5) ? 1 : ref_between(&random, 1, 8);
  s->batch = chance(&random, 3) ? 1 : ref_between(&random, 1, 9);
  // Often shorter than the new tokens; sometimes many blocks, in few rows, as the oracle takes
  // time.
  s->kv_len = chance(&random, 2)   ? ref_between(&random, 0, 9)
              : chance(&random, 8) ? ref_between(&random, 0, 150)
                                   : ref_between(&random, 150, 900);
  if (s->num_heads * s->q_len > 64 && s->kv_len > 150)
    s->kv_len = 150;
  s->max_seq_len = chance(&random, 3) ? s->kv_len + ref_between(&random, 1, 20000) : 0;
  s->lengths = (lengths)ref_below(&random, 3);
  s->ragged = chance(&random, 4);
  s->split_q = chance(&random, 4);
  s->split_kv = chance(&random, 4);
  s->weird = chance(&random, 5) ? ref_between(&random, 1, 3) : 0;
  s->lse = ref_between(&random, 0, 2);
  s->no_mask = chance(&random, 3);
  s->bounded = chance(&random, 5);
  s->pattern = chance(&random, 6) ? PATTERN_NORMAL : (pattern)ref_below(&random, NUM_PATTERNS);
  s->seed = seed * 4099 + (unsigned long long)index;
  d.num_sms = chance(&random, 5) ? 0 : ref_between(&random, 1, 12);
  if (m->named && chance(&random, 5)) {
    const family *f = &families[ref_below(&random, FAMILIES)];
    if (family_runs(f))
      d.family = f;
  }
  return d;
}

// A context of each family and, at the end, one that leaves it to dispatch.
static lathe_context *contexts[FAMILIES + 1];

static lathe_context *context_of(const drawn *d) {
  int at = d->family ? (int)(d->family - families) : (int)FAMILIES;
  if (!contexts[at])
    contexts[at] = family_context(d->family);
  return contexts[at];
}

static void end_contexts(void) {
  int i;
  for (i = 0; i <= FAMILIES; i++) {
    lathe_context_destroy(contexts[i]);
    contexts[i] = NULL;
  }
}

static int same_kernel(const drawn *a, const drawn *b) {
  const shape *s = &a->shape, *t = &b->shape;
  int i = s->num_heads * s->q_len, k = t->num_heads * t->q_len;
  return a->family == b->family && s->l == t->l && s->r == t->r && s->q == t->q && s->kv == t->kv &&
         s->out == t->out && s->page_size == t->page_size &&
         (i > 16) + (i > 32) + (i > 128) == (k > 16) + (k > 32) + (k > 128);
}

// Process `share` of WARM_PROCESSES makes the plans of its part of the shapes.
static int warm(const char *share) {
  static drawn all[SHAPES];
  int mine = atoi(share), distinct = 0, i, k;
  if (gpu_missing())
    return 3;
  for (i = 0; i < SHAPES; i++) {
    all[i] = draw(shapes_seed(), i);
    for (k = 0; k < i && !same_kernel(&all[k], &all[i]); k++)
      ;
    if (k == i && distinct++ % WARM_PROCESSES == mine) {
      lathe_decode_plan *plan = NULL;
      problem p;
      problem_make(&p, &all[i].shape);
      lathe_decode_plan_create(context_of(&all[i]), &p.desc, &plan);
      lathe_decode_plan_destroy(plan);
      problem_free(&p);
    }
  }
  end_contexts();
  return 0;
}

static void run_drawn(const drawn *d, device_problem *device, int index) {
  problem p;
  lathe_decode_plan *plan;
  unsigned char *first;
  char name[256];
  int failures = gpu_failures;
  problem_make(&p, &d->shape);
  p.desc.num_sms = d->num_sms;
  plan = family_plan(context_of(d), d->family, &p.desc);
  if (plan && family_run(device, &p, plan) == 0) {
    first = (unsigned char *)ref_alloc(p.out_size + p.lse_size);
    memcpy(first, p.out, p.out_size);
    if (p.lse)
      memcpy(first + p.out_size, p.lse, p.lse_size);
    if (device_run(device, &p, plan, 0x3c) == 0) {
      gpu_check(memcmp(first, p.out, p.out_size) == 0 &&
                    (!p.lse || memcmp(first + p.out_size, p.lse, p.lse_size) == 0),
                "%s: another result on the second run", problem_name(&p, name, sizeof name));
      oracle_check(&p);
    }
    free(first);
  }
  if (gpu_failures > failures)
    fprintf(stderr, "# that was shape %d of seed %llu, num_sms %d, %s\n", index, shapes_seed(),
            d->num_sms, d->family ? d->family->word : "as dispatched");
  lathe_decode_plan_destroy(plan);
  problem_free(&p);
}

GPU_TEST(shapes, random) {
  device_problem device;
  double start;
  int i, count = gpu_small() ? 50 : SHAPES;
  memset(&device, 0, sizeof device);
  fprintf(stderr, "# LATHE_TEST_SEED=%llu\n", shapes_seed());
  if (!gpu_small())
    warm_cache(0);
  start = gpu_now();
  for (i = 0; i < count; i++) {
    drawn d = draw(shapes_seed(), i);
    run_drawn(&d, &device, i);
  }
  fprintf(stderr, "# %d shapes in %.1f s\n", count, gpu_now() - start);
  device_free(&device);
  end_contexts();
}
