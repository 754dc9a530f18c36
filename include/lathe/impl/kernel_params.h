// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the host hands to the kernels: included once by lathe_impl.h as C, and put, byte for byte,
// at the head of every kernel source. So: plain C types, no include, no guard. Strides are in
// bytes.
struct lathep_decode_params {
  const void *q_nope, *q_pe; // rows of L and of R elements
  const void *ckv, *kpe;     // cache rows of L and of R elements
  const int *block_tables;   // [batch, block_table_stride]
  const int *seq_lens;       // [batch]
  const int *cu_q_lens;      // [batch + 1] or null: uniform q_len
  void *out;                 // [num_tokens, num_heads, L]
  float *lse;                // [num_tokens, num_heads] or null
  // Parts of split requests, each normalised: f16 times 2^exponent, one of every 8 columns; base-2
  // lse.
  unsigned short *partial_out;    // [2 * groups, slot_rows, L]
  signed char *partial_exponents; // [2 * groups, slot_rows, L / 8]
  float *partial_lse;             // [2 * groups, slot_rows]
  // [groups, 4]: the request whose first part this group has, or -1; its parts; its first token;
  // its tokens. Part 0 is slot 2 * group + 1, part p > 0 slot 2 * (group + p).
  int *split_table;
  long long q_nope_token_stride, q_nope_head_stride, q_pe_token_stride, q_pe_head_stride;
  long long ckv_page_stride, ckv_row_stride, kpe_page_stride, kpe_row_stride;
  long long out_token_stride, out_head_stride, lse_token_stride, lse_head_stride;
  long long block_table_stride; // entries
  long long num_pages;          // entries outside [0, num_pages) read as zeros
  int batch, num_heads, num_tokens;
  int q_len, max_q_len;      // uniform S; upper bound of a request's S
  int max_seq_len;           // lengths are clamped to [0, max_seq_len]
  int page_size, page_shift; // page_shift: log2(page_size), or -1 if that is not a power of two
  int causal;                // 1: token t of S sees max(0, K - S + t + 1) rows; 0: K rows
  int groups;                // parts the KV work is cut into, at most 1024
  int row_tiles;             // ceil(num_heads * max_q_len / ROWS)
  int slot_rows;             // row_tiles * ROWS
  float scale_log2;          // softmax_scale * kv_scale * log2(e)
  float out_scale;           // kv_scale: what V is multiplied by
  float lse_scale;           // ln(2) for a natural lse, 1 for base 2
};
