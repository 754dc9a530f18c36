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
  unsigned short *partial_out;    // [slots, slot_rows, L]
  signed char *partial_exponents; // [slots, slot_rows, L / 8]
  float *partial_lse;             // [slots, slot_rows]
  // [splits, 4]: a request that is split, or -1; its parts; its first token; its tokens. Which row
  // a request has, and its parts which slots: templates/parts/splits.cuh.j2.
  int *split_table;
  // [groups, 2, 4]: where a group's work begins and ends (request, block, parts, 0), made
  // beforehand together with the split table; null: each block derives it.
  int *schedule;
  long long q_nope_token_stride, q_nope_head_stride, q_pe_token_stride, q_pe_head_stride;
  long long ckv_page_stride, ckv_row_stride, kpe_page_stride, kpe_row_stride;
  long long out_token_stride, out_head_stride, lse_token_stride, lse_head_stride;
  long long block_table_stride; // entries
  long long num_pages;          // entries outside [0, num_pages) read as zeros
  int batch, num_heads, num_tokens;
  int q_len, max_q_len;       // uniform S; upper bound of a request's S
  int max_seq_len;            // lengths are clamped to [0, max_seq_len]
  int page_size, page_shift;  // page_shift: log2(page_size), or -1 if that is not a power of two
  int causal;                 // 1: token t of S sees max(0, K - S + t + 1) rows; 0: K rows
  int groups;                 // parts the KV work is cut into, at most 1024
  int row_tiles;              // ceil(num_heads * max_q_len / ROWS)
  int slot_rows;              // row_tiles * ROWS
  int splits;                 // rows of the split table, at most 1024
  int split_blocks;           // requests are cut every so many blocks; 0: where it balances groups
  int split_parts;            // split_blocks > 0: the most parts of a request
  float scale_log2;           // softmax_scale * kv_scale * q_scale * log2(e)
  float out_scale;            // kv_scale / out_scale: what V is multiplied by
  float lse_scale;            // ln(2) for a natural lse, 1 for base 2
  int window;                 // rows that a token sees at most, its own the last
  float cap_log2;             // logit_softcap * log2(e)
  float cap_inverse;          // 1 / cap_log2
  const float *sinks;         // [num_heads], natural logits
  const float *softmax_scale; // multiplies scale_log2, which then has all but this
  const unsigned *tree_mask;  // [num_tokens, tree_mask_stride]: bit j of a token: it sees token j
  long long tree_mask_stride; // words
  // Of the positions of a request, in rounds over all ranks, this one has cp_interleave from
  // cp_first on. Lengths count positions.
  int cp_round, cp_first, cp_interleave;
};
