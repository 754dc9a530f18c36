// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The comparison with the CPU backend. A small problem is given to it whole, through the same
// arguments; of a large one, rows are picked (at least 64, the corners among them), each a request
// of one token and one head, spread over the machine's cores. And whatever the size: every row is
// finite or empty as it should be, and nothing between the rows was written.
//
// Where the CPU backend stands in for a device, the reference of tests/ref takes its place here.
#ifndef LATHE_TESTS_GPU_ORACLE_H
#define LATHE_TESTS_GPU_ORACLE_H

#include "problem.h"

#include "../ref/attention.h"

static inline int judge(const ref_error *error, const problem *p) {
  char name[256], message[512];
  int ok = ref_error_ok(error, message, sizeof message);
  return gpu_check(ok, "%s: %s", problem_name(p, name, sizeof name), message);
}

static inline long long out_offset(const problem *p, long long token, int head) {
  return (token * p->args.out_token_stride + head * p->args.out_head_stride) *
         (long long)ref_dtype_size(p->shape.out);
}
static inline long long lse_offset(const problem *p, long long token, int head) {
  return token * p->args.lse_token_stride + head * p->args.lse_head_stride;
}

// Positions before it are those that a token may see; under a tree mask, all.
static inline int visible_rows(const problem *p, int request, int token) {
  int length = p->lens[request], tokens = p->cu[request + 1] - p->cu[request], seen;
  if (p->shape.no_mask || p->shape.tree)
    return length;
  seen = length - tokens + token + 1;
  return seen < 0 ? 0 : seen;
}

// Does the token see no row of this rank's?
static inline int sees_nothing(const problem *p, int request, int token) {
  int64_t *rows, count;
  if (!p->shape.tree && p->shape.world < 2)
    return visible_rows(p, request, token) == 0;
  rows = (int64_t *)ref_alloc(8 * (size_t)(p->lens[request] + 1));
  count = ref_seen(&p->desc, &p->args, p->cu[request], token, p->cu[request + 1] - p->cu[request],
                   p->lens[request], rows);
  free(rows);
  return count == 0;
}

// Is what it tells of it -inf? Not the lse of a rank that adds sinks.
static inline int tells_nothing(const problem *p, int nothing, int head) {
  const int told = p->shape.world > 1 && p->shape.rank == 0 && p->sinks;
  return nothing && !(told && p->sinks[head] > -INFINITY);
}

// No NaN where a row was due, zero where nothing is visible, poison where nothing was due.
static inline int check_poison(const problem *p) {
  const shape *s = &p->shape;
  unsigned char *due = (unsigned char *)calloc(p->out_size + p->lse_size + 1, 1);
  long long nans = 0, wrong = 0, touched = 0;
  int i, token, head, k;
  size_t at;
  char name[256];
  for (i = 0; i < s->batch; i++)
    for (token = 0; token < p->cu[i + 1] - p->cu[i]; token++) {
      const int nothing = sees_nothing(p, i, token);
      for (head = 0; head < s->num_heads; head++) {
        long long offset = out_offset(p, p->cu[i] + token, head);
        const int size = (int)ref_dtype_size(s->out);
        int any = 0;
        memset(due + offset, 1, (size_t)(s->l * size));
        for (k = 0; k < s->l; k++) {
          double value = element_value(s->out, p->out + offset + k * size);
          nans += isnan(value) != 0;
          any |= value != 0;
        }
        wrong += nothing && any;
        if (s->lse) {
          long long l = lse_offset(p, p->cu[i] + token, head);
          memset(due + p->out_size + l * 4, 1, 4);
          nans += isnan(p->lse[l]) != 0;
          wrong += tells_nothing(p, nothing, head) != (p->lse[l] == -INFINITY);
        }
      }
    }
  for (at = 0; at < p->out_size; at++)
    touched += !due[at] && p->out[at] != 0xff;
  for (at = 0; at < p->lse_size; at++)
    touched += !due[p->out_size + at] && ((unsigned char *)p->lse)[at] != 0xff;
  free(due);
  problem_name(p, name, sizeof name);
  return gpu_check(nans == 0, "%s: %lld NaNs", name, nans) &&
         gpu_check(wrong == 0, "%s: %lld rows empty or not when they should not be", name, wrong) &&
         gpu_check(touched == 0, "%s: %lld bytes between rows were written", name, touched);
}

