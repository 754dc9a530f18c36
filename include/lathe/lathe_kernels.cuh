// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
/*
  lathe_kernels.cuh: the kernels that are built ahead of time, as source for nvcc. Include it in
  exactly one .cu file and hand lathe_kernels() to the context:

      #include <lathe/lathe_kernels.cuh>

      lathe_context_desc desc = {};
      desc.kernels = lathe_kernels();

  Any -arch from sm_80 on; for Hopper, sm_90a, without which its fastest kernels are missing. A
  kernel is compiled for the devices that the architectures of the command line serve; where none of
  them does, it is there but empty, and Lathe passes over it.

  All of them take minutes. To compile some only, define LATHE_KERNELS_ONLY, and LATHE_KERNELS_ with
  a family, or with a family and its dims, as 1:

      -DLATHE_KERNELS_ONLY -DLATHE_KERNELS_decode_sm80_bf16_bf16_l512r64=1
      -DLATHE_KERNELS_merge_sm80_bf16=1 -DLATHE_KERNELS_schedule_sm80=1

  A decode kernel needs the merge kernel of its output type and the schedule kernel. Families and
  dims: docs/variants.md.
*/
#ifndef LATHE_KERNELS_CUH
#define LATHE_KERNELS_CUH

#include "lathe.h"
#include <cuda_runtime_api.h>

#ifdef LATHE_KERNELS_ONLY
#define LATHEP_WANTED(name) LATHE_KERNELS_##name
#else
#define LATHEP_WANTED(name) 1
#endif
#ifdef LATHE_NAMESPACE
#define LATHEP_GENERATED LATHE_NAME(lathep_generated)
#else
#define LATHEP_GENERATED lathep_generated
#endif

/* LATHEP_SERVES(device): may this pass's code run there, as machine code or by the driver from PTX?
   Not where the command line has something closer of the device's own major; that of another major
   may be an "a" target, which runs on its own architecture alone. The host's passes, without
   __CUDA_ARCH__, need no body. */
#ifndef __CUDA_ARCH__
#define LATHEP_SERVES(device) 0
#elif __CUDA_ARCH__ < 800
#define LATHEP_SERVES(device) 0
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(__CUDA_ARCH_SPECIFIC__)
#define LATHEP_SERVES(device) (__CUDA_ARCH__ == (device))
#elif defined(__CUDA_ARCH_LIST__)
#define LATHEP_SERVES(device)                                                                      \
  (__CUDA_ARCH__ <= (device) && !LATHEP_NEARER(device, __CUDA_ARCH_LIST__, 0, 0, 0, 0, 0, 0, 0, 0, \
                                               0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
#else
#define LATHEP_SERVES(device) (__CUDA_ARCH__ <= (device))
#endif
/* Hopper's kernels cannot be code of an earlier architecture; sm90a's is that of the "a" target. */
#define LATHEP_SERVES_sm90 (LATHEP_SERVES(900) && __CUDA_ARCH__ == 900)
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define LATHEP_SERVES_sm90a LATHEP_SERVES_sm90
#else
#define LATHEP_SERVES_sm90a 0
#endif
#define LATHEP_NEARER(...) LATHEP_NEARER_(__VA_ARGS__) /* its commas count once it is expanded */
#define LATHEP_NEARER_(device, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, ...)    \
  (LATHEP_CLOSER(device, a) || LATHEP_CLOSER(device, b) || LATHEP_CLOSER(device, c) ||             \
   LATHEP_CLOSER(device, d) || LATHEP_CLOSER(device, e) || LATHEP_CLOSER(device, f) ||             \
   LATHEP_CLOSER(device, g) || LATHEP_CLOSER(device, h) || LATHEP_CLOSER(device, i) ||             \
   LATHEP_CLOSER(device, j) || LATHEP_CLOSER(device, k) || LATHEP_CLOSER(device, l) ||             \
   LATHEP_CLOSER(device, m) || LATHEP_CLOSER(device, n) || LATHEP_CLOSER(device, o) ||             \
   LATHEP_CLOSER(device, p) || LATHEP_CLOSER(device, q) || LATHEP_CLOSER(device, r) ||             \
   LATHEP_CLOSER(device, s) || LATHEP_CLOSER(device, t))
#define LATHEP_CLOSER(device, listed)                                                              \
  (__CUDA_ARCH__ < (listed) && (listed) <= (device) && (listed) / 100 == (device) / 100)

#include <lathe/generated/variants.cuh>

namespace LATHEP_GENERATED {
inline int get_function(const void *symbol, void **function) {
  return static_cast<int>(
      cudaGetFuncBySymbol(reinterpret_cast<cudaFunction_t *>(function), symbol));
}
} // namespace LATHEP_GENERATED

extern "C" const lathe_kernel_table *lathe_kernels(void) {
#define LATHEP_ROW(variant)                                                                        \
  {#variant,                                                                                       \
   LATHE_IMAGE_SYMBOL,                                                                             \
   0,                                                                                              \
   0,                                                                                              \
   reinterpret_cast<const void *>(&LATHEP_GENERATED::variant::lathe_##variant),                    \
   0},
  static const lathe_kernel_image images[] = {
#include <lathe/generated/variant_rows.h>
  };
  static const lathe_kernel_table table = {LATHE_VERSION, sizeof images / sizeof images[0], images,
                                           LATHEP_GENERATED::get_function};
  return &table;
}

#undef LATHEP_ROW
#undef LATHEP_SERVES
#undef LATHEP_SERVES_sm90
#undef LATHEP_SERVES_sm90a
#undef LATHEP_NEARER
#undef LATHEP_NEARER_
#undef LATHEP_CLOSER
#undef LATHEP_WANTED
#undef LATHEP_GENERATED

#endif // LATHE_KERNELS_CUH
