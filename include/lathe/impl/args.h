// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What a decode run may be given: the one place where the defaults of its args are filled in and
// they are checked. No later code looks at a null pointer, a stride of 0 or an overflow again.

enum { LATHEP_WORKSPACE_ALIGN = 256 };

// ------------------------------------------------------------------------- what other runs share

// `of`: whose args these are, as in messages.
LATHEP_FN lathe_status lathep_check_counts(const char *of, const lathe_decode_desc *desc,
                                           lathe_decode_args *args) {
  int64_t tokens;
  if (args->batch < 1 || args->batch > desc->max_batch)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.batch is %d; give 1 to %d, the plan's max_batch", of, (int)args->batch,
                       (int)desc->max_batch);
  if (args->cu_q_lens || args->q_len == 0)
    args->q_len = desc->max_q_len;
  if (args->q_len < 1 || args->q_len > desc->max_q_len)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.q_len is %d; give 1 to %d, the plan's max_q_len", of, (int)args->q_len,
                       (int)desc->max_q_len);
  tokens = (int64_t)args->batch * args->q_len;
  if (args->num_tokens == 0) {
    if (tokens > INT32_MAX)
      return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                         "%s.num_tokens would be batch x q_len = %lld; give fewer, "
                         "%d at most",
                         of, (long long)tokens, (int)INT32_MAX);
    args->num_tokens = (int32_t)tokens;
  }
  if (args->num_tokens < 1 || (!args->cu_q_lens && args->num_tokens < tokens))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.num_tokens is %d, fewer than the %lld tokens of the run; "
                       "give the rows of q, or 0 for batch x q_len",
                       of, (int)args->num_tokens, (long long)(args->cu_q_lens ? 1 : tokens));
  // Each token is a request of its own then, for which workspace and merge have no more room.
  if (desc->sparse_topk && args->num_tokens > (int64_t)desc->max_batch * desc->max_q_len)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.num_tokens is %d in a plan with sparse_topk; give %lld at most, its "
                       "max_batch x max_q_len",
                       of, (int)args->num_tokens, (long long)desc->max_batch * desc->max_q_len);
  return LATHE_STATUS_OK;
}

// The greatest seq_lens[i] that a run believes: one whose rows a row of the block table has room
// for.
LATHEP_FN int32_t lathep_seq_limit(const lathe_decode_desc *desc, const lathe_decode_args *args) {
  if (desc->sparse_topk ||
      args->block_table_stride >= lathep_ceil_div(lathep_most_rows(desc), desc->page_size))
    return desc->max_seq_len;
  return (int32_t)lathep_clamp(lathep_position_of(desc, args->block_table_stride * desc->page_size),
                               0, desc->max_seq_len);
}

