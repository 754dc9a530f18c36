// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A row's result against the CPU backend, before anything is timed: no NaN anywhere, and some
// (token, head) rows element by element, each computed as a request of its own.
#ifndef LATHE_TESTS_BENCH_CHECK_H
#define LATHE_TESTS_BENCH_CHECK_H

#include "../ref/compare.h"
#include "step.h"

#include <pthread.h>

enum { BENCH_MOST_REQUESTS = 8, BENCH_MOST_CHECKED = 64, BENCH_CHECKERS = 32 };

typedef struct bench_checked {
  const unsigned char *cache; // the request's pages that are seen, in order
  const uint16_t *q;
  int32_t length, hidden_pages;
  int64_t token, head;
  uint16_t *out;
  float lse;
  int failed;
} bench_checked;

typedef struct bench_checking {
  const bench_step *s;
  bench_checked rows[BENCH_MOST_CHECKED];
  int count, next;
  pthread_mutex_t lock;
} bench_checking;

static inline void bench_check_row(const bench_step *s, bench_checked *row) {
  lathe_decode_desc desc = bench_step_desc(s->c, s->m->options);
  lathe_decode_args args = s->args;
  lathe_decode_plan *plan = NULL;
  int32_t pages = (row->length + s->c->page - 1) / s->c->page, i;
  int32_t *table = (int32_t *)ref_alloc(sizeof *table * (size_t)(pages + 1));
  for (i = 0; i < pages; i++)
    table[i] = i - row->hidden_pages; // none where that is negative, and none is looked up
  desc.num_heads = desc.max_batch = desc.max_q_len = 1;
  desc.max_seq_len = row->length;
  desc.mask = s->c->window ? LATHE_MASK_CAUSAL : LATHE_MASK_NONE;
  args.batch = 1;
  args.q = row->q;
  args.kv_cache = row->cache;
  args.num_pages = pages - row->hidden_pages;
  args.block_tables = table;
  args.block_table_stride = 0;
  args.seq_lens = &row->length;
  if (s->c->topk)
    args.sparse_indices = s->listed + row->token * s->c->topk;
  args.out = row->out;
  args.lse = &row->lse;
  args.workspace = NULL;
  args.workspace_size = 0;
  row->failed = lathe_decode_plan_create(s->m->oracle, &desc, &plan) != LATHE_STATUS_OK ||
                lathe_decode_run(plan, &args, NULL) != LATHE_STATUS_OK;
  lathe_decode_plan_destroy(plan);
  free(table);
}

static inline void *bench_check_worker(void *user) {
  bench_checking *c = (bench_checking *)user;
  for (;;) {
    int index;
    pthread_mutex_lock(&c->lock);
    index = c->next++;
    pthread_mutex_unlock(&c->lock);
    if (index >= c->count)
      return NULL;
    bench_check_row(c->s, &c->rows[index]);
  }
}

static inline void bench_check_all(bench_checking *c) {
  pthread_t threads[BENCH_CHECKERS];
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  int started = 0;
  pthread_mutex_init(&c->lock, NULL);
  while (started + 1 < cores && started < BENCH_CHECKERS &&
         pthread_create(&threads[started], NULL, bench_check_worker, c) == 0)
    started++;
  bench_check_worker(c);
  while (started > 0)
    pthread_join(threads[--started], NULL);
  pthread_mutex_destroy(&c->lock);
}

