// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What a decode step must compute, twice, in double and one (token, head) row at a time:
//   ref_attend            the absorbed form, straight from the comment of lathe_decode_run
//   ref_attend_unabsorbed multi-head attention as the model defines it: every head has its own keys
//                         W_UK c and values W_UV c, only the roped part of the key is shared
// Neither uses code of the library. `args` must have its strides set (ref_problem's have).
#ifndef LATHE_TESTS_REF_ATTENTION_H
#define LATHE_TESTS_REF_ATTENTION_H

#include "compare.h"
#include "problem.h"

/* sum of a[i] b[i], in eight lanes so that it vectorises without reordering by the compiler */
static inline double ref_dot(const double *a, const double *b, int64_t n) {
  double lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int lane = 0; lane < 8; lane++)
      lanes[lane] += a[i + lane] * b[i + lane];
  for (; i < n; i++)
    lanes[0] += a[i] * b[i];
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
         ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

/* 512 e4m3 times the fp32 scale of their 128, as bf16, then 64 bf16 */
static inline void ref_read_row656(const unsigned char *bytes, double *row) {
  float scales[4];
  memcpy(scales, bytes + 512, sizeof scales);
  for (int64_t d = 0; d < 512; d++)
    row[d] = ref_decode(LATHE_DTYPE_BF16,
                        ref_encode(LATHE_DTYPE_BF16,
                                   scales[d / 128] * (float)ref_load(LATHE_DTYPE_E4M3, bytes, d)));
  for (int64_t d = 0; d < 64; d++)
    row[512 + d] = ref_load(LATHE_DTYPE_BF16, bytes + 528, d);
}

/* Row j of request i, or of the whole cache in a plan with lists, as real values: [L] latent, then
   [R] rope. */
static inline void ref_read_kv(const lathe_decode_desc *desc, const lathe_decode_args *args,
                               int32_t i, int64_t j, double *row) {
  int listed = desc->sparse_topk > 0, two = args->kpe_cache && desc->qk_rope_head_dim;
  double scale = args->kv_scale > 0 ? (double)args->kv_scale : 1;
  int64_t l = desc->kv_lora_rank, r = desc->qk_rope_head_dim;
  int64_t at = listed ? ref_listed_row(desc, args, j, 0) : ref_cache_row(desc, args, i, j, 0);
  int64_t at_pe = !two     ? at + l
                  : listed ? ref_listed_row(desc, args, j, 1)
                           : ref_cache_row(desc, args, i, j, 1);
  const void *pe = two ? args->kpe_cache : args->kv_cache;
  if (desc->kv_format == LATHE_KV_FORMAT_ROW656) {
    ref_read_row656((const unsigned char *)args->kv_cache + (at < 0 ? 0 : at), row);
    for (int64_t d = 0; at < 0 && d < l + r; d++)
      row[d] = 0;
    return;
  }
  for (int64_t d = 0; d < l + r; d++)
    row[d] = at < 0  ? 0
             : d < l ? scale * ref_load(desc->kv_dtype, args->kv_cache, at + d)
                     : scale * ref_load(desc->kv_dtype, pe, at_pe + d - l);
}

static inline void ref_read_q(const lathe_decode_desc *desc, const lathe_decode_args *args,
                              int64_t token, int64_t head, double *row) {
  int64_t l = desc->kv_lora_rank, r = desc->qk_rope_head_dim;
  int64_t at = token * args->q_token_stride + head * args->q_head_stride;
  int64_t at_pe = at + l;
  const void *pe = args->q;
  double scale = args->q_scale > 0 ? (double)args->q_scale : 1;
  if (args->q_pe && r) {
    pe = args->q_pe;
    at_pe = token * args->q_pe_token_stride + head * args->q_pe_head_stride;
  }
  for (int64_t d = 0; d < l; d++)
    row[d] = scale * ref_load(desc->q_dtype, args->q, at + d);
  for (int64_t d = 0; d < r; d++)
    row[l + d] = scale * ref_load(desc->q_dtype, pe, at_pe + d);
}

/* logits [count] -> weights that sum to 1; returns ln(sum(exp(logit))), -inf for none */
static inline double ref_softmax(double *logits, int64_t count) {
  double most = -(double)INFINITY, sum = 0;
  for (int64_t j = 0; j < count; j++)
    most = fmax(most, logits[j]);
  for (int64_t j = 0; j < count; j++)
    sum += exp(logits[j] - most);
  for (int64_t j = 0; j < count; j++)
    logits[j] = exp(logits[j] - most) / sum;
  return count ? most + log(sum) : most;
}

