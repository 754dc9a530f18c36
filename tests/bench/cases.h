// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Which rows a run of the benchmark has, what each is called and what it has to move and compute.
// Host code: `bench --list` prints it on any machine.
#ifndef LATHE_TESTS_BENCH_CASES_H
#define LATHE_TESTS_BENCH_CASES_H

#include "../ref/number.h"
#include "options.h"

typedef struct bench_case {
  bench_row row;
  int page, l, r;
  int window;    // rows of a sliding window; 0: none
  int topk;      // rows of a token's list, of 656 bytes each; 0: all of a plain cache
  int relative;  // index of the case whose time this one's is compared with; -1: none
  char name[96]; // b128_s1_h128_k4096, then what is not the default: _w4096 _causal _p16 _l256r32
  char skipped[192]; // why it is not run; "": it is
} bench_case;

typedef struct bench_cases {
  bench_case *at;
  int count, capacity;
} bench_cases;

// ------------------------------------------------------------------------------------ one case

static inline void bench_case_lens(const bench_row *r, int32_t *lens) {
  ref_random random = {2026};
  int i;
  for (i = 0; i < r->batch; i++)
    lens[i] = ref_between(&random, r->kv_min, r->kv_max);
}

// The pages of a request before those that its tokens see: they need not be there.
static inline int64_t bench_case_hidden_pages(const bench_case *c, int32_t length) {
  int64_t hidden = c->window ? length - c->window - c->row.q_len + 1 : 0;
  return hidden > 0 ? hidden / c->page : 0;
}

// Sums over the requests: cache rows and pages that are seen.
static inline void bench_case_total(const bench_case *c, int64_t *kv_rows, int64_t *pages) {
  int32_t *lens = (int32_t *)ref_alloc(sizeof *lens * (size_t)c->row.batch);
  int i;
  bench_case_lens(&c->row, lens);
  *kv_rows = *pages = 0;
  for (i = 0; i < c->row.batch; i++) {
    const int32_t seen = c->window + c->row.q_len - 1;
    *kv_rows += c->window && seen < lens[i] ? seen : lens[i];
    *pages += (lens[i] + c->page - 1) / c->page - bench_case_hidden_pages(c, lens[i]);
  }
  free(lens);
}

static inline int64_t bench_case_rows(const bench_case *c) { // of query and output
  return (int64_t)c->row.batch * c->row.q_len * c->row.heads;
}

static inline size_t bench_page_bytes(const bench_case *c, lathe_dtype kv) {
  return (size_t)c->page * (c->topk ? 656 : (size_t)(c->l + c->r) * ref_dtype_size(kv));
}

static inline size_t bench_cache_bytes(const bench_case *c, lathe_dtype kv) { // of one copy
  int64_t kv_rows, pages;
  bench_case_total(c, &kv_rows, &pages);
  return (size_t)pages * bench_page_bytes(c, kv);
}

// What a call has to move: cache, query and output once each, never partial results.
static inline double bench_case_bytes(const bench_case *c, lathe_dtype kv) {
  int64_t kv_rows, pages;
  bench_case_total(c, &kv_rows, &pages);
  if (c->topk)
    return 656.0 * c->row.batch * c->row.q_len * c->topk +
           (double)bench_case_rows(c) * (2 * c->l + c->r) * 2;
  return (double)kv_rows * (c->l + c->r) * (double)ref_dtype_size(kv) +
         (double)bench_case_rows(c) * (2 * c->l + c->r) * 2;
}

// Of the whole score matrix: a causal mask over a few new tokens takes next to nothing off it.
static inline double bench_case_flops(const bench_case *c) {
  int64_t kv_rows, pages;
  bench_case_total(c, &kv_rows, &pages);
  if (c->topk)
    kv_rows = (int64_t)c->row.batch * c->topk;
  return 2.0 * (double)kv_rows * c->row.q_len * c->row.heads * (2 * c->l + c->r);
}

