// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What a merge plan and a merge run may be given: the one place where the defaults of its desc and
// args are filled in and they are checked.

#define LATHEP_MERGE_DESC "lathe_merge_desc"
#define LATHEP_MERGE_ARGS "lathe_merge_args"

LATHEP_FN lathe_status lathep_merge_check_dtype(const char *field, lathe_dtype dtype) {
  lathe_status status = lathep_check_dtype(LATHEP_MERGE_DESC, field, dtype);
  if (status || dtype == LATHE_DTYPE_F32 || lathep_is_half(dtype))
    return status;
  return lathep_refuse(LATHE_REASON_STATE_DTYPE, field, dtype,
                       "lathe_merge_desc.%s is %s; what is merged is f16, bf16 or f32", field,
                       lathe_dtype_string(dtype));
}

// Fills in the defaults of desc. What lathe_merge_check and lathe_merge_plan_create share, so that
// both give the same reason.
LATHEP_FN lathe_status lathep_merge_prepare(const lathe_context *context,
                                            const lathe_merge_desc *desc,
                                            lathe_merge_desc *filled) {
  const char *of = LATHEP_MERGE_DESC;
  lathep_variant variant;
  lathe_status status;
  if (!context)
    return lathep_refuse(LATHE_REASON_NULL_ARGUMENT, "", 0,
                         "context is null; give one made by lathe_context_create()");
  if (!desc)
    return lathep_refuse(LATHE_REASON_NULL_ARGUMENT, "", 0,
                         "desc is null; give a lathe_merge_desc with the dims of the outputs");
  *filled = *desc;
  if (filled->out_dtype == LATHE_DTYPE_NONE)
    filled->out_dtype = filled->in_dtype;
  status = lathep_check_size(of, "num_heads", filled->num_heads, 1, INT32_MAX,
                             "the heads of the outputs");
  if (!status)
    status = lathep_check_size(of, "kv_lora_rank", filled->kv_lora_rank, 1, LATHEP_MAX_ROWS,
                               "the elements of an output row");
  if (!status)
    status = lathep_merge_check_dtype("in_dtype", filled->in_dtype);
  if (!status)
    status = lathep_merge_check_dtype("out_dtype", filled->out_dtype);
  if (!status)
    status = lathep_check_lse_base(of, filled->lse_base);
  if (status || context->backend == LATHE_BACKEND_CPU)
    return status;
  status = lathep_check_dim(of, "kv_lora_rank", filled->kv_lora_rank);
  if (!status)
    status = lathep_check_device(&context->device);
  if (status)
    return status;
  lathep_variant_join(filled, &variant);
  return lathep_check_enabled(of, context, &variant);
}

LATHE_API lathe_status lathe_merge_check(const lathe_context *context,
                                         const lathe_merge_desc *desc) {
  lathe_merge_desc filled;
  return lathep_merge_prepare(context, desc, &filled);
}

// ------------------------------------------------------------------------------------------- args

// The states share their strides, which the first one fills in.
LATHEP_FN lathe_status lathep_merge_resolve_states(const lathe_merge_desc *desc, int cuda,
                                                   lathe_merge_args *args) {
  const char *of = LATHEP_MERGE_ARGS;
  lathep_tensor out = lathep_token_tensor(of, "in", args->num_tokens, desc->num_heads,
                                          lathep_dtype_size(desc->in_dtype), cuda);
  lathep_tensor lse =
      lathep_token_tensor(of, "in_lse", args->num_tokens, desc->num_heads, (int)sizeof(float), 0);
  lathe_status status = LATHE_STATUS_OK;
  int32_t i;
  out.row = desc->kv_lora_rank;
  for (i = 0; i < args->num_states && !status; i++) {
    char name[2][32];
    lathep_print(name[0], sizeof name[0], "states[%d].out", (int)i);
    lathep_print(name[1], sizeof name[1], "states[%d].lse", (int)i);
    out.pointer_name = name[0];
    lse.pointer_name = name[1];
    status = lathep_resolve_tensor(&out, args->states[i].out, &args->in_token_stride,
                                   &args->in_head_stride);
    if (!status)
      status = lathep_resolve_tensor(&lse, args->states[i].lse, &args->in_lse_token_stride,
                                     &args->in_lse_head_stride);
  }
  return status;
}

LATHEP_FN lathe_status lathep_merge_check_overlap(const lathe_merge_args *args) {
  int32_t i;
  for (i = 0; i < args->num_states; i++) {
    const void *in[] = {args->states[i].out, args->states[i].lse};
    int k;
    for (k = 0; k < 2; k++)
      if (in[k] == args->out || in[k] == args->lse)
        return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                           "lathe_merge_args.%s is at %p, where states[%d].%s is; give outputs "
                           "memory of their own",
                           in[k] == args->out ? "out" : "lse", in[k], (int)i, k ? "lse" : "out");
  }
  if (args->lse == args->out)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_merge_args.lse is at %p, where out is; give each memory of its own",
                       args->out);
  return LATHE_STATUS_OK;
}

// Copies args with every stride filled in, and checks them.
LATHEP_FN lathe_status lathep_merge_args_resolve(const lathe_merge_desc *desc,
                                                 lathe_backend backend,
                                                 const lathe_merge_args *args,
                                                 lathe_merge_args *filled) {
  const lathep_optional optional[] = {
      {"lse", "lse_token_stride", args ? args->lse : NULL, args ? args->lse_token_stride : 0},
      {"lse", "lse_head_stride", args ? args->lse : NULL, args ? args->lse_head_stride : 0},
  };
  const int cuda = backend != LATHE_BACKEND_CPU;
  lathe_status status;
  lathep_tensor t;
  if (!args)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "args is null; give a lathe_merge_args with the pointers of the run");
  *filled = *args;
  if (args->num_tokens < 1)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_merge_args.num_tokens is %d; give the tokens of out, 1 or more",
                       (int)args->num_tokens);
  if (args->num_states < 1 || args->num_states > LATHE_MERGE_MAX_STATES)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_merge_args.num_states is %d; give 1 to %d, and merge what is merged "
                       "where there are more",
                       (int)args->num_states, (int)LATHE_MERGE_MAX_STATES);
  if (!args->states)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_merge_args.states is null; give the host's array of %d",
                       (int)args->num_states);
  status = lathep_check_optional(LATHEP_MERGE_ARGS, optional, sizeof optional / sizeof optional[0]);
  if (!status)
    status = lathep_merge_resolve_states(desc, cuda, filled);
  if (status)
    return status;
  t = lathep_token_tensor(LATHEP_MERGE_ARGS, "out", args->num_tokens, desc->num_heads,
                          lathep_dtype_size(desc->out_dtype), cuda);
  t.row = desc->kv_lora_rank;
  status =
      lathep_resolve_tensor(&t, args->out, &filled->out_token_stride, &filled->out_head_stride);
  if (!status && args->lse) {
    t = lathep_token_tensor(LATHEP_MERGE_ARGS, "lse", args->num_tokens, desc->num_heads,
                            (int)sizeof(float), 0);
    status =
        lathep_resolve_tensor(&t, args->lse, &filled->lse_token_stride, &filled->lse_head_stride);
  }
  return status ? status : lathep_merge_check_overlap(filled);
}
