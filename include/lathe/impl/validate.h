// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The validator: fetches what the kernels read from device memory to steer themselves (lengths,
// cu_q_lens, block tables, a schedule) and names the first request and entry that is out of range.
// A run would clamp these or read zeros; this says so.

LATHEP_FN lathe_status lathep_fetch(const lathe_context *context, const char *of, const char *field,
                                    const int32_t *from, int64_t count, int32_t *to,
                                    lathe_stream stream) {
  size_t bytes = (size_t)count * sizeof(int32_t);
  int code;
  if (count == 0)
    return LATHE_STATUS_OK;
  if (context->backend == LATHE_BACKEND_CPU) {
    memcpy(to, from, bytes);
    return LATHE_STATUS_OK;
  }
  code = context->cuda.cuMemcpyDtoHAsync(to, (lathep_device_ptr)(uintptr_t)from, bytes, stream);
  if (code)
    return lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, code,
                              "copying %zu bytes of %s.%s from %p failed; give "
                              "device memory of the plan's CUDA context",
                              bytes, of, field, (const void *)from);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_fetched(const lathe_context *context, const char *of,
                                      const char *field, lathe_stream stream) {
  int code;
  if (context->backend == LATHE_BACKEND_CPU)
    return LATHE_STATUS_OK;
  code = context->cuda.cuStreamSynchronize(stream);
  if (code)
    return lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, code,
                              "waiting for the copy of %s.%s failed; an earlier "
                              "kernel on stream %p faulted, or the memory is not the device's",
                              of, field, (void *)stream);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_validate_lengths(const lathe_decode_desc *desc,
                                               const lathe_decode_args *args, const int32_t *lens) {
  int32_t most = lathep_seq_limit(desc, args), i;
  for (i = 0; i < args->batch && desc->sparse_topk; i++)
    if (lens[i] < 0 || lens[i] > most)
      return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                         "sparse_lens[%d] is %d; a token's list may have 0 to %d entries "
                         "(sparse_topk)",
                         (int)i, (int)lens[i], (int)most);
  for (i = 0; i < args->batch; i++)
    if (lens[i] < 0 || lens[i] > most)
      return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                         "seq_lens[%d] is %d; request %d may have 0 to %d rows (max_seq_len %d, "
                         "block_table_stride %lld pages of %d)",
                         (int)i, (int)lens[i], (int)i, (int)most, (int)desc->max_seq_len,
                         (long long)args->block_table_stride, (int)desc->page_size);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_validate_tokens(const lathe_decode_desc *desc,
                                              const lathe_decode_args *args, const int32_t *cu) {
  int32_t i;
  if (cu[0] < 0)
    return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                       "cu_q_lens[0] is %d; request 0 begins at a token of q, 0 or more",
                       (int)cu[0]);
  for (i = 0; i < args->batch; i++) {
    int64_t tokens = (int64_t)cu[i + 1] - cu[i];
    if (tokens < 0 || tokens > desc->max_q_len)
      return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                         "cu_q_lens[%d] to cu_q_lens[%d] is %d to %d; request %d may have 0 to %d "
                         "tokens (max_q_len)",
                         (int)i, (int)i + 1, (int)cu[i], (int)cu[i + 1], (int)i,
                         (int)desc->max_q_len);
    if (cu[i + 1] > args->num_tokens)
      return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                         "cu_q_lens[%d] is %d, the end of request %d; q has %d tokens (num_tokens)",
                         (int)i + 1, (int)cu[i + 1], (int)i, (int)args->num_tokens);
  }
  return LATHE_STATUS_OK;
}

// The first row of request i that one of its tokens sees: not 0 under a window.
LATHEP_FN int32_t lathep_first_row(const lathe_decode_desc *desc, const lathe_decode_args *args,
                                   const int32_t *lens, const int32_t *cu, int32_t i) {
  const int32_t tokens = args->cu_q_lens ? cu[i + 1] - cu[i] : args->q_len;
  const int64_t first = (int64_t)lens[i] - tokens + 1 - desc->sliding_window;
  return desc->sliding_window && first > 0
             ? (int32_t)lathep_rows_before(desc, first < lens[i] ? first : lens[i])
             : 0;
}

// Blocks of `tokens` rows that a request's work consists of.
LATHEP_FN int32_t lathep_request_blocks(const lathe_decode_desc *desc,
                                        const lathe_decode_args *args, const int32_t *lens,
                                        const int32_t *cu, int tokens, int32_t i) {
  return (int32_t)lathep_ceil_div(lathep_rows_before(desc, lens[i]), tokens) -
         lathep_first_row(desc, args, lens, cu, i) / tokens;
}