// Pages that exist, and the shape of the block tables.
LATHEP_FN lathe_status lathep_check_tables(const char *of, const lathe_decode_desc *desc,
                                           lathe_decode_args *args) {
  const int64_t most = lathep_ceil_div(lathep_most_rows(desc), desc->page_size);
  int64_t bytes;
  if (args->num_pages < 0)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.num_pages is %lld; give the pages of the cache, or 0 to "
                       "have table entries trusted",
                       of, (long long)args->num_pages);
  if (desc->sparse_topk) // there are none
    return LATHE_STATUS_OK;
  if (args->block_table_stride == 0)
    args->block_table_stride = most;
  if (args->block_table_stride < 0 ||
      lathep_mul_overflow(args->block_table_stride, (int64_t)args->batch * 4, &bytes))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.block_table_stride is %lld; give the entries of a row, or "
                       "0 for ceil(%s / page_size) = %lld",
                       of, (long long)args->block_table_stride, lathep_rows_word(desc),
                       (long long)most);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_resolve_cache(const char *of, const lathe_decode_desc *desc, int cuda,
                                            lathe_decode_args *args) {
  const int packed = desc->kv_format == LATHE_KV_FORMAT_ROW656;
  const int joined = desc->qk_rope_head_dim > 0 && !args->kpe_cache;
  const int bytes = lathep_dtype_size(desc->kv_dtype);
  lathe_status status;
  lathep_tensor t =
      lathep_token_tensor(of, "kv_cache", args->num_pages, desc->page_size, bytes, cuda || packed);
  t.prefix = "kv";
  t.outer_name = "page";
  t.inner_name = "row";
  t.paged = 1;
  t.row = (int64_t)desc->kv_lora_rank + (joined ? desc->qk_rope_head_dim : 0);
  if (packed)
    t.row = LATHEP_ROW656_BYTES;
  else if (joined)
    t.hint = ", or set kpe_cache if the roped part is a cache of its own";
  status = lathep_resolve_tensor(&t, args->kv_cache, &args->kv_page_stride, &args->kv_row_stride);
  if (status)
    return status;
  if (joined) {
    // of packed rows: what comes after the codes
    args->kpe_cache = (const char *)args->kv_cache + (int64_t)desc->kv_lora_rank * bytes;
    args->kpe_page_stride = args->kv_page_stride;
    args->kpe_row_stride = args->kv_row_stride;
  }
  if (joined || !args->kpe_cache)
    return LATHE_STATUS_OK;
  t.pointer_name = "kpe_cache";
  t.prefix = "kpe";
  t.hint = "";
  t.row = desc->qk_rope_head_dim;
  return lathep_resolve_tensor(&t, args->kpe_cache, &args->kpe_page_stride, &args->kpe_row_stride);
}

// ------------------------------------------------------------------------------------ decode's own

// A stride without its tensor is most likely a forgotten pointer.
LATHEP_FN lathe_status lathep_check_unused(const lathe_decode_desc *desc,
                                           const lathe_decode_args *args) {
  const lathep_optional optional[] = {
      {"q_pe", "q_pe_token_stride", args->q_pe, args->q_pe_token_stride},
      {"q_pe", "q_pe_head_stride", args->q_pe, args->q_pe_head_stride},
      {"kpe_cache", "kpe_page_stride", args->kpe_cache, args->kpe_page_stride},
      {"kpe_cache", "kpe_row_stride", args->kpe_cache, args->kpe_row_stride},
      {"lse", "lse_token_stride", args->lse, args->lse_token_stride},
      {"lse", "lse_head_stride", args->lse, args->lse_head_stride},
      {"tree_mask", "tree_mask_stride", args->tree_mask, args->tree_mask_stride},
      {"sparse_indices", "sparse_token_stride", args->sparse_indices, args->sparse_token_stride},
  };
  if (desc->kv_format == LATHE_KV_FORMAT_ROW656 && args->kpe_cache)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.kpe_cache is at %p with rows of ROW656; leave it null, "
                       "they hold the roped part",
                       args->kpe_cache);
  return lathep_check_optional(LATHEP_DECODE_ARGS, optional, sizeof optional / sizeof optional[0]);
}

// What a schedule is made of, besides counts and the shape of the block tables.
LATHEP_FN lathe_status lathep_check_lengths(const lathe_decode_desc *desc,
                                            const lathe_decode_args *args) {
  const int align = (int)sizeof(int32_t);
  lathe_status status;
  if (desc->sparse_topk)
    return !args->sparse_lens ? LATHE_STATUS_OK
                              : lathep_check_pointer(LATHEP_DECODE_ARGS, "sparse_lens",
                                                     args->sparse_lens, align, "int32 [tokens]");
  status =
      lathep_check_pointer(LATHEP_DECODE_ARGS, "seq_lens", args->seq_lens, align, "int32 [batch]");
  if (!status && args->cu_q_lens)
    status = lathep_check_pointer(LATHEP_DECODE_ARGS, "cu_q_lens", args->cu_q_lens, align,
                                  "int32 [batch + 1]");
  return status;
}

