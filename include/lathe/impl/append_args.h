// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What an append run may be given: the one place where the defaults of its args are filled in and
// they are checked. Requests and cache are decode's, and checked by its code.

// A decode step over the same requests and cache, as far as the checks of those look at it. A row
// of ROW656 has no roped part of its own; where there are no block tables they bound nothing.
LATHEP_FN void lathep_append_as_decode(const lathe_append_desc *desc, const lathe_append_args *args,
                                       lathe_decode_desc *d, lathe_decode_args *a) {
  const int packed = desc->kv_format == LATHE_KV_FORMAT_ROW656;
  memset(d, 0, sizeof *d);
  memset(a, 0, sizeof *a);
  d->num_heads = desc->num_heads;
  d->kv_lora_rank = desc->kv_lora_rank;
  d->qk_rope_head_dim = packed ? 0 : desc->qk_rope_head_dim;
  d->kv_dtype = desc->kv_dtype;
  d->kv_format = desc->kv_format;
  d->page_size = desc->page_size;
  d->max_batch = desc->max_batch;
  d->max_q_len = desc->max_q_len;
  d->max_seq_len = desc->max_seq_len;
  a->batch = args->batch;
  a->q_len = args->q_len;
  a->cu_q_lens = args->cu_q_lens;
  a->num_tokens = args->num_tokens;
  a->kv_cache = args->kv_cache;
  a->kpe_cache = args->kpe_cache;
  a->kv_page_stride = args->kv_page_stride;
  a->kv_row_stride = args->kv_row_stride;
  a->kpe_page_stride = args->kpe_page_stride;
  a->kpe_row_stride = args->kpe_row_stride;
  a->num_pages = args->num_pages;
  a->block_tables = args->block_tables;
  a->block_table_stride = args->latent_cache && !args->slot_mapping
                              ? args->block_table_stride
                              : lathep_ceil_div(desc->max_seq_len, desc->page_size);
  a->seq_lens = args->seq_lens;
}

LATHEP_FN int lathep_append_has_query(const lathe_append_args *args) {
  return args->q_nope || args->q_pe;
}

// Which tensors are there fits together.
LATHEP_FN lathe_status lathep_append_check_given(const lathe_append_desc *desc,
                                                 const lathe_append_args *args) {
  const int query = lathep_append_has_query(args);
  if (!query && !args->latent_cache)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.q_nope, q_pe and latent_cache are null; give the query "
                       "(q_pe), the new rows (latent_cache), or both");
  if (!query && (args->q_out || args->q_pe_out))
    return lathep_fail(
        LATHE_STATUS_INVALID_ARGUMENT,
        "lathe_append_args.%s is at %p while q_nope and q_pe are null; set these, or "
        "leave it null",
        args->q_out ? "q_out" : "q_pe_out", args->q_out ? args->q_out : args->q_pe_out);
  if (query && desc->qk_rope_head_dim > 0 && !args->q_pe)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.q_pe is null while q_nope is set and qk_rope_head_dim is "
                       "%d; give both parts of the query",
                       (int)desc->qk_rope_head_dim);
  if (query && !args->q_nope && desc->q_out_dtype != desc->q_dtype)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.q_nope is null while q_out_dtype is %s; give q_nope, "
                       "which is to be quantised",
                       lathe_dtype_string(desc->q_out_dtype));
  if (query && !args->q_nope && args->q_pe_out && args->q_out)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.q_out is at %p while q_nope is null and q_pe_out is set; "
                       "leave q_out null, or q_pe_out for columns of q_out",
                       args->q_out);
  if (!args->latent_cache && (args->k_pe || args->kv_cache || args->kpe_cache))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.latent_cache is null while %s is set; set it, or leave "
                       "the cache null",
                       args->k_pe       ? "k_pe"
                       : args->kv_cache ? "kv_cache"
                                        : "kpe_cache");
  if (desc->kv_format == LATHE_KV_FORMAT_ROW656 && args->kpe_cache)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.kpe_cache is at %p with rows of ROW656; leave it null, "
                       "they hold the roped part",
                       args->kpe_cache);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_append_check_unused(const lathe_append_args *args) {
  const lathep_optional optional[] = {
      {"q_nope", "q_nope_token_stride", args->q_nope, args->q_nope_token_stride},
      {"q_nope", "q_nope_head_stride", args->q_nope, args->q_nope_head_stride},
      {"q_pe", "q_pe_token_stride", args->q_pe, args->q_pe_token_stride},
      {"q_pe", "q_pe_head_stride", args->q_pe, args->q_pe_head_stride},
      {"q_out", "q_out_token_stride", args->q_out, args->q_out_token_stride},
      {"q_out", "q_out_head_stride", args->q_out, args->q_out_head_stride},
      {"q_pe_out", "q_pe_out_token_stride", args->q_pe_out, args->q_pe_out_token_stride},
      {"q_pe_out", "q_pe_out_head_stride", args->q_pe_out, args->q_pe_out_head_stride},
      {"latent_cache", "latent_token_stride", args->latent_cache, args->latent_token_stride},
      {"k_pe", "k_pe_token_stride", args->k_pe, args->k_pe_token_stride},
      {"kv_cache", "kv_page_stride", args->kv_cache, args->kv_page_stride},
      {"kv_cache", "kv_row_stride", args->kv_cache, args->kv_row_stride},
      {"kpe_cache", "kpe_page_stride", args->kpe_cache, args->kpe_page_stride},
      {"kpe_cache", "kpe_row_stride", args->kpe_cache, args->kpe_row_stride},
      {"cos_sin", "cos_sin_row_stride", args->cos_sin, args->cos_sin_row_stride},
  };
  return lathep_check_optional(LATHEP_APPEND_ARGS, optional, sizeof optional / sizeof optional[0]);
}