// The decode step of `args`, on the CPU; thread-safe. Every default of `args` is filled in first.
static inline lathe_status oracle_run(const lathe_decode_desc *desc,
                                      const lathe_decode_args *args) {
  lathe_decode_plan *plan = NULL;
  lathe_decode_args a;
  double *row;
  int32_t i, t, head, first, q_len, kv_len, k;
  lathe_status status = lathe_decode_plan_create(gpu_oracle_context(), desc, &plan);
  if (!status && !gpu_on_cpu)
    status = lathe_decode_run(plan, args, NULL);
  if (!status && gpu_on_cpu)
    status = lathep_decode_args_resolve(&plan->desc, LATHE_BACKEND_CPU, 0, args, &a);
  if (!status && gpu_on_cpu) {
    row = (double *)ref_alloc(8 * (size_t)desc->kv_lora_rank);
    for (i = 0; i < a.batch; i++) {
      ref_request(&plan->desc, &a, i, &first, &q_len, &kv_len);
      for (t = 0; t < q_len; t++)
        for (head = 0; head < desc->num_heads; head++) {
          long long token = first + t, at = token * a.out_token_stride + head * a.out_head_stride;
          double lse;
          ref_attend(&plan->desc, &a, i, t, head, row, &lse);
          for (k = 0; k < desc->kv_lora_rank; k++)
            ref_store(plan->desc.out_dtype, a.out, at + k, row[k]);
          if (a.lse)
            a.lse[token * a.lse_token_stride + head * a.lse_head_stride] = (float)lse;
        }
    }
    free(row);
  }
  lathe_decode_plan_destroy(plan);
  return status;
}

// Element k of two rows of outputs.
static inline void add_element(ref_error *error, const problem *p, long long token, int head, int k,
                               const unsigned char *got, const unsigned char *want) {
  const lathe_dtype dtype = p->shape.out;
  const long long at = k * (long long)ref_dtype_size(dtype);
  (dtype == LATHE_DTYPE_E4M3 ? ref_error_add_e4m3 : ref_error_add)(
      error, token, head, k, element_value(dtype, got + at), element_value(dtype, want + at));
}

// The same arguments through the CPU backend, into memory of its own.
static inline int oracle_whole(const problem *p) {
  const shape *s = &p->shape;
  lathe_decode_args args = problem_args(p);
  ref_error error;
  char name[256];
  int i, token, head, k, ok = 0;
  unsigned char *out = (unsigned char *)poisoned(p->out_size);
  float *lse = p->lse ? (float *)poisoned(p->lse_size) : NULL;
  memset(&error, 0, sizeof error);
  problem_name(p, name, sizeof name);
  args.out = out;
  args.lse = lse;
  if (gpu_ok(oracle_run(&p->desc, &args), name)) {
    for (i = 0; i < s->batch; i++)
      for (token = p->cu[i]; token < p->cu[i + 1]; token++)
        for (head = 0; head < s->num_heads; head++) {
          long long offset = out_offset(p, token, head);
          for (k = 0; k < s->l; k++)
            add_element(&error, p, token, head, k, p->out + offset, out + offset);
          if (lse)
            ref_error_add_lse(&error, token, head, (double)p->lse[lse_offset(p, token, head)],
                              (double)lse[lse_offset(p, token, head)]);
        }
    ok = judge(&error, p);
  }
  free(out);
  free(lse);
  return ok;
}

typedef struct picked_row {
  int request, token, head;
} picked_row;

typedef struct oracle_rows_work {
  const problem *p;
  const picked_row *rows;
  unsigned char *out;
  float *lse;
  int failed;
} oracle_rows_work;

// One (token, head) row as a request of its own: what it sees is its whole length. Under a tree
// mask the head's rows of all the request's tokens.
static inline void oracle_row(void *user, int index) {
  oracle_rows_work *work = (oracle_rows_work *)user;
  const problem *p = work->p;
  const shape *s = &p->shape;
  const picked_row *row = &work->rows[index];
  const int tokens = s->tree ? p->cu[row->request + 1] - p->cu[row->request] : 1;
  const int at = s->tree ? row->token : 0; // which of them is asked for
  const long long token = p->cu[row->request] + row->token - at;
  const long long table =
      p->args.block_table_stride ? p->args.block_table_stride : table_entries(p);
  const int size = (int)ref_dtype_size(s->q);
  const size_t bytes = (size_t)s->l * ref_dtype_size(s->out);
  unsigned char *out = (unsigned char *)ref_alloc((size_t)tokens * bytes);
  float *lse = (float *)ref_alloc((size_t)tokens * sizeof(float));
  lathe_decode_desc desc = p->desc;
  lathe_decode_args args = p->args;
  int32_t length = visible_rows(p, row->request, row->token);
  desc.num_heads = desc.max_batch = 1;
  desc.max_q_len = args.q_len = args.num_tokens = tokens;
  args.batch = 1;
  args.cu_q_lens = NULL;
  args.seq_lens = &length;
  args.block_tables = p->tables + row->request * table;
  args.block_table_stride = table;
  args.q = p->q + (token * p->args.q_token_stride + row->head * p->args.q_head_stride) * size;
  args.q_head_stride = 0;
  if (p->q_pe)
    args.q_pe =
        p->q_pe + (token * p->args.q_pe_token_stride + row->head * p->args.q_pe_head_stride) * size;
  args.q_pe_head_stride = 0;
  args.out = out;
  args.out_token_stride = args.out_head_stride = 0;
  args.sinks = p->sinks ? p->sinks + row->head : NULL;
  args.tree_mask = p->tree ? p->tree + token * p->args.tree_mask_stride : NULL;
  args.lse = p->lse ? lse : NULL;
  args.lse_token_stride = args.lse_head_stride = 0;
  if (oracle_run(&desc, &args) != LATHE_STATUS_OK)
    work->failed = 1;
  memcpy(work->out + (size_t)index * bytes, out + (size_t)at * bytes, bytes);
  work->lse[index * 4] = lse[at];
  free(out);
  free(lse);
}

