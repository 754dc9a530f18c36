// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A run: check the args, fill in what the kernels read, launch. Nothing here allocates, blocks or
// compiles, and every kernel of the library is launched by lathep_launch.

// validate.h has them; they run if LATHE_CHECK=1.
LATHEP_FN lathe_status lathep_decode_validate(lathe_decode_plan *plan,
                                              const lathe_decode_args *args, lathe_stream stream);

// The driver copies what the kernel's arguments point to before it returns, as many as the kernel
// has. With the programmatic attribute a kernel, which must wait on the device, may start while the
// one before it on the stream ends.
LATHEP_FN lathe_status lathep_launch(const lathe_context *context, const lathep_kernel *kernel,
                                     int blocks, int threads, int shared_bytes, lathe_stream stream,
                                     void **arguments, int programmatic) {
  const lathep_cuda *cuda = &context->cuda;
  int code;
  programmatic = programmatic && cuda->cuLaunchKernelEx;
  if (programmatic) {
    lathep_launch_attribute attribute;
    lathep_launch_config config;
    memset(&attribute, 0, sizeof attribute);
    attribute.id = LATHEP_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.number = 1;
    memset(&config, 0, sizeof config);
    config.grid_x = (unsigned)blocks;
    config.block_x = (unsigned)threads;
    config.grid_y = config.grid_z = config.block_y = config.block_z = 1;
    config.shared_bytes = (unsigned)shared_bytes;
    config.stream = stream;
    config.attributes = &attribute;
    config.num_attributes = 1;
    code = cuda->cuLaunchKernelEx(&config, kernel->function, arguments, NULL);
  } else {
    code = cuda->cuLaunchKernel(kernel->function, (unsigned)blocks, 1, 1, (unsigned)threads, 1, 1,
                                (unsigned)shared_bytes, stream, arguments, NULL);
  }
  lathep_log(context, LATHEP_TOPIC_LAUNCH, "%s: %d blocks of %d threads, %d bytes shared%s: %d",
             kernel->name, blocks, threads, shared_bytes, programmatic ? ", programmatic" : "",
             code);
  if (code)
    return lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, code,
                              "launching %s on stream %p failed; give a stream of the plan's CUDA "
                              "context, and see that nothing failed on the device before",
                              kernel->name, (void *)stream);
  return LATHE_STATUS_OK;
}

LATHEP_FN int lathep_page_shift(int32_t page_size) {
  int shift = 0;
  while (shift < 31 && page_size >> shift > 1)
    shift++;
  return page_size == (int32_t)1 << shift ? shift : -1;
}

// From resolved args, in elements, to what the kernels read, in bytes.
LATHEP_FN void lathep_decode_params_fill(const lathe_decode_plan *plan,
                                         const lathe_decode_args *args,
                                         struct lathep_decode_params *p) {
  const lathe_decode_desc *desc = &plan->desc;
  const lathep_choice *choice = &plan->choice;
  const int q = lathep_dtype_size(desc->q_dtype), kv = lathep_dtype_size(desc->kv_dtype);
  const int out = lathep_dtype_size(desc->out_dtype);
  char *workspace = (char *)args->workspace;
  memset(p, 0, sizeof *p);
  p->q_nope = args->q;
  p->q_pe = args->q_pe;
  p->ckv = args->kv_cache;
  p->kpe = args->kpe_cache;
  p->block_tables = args->block_tables;
  p->seq_lens = args->seq_lens;
  p->cu_q_lens = args->cu_q_lens;
  p->out = args->out;
  p->lse = args->lse;
  p->partial_out = (unsigned short *)(void *)workspace;
  workspace += choice->partial_out_bytes;
  p->partial_exponents = (signed char *)workspace;
  workspace += choice->partial_exponents_bytes;
  p->partial_lse = (float *)(void *)workspace;
  workspace += choice->partial_lse_bytes;
  p->split_table = (int *)(void *)workspace;
  if (args->scheduled) {
    workspace += choice->split_table_bytes;
    p->schedule = (int *)(void *)workspace;
    p->split_table = (int *)(void *)(workspace + choice->schedule_bytes);
  }
  p->q_nope_token_stride = args->q_token_stride * q;
  p->q_nope_head_stride = args->q_head_stride * q;
  p->q_pe_token_stride = args->q_pe_token_stride * q;
  p->q_pe_head_stride = args->q_pe_head_stride * q;
  p->ckv_page_stride = args->kv_page_stride * kv;
  p->ckv_row_stride = args->kv_row_stride * kv;
  p->kpe_page_stride = args->kpe_page_stride * kv;
  p->kpe_row_stride = args->kpe_row_stride * kv;
  p->out_token_stride = args->out_token_stride * out;
  p->out_head_stride = args->out_head_stride * out;
  p->lse_token_stride = args->lse_token_stride * (int)sizeof(float);
  p->lse_head_stride = args->lse_head_stride * (int)sizeof(float);
  p->block_table_stride = args->block_table_stride;
  // Trusted entries are any int32 that is not negative.
  p->num_pages = args->num_pages ? args->num_pages : (long long)INT32_MAX + 1;
  p->batch = args->batch;
  p->num_heads = desc->num_heads;
  p->num_tokens = args->num_tokens;
  p->q_len = args->q_len;
  p->max_q_len = desc->max_q_len;
  p->max_seq_len = lathep_seq_limit(desc, args);
  p->page_size = desc->page_size;
  p->page_shift = lathep_page_shift(desc->page_size);
  p->causal = desc->mask == LATHE_MASK_CAUSAL;
  p->groups = choice->groups;
  p->row_tiles = choice->row_tiles;
  p->slot_rows = choice->row_tiles * choice->decode.rows;
  p->splits = desc->split_len ? args->batch : choice->groups;
  p->split_blocks = desc->split_len / choice->decode.tokens;
  p->split_parts = choice->split_parts;
  p->window = desc->sliding_window;
  p->sinks = args->sinks;
  p->softmax_scale = args->softmax_scale_at;
  p->tree_mask = args->tree_mask;
  p->tree_mask_stride = args->tree_mask_stride;
  p->cp_round = p->cp_interleave = 1; // rows are positions
  if (lathep_shares_rows(desc)) {
    p->cp_interleave = desc->cp_interleave;
    p->cp_round = desc->cp_interleave * desc->cp_world;
    p->cp_first = desc->cp_interleave * desc->cp_rank;
  }
  if (desc->logit_softcap != 0.0f) {
    p->cap_log2 = (float)((double)desc->logit_softcap * 1.4426950408889634);
    p->cap_inverse = 1.0f / p->cap_log2;
  }
  p->scale_log2 =
      (float)((double)args->softmax_scale * args->kv_scale * args->q_scale * 1.4426950408889634);
  p->out_scale = args->kv_scale / args->out_scale;
  p->lse_scale = desc->lse_base == LATHE_LSE_BASE2 ? 1.0f : 0.69314718f;
}

