// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the host hands to the kernels of lathe_merge, under the rules of kernel_params.h: plain C
// types, no include, no guard; strides in bytes.
struct lathep_join_params {
  struct {
    const void *out;  // [num_tokens, num_heads, L]
    const float *lse; // [num_tokens, num_heads]
  } states[64];
  void *out;  // [num_tokens, num_heads, L]
  float *lse; // [num_tokens, num_heads] or null
  long long in_token_stride, in_head_stride, in_lse_token_stride, in_lse_head_stride;
  long long out_token_stride, out_head_stride, lse_token_stride, lse_head_stride;
  long long rows; // num_tokens * num_heads
  int num_heads, num_states;
  float to_log2, from_log2; // between the base of the lse and 2
};