// Judges these rows of p's.
static inline int oracle_picked(const problem *p, const picked_row *rows, int picked) {
  const shape *s = &p->shape;
  const size_t row = (size_t)s->l * ref_dtype_size(s->out);
  oracle_rows_work work;
  ref_error error;
  char name[256];
  int i, k, ok = 0;
  memset(&error, 0, sizeof error);
  work.p = p;
  work.rows = rows;
  work.out = (unsigned char *)poisoned((size_t)picked * row);
  work.lse = (float *)poisoned((size_t)picked * 16);
  work.failed = 0;
  gpu_oracle_context();
  gpu_parallel(picked, oracle_row, &work);
  problem_name(p, name, sizeof name);
  if (gpu_check(!work.failed, "%s: the CPU backend refused a row", name)) {
    for (i = 0; i < picked; i++) {
      long long token = p->cu[rows[i].request] + rows[i].token;
      const unsigned char *got = p->out + out_offset(p, token, rows[i].head);
      for (k = 0; k < s->l; k++)
        add_element(&error, p, token, rows[i].head, k, got, work.out + (size_t)i * row);
      if (p->lse)
        ref_error_add_lse(&error, token, rows[i].head,
                          (double)p->lse[lse_offset(p, token, rows[i].head)],
                          (double)work.lse[i * 4]);
    }
    ok = judge(&error, p);
  }
  free(work.out);
  free(work.lse);
  return ok;
}

static inline int oracle_rows(const problem *p, int count) {
  const shape *s = &p->shape;
  picked_row *rows = (picked_row *)malloc(sizeof(picked_row) * (size_t)(count + 8));
  ref_random random = {s->seed + 99};
  int i, k, ok, picked = 0, tries;
  for (i = 0; i < s->batch && picked<8; i += s->batch> 1 ? s->batch - 1 : 1) {
    int tokens = p->cu[i + 1] - p->cu[i];
    for (k = 0; k < 4 && tokens > 0; k++) { // corners of the first and the last request
      picked_row corner = {i, k & 1 ? tokens - 1 : 0, k & 2 ? s->num_heads - 1 : 0};
      rows[picked++] = corner;
    }
  }
  for (tries = 0; picked < count && tries < 100 * count; tries++) {
    int request = (int)ref_below(&random, s->batch), tokens = p->cu[request + 1] - p->cu[request];
    picked_row any = {request, tokens > 0 ? (int)ref_below(&random, tokens) : 0,
                      (int)ref_below(&random, s->num_heads)};
    if (tokens > 0)
      rows[picked++] = any;
  }
  ok = oracle_picked(p, rows, picked);
  free(rows);
  return ok;
}

// Every token of every request, with its first, its last and another head.
static inline int oracle_each_token(const problem *p) {
  const shape *s = &p->shape;
  picked_row *rows = (picked_row *)malloc(sizeof(picked_row) * (size_t)(3 * p->tokens + 1));
  int i, token, ok, picked = 0;
  for (i = 0; i < s->batch; i++)
    for (token = 0; token < p->cu[i + 1] - p->cu[i]; token++) {
      picked_row first = {i, token, 0}, last = {i, token, s->num_heads - 1};
      picked_row other = {i, token, (i * 7 + token * 3) % s->num_heads};
      rows[picked++] = first;
      rows[picked++] = last;
      rows[picked++] = other;
    }
  ok = check_poison(p) && oracle_picked(p, rows, picked);
  free(rows);
  return ok;
}

// Judges p->out and p->lse, which a run on the device has filled.
static inline int oracle_check(const problem *p) {
  const shape *s = &p->shape;
  double work = 0;
  int i;
  for (i = 0; i < s->batch; i++)
    work += (double)(p->cu[i + 1] - p->cu[i]) * s->num_heads * p->lens[i] * (2.0 * s->l + s->r);
  if (!check_poison(p))
    return 0;
  if (gpu_on_cpu) // the reference reads the cache anew for every row
    return work <= 5e6 ? oracle_whole(p) : oracle_rows(p, s->tree ? 8 : 24);
  return work <= 2e8 ? oracle_whole(p) : oracle_rows(p, 80);
}

#endif
