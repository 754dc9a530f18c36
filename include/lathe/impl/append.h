// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// lathe_append: the plan, what its kernel reads, and the run. docs/kernels/append.md draws the
// kernel.

struct lathe_append_plan {
  lathe_context *context;
  lathe_append_desc desc; // defaults filled
  lathep_variant variant;
  const lathep_kernel *kernel; // the context's; null on the CPU backend
  lathe_kernel_source source;
};

enum {
  LATHEP_APPEND_LOADS = 4,      // 16-byte pieces that a thread of a query block asks for at once
  LATHEP_APPEND_MAX_ROWS = 128, // (token, head) rows of a query block
  LATHEP_APPEND_WARPS = LATHEP_APPEND_THREADS / 32 // of a block: cache rows that it writes
};

LATHE_API void lathe_append_plan_destroy(lathe_append_plan *plan) {
  if (plan)
    lathep_free(&plan->context->allocator, plan);
}

LATHE_API lathe_status lathe_append_plan_create(lathe_context *context,
                                                const lathe_append_desc *desc,
                                                lathe_append_plan **plan) {
  lathe_append_desc filled;
  lathe_append_plan *made;
  lathe_status status;
  if (!plan)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "plan is null; give the address of a lathe_append_plan pointer");
  *plan = NULL;
  status = lathep_append_prepare(context, desc, &filled);
  if (status)
    return status;
  made = (lathe_append_plan *)lathep_alloc(&context->allocator, sizeof *made);
  if (!made)
    return lathep_fail(LATHE_STATUS_OUT_OF_MEMORY,
                       "lathe_allocator.alloc returned null for a plan of %zu bytes; give it "
                       "memory or leave it unset for malloc",
                       sizeof *made);
  made->context = context;
  made->desc = filled;
  lathep_variant_append(&filled, &made->variant);
  if (context->backend == LATHE_BACKEND_CUDA)
    status = lathep_kernel_get(context, &made->variant, &made->kernel, &made->source);
  if (status) {
    lathe_append_plan_destroy(made);
    return status;
  }
  *plan = made;
  return LATHE_STATUS_OK;
}

LATHE_API lathe_status lathe_append_plan_get_info(const lathe_append_plan *plan,
                                                  lathe_append_plan_info *info) {
  if (!plan || !info)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT, "%s is null; give %s", plan ? "info" : "plan",
                       plan ? "the address of a lathe_append_plan_info"
                            : "one made by lathe_append_plan_create()");
  memset(info, 0, sizeof *info);
  info->backend = plan->context->backend;
  info->source = plan->source;
  if (!plan->kernel) {
    lathep_print(info->kernel, sizeof info->kernel, "append_cpu");
    return LATHE_STATUS_OK;
  }
  lathep_variant_name(&plan->variant, info->kernel, sizeof info->kernel);
  info->registers = plan->kernel->registers;
  info->local_bytes = plan->kernel->local_bytes;
  info->shared_bytes = lathep_kernel_shared(plan->kernel, &plan->variant);
  info->threads = plan->variant.threads;
  return LATHE_STATUS_OK;
}

// ------------------------------------------------------------------------------------------ launch

// How a query is cut: blocks of about as many pieces as its threads ask for at once, which of the
// roped part are two a thread, of one token's heads or of several whole tokens.
LATHEP_FN void lathep_append_tile(const lathe_append_desc *desc, struct lathep_append_params *p) {
  const int64_t piece = LATHEP_COPY_BYTES / 2; // elements of 16 bits
  int64_t rows = LATHEP_APPEND_MAX_ROWS;
  if (p->q_nope)
    rows = lathep_clamp(LATHEP_APPEND_LOADS * LATHEP_APPEND_THREADS * piece / desc->kv_lora_rank, 1,
                        rows);
  if (p->q_pe)
    rows = lathep_clamp(LATHEP_APPEND_THREADS * 2 * piece / desc->qk_rope_head_dim, 1, rows);
  p->head_tiles = (int)lathep_ceil_div(desc->num_heads, rows);
  p->tile_heads = (int)lathep_ceil_div(desc->num_heads, p->head_tiles);
  p->tile_tokens = p->head_tiles == 1 ? (int)(rows / desc->num_heads) : 1;
}

