// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The validator of append: fetches what its kernel reads to steer itself and names the first
// request or token that is out of range. A run would clamp these or leave the row unwritten; this
// says so.

// Host copies; those that the args do not have stay null.
typedef struct lathep_append_fetched {
  int32_t *memory; // of all the others
  int32_t *seq_lens, *cu_q_lens, *positions, *block_tables, *inactive;
  int64_t *slots;
} lathep_append_fetched;

LATHEP_FN lathe_status lathep_append_fetch(const lathe_context *context,
                                           const lathe_append_args *args, lathep_append_fetched *f,
                                           lathe_stream stream) {
  const int64_t batch = args->batch, tokens = args->num_tokens;
  const int tables = args->latent_cache && !args->slot_mapping;
  const struct {
    const char *field;
    const void *from;
    int64_t words;
    int32_t **to;
  } arrays[] = {
      {"seq_lens", args->positions ? NULL : args->seq_lens, batch, &f->seq_lens},
      {"cu_q_lens", args->cu_q_lens, batch + 1, &f->cu_q_lens},
      {"positions", args->positions, tokens, &f->positions},
      {"inactive", args->inactive, batch, &f->inactive},
      {"block_tables", tables ? args->block_tables : NULL, batch * args->block_table_stride,
       &f->block_tables},
  };
  const size_t count = sizeof arrays / sizeof arrays[0];
  lathe_status status = LATHE_STATUS_OK;
  int64_t words = 2 * tokens;
  int32_t *at;
  size_t i;
  for (i = 0; i < count; i++)
    words += arrays[i].words;
  f->memory = (int32_t *)lathep_alloc(&context->allocator, (size_t)words * sizeof(int32_t));
  if (!f->memory)
    return lathep_fail(LATHE_STATUS_OUT_OF_MEMORY,
                       "lathe_allocator.alloc returned null for %lld bytes of lengths and tables; "
                       "give it memory, or switch LATHE_CHECK off",
                       (long long)words * (long long)sizeof(int32_t));
  f->slots = args->slot_mapping ? (int64_t *)(void *)f->memory : NULL;
  if (args->slot_mapping)
    status = lathep_fetch(context, LATHEP_APPEND_ARGS, "slot_mapping",
                          (const int32_t *)(const void *)args->slot_mapping, 2 * tokens, f->memory,
                          stream);
  at = f->memory + 2 * tokens;
  for (i = 0; i < count && !status; i++) {
    *arrays[i].to = arrays[i].from ? at : NULL;
    if (arrays[i].from)
      status = lathep_fetch(context, LATHEP_APPEND_ARGS, arrays[i].field,
                            (const int32_t *)arrays[i].from, arrays[i].words, at, stream);
    at += arrays[i].words;
  }
  return status ? status : lathep_fetched(context, LATHEP_APPEND_ARGS, "seq_lens", stream);
}

// One token of request i, at its place in host copies: `args` has these in place of device arrays.
LATHEP_FN lathe_status lathep_append_inspect_token(const lathe_append_desc *desc,
                                                   const lathe_append_args *args, int64_t token) {
  const lathep_append_place place = lathep_append_place_of(desc, args, token);
  const long long pages = args->num_pages ? args->num_pages : INT64_MAX;
  const long long limit = lathep_append_limit(desc, args);
  if (place.request < 0)
    return LATHE_STATUS_OK;
  if (args->positions && desc->rope != LATHE_ROPE_NONE &&
      (place.position < 0 || place.position >= desc->max_positions))
    return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                       "positions[%lld] is %lld, of request %lld; cos_sin has rows 0 to %d "
                       "(max_positions)",
                       (long long)token, (long long)place.position, (long long)place.request,
                       (int)desc->max_positions - 1);
  if (place.page >= 0 || !args->latent_cache || (args->inactive && args->inactive[place.request]))
    return LATHE_STATUS_OK;
  if (args->slot_mapping && args->slot_mapping[token] >= 0)
    return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                       "slot_mapping[%lld] is %lld, of request %lld; the cache has slots 0 to %lld "
                       "(num_pages x page_size), and negative ones are not written",
                       (long long)token, (long long)args->slot_mapping[token],
                       (long long)place.request, pages * desc->page_size - 1);
  if (args->slot_mapping || place.position < 0)
    return LATHE_STATUS_OK; // a padded token, not to be written
  if (place.position >= limit)
    return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                       "positions[%lld] is %lld, of request %lld; its block table has positions 0 "
                       "to %lld",
                       (long long)token, (long long)place.position, (long long)place.request,
                       limit - 1);
  return lathep_fail(
      LATHE_STATUS_CHECK_FAILED,
      "block_tables[%lld][%lld] is %d; token %lld of request %lld is at position %lld, so it must "
      "name one of pages 0 to %lld (num_pages)",
      (long long)place.request, (long long)(place.position / desc->page_size),
      (int)args->block_tables[place.request * args->block_table_stride +
                              place.position / desc->page_size],
      (long long)token, (long long)place.request, (long long)place.position, pages - 1);
}