LATHEP_FN lathe_status lathep_check_workspace(size_t size, const lathe_decode_args *args) {
  const struct {
    const char *name;
    const void *pointer;
  } others[] = {
      {"q", args->q},
      {"q_pe", args->q_pe},
      {"kv_cache", args->kv_cache},
      {"kpe_cache", args->kpe_cache},
      {"block_tables", args->block_tables},
      {"seq_lens", args->seq_lens},
      {"cu_q_lens", args->cu_q_lens},
      {"softmax_scale_at", args->softmax_scale_at},
      {"sparse_indices", args->sparse_indices},
      {"sparse_lens", args->sparse_lens},
      {"sinks", args->sinks},
      {"tree_mask", args->tree_mask},
      {"out", args->out},
      {"lse", args->lse},
  };
  uintptr_t begin = (uintptr_t)args->workspace;
  lathe_status status;
  size_t i;
  if (size == 0)
    return LATHE_STATUS_OK;
  if (args->workspace_size < size)
    return lathep_fail(LATHE_STATUS_WORKSPACE_TOO_SMALL,
                       "lathe_decode_args.workspace_size is %zu bytes; give %zu, which "
                       "lathe_decode_workspace_size() returns",
                       args->workspace_size, size);
  status =
      lathep_check_pointer(LATHEP_DECODE_ARGS, "workspace", args->workspace, LATHEP_WORKSPACE_ALIGN,
                           "lathe_decode_workspace_size() bytes of device memory");
  if (status)
    return status;
  for (i = 0; i < sizeof others / sizeof others[0]; i++)
    if (others[i].pointer && (uintptr_t)others[i].pointer - begin < size)
      return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                         "lathe_decode_args.%s is at %p, inside the workspace; give the run %zu "
                         "bytes of its own",
                         others[i].name, others[i].pointer, size);
  return LATHE_STATUS_OK;
}

// A run reads its inputs while it writes its outputs.
LATHEP_FN lathe_status lathep_check_outputs(const lathe_decode_args *args) {
  const struct {
    const char *name;
    const void *pointer;
  } inputs[] = {{"q", args->q},
                {"q_pe", args->q_pe},
                {"kv_cache", args->kv_cache},
                {"kpe_cache", args->kpe_cache}};
  size_t i;
  for (i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
    if (inputs[i].pointer && (inputs[i].pointer == args->out || inputs[i].pointer == args->lse))
      return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                         "lathe_decode_args.%s is at %p, where %s is; give outputs memory of their "
                         "own",
                         inputs[i].pointer == args->out ? "out" : "lse", inputs[i].pointer,
                         inputs[i].name);
  if (args->lse && args->lse == args->out)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.lse is at %p, where out is; give each memory of its own",
                       args->out);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_resolve_query(const lathe_decode_desc *desc, int cuda,
                                            lathe_decode_args *args) {
  const int joined = desc->qk_rope_head_dim > 0 && !args->q_pe;
  const int bytes = lathep_dtype_size(desc->q_dtype);
  lathe_status status;
  lathep_tensor t =
      lathep_token_tensor(LATHEP_DECODE_ARGS, "q", args->num_tokens, desc->num_heads, bytes, cuda);
  t.row = (int64_t)desc->kv_lora_rank + (joined ? desc->qk_rope_head_dim : 0);
  if (joined)
    t.hint = ", or set q_pe if the roped part is a tensor of its own";
  status = lathep_resolve_tensor(&t, args->q, &args->q_token_stride, &args->q_head_stride);
  if (status)
    return status;
  if (joined) {
    args->q_pe = (const char *)args->q + (int64_t)desc->kv_lora_rank * bytes;
    args->q_pe_token_stride = args->q_token_stride;
    args->q_pe_head_stride = args->q_head_stride;
  }
  if (joined || !args->q_pe)
    return LATHE_STATUS_OK;
  t = lathep_token_tensor(LATHEP_DECODE_ARGS, "q_pe", args->num_tokens, desc->num_heads, bytes,
                          cuda);
  t.row = desc->qk_rope_head_dim;
  return lathep_resolve_tensor(&t, args->q_pe, &args->q_pe_token_stride, &args->q_pe_head_stride);
}

