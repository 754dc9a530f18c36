// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The CPU backend of merge: the formula of lathe_merge_run in double, rounded once.

LATHEP_FN double lathep_merge_load(lathe_dtype dtype, const void *tensor, int64_t at) {
  double value;
  if (dtype == LATHE_DTYPE_F32)
    return (double)((const float *)tensor)[at];
  lathep_cpu_load(dtype, tensor, at, 1, &value);
  return value;
}

LATHEP_FN void lathep_merge_store(lathe_dtype dtype, void *tensor, int64_t at, double value) {
  if (dtype == LATHE_DTYPE_F32)
    ((float *)tensor)[at] = (float)value;
  else
    ((uint16_t *)tensor)[at] =
        dtype == LATHE_DTYPE_F16 ? lathep_f64_to_f16(value) : lathep_f64_to_bf16(value);
}

LATHEP_FN double lathep_merge_lse(const lathe_merge_args *args, int32_t i, int64_t token,
                                  int64_t head) {
  return (double)args->states[i]
      .lse[token * args->in_lse_token_stride + head * args->in_lse_head_stride];
}

LATHEP_FN void lathep_merge_row(const lathe_merge_desc *desc, const lathe_merge_args *args,
                                int64_t token, int64_t head) {
  const double base = desc->lse_base == LATHE_LSE_BASE2 ? 0.69314718055994530942 : 1;
  const int64_t in = token * args->in_token_stride + head * args->in_head_stride;
  const int64_t out = token * args->out_token_stride + head * args->out_head_stride;
  double weights[LATHE_MERGE_MAX_STATES], most = -(double)INFINITY, sum = 0, lse;
  int64_t d;
  int32_t i;
  for (i = 0; i < args->num_states; i++) {
    lse = lathep_merge_lse(args, i, token, head);
    if (lse > most)
      most = lse;
  }
  for (i = 0; i < args->num_states; i++) {
    lse = lathep_merge_lse(args, i, token, head);
    weights[i] = lse == -(double)INFINITY ? 0 : exp((lse - most) * base);
    sum += weights[i];
  }
  for (d = 0; d < desc->kv_lora_rank; d++) {
    double value = -0.0; // so that one state alone keeps its -0
    for (i = 0; i < args->num_states; i++)
      if (lathep_merge_lse(args, i, token, head) != -(double)INFINITY)
        value += weights[i] * lathep_merge_load(desc->in_dtype, args->states[i].out, in + d);
    lathep_merge_store(desc->out_dtype, args->out, out + d, sum == 0 ? 0 : value / sum);
  }
  if (args->lse)
    args->lse[token * args->lse_token_stride + head * args->lse_head_stride] =
        (float)(sum == 0 ? most : most + log(sum) / base);
}

// Takes a desc and args whose defaults are filled in. Returns when out and lse are written.
LATHEP_FN void lathep_cpu_merge(const lathe_merge_desc *desc, const lathe_merge_args *args) {
  int64_t token, head;
  for (token = 0; token < args->num_tokens; token++)
    for (head = 0; head < desc->num_heads; head++)
      lathep_merge_row(desc, args, token, head);
}
