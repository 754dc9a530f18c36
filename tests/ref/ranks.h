// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// One rank's share of a decode step under context parallelism: its cache, made of the rows of the
// whole one that are its own, in pages of its own, and what it writes.
#ifndef LATHE_TESTS_REF_RANKS_H
#define LATHE_TESTS_REF_RANKS_H

#include "problem.h"

typedef struct ref_share {
  lathe_decode_desc desc;
  lathe_decode_args args; /* host pointers; block_table_stride is left to its default */
  unsigned char *kv, *kpe, *out;
  int32_t *tables, *lens; /* lens: [batch], the rank's own */
  float *lse;
  size_t kv_size, kpe_size, out_size, lse_size, tables_size;
} ref_share;

static inline void *ref_poisoned_(size_t size) {
  void *memory = ref_alloc(size + 1);
  memset(memory, 0xff, size); /* NaN; as a table entry outside any cache */
  return memory;
}

/* Packed, and poison. */
static inline void ref_share_outputs(ref_share *share, int64_t tokens) {
  const lathe_decode_desc *desc = &share->desc;
  const int64_t rows = tokens * desc->num_heads;
  share->out_size = (size_t)(rows * desc->kv_lora_rank) * ref_dtype_size(desc->out_dtype);
  share->out = (unsigned char *)ref_poisoned_(share->out_size);
  share->lse_size = 4 * (size_t)rows;
  share->lse = (float *)ref_poisoned_(share->lse_size);
  share->args.out = share->out;
  share->args.out_token_stride = share->args.out_head_stride = 0;
  share->args.lse = share->lse;
  share->args.lse_token_stride = share->args.lse_head_stride = 0;
}

/* Of `whole` with every stride set and kpe_cache set if R > 0; desc has cp_world, cp_rank,
   cp_interleave and cp_lens already. Pages are the rank's own, in descending order; latent and rope
   are one tensor on even ranks and two on odd ones. out and lse are packed. */
static inline void ref_share_make(ref_share *share, const lathe_decode_desc *desc,
                                  const lathe_decode_args *whole) {
  const int64_t l = desc->kv_lora_rank, r = desc->qk_rope_head_dim, page = desc->page_size;
  const int64_t size = (int64_t)ref_dtype_size(desc->kv_dtype);
  const int joined = r > 0 && desc->cp_rank % 2 == 0;
  const int local = desc->cp_lens == LATHE_CP_LENS_LOCAL;
  const int64_t row = joined ? l + r : l;
  lathe_decode_desc global = *desc, first;
  int64_t stride, pages = 0, next;
  global.cp_lens = LATHE_CP_LENS_GLOBAL;
  first = global;
  first.cp_rank = 0;
  memset(share, 0, sizeof *share);
  share->desc = *desc;
  share->args = *whole;
  share->lens = (int32_t *)ref_alloc(4 * (size_t)whole->batch);
  for (int32_t i = 0; i < whole->batch; i++) {
    share->lens[i] = (int32_t)ref_rows(&global, whole->seq_lens[i]);
    pages += (share->lens[i] + page - 1) / page;
  }
  if (local) { /* as many as it has of what the whole may have, and one if that is none */
    share->desc.max_seq_len = (int32_t)ref_rows(&global, desc->max_seq_len);
    share->desc.max_seq_len += share->desc.max_seq_len == 0;
    share->args.seq_lens = share->lens;
  }
  stride = (local ? share->desc.max_seq_len : ref_rows(&first, desc->max_seq_len)) + page - 1;
  stride /= page;
  share->tables_size = 4 * (size_t)(whole->batch * stride);
  share->tables = (int32_t *)ref_poisoned_(share->tables_size);
  share->kv_size = (size_t)((pages + 1) * page * row * size);
  share->kv = (unsigned char *)ref_poisoned_(share->kv_size);
  share->kpe_size = joined ? 0 : (size_t)((pages + 1) * page * r * size);
  share->kpe = (unsigned char *)ref_poisoned_(share->kpe_size);
  share->args.kv_cache = share->kv;
  share->args.kpe_cache = joined || r == 0 ? NULL : share->kpe;
  share->args.kv_page_stride = share->args.kv_row_stride = 0;
  share->args.kpe_page_stride = share->args.kpe_row_stride = 0;
  share->args.num_pages = pages + 1;
  share->args.block_tables = share->tables;
  share->args.block_table_stride = 0;
  next = pages;
  for (int32_t i = 0; i < whole->batch; i++) {
    for (int64_t p = 0; p * page < share->lens[i]; p++)
      share->tables[i * stride + p] = (int32_t)next--;
    for (int64_t g = 0; g < whole->seq_lens[i]; g++) {
      const int64_t j = ref_row_of(&global, g);
      const int64_t from = ref_cache_row(desc, whole, i, g, 0) * size;
      const int64_t from_pe = r ? ref_cache_row(desc, whole, i, g, 1) * size : 0;
      int64_t at;
      if (j < 0 || from < 0)
        continue;
      at = share->tables[i * stride + j / page] * page + j % page;
      memcpy(share->kv + at * row * size, (const char *)whole->kv_cache + from, (size_t)(l * size));
      if (r > 0)
        memcpy(joined ? share->kv + (at * row + l) * size : share->kpe + at * r * size,
               (const char *)whole->kpe_cache + from_pe, (size_t)(r * size));
    }
  }
  ref_share_outputs(share, whole->num_tokens);
}

static inline void ref_share_free(ref_share *share) {
  free(share->kv);
  free(share->kpe);
  free(share->tables);
  free(share->lens);
  free(share->out);
  free(share->lse);
  memset(share, 0, sizeof *share);
}

#endif