LATHEP_FN lathe_status lathep_append_resolve_query(const lathe_append_desc *desc, int cuda,
                                                   lathe_append_args *args) {
  const char *of = LATHEP_APPEND_ARGS;
  const int in = lathep_dtype_size(desc->q_dtype), out = lathep_dtype_size(desc->q_out_dtype);
  const int joined = desc->qk_rope_head_dim > 0 && !args->q_pe_out;
  lathe_status status = LATHE_STATUS_OK;
  lathep_tensor t;
  if (args->q_nope) {
    t = lathep_token_tensor(of, "q_nope", args->num_tokens, desc->num_heads, in, cuda);
    t.row = desc->kv_lora_rank;
    status = lathep_resolve_tensor(&t, args->q_nope, &args->q_nope_token_stride,
                                   &args->q_nope_head_stride);
  }
  if (!status && args->q_pe) {
    t = lathep_token_tensor(of, "q_pe", args->num_tokens, desc->num_heads, in, cuda);
    t.row = desc->qk_rope_head_dim;
    status =
        lathep_resolve_tensor(&t, args->q_pe, &args->q_pe_token_stride, &args->q_pe_head_stride);
  }
  if (!status && (args->q_nope || joined)) {
    t = lathep_token_tensor(of, "q_out", args->num_tokens, desc->num_heads, out, cuda);
    t.row = (int64_t)desc->kv_lora_rank + (joined ? desc->qk_rope_head_dim : 0);
    if (joined)
      t.hint = ", or set q_pe_out if the roped part goes into a tensor of its own";
    status =
        lathep_resolve_tensor(&t, args->q_out, &args->q_out_token_stride, &args->q_out_head_stride);
  }
  if (status || !args->q_pe)
    return status;
  if (!joined) {
    t = lathep_token_tensor(of, "q_pe_out", args->num_tokens, desc->num_heads, out, cuda);
    t.row = desc->qk_rope_head_dim;
    return lathep_resolve_tensor(&t, args->q_pe_out, &args->q_pe_out_token_stride,
                                 &args->q_pe_out_head_stride);
  }
  args->q_pe_out = (char *)args->q_out + (int64_t)desc->kv_lora_rank * out;
  args->q_pe_out_token_stride = args->q_out_token_stride;
  args->q_pe_out_head_stride = args->q_out_head_stride;
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_append_resolve_rows(const lathe_append_desc *desc, int cuda,
                                                  lathe_append_args *args) {
  const char *of = LATHEP_APPEND_ARGS;
  const int bytes = lathep_dtype_size(desc->q_dtype);
  const int joined = desc->qk_rope_head_dim > 0 && !args->k_pe;
  lathep_tensor t = lathep_token_tensor(of, "latent_cache", args->num_tokens, 1, bytes, cuda);
  int64_t inner = 0;
  lathe_status status;
  t.prefix = "latent";
  t.row = (int64_t)desc->kv_lora_rank + (joined ? desc->qk_rope_head_dim : 0);
  if (joined)
    t.hint = ", or set k_pe if the roped part is a tensor of its own";
  status = lathep_resolve_tensor(&t, args->latent_cache, &args->latent_token_stride, &inner);
  if (status || desc->qk_rope_head_dim == 0)
    return status;
  if (joined) {
    args->k_pe = (const char *)args->latent_cache + (int64_t)desc->kv_lora_rank * bytes;
    args->k_pe_token_stride = args->latent_token_stride;
    return LATHE_STATUS_OK;
  }
  t = lathep_token_tensor(of, "k_pe", args->num_tokens, 1, bytes, cuda);
  t.row = desc->qk_rope_head_dim;
  inner = 0;
  return lathep_resolve_tensor(&t, args->k_pe, &args->k_pe_token_stride, &inner);
}

// What of decode's checks holds here too.
LATHEP_FN lathe_status lathep_append_resolve_requests(const lathe_append_desc *desc, int cuda,
                                                      lathe_append_args *args) {
  lathe_decode_desc d;
  lathe_decode_args a;
  lathe_status status;
  lathep_append_as_decode(desc, args, &d, &a);
  status = lathep_check_counts(LATHEP_APPEND_ARGS, &d, &a);
  if (!status && args->latent_cache)
    status = lathep_check_tables(LATHEP_APPEND_ARGS, &d, &a);
  if (!status && args->latent_cache)
    status = lathep_resolve_cache(LATHEP_APPEND_ARGS, &d, cuda, &a);
  args->q_len = a.q_len;
  args->num_tokens = a.num_tokens;
  args->block_table_stride = a.block_table_stride;
  args->kpe_cache = (void *)(uintptr_t)a.kpe_cache;
  args->kv_page_stride = a.kv_page_stride;
  args->kv_row_stride = a.kv_row_stride;
  args->kpe_page_stride = a.kpe_page_stride;
  args->kpe_row_stride = a.kpe_row_stride;
  return status;
}

LATHEP_FN lathe_status lathep_append_check_positions(const lathe_append_desc *desc, int cuda,
                                                     lathe_append_args *args) {
  const char *of = LATHEP_APPEND_ARGS;
  const int align = (int)sizeof(int32_t);
  lathep_tensor t = lathep_token_tensor(of, "cos_sin", desc->max_positions, 1, 4, cuda);
  lathe_status status = LATHE_STATUS_OK;
  int64_t inner = 0;
  if (args->cu_q_lens)
    status = lathep_check_pointer(of, "cu_q_lens", args->cu_q_lens, align, "int32 [batch + 1]");
  if (!status && args->positions)
    status = lathep_check_pointer(of, "positions", args->positions, align, "int32 [tokens]");
  if (!status && !args->positions)
    status =
        lathep_check_pointer(of, "seq_lens", args->seq_lens, align, "int32 [batch], or positions");
  if (!status && args->inactive)
    status = lathep_check_pointer(of, "inactive", args->inactive, align, "int32 [batch]");
  if (!status && args->slot_mapping)
    status = lathep_check_pointer(of, "slot_mapping", args->slot_mapping, 8, "int64 [tokens]");
  if (!status && args->latent_cache && !args->slot_mapping)
    status = lathep_check_pointer(of, "block_tables", args->block_tables, align,
                                  "int32 [batch, block_table_stride], or slot_mapping");
  if (status || desc->rope == LATHE_ROPE_NONE)
    return status;
  if (!args->positions && desc->max_positions < desc->max_seq_len)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.positions is null while max_positions is %d and "
                       "max_seq_len %d; make the plan for a table with a row for every position, "
                       "or give positions",
                       (int)desc->max_positions, (int)desc->max_seq_len);
  t.outer_name = "row";
  t.row = desc->qk_rope_head_dim;
  return lathep_resolve_tensor(&t, args->cos_sin, &args->cos_sin_row_stride, &inner);
}

