// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// lathe_merge: the plan, what its kernel reads, and the run. Its kernels are called join: merge
// kernels are those that decode launches for the parts of its own splits.

struct lathe_merge_plan {
  lathe_context *context;
  lathe_merge_desc desc; // defaults filled
  lathep_variant variant;
  const lathep_kernel *kernel; // the context's; null on the CPU backend
  lathe_kernel_source source;
};

LATHE_API void lathe_merge_plan_destroy(lathe_merge_plan *plan) {
  if (plan)
    lathep_free(&plan->context->allocator, plan);
}

LATHE_API lathe_status lathe_merge_plan_create(lathe_context *context, const lathe_merge_desc *desc,
                                               lathe_merge_plan **plan) {
  lathe_merge_desc filled;
  lathe_merge_plan *made;
  lathe_status status;
  if (!plan)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "plan is null; give the address of a lathe_merge_plan pointer");
  *plan = NULL;
  status = lathep_merge_prepare(context, desc, &filled);
  if (status)
    return status;
  made = (lathe_merge_plan *)lathep_alloc(&context->allocator, sizeof *made);
  if (!made)
    return lathep_fail(LATHE_STATUS_OUT_OF_MEMORY,
                       "lathe_allocator.alloc returned null for a plan of %zu bytes; give it "
                       "memory or leave it unset for malloc",
                       sizeof *made);
  made->context = context;
  made->desc = filled;
  lathep_variant_join(&filled, &made->variant);
  if (context->backend == LATHE_BACKEND_CUDA)
    status = lathep_kernel_get(context, &made->variant, &made->kernel, &made->source);
  if (status) {
    lathe_merge_plan_destroy(made);
    return status;
  }
  *plan = made;
  return LATHE_STATUS_OK;
}

LATHE_API lathe_status lathe_merge_plan_get_info(const lathe_merge_plan *plan,
                                                 lathe_merge_plan_info *info) {
  if (!plan || !info)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT, "%s is null; give %s", plan ? "info" : "plan",
                       plan ? "the address of a lathe_merge_plan_info"
                            : "one made by lathe_merge_plan_create()");
  memset(info, 0, sizeof *info);
  info->backend = plan->context->backend;
  info->source = plan->source;
  if (!plan->kernel) {
    lathep_print(info->kernel, sizeof info->kernel, "merge_cpu");
    return LATHE_STATUS_OK;
  }
  lathep_variant_name(&plan->variant, info->kernel, sizeof info->kernel);
  info->registers = plan->kernel->registers;
  info->local_bytes = plan->kernel->local_bytes;
  info->shared_bytes = lathep_kernel_shared(plan->kernel, &plan->variant);
  info->threads = plan->variant.threads;
  return LATHE_STATUS_OK;
}

LATHEP_FN void lathep_merge_params_fill(const lathe_merge_desc *desc, const lathe_merge_args *args,
                                        struct lathep_join_params *p) {
  const int in = lathep_dtype_size(desc->in_dtype), out = lathep_dtype_size(desc->out_dtype);
  const int natural = desc->lse_base == LATHE_LSE_NATURAL, lse = (int)sizeof(float);
  int32_t i;
  memset(p, 0, sizeof *p);
  for (i = 0; i < args->num_states; i++) {
    p->states[i].out = args->states[i].out;
    p->states[i].lse = args->states[i].lse;
  }
  p->out = args->out;
  p->lse = args->lse;
  p->in_token_stride = args->in_token_stride * in;
  p->in_head_stride = args->in_head_stride * in;
  p->in_lse_token_stride = args->in_lse_token_stride * lse;
  p->in_lse_head_stride = args->in_lse_head_stride * lse;
  p->out_token_stride = args->out_token_stride * out;
  p->out_head_stride = args->out_head_stride * out;
  p->lse_token_stride = args->lse_token_stride * lse;
  p->lse_head_stride = args->lse_head_stride * lse;
  p->rows = (int64_t)args->num_tokens * desc->num_heads;
  p->num_heads = desc->num_heads;
  p->num_states = args->num_states;
  p->to_log2 = natural ? 1.44269504f : 1.0f;
  p->from_log2 = natural ? 0.69314718f : 1.0f;
}

LATHE_API lathe_status lathe_merge_run(lathe_merge_plan *plan, const lathe_merge_args *args,
                                       lathe_stream stream) {
  struct lathep_join_params params;
  void *arguments[] = {&params};
  lathe_merge_args filled;
  lathe_status status;
  int64_t blocks;
  int pushed;
  if (!plan)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "plan is null; give one made by lathe_merge_plan_create()");
  status = lathep_merge_args_resolve(&plan->desc, plan->context->backend, args, &filled);
  if (status)
    return status;
  if (plan->context->backend == LATHE_BACKEND_CPU) {
    lathep_cpu_merge(&plan->desc, &filled);
    return LATHE_STATUS_OK;
  }
  status = lathep_check_programmatic(LATHEP_MERGE_ARGS, plan->context, &plan->kernel, 1,
                                     filled.programmatic_launch);
  if (status)
    return status;
  lathep_merge_params_fill(&plan->desc, &filled, &params);
  blocks = lathep_ceil_div(params.rows, LATHEP_JOIN_THREADS / 32); // a row a warp
  if (blocks > INT32_MAX)
    return lathep_fail(LATHE_STATUS_UNSUPPORTED,
                       "lathe_merge_args.num_tokens is %d with num_heads %d; give fewer tokens at "
                       "once, %lld rows at most",
                       (int)args->num_tokens, (int)plan->desc.num_heads,
                       (long long)INT32_MAX * (LATHEP_JOIN_THREADS / 32));
  status = lathep_enter(plan->context, &pushed);
  if (status)
    return status;
  status = lathep_launch(plan->context, plan->kernel, (int)blocks, plan->variant.threads, 0, stream,
                         arguments, filled.programmatic_launch != 0);
  lathep_leave(plan->context, pushed);
  return status;
}
