// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Makes the inputs of one decode step in host memory: a paged cache with permuted pages, uneven
// lengths, and NaN in every byte that must not be read (row tails, unused pages, stride gaps) or
// must be written (out, lse). For a GPU, copy each of `buffers` and point a copy of `args` at the
// copies.
#ifndef LATHE_TESTS_REF_PROBLEM_H
#define LATHE_TESTS_REF_PROBLEM_H

#include "number.h"

#include <stddef.h>

/* What to make. Zero means default here too. */
typedef struct ref_options {
  lathe_decode_desc desc;  /* as for lathe_decode_plan_create */
  int32_t batch;           /* 0: desc.max_batch */
  const int32_t *seq_lens; /* [batch]; null: random, 0 or 1 row too in larger batches */
  const int32_t *q_lens;   /* [batch] new tokens by cu_q_lens; null: q_len of each */
  int32_t q_len;           /* 0: desc.max_q_len */
  int split_q;             /* q and q_pe as two tensors */
  int split_kv;            /* kv_cache and kpe_cache as two tensors */
  int padding;             /* elements left free after every row, head, token and page */
  int head_major;          /* q and out as [H, tokens, ..]: the head stride is the larger one */
  int unused_pages;        /* pages of NaN that no table names */
  int trust_tables;        /* args.num_pages = 0 */
  int no_lse;
  double q_amplitude;  /* standard deviations; 0: 1 */
  double kv_amplitude; /* of the stored values; 0: 1 */
  float softmax_scale; /* 0: 1 / sqrt(L + R) */
  float kv_scale, q_scale, out_scale;
  uint64_t seed;
} ref_options;

/* One tensor: `args` holds its address at byte `field`. */
typedef struct ref_buffer {
  void *host;
  size_t size, field;
  int written; /* out, lse */
} ref_buffer;

enum {
  REF_Q,
  REF_Q_PE,
  REF_KV,
  REF_KPE,
  REF_TABLES,
  REF_SEQ_LENS,
  REF_CU_Q_LENS,
  REF_SINKS,
  REF_TREE,
  REF_LISTS,
  REF_OUT,
  REF_LSE,
  REF_NUM_BUFFERS
};

typedef struct ref_problem {
  lathe_decode_desc desc;              /* out_dtype and max_q_len filled in */
  lathe_decode_args args;              /* host pointers, every stride set; workspace null */
  ref_buffer buffers[REF_NUM_BUFFERS]; /* host is null where the problem has no such tensor */
  int64_t kv_rows;                     /* sum of seq_lens, for bandwidth figures */
} ref_problem;

/* args.<field> = pointer, for any of ref_buffer's fields. */
static inline void ref_args_point(lathe_decode_args *args, size_t field, const void *pointer) {
  memcpy((char *)args + field, &pointer, sizeof pointer);
}

static inline void ref_buffer_make_(ref_problem *problem, int which, size_t field, int64_t size) {
  ref_buffer *buffer = &problem->buffers[which];
  buffer->size = (size_t)size;
  buffer->field = field;
  buffer->written = which == REF_OUT || which == REF_LSE;
  buffer->host = ref_alloc((size_t)size);
  memset(buffer->host, 0xff, (size_t)size); /* NaN in every dtype, -1 as an integer */
  ref_args_point(&problem->args, field, buffer->host);
}

/* The two strides of a [tokens, H, row] tensor; returns its elements. */
static inline int64_t ref_strides_(const ref_options *options, int64_t tokens, int64_t heads,
                                   int64_t row, int64_t *token_stride, int64_t *head_stride) {
  int64_t step = row + options->padding;
  int64_t outer = (options->head_major ? tokens : heads) * step + options->padding;
  *token_stride = options->head_major ? step : outer;
  *head_stride = options->head_major ? outer : step;
  return (options->head_major ? heads : tokens) * outer;
}

static inline int32_t ref_clamp_(int64_t value, int64_t low, int64_t high) {
  return (int32_t)(value < low ? low : value > high ? high : value);
}