static inline double ref_scale(const lathe_decode_desc *desc, const lathe_decode_args *args) {
  return (double)(desc->softmax_scale_on_device ? *args->softmax_scale_at : args->softmax_scale);
}

/* a logit under the soft-cap, if there is one */
static inline double ref_cap(const lathe_decode_desc *desc, double logit) {
  double cap = (double)desc->logit_softcap;
  return cap > 0 ? cap * (1 - 2 / (exp(2 * logit / cap) + 1)) : logit;
}

/* what a head's sink leaves of its weights, whose lse (natural) is this: of ranks the first adds it
 */
static inline double ref_sink(const lathe_decode_desc *desc, const lathe_decode_args *args,
                              int32_t head, double lse) {
  int has = desc->attention_sinks && desc->cp_rank == 0;
  return has ? 1 / (1 + exp((double)args->sinks[head] - lse)) : 1;
}

/* and the lse that is told, in which it is if there are several ranks */
static inline double ref_lse_told(const lathe_decode_desc *desc, const lathe_decode_args *args,
                                  int32_t head, double lse) {
  if (desc->cp_world > 1 && desc->cp_rank == 0 && desc->attention_sinks) {
    double sink = (double)args->sinks[head], most = fmax(lse, sink);
    return most > -INFINITY ? most + log(exp(lse - most) + exp(sink - most)) : most;
  }
  return lse;
}

static inline double ref_lse_in_base(const lathe_decode_desc *desc, double natural) {
  return desc->lse_base == LATHE_LSE_BASE2 ? natural / log(2.0) : natural;
}

/* The rows that new token t of request i sees, in memory that the caller frees: positions, or in a
   plan with lists rows of the whole cache. */
static inline int64_t *ref_attended(const lathe_decode_desc *desc, const lathe_decode_args *args,
                                    int32_t i, int32_t t, int64_t *count) {
  int32_t first, q_len, kv_len;
  ref_request(desc, args, i, &first, &q_len, &kv_len);
  if (!desc->sparse_topk) {
    int64_t *seen = (int64_t *)ref_alloc(8 * (size_t)kv_len);
    *count = ref_seen(desc, args, first, t, q_len, kv_len, seen);
    return seen;
  }
  int64_t stride = args->sparse_token_stride ? args->sparse_token_stride : desc->sparse_topk;
  int32_t entries = args->sparse_lens
                        ? ref_clamp_(args->sparse_lens[first + t], 0, desc->sparse_topk)
                        : desc->sparse_topk;
  int64_t *rows = (int64_t *)ref_alloc(8 * (size_t)entries);
  *count = 0;
  for (int32_t k = 0; k < entries; k++) {
    int64_t row = args->sparse_indices[(first + t) * stride + k];
    if (row >= 0 && (args->num_pages == 0 || row / desc->page_size < args->num_pages))
      rows[(*count)++] = row;
  }
  return rows;
}

/* out [L], as it is stored, and lse of new token t of request i */
static inline void ref_attend(const lathe_decode_desc *desc, const lathe_decode_args *args,
                              int32_t i, int32_t t, int32_t head, double *out, double *lse) {
  int64_t l = desc->kv_lora_rank, d = l + desc->qk_rope_head_dim;
  int32_t first, q_len, kv_len;
  ref_request(desc, args, i, &first, &q_len, &kv_len);
  int64_t count, *rows = ref_attended(desc, args, i, t, &count);
  double *q = (double *)ref_alloc(8 * (size_t)d), *row = (double *)ref_alloc(8 * (size_t)d);
  double *weights = (double *)ref_alloc(8 * (size_t)count), left;
  ref_read_q(desc, args, (int64_t)first + t, head, q);
  for (int64_t j = 0; j < count; j++) {
    ref_read_kv(desc, args, i, rows[j], row);
    weights[j] = ref_cap(desc, ref_scale(desc, args) * ref_dot(q, row, d));
  }
  *lse = ref_softmax(weights, count);
  left = ref_sink(desc, args, head, *lse);
  *lse = ref_lse_in_base(desc, ref_lse_told(desc, args, head, *lse));
  for (int64_t e = 0; e < l; e++)
    out[e] = 0;
  for (int64_t j = 0; j < count; j++) {
    ref_read_kv(desc, args, i, rows[j], row);
    for (int64_t e = 0; e < l; e++)
      out[e] += left * weights[j] * row[e];
  }
  for (int64_t e = 0; args->out_scale > 0 && e < l; e++)
    out[e] /= (double)args->out_scale;
  free(weights);
  free(rows);
  free(row);
  free(q);
}