LATHEP_FN lathe_status lathep_validate_tables(const lathe_decode_desc *desc,
                                              const lathe_decode_args *args, const int32_t *lens,
                                              const int32_t *cu, const int32_t *pages) {
  int64_t most = args->num_pages ? args->num_pages : (int64_t)INT32_MAX + 1;
  int32_t i, k;
  for (i = 0; i < args->batch && desc->sparse_topk; i++)
    for (k = 0; k < lens[i]; k++, pages++)
      if (*pages / desc->page_size >= most)
        return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                           "sparse_indices[%d][%d] is %d; the cache has %lld pages of %d rows "
                           "(num_pages), so give 0 to %lld, or -1 for no row",
                           (int)i, (int)k, (int)*pages, (long long)most, (int)desc->page_size,
                           (long long)most * desc->page_size - 1);
  if (desc->sparse_topk)
    return LATHE_STATUS_OK;
  for (i = 0; i < args->batch; i++) {
    int64_t first = lathep_first_row(desc, args, lens, cu, i) / desc->page_size, p;
    int64_t rows = lathep_rows_before(desc, lens[i]),
            count = lathep_ceil_div(rows, desc->page_size);
    for (p = first; p < count; p++, pages++)
      if (*pages < 0 || *pages >= most)
        return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                           "block_tables[%d][%lld] is %d; request %d has %d rows, so its entries "
                           "%lld to %lld must name pages 0 to %lld (num_pages)",
                           (int)i, (long long)p, (int)*pages, (int)i, (int)rows, (long long)first,
                           (long long)count - 1, (long long)most - 1);
  }
  return LATHE_STATUS_OK;
}

// -------------------------------------------------------------------------------------- schedule

LATHEP_FN lathe_status lathep_schedule_bad(int group, const char *what, const int *numbers) {
  return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                     "the schedule in lathe_decode_args.workspace is none of these lengths: %s of "
                     "group %d are %d, %d, %d, %d; call lathe_decode_schedule() with the run's "
                     "batch and lengths, after what changes them or writes to the workspace",
                     what, group, numbers[0], numbers[1], numbers[2], numbers[3]);
}

// Each group begins where the one before ends, at a block that its request has, the first with the
// first request and the last at the end.
LATHEP_FN lathe_status lathep_validate_cuts(const struct lathep_decode_params *p,
                                            const int32_t *blocks, const int32_t *cuts) {
  static const int32_t start[4] = {0, 0, 0, 0};
  const int32_t *at = start;
  int g;
  for (g = 0; g < p->groups; g++) {
    const int32_t *from = cuts + LATHEP_SCHEDULE_INTS * g, *to = from + 4;
    const int last = g == p->groups - 1;
    if (from[0] != at[0] || from[1] != at[1])
      return lathep_schedule_bad(g, "request, block, parts and rest where the work begins", from);
    if (to[0] < from[0] || to[0] > p->batch || to[1] < 0 || (to[0] == from[0] && to[1] < from[1]) ||
        (to[1] > 0 && (to[0] == p->batch || to[1] >= blocks[to[0]])) ||
        (p->split_blocks && to[1] % p->split_blocks) || (last && to[0] != p->batch))
      return lathep_schedule_bad(g, "request, block, parts and rest where the work ends", to);
    at = to;
  }
  return LATHE_STATUS_OK;
}

// The parts of the request that a group begins and does not end; 0: there is none.
LATHEP_FN int lathep_parts_from(const int32_t *cuts, int group) {
  const int32_t *from = cuts + LATHEP_SCHEDULE_INTS * group, *to = from + 4;
  const int request = to[0];
  int parts = 1;
  if (to[1] == 0 || (from[0] == request && from[1] > 0))
    return 0;
  for (; to[0] == request && to[1] > 0; to += LATHEP_SCHEDULE_INTS)
    parts++;
  return parts;
}

LATHEP_FN lathe_status lathep_validate_splits(const struct lathep_decode_params *p,
                                              const int32_t *blocks, const int32_t *cu,
                                              const int32_t *cuts, const int32_t *splits) {
  int s;
  for (s = 0; s < p->splits; s++) {
    const int32_t *row = splits + LATHEP_SPLIT_INTS * s;
    int request = s, parts;
    if (p->split_blocks) {
      parts = (int)lathep_ceil_div(blocks[s], p->split_blocks);
    } else {
      parts = lathep_parts_from(cuts, s);
      request = cuts[LATHEP_SCHEDULE_INTS * s + 4];
    }
    if (parts < 2 ? row[0] != -1
                  : row[0] != request || row[1] != parts ||
                        row[2] != (p->cu_q_lens ? cu[request] : request * p->q_len) ||
                        row[3] != (p->cu_q_lens ? cu[request + 1] - cu[request] : p->q_len))
      return lathep_schedule_bad(s, "request, parts, first token and tokens to be merged", row);
  }
  return LATHE_STATUS_OK;
}

