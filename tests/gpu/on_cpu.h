// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The host in place of a device, so that the GPU tests are tested where there is none (--cpu):
// device memory is the host's, plans are the CPU backend's, and what judges them is the reference
// in double of tests/ref. Streams and graphs it does not have; what needs them skips.
#ifndef LATHE_TESTS_GPU_ON_CPU_H
#define LATHE_TESTS_GPU_ON_CPU_H

#include "driver.h"

static int gpu_on_cpu; // this process runs its tests so

static inline int on_cpu_allocate(gpu_pointer *pointer, size_t size) {
  *pointer = (gpu_pointer)(size_t)aligned_alloc(256, (size + 255) / 256 * 256);
  return *pointer ? 0 : 2; // CUDA_ERROR_OUT_OF_MEMORY
}
static inline int on_cpu_release(gpu_pointer pointer) {
  free((void *)(size_t)pointer);
  return 0;
}
static inline int on_cpu_upload(gpu_pointer to, const void *from, size_t size) {
  memcpy((void *)(size_t)to, from, size);
  return 0;
}
static inline int on_cpu_download(void *to, gpu_pointer from, size_t size) {
  memcpy(to, (const void *)(size_t)from, size);
  return 0;
}
static inline int on_cpu_fill8(gpu_pointer to, unsigned char value, size_t count) {
  memset((void *)(size_t)to, value, count);
  return 0;
}
static inline int on_cpu_synchronize(void) {
  return 0;
}

static inline void on_cpu_begin(void) {
  memset(&gpu, 0, sizeof gpu); // anything else is a null pointer called
  gpu.allocate = on_cpu_allocate;
  gpu.release = on_cpu_release;
  gpu.upload = on_cpu_upload;
  gpu.download = on_cpu_download;
  gpu.fill8 = on_cpu_fill8;
  gpu.synchronize = on_cpu_synchronize;
  gpu_on_cpu = 1;
}

#endif