LATHEP_FN lathe_status lathep_resolve_outputs(const lathe_decode_desc *desc, int cuda,
                                              lathe_decode_args *args) {
  const int bytes = lathep_dtype_size(desc->out_dtype);
  lathe_status status;
  lathep_tensor t = lathep_token_tensor(LATHEP_DECODE_ARGS, "out", args->num_tokens,
                                        desc->num_heads, bytes, cuda);
  t.row = desc->kv_lora_rank;
  status = lathep_resolve_tensor(&t, args->out, &args->out_token_stride, &args->out_head_stride);
  if (!status && !args->lse && desc->cp_world > 1)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_decode_args.lse is null and cp_world of the plan is %d; give float "
                       "[num_tokens, num_heads], by which the ranks' outputs are joined",
                       (int)desc->cp_world);
  if (status || !args->lse)
    return status;
  t = lathep_token_tensor(LATHEP_DECODE_ARGS, "lse", args->num_tokens, desc->num_heads, 4, 0);
  return lathep_resolve_tensor(&t, args->lse, &args->lse_token_stride, &args->lse_head_stride);
}

// Copies args with every default and stride filled in, and checks them. In *filled q_pe and
// kpe_cache are never null if R > 0: joined tensors become a pair that shares strides. If R = 0
// they are null. Scales, q_len (max_q_len with cu_q_lens), num_tokens and block_table_stride are
// set. With lists of rows *filled is what lathep_args_of_run says.
LATHEP_FN lathe_status lathep_decode_args_resolve(const lathe_decode_desc *desc,
                                                  lathe_backend backend, size_t workspace_size,
                                                  const lathe_decode_args *args,
                                                  lathe_decode_args *filled) {
  const int cuda = backend != LATHE_BACKEND_CPU;
  lathe_status status;
  if (!args)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "args is null; give a lathe_decode_args with the pointers of the run");
  *filled = *args;
  if (desc->qk_rope_head_dim == 0) { // nothing is roped: whatever is here is not read
    filled->q_pe = filled->kpe_cache = NULL;
    filled->q_pe_token_stride = filled->q_pe_head_stride = 0;
    filled->kpe_page_stride = filled->kpe_row_stride = 0;
  }
  status = lathep_check_counts(LATHEP_DECODE_ARGS, desc, filled);
  if (!status)
    status = lathep_check_unused(desc, filled);
  if (!status)
    status = lathep_check_outputs(filled);
  if (!status)
    status = lathep_resolve_query(desc, cuda, filled);
  if (!status && !desc->sparse_topk)
    status = lathep_check_pointer(LATHEP_DECODE_ARGS, "block_tables", filled->block_tables,
                                  (int)sizeof(int32_t), "int32 [batch, block_table_stride]");
  if (!status)
    status = lathep_check_lists(desc, filled);
  if (!status)
    status = lathep_check_lengths(desc, filled);
  if (!status)
    status = lathep_check_tables(LATHEP_DECODE_ARGS, desc, filled);
  if (!status)
    status = lathep_resolve_cache(LATHEP_DECODE_ARGS, desc, cuda, filled);
  if (!status)
    status = lathep_check_scales(desc, filled);
  if (!status)
    status = lathep_check_option_args(desc, filled);
  if (!status)
    status = lathep_check_tree(desc, filled);
  if (!status)
    status = lathep_resolve_outputs(desc, cuda, filled);
  if (!status)
    status = lathep_check_workspace(workspace_size, filled);
  lathep_args_of_run(desc, filled);
  return status;
}