// That the workspace has a schedule of these lengths, which have been checked.
LATHEP_FN lathe_status lathep_validate_schedule(const lathe_decode_plan *plan,
                                                const lathe_decode_args *args, const int32_t *lens,
                                                const int32_t *cu, lathe_stream stream) {
  const lathe_context *context = plan->context;
  struct lathep_decode_params p;
  int64_t cuts_length, splits_length;
  int32_t *cuts, *splits, *blocks, i;
  lathe_status status;
  lathep_decode_params_fill(plan, args, &p);
  cuts_length = (int64_t)p.groups * LATHEP_SCHEDULE_INTS;
  splits_length = (int64_t)p.splits * LATHEP_SPLIT_INTS;
  cuts = (int32_t *)lathep_alloc(&context->allocator,
                                 (size_t)(cuts_length + splits_length + p.batch) * sizeof(int32_t));
  if (!cuts)
    return lathep_fail(LATHE_STATUS_OUT_OF_MEMORY,
                       "lathe_allocator.alloc returned null for a schedule of %d groups; give it "
                       "memory, or switch LATHE_CHECK off",
                       p.groups);
  splits = cuts + cuts_length;
  blocks = splits + splits_length;
  for (i = 0; i < p.batch; i++)
    blocks[i] = lathep_request_blocks(&plan->desc, args, lens, cu, plan->choice.decode.tokens, i);
  status =
      lathep_fetch(context, LATHEP_DECODE_ARGS, "workspace", p.schedule, cuts_length, cuts, stream);
  if (!status)
    status = lathep_fetch(context, LATHEP_DECODE_ARGS, "workspace", p.split_table, splits_length,
                          splits, stream);
  if (!status)
    status = lathep_fetched(context, LATHEP_DECODE_ARGS, "workspace", stream);
  if (!status)
    status = lathep_validate_cuts(&p, blocks, cuts);
  if (!status)
    status = lathep_validate_splits(&p, blocks, cu, cuts, splits);
  lathep_free(&context->allocator, cuts);
  return status;
}

// ------------------------------------------------------------------------------------------- run

// The page numbers that a run of these lengths reads, request after request, into memory that the
// caller frees.
LATHEP_FN lathe_status lathep_fetch_tables(const lathe_decode_plan *plan,
                                           const lathe_decode_args *args, const int32_t *lens,
                                           const int32_t *cu, int32_t **tables,
                                           lathe_stream stream) {
  const int32_t page_size = plan->desc.sparse_topk ? 1 : plan->desc.page_size; // rows of an entry
  const char *field = plan->desc.sparse_topk ? "sparse_indices" : "block_tables";
  lathe_status status = LATHE_STATUS_OK;
  int64_t total = 0, done = 0;
  int32_t i;
  for (i = 0; i < args->batch; i++)
    total += lathep_ceil_div(lathep_rows_before(&plan->desc, lens[i]), page_size);
  *tables =
      (int32_t *)lathep_alloc(&plan->context->allocator, (size_t)(total + 1) * sizeof(int32_t));
  if (!*tables)
    return lathep_fail(LATHE_STATUS_OUT_OF_MEMORY,
                       "lathe_allocator.alloc returned null for %lld entries of %s; validate fewer "
                       "requests at once",
                       (long long)total, field);
  for (i = 0; i < args->batch && !status; i++) {
    int64_t first = lathep_first_row(&plan->desc, args, lens, cu, i) / page_size;
    int64_t count = lathep_ceil_div(lathep_rows_before(&plan->desc, lens[i]), page_size) - first;
    status = lathep_fetch(plan->context, LATHEP_DECODE_ARGS, field,
                          args->block_tables + i * args->block_table_stride + first, count,
                          *tables + done, stream);
    done += count;
  }
  return status ? status : lathep_fetched(plan->context, LATHEP_DECODE_ARGS, field, stream);
}

LATHEP_FN lathe_status lathep_fail_captured(const char *call, lathe_stream stream) {
  return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                     "stream %p is being captured and validation waits for it; call %s() before "
                     "the capture",
                     (void *)stream, call);
}