// From resolved args, in elements, to what the kernel reads, in bytes.
LATHEP_FN void lathep_append_params_fill(const lathe_append_desc *desc,
                                         const lathe_append_args *args,
                                         struct lathep_append_params *p) {
  const int in = lathep_dtype_size(desc->q_dtype), out = lathep_dtype_size(desc->q_out_dtype);
  const int kv = lathep_dtype_size(desc->kv_dtype);
  memset(p, 0, sizeof *p);
  p->q_nope = args->q_nope;
  p->q_pe = args->q_pe;
  p->q_nope_out = args->q_out;
  p->q_pe_out = args->q_pe_out;
  p->latent = args->latent_cache;
  p->k_pe = args->k_pe;
  p->ckv = args->kv_cache;
  p->kpe = args->kpe_cache;
  p->cos_sin = args->cos_sin;
  p->block_tables = args->block_tables;
  p->seq_lens = args->positions ? NULL : args->seq_lens;
  p->cu_q_lens = args->cu_q_lens;
  p->positions = args->positions;
  p->inactive = args->inactive;
  p->slots = (const long long *)(const void *)args->slot_mapping;
  p->q_scale_at = args->q_scale_device;
  p->kv_scale_at = args->kv_scale_device;
  p->scales = args->scales_out;
  p->q_nope_token_stride = args->q_nope_token_stride * in;
  p->q_nope_head_stride = args->q_nope_head_stride * in;
  p->q_pe_token_stride = args->q_pe_token_stride * in;
  p->q_pe_head_stride = args->q_pe_head_stride * in;
  p->q_nope_out_token_stride = args->q_out_token_stride * out;
  p->q_nope_out_head_stride = args->q_out_head_stride * out;
  p->q_pe_out_token_stride = args->q_pe_out_token_stride * out;
  p->q_pe_out_head_stride = args->q_pe_out_head_stride * out;
  p->latent_token_stride = args->latent_token_stride * in;
  p->k_pe_token_stride = args->k_pe_token_stride * in;
  p->ckv_page_stride = args->kv_page_stride * kv;
  p->ckv_row_stride = args->kv_row_stride * kv;
  p->kpe_page_stride = args->kpe_page_stride * kv;
  p->kpe_row_stride = args->kpe_row_stride * kv;
  p->cos_sin_row_stride = args->cos_sin_row_stride * (int)sizeof(float);
  p->block_table_stride = args->block_table_stride;
  p->num_pages = args->num_pages ? args->num_pages : INT64_MAX; // trusted: any that is not negative
  p->batch = args->batch;
  p->num_heads = desc->num_heads;
  p->num_tokens = args->num_tokens;
  p->q_len = args->q_len;
  p->max_q_len = desc->max_q_len;
  p->max_seq_len = lathep_append_limit(desc, args);
  p->max_positions = desc->max_positions;
  p->page_size = desc->page_size;
  p->page_shift = lathep_page_shift(desc->page_size);
  p->pairing = (int)desc->rope;
  p->power_of_two = desc->row_scale == LATHE_ROW_SCALE_POW2;
  p->q_scale = args->q_scale;
  p->kv_scale = args->kv_scale;
  p->softmax_scale = args->softmax_scale;
  if (p->latent)
    p->row_blocks = (int)lathep_ceil_div(args->num_tokens, LATHEP_APPEND_WARPS);
  lathep_append_tile(desc, p);
}

LATHEP_FN lathe_status lathep_append_enqueue(const lathe_append_plan *plan,
                                             const lathe_append_args *args, lathe_stream stream) {
  struct lathep_append_params params;
  void *arguments[] = {&params};
  int64_t blocks;
  lathep_append_params_fill(&plan->desc, args, &params);
  blocks = params.row_blocks;
  if (lathep_append_has_query(args))
    blocks += lathep_ceil_div(args->num_tokens, params.tile_tokens) * params.head_tiles;
  if (blocks > INT32_MAX)
    return lathep_fail(LATHE_STATUS_UNSUPPORTED,
                       "lathe_append_args.num_tokens is %d with num_heads %d, which takes %lld "
                       "blocks of a launch; give fewer tokens at once, %d blocks at most",
                       (int)args->num_tokens, (int)plan->desc.num_heads, (long long)blocks,
                       (int)INT32_MAX);
  return lathep_launch(plan->context, plan->kernel, (int)blocks, plan->variant.threads, 0, stream,
                       arguments, args->programmatic_launch != 0);
}

LATHEP_FN lathe_status lathep_append_resolve(const lathe_append_plan *plan,
                                             const lathe_append_args *args,
                                             lathe_append_args *filled) {
  lathe_status status;
  if (!plan)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "plan is null; give one made by lathe_append_plan_create()");
  status = lathep_append_args_resolve(&plan->desc, plan->context->backend, args, filled);
  if (status || plan->context->backend == LATHE_BACKEND_CPU)
    return status;
  return lathep_check_programmatic(LATHEP_APPEND_ARGS, plan->context, &plan->kernel, 1,
                                   filled->programmatic_launch);
}

// append_validate.h has it; it runs if LATHE_CHECK=1.
LATHEP_FN lathe_status lathep_append_inspect(const lathe_append_plan *plan,
                                             const lathe_append_args *args, lathe_stream stream);

LATHE_API lathe_status lathe_append_run(lathe_append_plan *plan, const lathe_append_args *args,
                                        lathe_stream stream) {
  lathe_append_args filled;
  lathe_status status = lathep_append_resolve(plan, args, &filled);
  int pushed;
  if (status)
    return status;
  if (plan->context->backend == LATHE_BACKEND_CPU) {
    if (plan->context->env.check)
      status = lathep_append_inspect(plan, &filled, stream);
    if (!status)
      lathep_cpu_append(&plan->desc, &filled);
    return status;
  }
  status = lathep_enter(plan->context, &pushed);
  if (status)
    return status;
  if (plan->context->env.check && !lathep_capturing(plan->context, stream))
    status = lathep_append_inspect(plan, &filled, stream);
  if (!status)
    status = lathep_append_enqueue(plan, &filled, stream);
  lathep_leave(plan->context, pushed);
  return status;
}
