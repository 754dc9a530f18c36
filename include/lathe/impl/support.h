// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Whether a plan can be made for a desc, before anything is compiled: checked, then dispatched, for
// a context or for a device that is only told of.

// The whole of a check, wherever the machine's data come from.
LATHEP_FN lathe_status lathep_target_prepare(const lathep_target *target,
                                             const lathe_decode_desc *desc,
                                             lathe_decode_desc *filled, lathep_candidates *list,
                                             lathep_choice *choice) {
  lathe_decode_desc run;
  lathe_status status;
  if (!desc)
    return lathep_refuse(LATHE_REASON_NULL_ARGUMENT, "", 0,
                         "desc is null; give a lathe_decode_desc with the dims of the model");
  lathep_decode_desc_defaults(desc, filled);
  status = lathep_decode_desc_check(filled, target->backend);
  if (status)
    return status;
  lathep_desc_of_run(filled, &run);
  return lathep_dispatch(target, &run, list, choice);
}

// What lathe_decode_check and lathe_decode_plan_create share, so that both give the same reason.
LATHEP_FN lathe_status lathep_decode_prepare(const lathe_context *context,
                                             const lathe_decode_desc *desc,
                                             lathe_decode_desc *filled, lathep_candidates *list,
                                             lathep_choice *choice) {
  lathep_target target;
  if (!context)
    return lathep_refuse(LATHE_REASON_NULL_ARGUMENT, "", 0,
                         "context is null; give one made by lathe_context_create()");
  target.context = context;
  target.backend = context->backend;
  target.device = &context->device;
  target.tensor_maps = context->cuda.cuTensorMapEncodeTiled != NULL;
  target.kernel = context->env.kernel;
  target.disabled = context->env.disabled;
  return lathep_target_prepare(&target, desc, filled, list, choice);
}

LATHE_API lathe_status lathe_decode_check(const lathe_context *context,
                                          const lathe_decode_desc *desc) {
  lathe_decode_desc filled;
  lathep_candidates list;
  lathep_choice choice;
  return lathep_decode_prepare(context, desc, &filled, &list, &choice);
}

LATHE_API lathe_status lathe_decode_check_device(const lathe_device_desc *device,
                                                 const lathe_decode_desc *desc) {
  lathep_target target;
  lathep_device asked;
  lathe_decode_desc filled;
  lathep_candidates list;
  lathep_choice choice;
  memset(&target, 0, sizeof target);
  memset(&asked, 0, sizeof asked);
  target.backend = device ? LATHE_BACKEND_CUDA : LATHE_BACKEND_CPU;
  target.device = &asked;
  target.tensor_maps = 1;
  if (device) {
    const size_t bytes = device->shared_memory_per_block;
    if (device->compute_major < 1 || device->compute_minor < 0 || device->compute_minor > 9 ||
        device->compute_major > 999)
      return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                         "lathe_device_desc.compute_major and .compute_minor are %d and %d; give a "
                         "compute capability, such as 9 and 0",
                         device->compute_major, device->compute_minor);
    if (bytes == 0 || bytes > INT32_MAX)
      return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                         "lathe_device_desc.shared_memory_per_block is %zu; give the bytes that a "
                         "block may opt in to, such as 232448 of an H100",
                         bytes);
    asked.major = device->compute_major;
    asked.minor = device->compute_minor;
    asked.shared_optin = (int)bytes;
    lathep_print(asked.name, sizeof asked.name, "a device of compute capability %d.%d", asked.major,
                 asked.minor);
  }
  return lathep_target_prepare(&target, desc, &filled, &list, &choice);
}
