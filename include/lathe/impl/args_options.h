// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What a decode run may be given for the options of its plan: scales, sinks, lists of rows, a tree
// mask. Their defaults are filled in and they are checked here, for args.h.

#define LATHEP_DECODE_ARGS "lathe_decode_args"

// The scale of a tensor, which only e4m3 has.
LATHEP_FN lathe_status lathep_check_scale(const char *field, const char *of, lathe_dtype dtype,
                                          float *scale) {
  if (*scale == 0.0f)
    *scale = 1.0f;
  if (!(*scale > 0.0f) || !isfinite(*scale))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.%s_scale is %g; give a finite value above 0, or 0 for 1",
                       field, (double)*scale);
  if (*scale != 1.0f && dtype != LATHE_DTYPE_E4M3)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.%s_scale is %g with %s of %s; leave it 0, only e4m3 is "
                       "scaled",
                       field, (double)*scale, of, lathe_dtype_string(dtype));
  return LATHE_STATUS_OK;
}

// What scores are multiplied by, with room for log2(e): a float that is neither infinite nor 0,
// which times the -inf of a masked score would be NaN. Null: it is; else what it is.
LATHEP_FN const char *lathep_scale_fault(double product) {
  return product * 2 > (double)FLT_MAX ? "large" : product < (double)FLT_MIN ? "small" : NULL;
}

LATHEP_FN lathe_status lathep_check_scales(const lathe_decode_desc *desc, lathe_decode_args *args) {
  const char *fault;
  lathe_status status;
  double product;
  if (desc->softmax_scale_on_device)
    args->softmax_scale = 1.0f; // times what is there
  if (!(args->softmax_scale > 0.0f) || !isfinite(args->softmax_scale))
    return lathep_fail(
        LATHE_STATUS_INVALID_ARGUMENT,
        "lathe_decode_args.softmax_scale is %g; give a finite value above 0, such as "
        "lathe_softmax_scale(qk_nope_head_dim, qk_rope_head_dim, 0)",
        (double)args->softmax_scale);
  status = lathep_check_scale("kv", "a cache", desc->kv_dtype, &args->kv_scale);
  if (!status && desc->kv_format == LATHE_KV_FORMAT_ROW656 && args->kv_scale != 1.0f)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.kv_scale is %g with rows of ROW656, which have scales of "
                       "their own; leave it 0",
                       (double)args->kv_scale);
  if (!status)
    status = lathep_check_scale("q", "a query", desc->q_dtype, &args->q_scale);
  if (!status)
    status = lathep_check_scale("out", "an output", desc->out_dtype, &args->out_scale);
  if (status)
    return status;
  product = (double)args->softmax_scale * (double)args->kv_scale * (double)args->q_scale;
  fault = lathep_scale_fault(product);
  if (fault)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.softmax_scale x kv_scale x q_scale is %g x %g x %g, too "
                       "%s for a float; give the scale of the stored values",
                       (double)args->softmax_scale, (double)args->kv_scale, (double)args->q_scale,
                       fault);
  if (!isfinite(args->kv_scale / args->out_scale))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.kv_scale / out_scale is %g / %g, too large for a float; "
                       "give the scale of the stored values",
                       (double)args->kv_scale, (double)args->out_scale);
  if (desc->logit_softcap != 0.0f && product * 2 > (double)FLT_MAX * (double)desc->logit_softcap)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.softmax_scale is %g, too large for a logit_softcap of "
                       "%g; give the scale of logits that are capped",
                       (double)args->softmax_scale, (double)desc->logit_softcap);
  return LATHE_STATUS_OK;
}