// A scale on the device; null: there is none, and *scale is the host's.
LATHEP_FN lathe_status lathep_append_inspect_scale(const lathe_context *context, const char *field,
                                                   const float *from, float *scale,
                                                   lathe_stream stream) {
  lathe_status status;
  if (!from)
    return LATHE_STATUS_OK;
  status = lathep_fetch_scale(context, LATHEP_APPEND_ARGS, field, from, scale, stream);
  if (!status && !isfinite(1.0f / *scale))
    return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                       "the float at lathe_append_args.%s is %g; write a value there whose "
                       "reciprocal is finite before the run",
                       field, (double)*scale);
  return status;
}

LATHEP_FN lathe_status lathep_append_inspect_scales(const lathe_context *context,
                                                    const lathe_append_args *args,
                                                    lathe_stream stream) {
  float q = args->q_scale, kv = args->kv_scale;
  lathe_status status =
      lathep_append_inspect_scale(context, "q_scale_device", args->q_scale_device, &q, stream);
  if (!status)
    status =
        lathep_append_inspect_scale(context, "kv_scale_device", args->kv_scale_device, &kv, stream);
  if (!status && args->scales_out)
    status = lathep_append_check_product(LATHE_STATUS_CHECK_FAILED, args, q, kv);
  return status;
}

// With resolved args, the plan's CUDA context current.
LATHEP_FN lathe_status lathep_append_inspect(const lathe_append_plan *plan,
                                             const lathe_append_args *args, lathe_stream stream) {
  const lathe_append_desc *desc = &plan->desc;
  lathe_append_args host = *args;
  lathep_append_fetched f;
  lathe_decode_desc d;
  lathe_decode_args a;
  lathe_status status;
  int64_t token;
  memset(&f, 0, sizeof f);
  status = lathep_append_fetch(plan->context, args, &f, stream);
  host.seq_lens = f.seq_lens;
  host.cu_q_lens = f.cu_q_lens;
  host.positions = f.positions;
  host.block_tables = f.block_tables;
  host.inactive = f.inactive;
  host.slot_mapping = f.slots;
  lathep_append_as_decode(desc, &host, &d, &a);
  if (!status && f.seq_lens)
    status = lathep_validate_lengths(&d, &a, f.seq_lens);
  if (!status && f.cu_q_lens)
    status = lathep_validate_tokens(&d, &a, f.cu_q_lens);
  for (token = 0; token < args->num_tokens && !status; token++)
    status = lathep_append_inspect_token(desc, &host, token);
  if (!status)
    status = lathep_append_inspect_scales(plan->context, args, stream);
  lathep_free(&plan->context->allocator, f.memory);
  return status;
}

LATHE_API lathe_status lathe_append_validate(lathe_append_plan *plan, const lathe_append_args *args,
                                             lathe_stream stream) {
  lathe_append_args filled;
  lathe_status status = lathep_append_resolve(plan, args, &filled);
  int pushed;
  if (status)
    return status;
  if (plan->context->backend == LATHE_BACKEND_CPU)
    return lathep_append_inspect(plan, &filled, stream);
  status = lathep_enter(plan->context, &pushed);
  if (status)
    return status;
  if (lathep_capturing(plan->context, stream))
    status = lathep_fail_captured("lathe_append_validate", stream);
  else
    status = lathep_append_inspect(plan, &filled, stream);
  lathep_leave(plan->context, pushed);
  return status;
}