static inline void bench_case_name(bench_case *c) {
  const bench_row *r = &c->row;
  char lens[32], window[16] = "", page[16] = "", dims[32] = "", topk[16] = "";
  if (r->kv_min == r->kv_max)
    snprintf(lens, sizeof lens, "%d", r->kv_max);
  else
    snprintf(lens, sizeof lens, "%d-%d", r->kv_min, r->kv_max);
  if (c->window)
    snprintf(window, sizeof window, "_w%d", c->window);
  if (c->page != 64)
    snprintf(page, sizeof page, "_p%d", c->page);
  if (c->topk)
    snprintf(topk, sizeof topk, "_topk%d", c->topk);
  if (c->l != 512 || c->r != 64)
    snprintf(dims, sizeof dims, "_l%dr%d", c->l, c->r);
  snprintf(c->name, sizeof c->name, "b%d_s%d_h%d_k%s%s%s%s%s%s", r->batch, r->q_len, r->heads, lens,
           window, r->causal ? "_causal" : "", page, dims, topk);
}

// What the peers took for it, if they were measured on such a row: bf16, 512 + 64, pages of 64.
static inline const bench_reference *bench_case_reference(const bench_case *c, lathe_dtype kv,
                                                          const char *peers) {
  const int same =
      c->l == 512 && c->r == 64 && c->page == 64 && !c->window && kv == LATHE_DTYPE_BF16;
  if (c->topk)
    return bench_reference_in(bench_topk_table, BENCH_TOPK_ROWS, c->page == 64 ? peers : NULL,
                              &c->row);
  return bench_reference_of(same ? peers : NULL, &c->row);
}

// ---------------------------------------------------------------------------------- their list

// Returns the index of the new case, or -1 where --filter leaves it out.
static inline int bench_cases_add_window(bench_cases *cases, const bench_options *o, bench_row row,
                                         int page, int window, int relative) {
  bench_case c;
  double kv;
  memset(&c, 0, sizeof c);
  c.row = row;
  c.page = page;
  c.l = o->l;
  c.r = o->r;
  c.window = window;
  c.relative = relative;
  c.topk = o->mode == BENCH_MODE_TOPK ? BENCH_TOPK : 0;
  bench_case_name(&c);
  if (o->filter && !strstr(c.name, o->filter))
    return -1;
  kv = (double)bench_cache_bytes(&c, o->kv);
  if (o->max_kv > 0 && kv > o->max_kv)
    snprintf(c.skipped, sizeof c.skipped, "%.1f GB of cache, more than --max-kv %g", kv / 1e9,
             o->max_kv / 1e9);
  if (cases->count == cases->capacity) {
    cases->capacity = 2 * cases->capacity + 64;
    cases->at = (bench_case *)realloc(cases->at, sizeof *cases->at * (size_t)cases->capacity);
    if (!cases->at)
      abort();
  }
  cases->at[cases->count] = c;
  return cases->count++;
}

static inline int bench_cases_add(bench_cases *cases, const bench_options *o, bench_row row,
                                  int page, int relative) {
  return bench_cases_add_window(cases, o, row, page, 0, relative);
}

static inline void bench_cases_grid(bench_cases *cases, const bench_options *o) {
  static const int batches[] = {1, 4, 16, 64, 128}, lens[] = {1024, 4096, 8192, 32768, 131072};
  static const int heads[] = {8, 16, 32, 64, 128}, tokens[] = {1, 2, 4};
  int b, k, h, s;
  for (s = 0; s < 3; s++)
    for (h = 0; h < 5; h++)
      for (b = 0; b < 5; b++)
        for (k = 0; k < 5; k++) {
          bench_row row = {batches[b], tokens[s], heads[h], lens[k], lens[k], tokens[s] > 1};
          bench_cases_add(cases, o, row, o->page, -1);
        }
}