LATHEP_FN lathe_status lathep_append_check_scale(const char *field, int scaled, const char *what,
                                                 const float *device, float *scale) {
  if (!scaled && (*scale != 0.0f || device))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.%s%s is set while %s; leave it 0, nothing is scaled",
                       field, device ? "_device" : "", what);
  if (device && *scale != 0.0f)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.%s is %g and %s_device is set; leave one of them 0",
                       field, (double)*scale, field);
  if (*scale == 0.0f)
    *scale = 1.0f;
  if (!(*scale > 0.0f) || !isfinite(*scale) || !isfinite(1.0f / *scale))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.%s is %g; give a value above 0 that is finite as its "
                       "reciprocal is, or 0 for 1",
                       field, (double)*scale);
  if (device && (uintptr_t)device % sizeof(float))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.%s_device is at %p; give an address that is a multiple "
                       "of 4 bytes",
                       field, (const void *)device);
  return LATHE_STATUS_OK;
}

// What goes to scales_out, of these scales: in floats, as the kernel has it.
LATHEP_FN lathe_status lathep_append_check_product(lathe_status failed,
                                                   const lathe_append_args *args, float q,
                                                   float kv) {
  const float scale = args->softmax_scale * q;
  const char *fault = lathep_scale_fault((double)scale);
  if (!fault)
    fault = lathep_scale_fault((double)scale * (double)kv);
  if (fault)
    return lathep_fail(failed,
                       "lathe_append_args.softmax_scale x q_scale x kv_scale is %g x %g x %g, too "
                       "%s for a float; give the scales of the stored values",
                       (double)args->softmax_scale, (double)q, (double)kv, fault);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_append_check_scales(const lathe_append_desc *desc,
                                                  lathe_append_args *args) {
  const int query = desc->q_out_dtype == LATHE_DTYPE_E4M3;
  const int cache = desc->kv_dtype == LATHE_DTYPE_E4M3 && desc->kv_format == LATHE_KV_FORMAT_PLAIN;
  lathe_status status = lathep_append_check_scale("q_scale", query, "q_out_dtype is not e4m3",
                                                  args->q_scale_device, &args->q_scale);
  if (!status)
    status = lathep_append_check_scale("kv_scale", cache, "the cache is no plain one of e4m3",
                                       args->kv_scale_device, &args->kv_scale);
  if (status || !args->scales_out)
    return status;
  if ((uintptr_t)args->scales_out % sizeof(float))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "lathe_append_args.scales_out is at %p; give an address that is a multiple "
                       "of 4 bytes",
                       (void *)args->scales_out);
  if (!(args->softmax_scale > 0.0f) || !isfinite(args->softmax_scale))
    return lathep_fail(
        LATHE_STATUS_INVALID_ARGUMENT,
        "lathe_append_args.softmax_scale is %g with scales_out; give a finite value above 0, such "
        "as lathe_softmax_scale(qk_nope_head_dim, qk_rope_head_dim, 0)",
        (double)args->softmax_scale);
  return lathep_append_check_product(LATHE_STATUS_INVALID_ARGUMENT, args, args->q_scale,
                                     args->kv_scale);
}