/* Where position g of a request is: its row on the desc's rank, or -1 if it is on another. */
static inline int64_t ref_row_of(const lathe_decode_desc *desc, int64_t g) {
  int64_t each = desc->cp_interleave ? desc->cp_interleave : 1, world = desc->cp_world;
  if (world < 2 || desc->cp_lens == LATHE_CP_LENS_LOCAL)
    return g;
  return g / each % world == desc->cp_rank ? g / (each * world) * each + g % each : -1;
}

/* Rows that the rank has of the first `length` positions, counted one by one. */
static inline int64_t ref_rows(const lathe_decode_desc *desc, int64_t length) {
  int64_t rows = 0;
  for (int64_t g = 0; g < length; g++)
    rows += ref_row_of(desc, g) >= 0;
  return rows;
}

/* Lengths and tokens of request i as the documentation of lathe_decode_args defines them. */
static inline void ref_request(const lathe_decode_desc *desc, const lathe_decode_args *args,
                               int32_t i, int32_t *first_token, int32_t *q_len, int32_t *kv_len) {
  int64_t table_rows = args->block_table_stride * desc->page_size;
  int64_t first = args->cu_q_lens ? args->cu_q_lens[i] : (int64_t)i * args->q_len;
  int64_t end = args->cu_q_lens ? args->cu_q_lens[i + 1] : first + args->q_len;
  *first_token = ref_clamp_(first, 0, args->num_tokens);
  end = ref_clamp_(end, *first_token, args->num_tokens);
  *q_len = ref_clamp_(end - *first_token, 0, desc->max_q_len);
  *kv_len = ref_clamp_(args->seq_lens[i], 0, desc->max_seq_len);
  while (*kv_len > table_rows && ref_rows(desc, *kv_len) > table_rows)
    --*kv_len;
}

/* Does token t of a request, whose first token is token `first` of the run, see position g? */
static inline int ref_sees(const lathe_decode_desc *desc, const lathe_decode_args *args,
                           int64_t first, int32_t t, int32_t q_len, int32_t kv_len, int64_t g) {
  int64_t own = (int64_t)kv_len - q_len + t, other = g - (own - t); /* which new token, if one */
  if (g < 0 || g >= kv_len)
    return 0;
  if (desc->mask == LATHE_MASK_CAUSAL)
    return g <= own && (!desc->sliding_window || g > own - desc->sliding_window);
  if (desc->mask == LATHE_MASK_TREE && other >= 0)
    return (args->tree_mask[(first + t) * args->tree_mask_stride + other / 32] &
            UINT32_C(1) << other % 32) != 0;
  return 1;
}

/* The cache rows on this rank that the token sees, into rows [kv_len]; returns how many. */
static inline int64_t ref_seen(const lathe_decode_desc *desc, const lathe_decode_args *args,
                               int64_t first, int32_t t, int32_t q_len, int32_t kv_len,
                               int64_t *rows) {
  int64_t count = 0;
  for (int64_t g = 0; g < kv_len; g++)
    if (ref_row_of(desc, g) >= 0 && ref_sees(desc, args, first, t, q_len, kv_len, g))
      rows[count++] = ref_row_of(desc, g);
  return count;
}

/* Element of the cache that row j of request i starts at, in kv_cache (part 0) or kpe_cache (part
   1); -1 for a row of zeros. */
static inline int64_t ref_cache_row(const lathe_decode_desc *desc, const lathe_decode_args *args,
                                    int32_t i, int64_t j, int part) {
  int64_t page = args->block_tables[i * args->block_table_stride + j / desc->page_size];
  if (args->num_pages > 0 && (page < 0 || page >= args->num_pages))
    return -1;
  return page * (part ? args->kpe_page_stride : args->kv_page_stride) +
         j % desc->page_size * (part ? args->kpe_row_stride : args->kv_row_stride);
}

/* The same of row `at` of the whole cache, as lists of rows count. */
static inline int64_t ref_listed_row(const lathe_decode_desc *desc, const lathe_decode_args *args,
                                     int64_t at, int part) {
  return at / desc->page_size * (part ? args->kpe_page_stride : args->kv_page_stride) +
         at % desc->page_size * (part ? args->kpe_row_stride : args->kv_row_stride);
}