// The lengths of a run, and in *cu its cu_q_lens, checked, into memory that the caller frees.
LATHEP_FN lathe_status lathep_fetch_lengths(const lathe_decode_plan *plan,
                                            const lathe_decode_args *args, int32_t **lens,
                                            int32_t **cu, lathe_stream stream) {
  const lathe_context *context = plan->context;
  const int64_t batch = args->batch;
  const char *field = plan->desc.sparse_topk ? "sparse_lens" : "seq_lens";
  lathe_status status = LATHE_STATUS_OK;
  int32_t i;
  *lens = (int32_t *)lathep_alloc(&context->allocator, (size_t)(2 * batch + 1) * sizeof(int32_t));
  if (!*lens)
    return lathep_fail(
        LATHE_STATUS_OUT_OF_MEMORY,
        "lathe_allocator.alloc returned null for the lengths of %d requests; give it "
        "memory, or switch LATHE_CHECK off",
        (int)args->batch);
  *cu = *lens + batch;
  for (i = 0; i < args->batch; i++)
    (*lens)[i] = plan->desc.max_seq_len; // of lists whose lengths are not given
  if (args->seq_lens)
    status = lathep_fetch(context, LATHEP_DECODE_ARGS, field, args->seq_lens, batch, *lens, stream);
  if (!status && args->cu_q_lens)
    status = lathep_fetch(context, LATHEP_DECODE_ARGS, "cu_q_lens", args->cu_q_lens, batch + 1, *cu,
                          stream);
  if (!status)
    status = lathep_fetched(context, LATHEP_DECODE_ARGS, field, stream);
  if (!status)
    status = lathep_validate_lengths(&plan->desc, args, *lens);
  if (!status && args->cu_q_lens)
    status = lathep_validate_tokens(&plan->desc, args, *cu);
  return status;
}

// A scale on the device, checked.
LATHEP_FN lathe_status lathep_fetch_scale(const lathe_context *context, const char *of,
                                          const char *field, const float *from, float *scale,
                                          lathe_stream stream) {
  lathe_status status = lathep_fetch(context, of, field, (const int32_t *)(const void *)from, 1,
                                     (int32_t *)(void *)scale, stream);
  if (!status)
    status = lathep_fetched(context, of, field, stream);
  if (!status && !(*scale > 0.0f && isfinite(*scale)))
    return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                       "the float at %s.%s is %g; write a finite value above 0 there before the "
                       "run",
                       of, field, (double)*scale);
  return status;
}

LATHEP_FN lathe_status lathep_validate_scale(const lathe_context *context,
                                             const lathe_decode_args *args, lathe_stream stream) {
  const char *fault;
  float scale = 0;
  lathe_status status = lathep_fetch_scale(context, LATHEP_DECODE_ARGS, "softmax_scale_at",
                                           args->softmax_scale_at, &scale, stream);
  if (status)
    return status;
  fault = lathep_scale_fault((double)scale * (double)args->kv_scale * (double)args->q_scale);
  if (fault)
    return lathep_fail(LATHE_STATUS_CHECK_FAILED,
                       "the float at lathe_decode_args.softmax_scale_at x kv_scale x q_scale is %g "
                       "x %g x %g, too %s for a float; write the scale of the stored values there",
                       (double)scale, (double)args->kv_scale, (double)args->q_scale, fault);
  return LATHE_STATUS_OK;
}

// With resolved args, the plan's CUDA context current.
LATHEP_FN lathe_status lathep_decode_validate(lathe_decode_plan *plan,
                                              const lathe_decode_args *args, lathe_stream stream) {
  const lathe_context *context = plan->context;
  int32_t *tables = NULL, *lens = NULL, *cu;
  lathe_status status = lathep_fetch_lengths(plan, args, &lens, &cu, stream);
  if (!status && plan->desc.softmax_scale_on_device)
    status = lathep_validate_scale(context, args, stream);
  if (!status && args->scheduled && context->backend != LATHE_BACKEND_CPU)
    status = lathep_validate_schedule(plan, args, lens, cu, stream);
  if (!status)
    status = lathep_fetch_tables(plan, args, lens, cu, &tables, stream);
  if (!status)
    status = lathep_validate_tables(&plan->desc, args, lens, cu, tables);
  lathep_free(&context->allocator, tables);
  lathep_free(&context->allocator, lens);
  return status;
}

// The same for what a schedule is made of.
LATHEP_FN lathe_status lathep_schedule_validate(const lathe_decode_plan *plan,
                                                const lathe_decode_args *args,
                                                lathe_stream stream) {
  int32_t *lens = NULL, *cu;
  lathe_status status = lathep_fetch_lengths(plan, args, &lens, &cu, stream);
  lathep_free(&plan->context->allocator, lens);
  return status;
}

LATHE_API lathe_status lathe_decode_validate(lathe_decode_plan *plan, const lathe_decode_args *args,
                                             lathe_stream stream) {
  lathe_decode_args filled;
  lathe_status status;
  int pushed;
  if (!plan)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "plan is null; give one made by lathe_decode_plan_create()");
  status = lathep_plan_args(plan, args, &filled);
  if (status)
    return status;
  if (plan->context->backend == LATHE_BACKEND_CPU)
    return lathep_decode_validate(plan, &filled, stream);
  status = lathep_enter(plan->context, &pushed);
  if (status)
    return status;
  if (lathep_capturing(plan->context, stream))
    status = lathep_fail_captured("lathe_decode_validate", stream);
  else
    status = lathep_decode_validate(plan, &filled, stream);
  lathep_leave(plan->context, pushed);
  return status;
}
