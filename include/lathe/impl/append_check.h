// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What an append plan may be asked for: the one place where the defaults of its desc are filled in
// and it is checked.

#define LATHEP_APPEND_DESC "lathe_append_desc"
#define LATHEP_APPEND_ARGS "lathe_append_args"

LATHEP_FN void lathep_append_desc_defaults(const lathe_append_desc *desc,
                                           lathe_append_desc *filled) {
  *filled = *desc;
  if (filled->q_out_dtype == LATHE_DTYPE_NONE)
    filled->q_out_dtype = filled->q_dtype;
  if (filled->max_q_len == 0)
    filled->max_q_len = 1;
  if (filled->max_positions == 0)
    filled->max_positions = filled->max_seq_len;
  if (filled->qk_rope_head_dim == 0)
    filled->rope = LATHE_ROPE_NONE;
}

LATHEP_FN lathe_status lathep_append_check_sizes(const lathe_append_desc *desc) {
  const char *of = LATHEP_APPEND_DESC;
  const struct {
    const char *field;
    int32_t value, least, most;
    const char *what;
  } sizes[] = {
      {"num_heads", desc->num_heads, 1, INT32_MAX, "the query heads on this rank"},
      {"kv_lora_rank", desc->kv_lora_rank, 1, LATHEP_MAX_ROWS, "the elements of the latent"},
      {"qk_rope_head_dim", desc->qk_rope_head_dim, 0, LATHEP_MAX_ROWS,
       "the elements of the roped part"},
      {"page_size", desc->page_size, 1, LATHEP_MAX_ROWS, "rows per page"},
      {"max_batch", desc->max_batch, 1, INT32_MAX, "the most requests of a run"},
      {"max_q_len", desc->max_q_len, 1, INT32_MAX, "the most new tokens of a request (0 is 1)"},
      {"max_seq_len", desc->max_seq_len, 1, LATHEP_MAX_ROWS, "the most KV rows of a request"},
      {"max_positions", desc->max_positions, 1, INT32_MAX,
       "the rows of the cos/sin table (0 is max_seq_len)"},
  };
  size_t i;
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    lathe_status status = lathep_check_size(of, sizes[i].field, sizes[i].value, sizes[i].least,
                                            sizes[i].most, sizes[i].what);
    if (status)
      return status;
  }
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_append_check_dtypes(const lathe_append_desc *desc) {
  const char *of = LATHEP_APPEND_DESC;
  const char *q = lathe_dtype_string(desc->q_dtype);
  lathe_status status = lathep_check_dtype(of, "q_dtype", desc->q_dtype);
  if (!status)
    status = lathep_check_dtype(of, "kv_dtype", desc->kv_dtype);
  if (!status)
    status = lathep_check_dtype(of, "q_out_dtype", desc->q_out_dtype);
  if (status)
    return status;
  if (!lathep_is_half(desc->q_dtype))
    return lathep_refuse(LATHE_REASON_Q_DTYPE, "q_dtype", desc->q_dtype,
                         "lathe_append_desc.q_dtype is %s; what is appended is f16 or bf16", q);
  if (desc->kv_dtype != desc->q_dtype && desc->kv_dtype != LATHE_DTYPE_E4M3)
    return lathep_refuse(LATHE_REASON_KV_DTYPE, "kv_dtype", desc->kv_dtype,
                         "lathe_append_desc.kv_dtype is %s with q_dtype %s; give %s or e4m3",
                         lathe_dtype_string(desc->kv_dtype), q, q);
  if (desc->q_out_dtype == desc->q_dtype)
    return LATHE_STATUS_OK;
  if (desc->q_out_dtype != LATHE_DTYPE_E4M3 || desc->kv_dtype != LATHE_DTYPE_E4M3 ||
      desc->kv_format != LATHE_KV_FORMAT_PLAIN)
    return lathep_refuse(LATHE_REASON_OUT_DTYPE, "q_out_dtype", desc->q_out_dtype,
                         "lathe_append_desc.q_out_dtype is %s with q_dtype %s and %s cache of %s; "
                         "give %s (0), or e4m3 with a plain cache of e4m3",
                         lathe_dtype_string(desc->q_out_dtype), q,
                         desc->kv_format == LATHE_KV_FORMAT_PLAIN ? "a plain" : "a ROW656",
                         lathe_dtype_string(desc->kv_dtype), q);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_append_check_format(const lathe_append_desc *desc) {
  lathe_status status =
      lathep_check_format(LATHEP_APPEND_DESC, desc->kv_format, desc->q_dtype, desc->kv_dtype,
                          desc->kv_lora_rank, desc->qk_rope_head_dim);
  if (status)
    return status;
  if (desc->row_scale != LATHE_ROW_SCALE_F32 && desc->row_scale != LATHE_ROW_SCALE_POW2)
    return lathep_refuse(LATHE_REASON_UNKNOWN_VALUE, "row_scale", desc->row_scale,
                         "lathe_append_desc.row_scale is %d, which is no lathe_row_scale; give "
                         "LATHE_ROW_SCALE_F32 or LATHE_ROW_SCALE_POW2",
                         (int)desc->row_scale);
  if (desc->kv_format == LATHE_KV_FORMAT_PLAIN && desc->row_scale != LATHE_ROW_SCALE_F32)
    return lathep_refuse(LATHE_REASON_ROW_SCALE, "row_scale", desc->row_scale,
                         "lathe_append_desc.row_scale is LATHE_ROW_SCALE_POW2 with a plain cache; "
                         "leave it 0, only rows of ROW656 have scales");
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_append_check_rope(const lathe_append_desc *desc) {
  if (desc->rope == LATHE_ROPE_UNSET)
    return lathep_refuse(LATHE_REASON_NOT_SET, "rope", desc->rope,
                         "lathe_append_desc.rope is not set (0) with qk_rope_head_dim %d; give "
                         "LATHE_ROPE_INTERLEAVED, LATHE_ROPE_HALF_SPLIT or LATHE_ROPE_NONE, as the "
                         "model has it",
                         (int)desc->qk_rope_head_dim);
  if ((int)desc->rope < 0 || desc->rope > LATHE_ROPE_NONE)
    return lathep_refuse(LATHE_REASON_UNKNOWN_VALUE, "rope", desc->rope,
                         "lathe_append_desc.rope is %d, which is no lathe_rope; give "
                         "LATHE_ROPE_INTERLEAVED, LATHE_ROPE_HALF_SPLIT or LATHE_ROPE_NONE",
                         (int)desc->rope);
  if (desc->rope != LATHE_ROPE_NONE && desc->qk_rope_head_dim % 2)
    return lathep_refuse(LATHE_REASON_ODD_ROPE, "qk_rope_head_dim", desc->qk_rope_head_dim,
                         "lathe_append_desc.qk_rope_head_dim is %d, which has no pairs to rotate; "
                         "give an even one, or LATHE_ROPE_NONE",
                         (int)desc->qk_rope_head_dim);
  return LATHE_STATUS_OK;
}

// Takes a desc whose defaults are filled in.
LATHEP_FN lathe_status lathep_append_desc_check(const lathe_context *context,
                                                const lathe_append_desc *desc) {
  lathep_variant variant;
  lathe_status status = lathep_append_check_sizes(desc);
  if (!status)
    status = lathep_append_check_dtypes(desc);
  if (!status)
    status = lathep_append_check_format(desc);
  if (!status)
    status = lathep_append_check_rope(desc);
  if (status || context->backend == LATHE_BACKEND_CPU)
    return status;
  status = lathep_check_dim(LATHEP_APPEND_DESC, "kv_lora_rank", desc->kv_lora_rank);
  if (!status)
    status = lathep_check_dim(LATHEP_APPEND_DESC, "qk_rope_head_dim", desc->qk_rope_head_dim);
  if (!status)
    status = lathep_check_device(&context->device);
  if (status)
    return status;
  lathep_variant_append(desc, &variant);
  return lathep_check_enabled(LATHEP_APPEND_DESC, context, &variant);
}

// What lathe_append_check and lathe_append_plan_create share, so that both give the same reason.
LATHEP_FN lathe_status lathep_append_prepare(const lathe_context *context,
                                             const lathe_append_desc *desc,
                                             lathe_append_desc *filled) {
  if (!context)
    return lathep_refuse(LATHE_REASON_NULL_ARGUMENT, "", 0,
                         "context is null; give one made by lathe_context_create()");
  if (!desc)
    return lathep_refuse(LATHE_REASON_NULL_ARGUMENT, "", 0,
                         "desc is null; give a lathe_append_desc with the dims of the model");
  lathep_append_desc_defaults(desc, filled);
  return lathep_append_desc_check(context, filled);
}

LATHE_API lathe_status lathe_append_check(const lathe_context *context,
                                          const lathe_append_desc *desc) {
  lathe_append_desc filled;
  return lathep_append_prepare(context, desc, &filled);
}