static inline void ref_problem_lengths_(ref_problem *problem, const ref_options *options,
                                        ref_random *random) {
  lathe_decode_args *args = &problem->args;
  int32_t batch = args->batch, *lens, *cu;
  ref_buffer_make_(problem, REF_SEQ_LENS, offsetof(lathe_decode_args, seq_lens),
                   4 * (int64_t)batch);
  lens = (int32_t *)problem->buffers[REF_SEQ_LENS].host;
  for (int32_t i = 0; i < batch; i++) {
    lens[i] = options->seq_lens ? options->seq_lens[i]
              : i > 2 && i < 5  ? i - 3
                                : ref_between(random, 1, problem->desc.max_seq_len);
    problem->kv_rows += ref_rows(&problem->desc, lens[i]);
  }
  args->q_len = options->q_len ? options->q_len : problem->desc.max_q_len;
  args->num_tokens = batch * args->q_len;
  if (!options->q_lens)
    return;
  ref_buffer_make_(problem, REF_CU_Q_LENS, offsetof(lathe_decode_args, cu_q_lens),
                   4 * ((int64_t)batch + 1));
  cu = (int32_t *)problem->buffers[REF_CU_Q_LENS].host;
  cu[0] = 0;
  for (int32_t i = 0; i < batch; i++)
    cu[i + 1] = cu[i] + options->q_lens[i];
  args->num_tokens = cu[batch];
}

/* Tables over as few pages as hold the rows, in random order; unused entries stay out of range. */
static inline void ref_problem_tables_(ref_problem *problem, const ref_options *options,
                                       ref_random *random) {
  lathe_decode_args *args = &problem->args;
  int64_t page_size = problem->desc.page_size, used = 0, next = 0;
  int64_t stride = (problem->desc.max_seq_len + page_size - 1) / page_size + (options->padding > 0);
  int32_t *pages, *tables;
  for (int32_t i = 0; i < args->batch; i++)
    used += (ref_rows(&problem->desc, args->seq_lens[i]) + page_size - 1) / page_size;
  int64_t total = used + options->unused_pages + (used == 0);
  pages = (int32_t *)ref_alloc(4 * (size_t)total);
  for (int64_t p = 0; p < total; p++)
    pages[p] = (int32_t)p;
  ref_shuffle(random, pages, total);
  ref_buffer_make_(problem, REF_TABLES, offsetof(lathe_decode_args, block_tables),
                   4 * args->batch * stride);
  tables = (int32_t *)problem->buffers[REF_TABLES].host;
  for (int32_t i = 0; i < args->batch; i++) {
    int64_t rows = ref_rows(&problem->desc, args->seq_lens[i]);
    for (int64_t p = 0; p < stride; p++)
      tables[i * stride + p] = p * page_size < rows ? pages[next++] : INT32_MAX;
  }
  free(pages);
  args->block_table_stride = stride;
  args->num_pages = total; /* ref_problem_make clears it under trust_tables */
}

static inline void ref_problem_cache_(ref_problem *problem, const ref_options *options,
                                      ref_random *random) {
  lathe_decode_args *args = &problem->args;
  const lathe_decode_desc *desc = &problem->desc;
  int64_t size = (int64_t)ref_dtype_size(desc->kv_dtype), l = desc->kv_lora_rank;
  int64_t r = desc->qk_rope_head_dim;
  int split = options->split_kv && r > 0;
  double amplitude = options->kv_amplitude > 0 ? options->kv_amplitude : 1;
  ref_palette *palette = ref_palette_make(desc->kv_dtype, amplitude, ref_next(random));
  args->kv_row_stride = l + (split ? 0 : r) + options->padding;
  args->kv_page_stride = desc->page_size * args->kv_row_stride + options->padding;
  ref_buffer_make_(problem, REF_KV, offsetof(lathe_decode_args, kv_cache),
                   args->num_pages * args->kv_page_stride * size);
  if (split) {
    args->kpe_row_stride = r + options->padding;
    args->kpe_page_stride = desc->page_size * args->kpe_row_stride + options->padding;
    ref_buffer_make_(problem, REF_KPE, offsetof(lathe_decode_args, kpe_cache),
                     args->num_pages * args->kpe_page_stride * size);
  }
  for (int32_t i = 0; i < args->batch; i++)
    for (int64_t j = 0, rows = ref_rows(desc, args->seq_lens[i]); j < rows; j++) {
      ref_palette_fill(palette, random, problem->buffers[REF_KV].host,
                       ref_cache_row(desc, args, i, j, 0), l + (split ? 0 : r));
      if (split)
        ref_palette_fill(palette, random, problem->buffers[REF_KPE].host,
                         ref_cache_row(desc, args, i, j, 1), r);
    }
  free(palette);
}