// What a run has only if its plan has the option.
LATHEP_FN lathe_status lathep_check_option(const char *field, const void *pointer, int wanted,
                                           const char *option, const char *what) {
  if (wanted)
    return lathep_check_pointer(LATHEP_DECODE_ARGS, field, pointer, (int)sizeof(float), what);
  if (pointer)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.%s is at %p and lathe_decode_desc.%s of the plan is 0; "
                       "leave it null, or make a plan with %s",
                       field, pointer, option, option);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_check_option_args(const lathe_decode_desc *desc,
                                                const lathe_decode_args *args) {
  lathe_status status = LATHE_STATUS_OK;
  if (desc->cp_rank == 0 || !desc->attention_sinks) // else they are rank 0's, given or not
    status = lathep_check_option("sinks", args->sinks, desc->attention_sinks, "attention_sinks",
                                 "float [num_heads], or have a plan without attention_sinks");
  if (!status)
    status = lathep_check_option("softmax_scale_at", args->softmax_scale_at,
                                 desc->softmax_scale_on_device, "softmax_scale_on_device",
                                 "one float, or have a plan without softmax_scale_on_device");
  return status;
}

// Lists of rows, in a plan that has them.
LATHEP_FN lathe_status lathep_check_lists(const lathe_decode_desc *desc, lathe_decode_args *args) {
  int64_t bytes;
  lathe_status status =
      lathep_check_option("sparse_indices", args->sparse_indices, desc->sparse_topk, "sparse_topk",
                          "int32 [tokens, sparse_topk], or have a plan without sparse_topk");
  if (!status && !desc->sparse_topk)
    status = lathep_check_option("sparse_lens", args->sparse_lens, 0, "sparse_topk", "");
  if (status || !desc->sparse_topk)
    return status;
  if (args->sparse_token_stride == 0)
    args->sparse_token_stride = desc->sparse_topk;
  if (args->sparse_token_stride < desc->sparse_topk ||
      lathep_mul_overflow(args->sparse_token_stride, (int64_t)args->num_tokens * 4, &bytes))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.sparse_token_stride is %lld; give the entries of a row, "
                       "%d or more, or 0 for packed",
                       (long long)args->sparse_token_stride, (int)desc->sparse_topk);
  return LATHE_STATUS_OK;
}

// What a run works on, as lathep_desc_of_run: its requests are tokens, their tables lists of rows.
LATHEP_FN void lathep_args_of_run(const lathe_decode_desc *desc, lathe_decode_args *args) {
  if (!desc->sparse_topk)
    return;
  args->batch = args->num_tokens;
  args->q_len = 1;
  args->cu_q_lens = NULL;
  args->seq_lens = args->sparse_lens;
  args->block_tables = args->sparse_indices;
  args->block_table_stride = args->sparse_token_stride;
}

// The mask of a plan that has one, and the stride of its rows.
LATHEP_FN lathe_status lathep_check_tree(const lathe_decode_desc *desc, lathe_decode_args *args) {
  const int64_t words = lathep_ceil_div(desc->max_q_len, 32);
  int64_t bytes;
  lathe_status status;
  if (desc->mask != LATHE_MASK_TREE && args->tree_mask)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.tree_mask is at %p and lathe_decode_desc.mask of the "
                       "plan is %d; leave it null, or make a plan with LATHE_MASK_TREE",
                       (const void *)args->tree_mask, (int)desc->mask);
  if (desc->mask != LATHE_MASK_TREE)
    return LATHE_STATUS_OK;
  status =
      lathep_check_pointer(LATHEP_DECODE_ARGS, "tree_mask", args->tree_mask, (int)sizeof(uint32_t),
                           "uint32 [num_tokens, ceil(max_q_len / 32)], or have a plan with "
                           "another mask");
  if (status)
    return status;
  if (args->tree_mask_stride == 0)
    args->tree_mask_stride = words;
  if (args->tree_mask_stride < words ||
      lathep_mul_overflow(args->tree_mask_stride, (int64_t)args->num_tokens * 4, &bytes))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.tree_mask_stride is %lld words; give ceil(max_q_len / "
                       "32) = %lld or more that a token's row is after the one before, or 0",
                       (long long)args->tree_mask_stride, (long long)words);
  return LATHE_STATUS_OK;
}