/* ------------------------------------------------------------------------- the un-absorbed model
 */

/* Up-projections and queries before absorption. Their entries are small integers times a power of
   two, so that the absorbed query q_nope W_UK is exact in bf16 and f16, which have integers to 256:
   a comparison then sees the errors of attention and none of rounding its input. A sum of N random
   products is about sqrt(N), so N may be what any model has; the model is not made if one is more.
 */
typedef struct ref_model {
  int32_t heads, n, l, v; /* H, qk_nope_head_dim, kv_lora_rank, v_head_dim */
  float *w_uk;            /* [H, N, L] */
  float *w_uv;            /* [H, V, L] */
  float *q_nope;          /* [tokens, H, N] */
} ref_model;

static inline void ref_integers_(ref_random *random, float *values, int64_t count, int most,
                                 float unit) {
  for (int64_t i = 0; i < count; i++)
    values[i] = (float)ref_between(random, -most, most) * unit;
}

/* Draws weights and queries and writes the absorbed queries into the problem's q. */
static inline void ref_model_make(ref_model *model, ref_problem *problem, int32_t n, int32_t v,
                                  uint64_t seed) {
  const lathe_decode_args *args = &problem->args;
  ref_random random = {seed};
  int64_t heads = problem->desc.num_heads, l = problem->desc.kv_lora_rank;
  model->heads = (int32_t)heads, model->n = n, model->l = (int32_t)l, model->v = v;
  model->w_uk = (float *)ref_alloc(sizeof(float) * (size_t)(heads * n * l));
  model->w_uv = (float *)ref_alloc(sizeof(float) * (size_t)(heads * v * l));
  model->q_nope = (float *)ref_alloc(sizeof(float) * (size_t)(args->num_tokens * heads * n));
  ref_integers_(&random, model->w_uk, heads * n * l, 2, 0x1p-4f);
  ref_integers_(&random, model->w_uv, heads * v * l, 2, 0x1p-6f);
  ref_integers_(&random, model->q_nope, args->num_tokens * heads * n, 1, 1);
  float *absorbed = (float *)ref_alloc(sizeof(float) * (size_t)l);
  for (int64_t t = 0; t < args->num_tokens; t++)
    for (int64_t h = 0; h < heads; h++) {
      const float *q = model->q_nope + (t * heads + h) * n;
      memset(absorbed, 0, sizeof(float) * (size_t)l);
      for (int64_t k = 0; k < n; k++)
        for (int64_t e = 0; q[k] != 0 && e < l; e++)
          absorbed[e] += q[k] * model->w_uk[(h * n + k) * l + e];
      for (int64_t e = 0; e < l; e++) {
        int64_t at = t * args->q_token_stride + h * args->q_head_stride + e;
        ref_store(problem->desc.q_dtype, problem->buffers[REF_Q].host, at, absorbed[e]);
        if (ref_load(problem->desc.q_dtype, args->q, at) != absorbed[e]) {
          fprintf(stderr, "tests/ref: an absorbed query is not exact; qk_nope_head_dim is %d\n", n);
          abort();
        }
      }
    }
  free(absorbed);
}

static inline void ref_model_free(ref_model *model) {
  free(model->w_uk);
  free(model->w_uv);
  free(model->q_nope);
  memset(model, 0, sizeof *model);
}

/* out[p] = W[p] . c, W [rows, l] of head h */
static inline void ref_project_(const double *weights, int64_t rows, int64_t l, const double *c,
                                double *out) {
  for (int64_t p = 0; p < rows; p++)
    out[p] = ref_dot(weights + p * l, c, l);
}

static inline double *ref_head_(const float *weights, int64_t head, int64_t rows, int64_t l) {
  double *copy = (double *)ref_alloc(8 * (size_t)(rows * l));
  for (int64_t i = 0; i < rows * l; i++)
    copy[i] = (double)weights[head * rows * l + i];
  return copy;
}