// Powers of two, each followed by the counts that it is the next power of two of.
static inline void bench_cases_heads(bench_cases *cases, const bench_options *o, bench_row row) {
  static const int odd[] = {6, 12, 20, 24, 40, 48, 96};
  int power, i;
  for (power = 8; power <= 128; power *= 2) {
    int next;
    row.heads = power;
    next = bench_cases_add(cases, o, row, o->page, -1);
    for (i = 0; i < 7; i++)
      if (odd[i] < power && 2 * odd[i] > power) {
        row.heads = odd[i];
        bench_cases_add(cases, o, row, o->page, next);
      }
  }
}

static inline void bench_cases_pages(bench_cases *cases, const bench_options *o, bench_row row) {
  int page, of64 = bench_cases_add(cases, o, row, 64, -1);
  for (page = 32; page > 0; page /= 2)
    bench_cases_add(cases, o, row, page, of64);
}

static inline void bench_cases_windows(bench_cases *cases, const bench_options *o, bench_row row) {
  int window = row.kv_max, whole = bench_cases_add(cases, o, row, o->page, -1);
  row.kv_min = row.kv_max = 131072;
  row.causal = 1; // a window ends at the token's own position
  bench_cases_add_window(cases, o, row, o->page, window, whole);
}

static inline void bench_cases_make(bench_cases *cases, const bench_options *o) {
  static const bench_row heads[] = {
      {1, 1, 8, 32768, 32768, 0}, {16, 1, 8, 4096, 4096, 0}, {128, 1, 8, 4096, 4096, 0}};
  static const bench_row pages[] = {{1, 1, 128, 32768, 32768, 0},
                                    {16, 1, 16, 4096, 4096, 0},
                                    {128, 1, 16, 4096, 4096, 0},
                                    {128, 1, 128, 4096, 4096, 0}};
  static const bench_row windows[] = {{1, 1, 16, 4096, 4096, 0},
                                      {64, 1, 16, 4096, 4096, 0},
                                      {1, 1, 128, 4096, 4096, 0},
                                      {64, 1, 128, 4096, 4096, 0}};
  const bench_row *rows = o->given;
  int count = o->num_given, i;
  memset(cases, 0, sizeof *cases);
  if (!count && o->mode == BENCH_MODE_HEADS) {
    rows = heads;
    count = sizeof heads / sizeof heads[0];
  } else if (!count && o->mode == BENCH_MODE_PAGES) {
    rows = pages;
    count = sizeof pages / sizeof pages[0];
  } else if (!count && o->mode == BENCH_MODE_WINDOWS) {
    rows = windows;
    count = sizeof windows / sizeof windows[0];
  }
  if (o->mode == BENCH_MODE_GRID)
    bench_cases_grid(cases, o);
  for (i = 0; o->mode == BENCH_MODE_TABLE && i < BENCH_TABLE_ROWS; i++)
    bench_cases_add(cases, o, bench_table[i].row, o->page, -1);
  for (i = 0; o->mode == BENCH_MODE_TOPK && !count && i < BENCH_TOPK_ROWS; i++)
    bench_cases_add(cases, o, bench_topk_table[i].row, o->page, -1);
  for (i = 0; i < count; i++)
    if (o->mode == BENCH_MODE_HEADS)
      bench_cases_heads(cases, o, rows[i]);
    else if (o->mode == BENCH_MODE_PAGES)
      bench_cases_pages(cases, o, rows[i]);
    else if (o->mode == BENCH_MODE_WINDOWS)
      bench_cases_windows(cases, o, rows[i]);
    else
      bench_cases_add(cases, o, rows[i], o->page, -1);
}

static inline void bench_cases_print(const bench_cases *cases) {
  int i;
  for (i = 0; i < cases->count; i++) {
    const bench_case *c = &cases->at[i];
    if (c->skipped[0])
      printf("%s skipped: %s\n", c->name, c->skipped);
    else
      printf("%s\n", c->name);
  }
}

#endif
