// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The plan: a checked desc, its kernels, and the launch they get. All that can block or fail
// happens here; what run needs is read-only afterwards.

struct lathe_decode_plan {
  lathe_context *context;
  lathe_decode_desc asked; // defaults filled
  lathe_decode_desc desc;  // of what a run works on: lathep_desc_of_run
  lathep_choice choice;
  const lathep_kernel *kernel, *merge, *schedule; // the context's; null on the CPU backend; merge
                                                  // also if not launched
  lathe_kernel_source source;
  char *candidates;
};

// Sum of a kernel's static and dynamic shared memory, as the device counts it.
LATHEP_FN int lathep_kernel_shared(const lathep_kernel *kernel, const lathep_variant *variant) {
  return kernel->static_shared + variant->shared_bytes;
}

LATHEP_FN lathe_status lathep_plan_kernels(lathe_decode_plan *plan) {
  lathe_kernel_source how;
  lathe_status status =
      lathep_kernel_get(plan->context, &plan->choice.decode, &plan->kernel, &plan->source);
  if (!status && plan->choice.merges)
    status = lathep_kernel_get(plan->context, &plan->choice.merge, &plan->merge, &how);
  if (!status)
    status = lathep_kernel_get(plan->context, &plan->choice.schedule, &plan->schedule, &how);
  return status;
}

// args.programmatic_launch on the CUDA backend: of a device, a driver and kernels that have it.
// `of`: whose args; kernels: [count], some may be null.
LATHEP_FN lathe_status lathep_check_programmatic(const char *of, const lathe_context *context,
                                                 const lathep_kernel *const *kernels, size_t count,
                                                 int32_t wanted) {
  size_t i;
  if (!wanted)
    return LATHE_STATUS_OK;
  if (context->device.major < 9)
    return lathep_fail(LATHE_STATUS_UNSUPPORTED,
                       "%s.programmatic_launch is %d and %s has compute capability "
                       "%d.%d; leave it 0 below 9.0",
                       of, (int)wanted, context->device.name, context->device.major,
                       context->device.minor);
  if (!context->cuda.cuLaunchKernelEx)
    return lathep_fail(LATHE_STATUS_UNSUPPORTED,
                       "%s.programmatic_launch is %d and the driver (CUDA %d.%d) has "
                       "no cuLaunchKernelEx; leave it 0, or install a driver of CUDA 12",
                       of, (int)wanted, context->device.driver_version / 1000,
                       context->device.driver_version % 1000 / 10);
  for (i = 0; i < count; i++)
    if (kernels[i] && !lathep_kernel_waits(kernels[i]))
      return lathep_fail(LATHE_STATUS_UNSUPPORTED,
                         "%s.programmatic_launch is %d and kernel %s was compiled for compute "
                         "capability %d.%d; leave it 0, or compile the kernels ahead of time for "
                         "9.0 or later",
                         of, (int)wanted, kernels[i]->name, kernels[i]->ptx_version / 10,
                         kernels[i]->ptx_version % 10);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_plan_programmatic(const lathe_decode_plan *plan, int32_t wanted) {
  const lathep_kernel *kernels[] = {plan->kernel, plan->merge, plan->schedule};
  return lathep_check_programmatic(LATHEP_DECODE_ARGS, plan->context, kernels,
                                   sizeof kernels / sizeof kernels[0], wanted);
}

LATHE_API void lathe_decode_plan_destroy(lathe_decode_plan *plan) {
  if (!plan)
    return;
  lathep_free(&plan->context->allocator, plan->candidates);
  lathep_free(&plan->context->allocator, plan);
}

LATHE_API lathe_status lathe_decode_plan_create(lathe_context *context,
                                                const lathe_decode_desc *desc,
                                                lathe_decode_plan **plan) {
  lathe_decode_desc filled;
  lathep_candidates list;
  lathep_choice choice;
  lathe_decode_plan *made;
  lathe_status status;
  if (!plan)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "plan is null; give the address of a lathe_decode_plan pointer");
  *plan = NULL;
  status = lathep_decode_prepare(context, desc, &filled, &list, &choice);
  if (status)
    return status;
  made = (lathe_decode_plan *)lathep_alloc(&context->allocator, sizeof *made);
  if (made) {
    made->context = context;
    made->asked = filled;
    lathep_desc_of_run(&filled, &made->desc);
    made->choice = choice;
    made->candidates = (char *)lathep_alloc(&context->allocator, list.length + 1);
  }
  if (!made || !made->candidates) {
    lathe_decode_plan_destroy(made);
    return lathep_fail(
        LATHE_STATUS_OUT_OF_MEMORY,
        "lathe_allocator.alloc returned null for a plan of %zu bytes; give it memory "
        "or leave it unset for malloc",
        sizeof *made + list.length + 1);
  }
  memcpy(made->candidates, list.text, list.length + 1);
  if (context->backend == LATHE_BACKEND_CUDA)
    status = lathep_plan_kernels(made);
  if (status) {
    lathe_decode_plan_destroy(made);
    return status;
  }
  *plan = made;
  return LATHE_STATUS_OK;
}

LATHE_API lathe_status lathe_decode_plan_get_info(const lathe_decode_plan *plan,
                                                  lathe_decode_plan_info *info) {
  if (!plan || !info)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT, "%s is null; give %s", plan ? "info" : "plan",
                       plan ? "the address of a lathe_decode_plan_info"
                            : "one made by lathe_decode_plan_create()");
  memset(info, 0, sizeof *info);
  info->backend = plan->context->backend;
  info->source = plan->source;
  info->splits = 1;
  info->workspace_size = plan->choice.workspace_size;
  info->candidates = plan->candidates;
  if (!plan->kernel) {
    lathep_print(info->kernel, sizeof info->kernel, "decode_cpu");
    return LATHE_STATUS_OK;
  }
  lathep_variant_name(&plan->choice.decode, info->kernel, sizeof info->kernel);
  if (plan->merge)
    lathep_variant_name(&plan->choice.merge, info->merge_kernel, sizeof info->merge_kernel);
  lathep_variant_name(&plan->choice.schedule, info->schedule_kernel, sizeof info->schedule_kernel);
  info->registers = plan->kernel->registers;
  info->local_bytes = plan->kernel->local_bytes;
  info->shared_bytes = lathep_kernel_shared(plan->kernel, &plan->choice.decode);
  info->threads = plan->choice.decode.threads;
  info->blocks = plan->choice.groups * plan->choice.row_tiles;
  info->splits = plan->choice.split_parts ? plan->desc.max_batch * plan->choice.split_parts
                                          : plan->choice.groups;
  return LATHE_STATUS_OK;
}

LATHE_API size_t lathe_decode_workspace_size(const lathe_decode_plan *plan) {
  return plan ? plan->choice.workspace_size : 0;
}