/* out [V] (the head's output, not the latent one) and lse of new token t of request i */
static inline void ref_attend_unabsorbed(const lathe_decode_desc *desc,
                                         const lathe_decode_args *args, const ref_model *model,
                                         int32_t i, int32_t t, int32_t head, double *out,
                                         double *lse) {
  int64_t l = desc->kv_lora_rank, r = desc->qk_rope_head_dim, n = model->n, v = model->v;
  int32_t first, q_len, kv_len;
  ref_request(desc, args, i, &first, &q_len, &kv_len);
  int64_t count, *rows = ref_attended(desc, args, i, t, &count);
  double *w_uk = ref_head_(model->w_uk, head, n, l), *w_uv = ref_head_(model->w_uv, head, v, l);
  double *q = (double *)ref_alloc(8 * (size_t)(l + r)); /* only its rope part is used */
  double *row = (double *)ref_alloc(8 * (size_t)(l + r));
  double *q_nope = (double *)ref_alloc(8 * (size_t)n), *key = (double *)ref_alloc(8 * (size_t)n);
  double *values = (double *)ref_alloc(8 * (size_t)(count * v));
  double *weights = (double *)ref_alloc(8 * (size_t)count), left;
  ref_read_q(desc, args, (int64_t)first + t, head, q);
  for (int64_t k = 0; k < n; k++)
    q_nope[k] = (double)model->q_nope[(((int64_t)first + t) * model->heads + head) * n + k];
  for (int64_t j = 0; j < count; j++) {
    ref_read_kv(desc, args, i, rows[j], row);
    ref_project_(w_uk, n, l, row, key);
    ref_project_(w_uv, v, l, row, values + j * v);
    weights[j] = ref_cap(desc, ref_scale(desc, args) *
                                   (ref_dot(q_nope, key, n) + ref_dot(q + l, row + l, r)));
  }
  *lse = ref_softmax(weights, count);
  left = ref_sink(desc, args, head, *lse);
  *lse = ref_lse_in_base(desc, ref_lse_told(desc, args, head, *lse));
  for (int64_t p = 0; p < v; p++)
    out[p] = 0;
  for (int64_t j = 0; j < count; j++)
    for (int64_t p = 0; p < v; p++)
      out[p] += left * weights[j] * values[j * v + p];
  free(weights);
  free(values);
  free(rows);
  free(key);
  free(q_nope);
  free(row);
  free(q);
  free(w_uv);
  free(w_uk);
}

/* ------------------------------------------------------------------------------------ comparisons
 */

static inline double ref_out(const lathe_decode_desc *desc, const lathe_decode_args *args,
                             int64_t token, int64_t head, int64_t element) {
  return ref_load(desc->out_dtype, args->out,
                  token * args->out_token_stride + head * args->out_head_stride + element);
}

static inline double ref_lse(const lathe_decode_args *args, int64_t token, int64_t head) {
  return (double)args->lse[token * args->lse_token_stride + head * args->lse_head_stride];
}

/* Adds one row of `args` (host pointers) against ref_attend. */
static inline void ref_compare_row(ref_error *error, const lathe_decode_desc *desc,
                                   const lathe_decode_args *args, int32_t i, int32_t t,
                                   int32_t head) {
  double *want = (double *)ref_alloc(8 * (size_t)desc->kv_lora_rank), lse;
  int32_t first, q_len, kv_len;
  ref_request(desc, args, i, &first, &q_len, &kv_len);
  ref_attend(desc, args, i, t, head, want, &lse);
  for (int32_t e = 0; e < desc->kv_lora_rank; e++)
    ref_error_add(error, first + t, head, e, ref_out(desc, args, first + t, head, e), want[e]);
  if (args->lse)
    ref_error_add_lse(error, first + t, head, ref_lse(args, first + t, head), lse);
  free(want);
}

/* The same against the model: the latent output is brought to V by W_UV first, and the bar of every
   latent element with it, as independent errors. */
