// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Lists that name the rows which a problem's tokens see anyway: in another order, with holes, and
// with poison past their ends. So what judges the problem judges its run with lists.
#ifndef LATHE_TESTS_GPU_LISTS_H
#define LATHE_TESTS_GPU_LISTS_H

#include "device.h"

typedef struct lists {
  lathe_decode_desc desc; // of the plan with lists
  int topk, stride;
  int32_t *indices, *lens;
  gpu_buffer indices_at, lens_at;
} lists;

// The list of one token: its rows in random order, every fifth entry none. Returns its length.
static inline int list_fill(const problem *p, int i, int token, int32_t *list, ref_random *random) {
  const shape *s = &p->shape;
  const long long stride = p->args.block_table_stride
                               ? p->args.block_table_stride
                               : (p->desc.max_seq_len + s->page_size - 1) / s->page_size;
  const int32_t *table = p->tables + i * stride;
  int length = p->lens[i], tokens = p->cu[i + 1] - p->cu[i], at = 0, j;
  int end = s->no_mask ? length : length - tokens + token + 1;
  int first = s->window && end > s->window ? end - s->window : 0;
  for (j = first; j < end; j++) {
    if (at % 5 == 3) {
      list[at] = at % 2 ? -1 : INT32_MIN;
      at++;
    }
    list[at++] = table[j / s->page_size] * s->page_size + j % s->page_size;
  }
  ref_shuffle(random, list, at);
  return at;
}

// `lens`: the lists' lengths are given, and past them is poison; else lists are filled up with -1.
static inline void lists_make(lists *l, const problem *p, int lens) {
  const int room = p->shape.kv_len + p->shape.kv_len / 4 + 2;
  ref_random random = {p->shape.seed + 5};
  int i, token, k;
  memset(l, 0, sizeof *l);
  l->topk = room;
  l->stride = room + (p->shape.weird ? 5 : 0);
  l->indices = (int32_t *)malloc(sizeof(int32_t) * (size_t)l->stride * (size_t)(p->tokens + 1));
  l->lens = (int32_t *)malloc(sizeof(int32_t) * (size_t)(p->tokens + 1));
  for (i = 0; i < p->shape.batch; i++)
    for (token = p->cu[i]; token < p->cu[i + 1]; token++) {
      int32_t *list = l->indices + (size_t)token * (size_t)l->stride;
      l->lens[token] = list_fill(p, i, token - p->cu[i], list, &random);
      for (k = l->lens[token]; k < l->stride; k++)
        list[k] = lens || k >= l->topk ? TABLE_POISON : -1;
    }
  gpu_buffer_upload(&l->indices_at, l->indices,
                    sizeof(int32_t) * (size_t)l->stride * (size_t)p->tokens);
  gpu_buffer_upload(&l->lens_at, l->lens, sizeof(int32_t) * (size_t)p->tokens);
  if (!lens) {
    free(l->lens);
    l->lens = NULL;
  }
  l->desc = p->desc;
  l->desc.sparse_topk = l->topk;
  l->desc.sliding_window = 0;
}

// Device args of the problem with lists; what a run with lists does not read is missing.
static inline void lists_args(const lists *l, const problem *p, lathe_decode_args *args) {
  args->sparse_indices = (const int32_t *)gpu_address(l->indices_at.at);
  args->sparse_token_stride = l->stride == l->topk ? 0 : l->stride;
  args->sparse_lens = l->lens ? (const int32_t *)gpu_address(l->lens_at.at) : NULL;
  args->num_tokens = p->tokens;
  args->block_tables = NULL;
  args->block_table_stride = 0;
  args->seq_lens = NULL;
}

static inline void lists_free(lists *l) {
  gpu_free(l->indices_at.at);
  gpu_free(l->lens_at.at);
  free(l->indices);
  free(l->lens);
}

#endif