// A run reads its inputs while it writes its outputs; only q_pe may turn into q_pe_out in place.
LATHEP_FN lathe_status lathep_append_check_overlap(const lathe_append_desc *desc,
                                                   const lathe_append_args *args) {
  const struct {
    const char *name;
    const void *pointer;
  } in[] = {{"q_nope", args->q_nope},
            {"latent_cache", args->latent_cache},
            {"k_pe", args->k_pe},
            {"q_pe", args->q_pe}},
    out[] = {{"q_out", args->q_out},
             {"kv_cache", args->kv_cache},
             {"kpe_cache", args->kpe_cache},
             {"scales_out", args->scales_out},
             {"q_pe_out", args->q_pe_out}};
  const int in_place = desc->q_out_dtype == desc->q_dtype && args->q_pe == args->q_pe_out &&
                       args->q_pe_token_stride == args->q_pe_out_token_stride &&
                       args->q_pe_head_stride == args->q_pe_out_head_stride;
  size_t i, o;
  for (i = 0; i < sizeof in / sizeof in[0]; i++)
    for (o = 0; o < sizeof out / sizeof out[0]; o++)
      if (in[i].pointer && in[i].pointer == out[o].pointer &&
          !(in_place && in[i].pointer == args->q_pe))
        return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                           "lathe_append_args.%s is at %p, where %s is; give outputs memory of "
                           "their own, or q_pe_out the strides and dtype of q_pe",
                           out[o].name, out[o].pointer, in[i].name);
  return LATHE_STATUS_OK;
}

// Copies args with every default and stride filled in, and checks them. In *filled joined tensors
// are pairs: with R > 0, k_pe is set if latent_cache is, q_pe_out if q_pe is, and kpe_cache if the
// cache is a plain one. With R = 0 these are null. Both scales, q_len, num_tokens and
// block_table_stride are set.
LATHEP_FN lathe_status lathep_append_args_resolve(const lathe_append_desc *desc,
                                                  lathe_backend backend,
                                                  const lathe_append_args *args,
                                                  lathe_append_args *filled) {
  const int cuda = backend != LATHE_BACKEND_CPU;
  lathe_status status;
  if (!args)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "args is null; give a lathe_append_args with the pointers of the run");
  *filled = *args;
  if (desc->qk_rope_head_dim == 0) { // nothing is roped: whatever is here is not read
    filled->q_pe = filled->q_pe_out = filled->kpe_cache = NULL;
    filled->k_pe = NULL;
    filled->q_pe_token_stride = filled->q_pe_head_stride = filled->k_pe_token_stride = 0;
    filled->q_pe_out_token_stride = filled->q_pe_out_head_stride = 0;
    filled->kpe_page_stride = filled->kpe_row_stride = 0;
  }
  if (desc->rope == LATHE_ROPE_NONE) {
    filled->cos_sin = NULL;
    filled->cos_sin_row_stride = 0;
  }
  status = lathep_append_check_given(desc, filled);
  if (!status)
    status = lathep_append_check_unused(filled);
  if (!status)
    status = lathep_append_resolve_requests(desc, cuda, filled);
  if (!status && lathep_append_has_query(filled))
    status = lathep_append_resolve_query(desc, cuda, filled);
  if (!status && filled->latent_cache)
    status = lathep_append_resolve_rows(desc, cuda, filled);
  if (!status)
    status = lathep_append_check_positions(desc, cuda, filled);
  if (!status)
    status = lathep_append_check_scales(desc, filled);
  return status ? status : lathep_append_check_overlap(desc, filled);
}