static inline void ref_problem_query_(ref_problem *problem, const ref_options *options,
                                      ref_random *random) {
  lathe_decode_args *args = &problem->args;
  const lathe_decode_desc *desc = &problem->desc;
  int64_t size = (int64_t)ref_dtype_size(desc->q_dtype), tokens = args->num_tokens;
  int64_t heads = desc->num_heads, l = desc->kv_lora_rank, r = desc->qk_rope_head_dim;
  int split = options->split_q && r > 0;
  double amplitude = options->q_amplitude > 0 ? options->q_amplitude : 1;
  ref_palette *palette = ref_palette_make(desc->q_dtype, amplitude, ref_next(random));
  int64_t row = l + (split ? 0 : r), elements;
  elements = ref_strides_(options, tokens, heads, row, &args->q_token_stride, &args->q_head_stride);
  ref_buffer_make_(problem, REF_Q, offsetof(lathe_decode_args, q), elements * size);
  if (split) {
    elements =
        ref_strides_(options, tokens, heads, r, &args->q_pe_token_stride, &args->q_pe_head_stride);
    ref_buffer_make_(problem, REF_Q_PE, offsetof(lathe_decode_args, q_pe), elements * size);
  }
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t h = 0; h < heads; h++) {
      ref_palette_fill(palette, random, problem->buffers[REF_Q].host,
                       t * args->q_token_stride + h * args->q_head_stride, row);
      if (split)
        ref_palette_fill(palette, random, problem->buffers[REF_Q_PE].host,
                         t * args->q_pe_token_stride + h * args->q_pe_head_stride, r);
    }
  free(palette);
}

/* Above and below the lse of a few rows. */
static inline void ref_problem_sinks_(ref_problem *problem, ref_random *random) {
  int64_t heads = problem->desc.num_heads;
  float *sinks;
  if (!problem->desc.attention_sinks)
    return;
  ref_buffer_make_(problem, REF_SINKS, offsetof(lathe_decode_args, sinks), heads * 4);
  sinks = (float *)problem->buffers[REF_SINKS].host;
  for (int64_t h = 0; h < heads; h++)
    sinks[h] = (float)((double)(ref_next(random) % 1000) / 100 - 4);
}

/* Of each token any of those before it and, seven times of eight, itself; of those after it one
   time in eight. Bits of tokens that the request has not are set, and words are left free between
   rows. */
static inline void ref_problem_tree_(ref_problem *problem, const ref_options *options,
                                     ref_random *random) {
  lathe_decode_args *args = &problem->args;
  int64_t words = (problem->desc.max_q_len + 31) / 32 + options->padding;
  uint32_t *mask;
  if (problem->desc.mask != LATHE_MASK_TREE)
    return;
  args->tree_mask_stride = words;
  ref_buffer_make_(problem, REF_TREE, offsetof(lathe_decode_args, tree_mask),
                   4 * words * args->num_tokens);
  mask = (uint32_t *)problem->buffers[REF_TREE].host;
  for (int32_t i = 0; i < args->batch; i++) {
    int32_t first, q_len, kv_len;
    ref_request(&problem->desc, args, i, &first, &q_len, &kv_len);
    for (int32_t t = 0; t < q_len; t++)
      for (int32_t j = 0; j < q_len; j++) {
        uint64_t draw = ref_next(random) >> 20 & 7;
        if (j < t ? draw < 4 : j == t ? draw == 0 : draw != 0)
          mask[(first + t) * words + j / 32] &= ~(UINT32_C(1) << j % 32);
      }
  }
}

/* Of the rows that each token sees by the mask as many as a list has room for, any of them in any
   order; the entries that are left are -1. */
