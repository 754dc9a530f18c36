// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the host hands to the append kernels, under the rules of kernel_params.h: plain C types, no
// include, no guard; strides in bytes.
struct lathep_append_params {
  const void *q_nope, *q_pe;   // rows of L and of R elements; null: that part is not written
  void *q_nope_out, *q_pe_out; // the same, of the query written
  const void *latent, *k_pe;   // rows of L and of R elements; latent null: no rows are written
  void *ckv, *kpe;             // cache rows
  const float *cos_sin;        // [max_positions, R]: R / 2 cosines, R / 2 sines
  const int *block_tables;     // [batch, block_table_stride]
  const int *seq_lens;         // [batch], or null with positions
  const int *cu_q_lens;        // [batch + 1] or null: uniform q_len
  const int *positions;        // [num_tokens] or null: from seq_lens
  const int *inactive;         // [batch] or null
  const long long *slots;      // [num_tokens] or null: through block_tables
  const float *q_scale_at, *kv_scale_at; // null: q_scale, kv_scale
  float *scales;                         // [3] or null
  long long q_nope_token_stride, q_nope_head_stride, q_pe_token_stride, q_pe_head_stride;
  long long q_nope_out_token_stride, q_nope_out_head_stride;
  long long q_pe_out_token_stride, q_pe_out_head_stride;
  long long latent_token_stride, k_pe_token_stride;
  long long ckv_page_stride, ckv_row_stride, kpe_page_stride, kpe_row_stride;
  long long cos_sin_row_stride;
  long long block_table_stride; // entries
  long long num_pages;          // rows of pages outside [0, num_pages) are not written
  int batch, num_heads, num_tokens;
  int q_len, max_q_len;      // uniform S; upper bound of a request's S
  int max_seq_len;           // lengths are clamped to [0, max_seq_len], rows are below it
  int max_positions;         // of cos_sin
  int page_size, page_shift; // page_shift: log2(page_size), or -1 if that is not a power of two
  int pairing;               // 1 interleaved, 2 half-split, 3 none (lathe_rope)
  int power_of_two;          // 1: scales of 656-byte rows are powers of two
  int row_blocks;            // blocks that write cache rows; the query's follow
  int tile_tokens;           // tokens of a query block
  int tile_heads;            // heads of a query block, all of them if tile_tokens > 1
  int head_tiles;            // ceil(num_heads / tile_heads)
  float q_scale, kv_scale, softmax_scale;
};
