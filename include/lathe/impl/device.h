// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The device of a context: which one, in which CUDA context, and what it can do.

typedef struct lathep_device {
  struct CUctx_st *context;
  int ordinal; // -1 on the CPU backend
  int handle;  // CUdevice
  char name[128];
  int major, minor; // compute capability
  int num_sms;
  int shared_optin;  // bytes of shared memory that a block may have
  int shared_per_sm; // bytes of a multiprocessor
  int driver_version;
  int primary_retained; // to be released
} lathep_device;

LATHEP_FN lathe_status lathep_device_fail(int code, const char *call, int ordinal) {
  if (code == LATHEP_CUDA_ERROR_NO_DEVICE)
    return lathep_fail_driver(LATHE_STATUS_NO_DEVICE, code,
                              "%s found no CUDA device; see that nvidia-smi lists one and that "
                              "CUDA_VISIBLE_DEVICES does not hide it, or use the CPU backend",
                              call);
  return lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, code,
                            "%s failed for device %d; see that nvidia-smi works for this user and "
                            "the device is free, or use the CPU backend",
                            call, ordinal);
}

// The number by which users know a CUdevice.
LATHEP_FN int lathep_device_ordinal(const lathep_cuda *cuda, int handle, int count) {
  int ordinal, other;
  for (ordinal = 0; ordinal < count; ordinal++)
    if (cuda->cuDeviceGet(&other, ordinal) == 0 && other == handle)
      return ordinal;
  return handle;
}

// Decides on device and CUDA context, as lathe_context_desc.device says. *chosen: the caller named
// or implied the device, so that another one, or the CPU, would be a surprise.
LATHEP_FN lathe_status lathep_device_choose(const lathep_cuda *cuda, int wanted,
                                            lathep_device *device, int *chosen) {
  int count = 0, code = cuda->cuInit(0);
  *chosen = 0;
  device->ordinal = wanted > 0 ? wanted - 1 : 0;
  if (code)
    return lathep_device_fail(code, "cuInit", device->ordinal);
  code = cuda->cuDriverGetVersion(&device->driver_version);
  if (!code)
    code = cuda->cuDeviceGetCount(&count);
  if (code || count == 0)
    return lathep_device_fail(code ? code : LATHEP_CUDA_ERROR_NO_DEVICE, "cuDeviceGetCount",
                              device->ordinal);
  if (wanted > count) {
    *chosen = 1;
    return lathep_fail(LATHE_STATUS_NO_DEVICE,
                       "lathe_context_desc.device is LATHE_DEVICE(%d), and there are %d devices; "
                       "give LATHE_DEVICE(0) to LATHE_DEVICE(%d), or 0",
                       device->ordinal, count, count - 1);
  }
  if (wanted == 0) {
    code = cuda->cuCtxGetCurrent(&device->context);
    if (!code && device->context) {
      *chosen = 1;
      code = cuda->cuCtxGetDevice(&device->handle);
      if (code)
        return lathep_device_fail(code, "cuCtxGetDevice", device->ordinal);
      device->ordinal = lathep_device_ordinal(cuda, device->handle, count);
      return LATHE_STATUS_OK;
    }
    device->context = NULL;
  }
  *chosen = wanted > 0;
  code = cuda->cuDeviceGet(&device->handle, device->ordinal);
  if (code)
    return lathep_device_fail(code, "cuDeviceGet", device->ordinal);
  code = cuda->cuDevicePrimaryCtxRetain(&device->context, device->handle);
  if (code)
    return lathep_device_fail(code, "cuDevicePrimaryCtxRetain", device->ordinal);
  device->primary_retained = 1;
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_device_query(const lathep_cuda *cuda, lathep_device *device) {
  const struct {
    int attribute;
    int *value;
  } wanted[] = {
      {LATHEP_DEVICE_MAJOR, &device->major},
      {LATHEP_DEVICE_MINOR, &device->minor},
      {LATHEP_DEVICE_NUM_SMS, &device->num_sms},
      {LATHEP_DEVICE_SHARED_OPTIN, &device->shared_optin},
      {LATHEP_DEVICE_SHARED_PER_SM, &device->shared_per_sm},
  };
  int code = cuda->cuDeviceGetName(device->name, (int)sizeof device->name, device->handle);
  size_t i;
  if (code)
    return lathep_device_fail(code, "cuDeviceGetName", device->ordinal);
  for (i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    code = cuda->cuDeviceGetAttribute(wanted[i].value, wanted[i].attribute, device->handle);
    if (code)
      return lathep_device_fail(code, "cuDeviceGetAttribute", device->ordinal);
  }
  return LATHE_STATUS_OK;
}

// After a failure of either, too.
LATHEP_FN void lathep_device_close(const lathep_cuda *cuda, lathep_device *device) {
  if (device->primary_retained)
    cuda->cuDevicePrimaryCtxRelease(device->handle); // may fail once the driver has shut down
  device->primary_retained = 0;
}