static inline void ref_problem_lists_(ref_problem *problem, const ref_options *options,
                                      ref_random *random) {
  lathe_decode_args *args = &problem->args;
  const lathe_decode_desc *desc = &problem->desc;
  const int32_t page = desc->page_size, room = desc->sparse_topk;
  int64_t *seen;
  int32_t *rows, *lists;
  if (!room)
    return;
  args->sparse_token_stride = room + options->padding;
  ref_buffer_make_(problem, REF_LISTS, offsetof(lathe_decode_args, sparse_indices),
                   4 * args->sparse_token_stride * args->num_tokens);
  lists = (int32_t *)problem->buffers[REF_LISTS].host;
  seen = (int64_t *)ref_alloc(8 * (size_t)desc->max_seq_len);
  rows = (int32_t *)ref_alloc(4 * (size_t)desc->max_seq_len);
  for (int32_t i = 0; i < args->batch; i++) {
    const int32_t *table = args->block_tables + i * args->block_table_stride;
    int32_t first, q_len, kv_len;
    ref_request(desc, args, i, &first, &q_len, &kv_len);
    for (int32_t t = 0; t < q_len; t++) {
      int64_t count = ref_seen(desc, args, first, t, q_len, kv_len, seen);
      for (int64_t k = 0; k < count; k++)
        rows[k] = table[seen[k] / page] * page + (int32_t)(seen[k] % page);
      ref_shuffle(random, rows, count);
      memcpy(lists + (first + t) * args->sparse_token_stride, rows,
             4 * (size_t)(count < room ? count : room));
    }
  }
  free(rows);
  free(seen);
}

static inline void ref_problem_outputs_(ref_problem *problem, const ref_options *options) {
  lathe_decode_args *args = &problem->args;
  const lathe_decode_desc *desc = &problem->desc;
  int64_t elements = ref_strides_(options, args->num_tokens, desc->num_heads, desc->kv_lora_rank,
                                  &args->out_token_stride, &args->out_head_stride);
  ref_buffer_make_(problem, REF_OUT, offsetof(lathe_decode_args, out),
                   elements * (int64_t)ref_dtype_size(desc->out_dtype));
  if (options->no_lse)
    return;
  elements = ref_strides_(options, args->num_tokens, desc->num_heads, 1, &args->lse_token_stride,
                          &args->lse_head_stride);
  ref_buffer_make_(problem, REF_LSE, offsetof(lathe_decode_args, lse), elements * 4);
}

static inline void ref_problem_make(ref_problem *problem, const ref_options *options) {
  ref_random random = {options->seed};
  memset(problem, 0, sizeof *problem);
  problem->desc = options->desc;
  if (!problem->desc.out_dtype)
    problem->desc.out_dtype =
        problem->desc.q_dtype == LATHE_DTYPE_E4M3 ? LATHE_DTYPE_BF16 : problem->desc.q_dtype;
  if (!problem->desc.max_q_len)
    problem->desc.max_q_len = 1;
  problem->args.batch = options->batch ? options->batch : options->desc.max_batch;
  problem->args.softmax_scale = options->softmax_scale;
  if (!(options->softmax_scale > 0))
    problem->args.softmax_scale =
        (float)(1 / sqrt((double)(options->desc.kv_lora_rank + options->desc.qk_rope_head_dim)));
  problem->args.kv_scale = options->kv_scale;
  problem->args.q_scale = options->q_scale;
  problem->args.out_scale = options->out_scale;
  ref_problem_lengths_(problem, options, &random);
  ref_problem_tables_(problem, options, &random);
  ref_problem_cache_(problem, options, &random);
  ref_problem_query_(problem, options, &random);
  ref_problem_sinks_(problem, &random);
  ref_problem_tree_(problem, options, &random);
  ref_problem_lists_(problem, options, &random);
  ref_problem_outputs_(problem, options);
  if (options->trust_tables)
    problem->args.num_pages = 0;
}

/* Fills out and lse with NaN again. */
static inline void ref_problem_poison(ref_problem *problem) {
  for (int i = 0; i < REF_NUM_BUFFERS; i++)
    if (problem->buffers[i].host && problem->buffers[i].written)
      memset(problem->buffers[i].host, 0xff, problem->buffers[i].size);
}

static inline void ref_problem_free(ref_problem *problem) {
  for (int i = 0; i < REF_NUM_BUFFERS; i++)
    free(problem->buffers[i].host);
  memset(problem, 0, sizeof *problem);
}

#endif