static inline void ref_compare_row_unabsorbed(ref_error *error, const lathe_decode_desc *desc,
                                              const lathe_decode_args *args, const ref_model *model,
                                              int32_t i, int32_t t, int32_t head) {
  double *want = (double *)ref_alloc(8 * (size_t)model->v), lse;
  double *got = (double *)ref_alloc(8 * (size_t)model->v);
  double *latent = (double *)ref_alloc(8 * (size_t)model->l);
  double *w_uv = ref_head_(model->w_uv, head, model->v, model->l);
  int32_t first, q_len, kv_len;
  ref_request(desc, args, i, &first, &q_len, &kv_len);
  ref_attend_unabsorbed(desc, args, model, i, t, head, want, &lse);
  for (int32_t e = 0; e < model->l; e++)
    latent[e] = ref_out(desc, args, first + t, head, e);
  ref_project_(w_uv, model->v, model->l, latent, got);
  for (int32_t p = 0; p < model->v; p++) {
    double bar = 0;
    for (int32_t e = 0; e < model->l; e++)
      bar += pow(w_uv[(int64_t)p * model->l + e] * ref_out_bar(latent[e]), 2);
    ref_error_add_bar(error, REF_KIND_OUT, first + t, head, p, got[p], want[p], sqrt(bar));
  }
  if (args->lse)
    ref_error_add_lse(error, first + t, head, ref_lse(args, first + t, head), lse);
  free(w_uv);
  free(latent);
  free(got);
  free(want);
}

/* Every (token, head) row against ref_attend. Slow: for small problems. */
static inline void ref_compare_all(ref_error *error, const lathe_decode_desc *desc,
                                   const lathe_decode_args *args) {
  for (int32_t i = 0; i < args->batch; i++) {
    int32_t first, q_len, kv_len;
    ref_request(desc, args, i, &first, &q_len, &kv_len);
    for (int32_t t = 0; t < q_len; t++)
      for (int32_t head = 0; head < desc->num_heads; head++)
        ref_compare_row(error, desc, args, i, t, head);
  }
}

/* At least `rows` rows, spread over all requests, tokens and heads. */
static inline void ref_compare_sample(ref_error *error, const lathe_decode_desc *desc,
                                      const lathe_decode_args *args, int rows, uint64_t seed) {
  ref_random random = {seed};
  for (int done = 0; done < rows; done += args->batch)
    for (int32_t i = 0; i < args->batch; i++) {
      int32_t first, q_len, kv_len;
      ref_request(desc, args, i, &first, &q_len, &kv_len);
      if (q_len > 0)
        ref_compare_row(error, desc, args, i, (int32_t)ref_below(&random, q_len),
                        (int32_t)ref_below(&random, desc->num_heads));
    }
}

/* Every row of `got` against `want`, the outputs of another backend or kernel for the same problem.
 */
static inline void ref_compare_outputs(ref_error *error, const lathe_decode_desc *desc,
                                       const lathe_decode_args *got,
                                       const lathe_decode_args *want) {
  for (int64_t token = 0; token < got->num_tokens; token++)
    for (int64_t head = 0; head < desc->num_heads; head++) {
      for (int64_t e = 0; e < desc->kv_lora_rank; e++)
        ref_error_add(error, token, head, e, ref_out(desc, got, token, head, e),
                      ref_out(desc, want, token, head, e));
      if (got->lse && want->lse)
        ref_error_add_lse(error, token, head, ref_lse(got, token, head),
                          ref_lse(want, token, head));
    }
}

/* 1 if out and lse hold the poison of ref_problem_make everywhere but in their own elements. */
static inline int ref_gaps_untouched(const ref_problem *problem) {
  const lathe_decode_desc *desc = &problem->desc;
  const lathe_decode_args *args = &problem->args;
  int clean = 1;
  for (int which = REF_OUT; which <= REF_LSE; which++) {
    const ref_buffer *buffer = &problem->buffers[which];
    size_t size = which == REF_OUT ? ref_dtype_size(desc->out_dtype) : 4;
    unsigned char *copy;
    if (!buffer->host)
      continue;
    copy = (unsigned char *)ref_alloc(buffer->size);
    memcpy(copy, buffer->host, buffer->size);
    for (int64_t t = 0; t < args->num_tokens; t++)
      for (int64_t h = 0; h < desc->num_heads; h++) {
        int64_t at = which == REF_OUT ? t * args->out_token_stride + h * args->out_head_stride
                                      : t * args->lse_token_stride + h * args->lse_head_stride;
        memset(copy + (size_t)at * size, 0xff,
               size * (size_t)(which == REF_OUT ? desc->kv_lora_rank : 1));
      }
    for (size_t b = 0; b < buffer->size; b++)
      clean &= copy[b] == 0xff;
    free(copy);
  }
  return clean;
}

#endif