// Picks the rows: the last head of the last token of the last request, and others at random.
static inline void bench_check_pick(bench_checking *c, unsigned char **caches, int requests) {
  const bench_step *s = c->s;
  const bench_row *r = &s->c->row;
  const size_t page_bytes = bench_page_bytes(s->c, s->m->options->kv);
  const size_t l = (size_t)s->c->l, d = (size_t)(s->c->l + s->c->r);
  ref_random random = {99};
  int k, i;
  for (k = 0; k < requests; k++) {
    int request = k == 0 ? r->batch - 1 : (int)ref_below(&random, r->batch);
    int64_t hidden = bench_case_hidden_pages(s->c, s->lens[request]), page;
    int64_t pages = (s->lens[request] + s->c->page - 1) / s->c->page - hidden;
    caches[k] = (unsigned char *)ref_alloc((size_t)pages * page_bytes);
    for (page = 0; page < pages; page++)
      bench_cache_read(s->m, (size_t)s->table[request * s->stride + hidden + page] * page_bytes,
                       page_bytes, caches[k] + (size_t)page * page_bytes);
    for (i = k; i < c->count; i += requests) {
      bench_checked *row = &c->rows[i];
      int token = i == 0 ? r->q_len - 1 : (int)ref_below(&random, r->q_len);
      row->cache = caches[k];
      row->hidden_pages = (int32_t)hidden;
      row->token = (int64_t)request * r->q_len + token;
      row->head = i == 0 ? r->heads - 1 : ref_below(&random, r->heads);
      row->q = s->m->host_q + (size_t)(row->token * r->heads + row->head) * d;
      row->length = r->causal ? s->lens[request] - r->q_len + token + 1 : s->lens[request];
      row->out = (uint16_t *)ref_alloc(l * 2);
    }
  }
}

// Runs once from poisoned outputs. 0, or -1 with the reason in `to`.
static inline int bench_check(bench_step *s, bench_result *to) {
  const bench_options *o = s->m->options;
  const bench_row *r = &s->c->row;
  const size_t rows = (size_t)bench_case_rows(s->c), l = (size_t)s->c->l;
  uint16_t *out = (uint16_t *)ref_alloc(rows * l * 2);
  float *lse = (float *)ref_alloc(rows * 4);
  unsigned char *caches[BENCH_MOST_REQUESTS];
  int most = o->quick ? 2 : BENCH_MOST_REQUESTS, requests = r->batch < most ? r->batch : most;
  bench_checking c;
  ref_error error;
  char message[384];
  long long nans = 0;
  size_t i;
  int k, failed = 0;
  bench_step_call(s, 0, s->m->kernels.queue);
  gpu_must(gpu.stream_synchronize(s->m->kernels.queue));
  gpu_must(gpu.download(out, s->m->out.at, rows * l * 2));
  gpu_must(gpu.download(lse, s->m->lse.at, rows * 4));
  for (i = 0; i < rows * l; i++)
    nans += (out[i] & 0x7fff) > (o->q == LATHE_DTYPE_BF16 ? 0x7f80 : 0x7c00);

  memset(&c, 0, sizeof c);
  c.s = s;
  c.count = BENCH_MOST_CHECKED;
  if (o->quick) // so many that the oracle takes a fraction of a second
    c.count = r->kv_max > 65536 ? 4 : r->kv_max > 16384 ? 8 : 16;
  bench_check_pick(&c, caches, requests);
  bench_check_all(&c);
  memset(&error, 0, sizeof error);
  for (k = 0; k < c.count; k++) {
    const bench_checked *row = &c.rows[k];
    size_t at = (size_t)(row->token * r->heads + row->head);
    failed += row->failed;
    for (i = 0; i < l; i++)
      ref_error_add(&error, row->token, row->head, (int64_t)i, ref_decode(o->q, out[at * l + i]),
                    ref_decode(o->q, row->out[i]));
    ref_error_add_lse(&error, row->token, row->head, (double)lse[at], (double)row->lse);
    free(row->out);
  }
  for (k = 0; k < requests; k++)
    free(caches[k]);
  free(out);
  free(lse);
  to->checked_rows = c.count;
  to->worst_abs = error.worst_abs;
  if (ref_error_ok(&error, message, sizeof message) && nans == 0 && failed == 0)
    return 0;
  to->outcome = BENCH_WRONG;
  snprintf(to->why, sizeof to->why, "%lld NaNs, %d rows that the oracle refused; %s", nans, failed,
           message);
  return -1;
}

#endif