// Makes the plan's CUDA context current if none is; refuses another one, in which neither the
// kernels nor, most likely, the caller's memory exist. *pushed: to be popped again.
LATHEP_FN lathe_status lathep_enter(const lathe_context *context, int *pushed) {
  struct CUctx_st *current = NULL;
  int code = context->cuda.cuCtxGetCurrent(&current);
  *pushed = 0;
  if (code)
    return lathep_fail_driver(
        LATHE_STATUS_CUDA_ERROR, code,
        "cuCtxGetCurrent failed; see that the process has not torn CUDA down");
  if (current == context->device.context)
    return LATHE_STATUS_OK;
  if (current)
    return lathep_fail(LATHE_STATUS_WRONG_CONTEXT,
                       "the current CUDA context is %p and the plan's is %p (device %d); make the "
                       "plan's current (cudaSetDevice, cuCtxSetCurrent), or none",
                       (void *)current, (void *)context->device.context, context->device.ordinal);
  code = context->cuda.cuCtxPushCurrent(context->device.context);
  if (code)
    return lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, code,
                              "cuCtxPushCurrent failed for device %d; see that its context lives",
                              context->device.ordinal);
  *pushed = 1;
  return LATHE_STATUS_OK;
}

LATHEP_FN void lathep_leave(const lathe_context *context, int pushed) {
  struct CUctx_st *popped = NULL;
  if (pushed)
    context->cuda.cuCtxPopCurrent(&popped);
}

// Nonzero too where the driver will not say, which it does while a capture elsewhere forbids the
// question on the default stream.
LATHEP_FN int lathep_capturing(const lathe_context *context, lathe_stream stream) {
  int capturing = 0;
  if (!context->cuda.cuStreamIsCapturing)
    return 0;
  return context->cuda.cuStreamIsCapturing(stream, &capturing) != 0 || capturing != 0;
}

// Why programmatic launches are safe. Both kernels let the next one of the stream start early, and
// every thread of both, before it touches global memory, waits until the kernel before its own is
// done and its writes can be seen. A kernel that is done has waited in all its blocks, so what came
// before it was done first, and so on back to the last ordinary launch. Hence kernels overlap in
// what they do before they wait, and in nothing else: the next run overwrites partials, split table
// and outputs only after this run's merge has read and written all of them, whoever shares the
// workspace, and whether or not this run has a merge.
LATHEP_FN lathe_status lathep_decode_enqueue(lathe_decode_plan *plan, const lathe_decode_args *args,
                                             lathe_stream stream) {
  const lathe_context *context = plan->context;
  const lathep_variant *v = &plan->choice.decode;
  struct lathep_decode_params params;
  lathep_tensor_map latent, rope;
  void *arguments[] = {&params, &latent, &rope}; // the maps: of kernels that have them, used or not
  lathe_status status = LATHE_STATUS_OK;
  lathep_decode_params_fill(plan, args, &params);
  if (lathep_uses_tensor_maps(v))
    status = lathep_tensor_maps(context, v, &params, &latent, &rope);
  if (!status)
    status = lathep_launch(context, plan->kernel, params.groups * params.row_tiles, v->threads,
                           v->shared_bytes, stream, arguments, args->programmatic_launch != 0);
  if (status || !plan->merge)
    return status;
  return lathep_launch(context, plan->merge, plan->choice.merge_blocks, plan->choice.merge.threads,
                       0, stream, arguments, lathep_kernel_waits(plan->merge));
}

LATHE_API lathe_status lathe_decode_run(lathe_decode_plan *plan, const lathe_decode_args *args,
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
  if (plan->context->backend == LATHE_BACKEND_CPU) {
    if (plan->context->env.check)
      status = lathep_decode_validate(plan, &filled, stream);
    return status ? status : lathep_cpu_decode(plan->context, &plan->desc, &filled);
  }
  status = lathep_enter(plan->context, &pushed);
  if (status)
    return status;
  if (plan->context->env.check && !lathep_capturing(plan->context, stream))
    status = lathep_decode_validate(plan, &filled, stream);
  if (!status)
    status = lathep_decode_enqueue(plan, &filled, stream);
  lathep_leave(plan->context, pushed);
  return status;
}
