// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Memory for the examples: on the GPU by way of the driver, opened at run time, so that an example
// needs no CUDA header and no CUDA library to be built or to start; or on the host, behind the same
// functions, for the CPU backend. Your program has memory of its own (cudaMalloc, a framework's
// tensors): Lathe takes any pointer that the GPU can read. Failures end the program.
#ifndef LATHE_EXAMPLES_GPU_MEMORY_H
#define LATHE_EXAMPLES_GPU_MEMORY_H

#include <lathe/lathe.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef unsigned long long gpu_address; /* CUdeviceptr */
struct CUevent_st;

typedef struct gpu_driver {
  void *library; /* null: host memory */
  int (*init)(unsigned flags);
  int (*device_get)(int *device, int ordinal);
  int (*retain)(lathe_cuda_context *context, int device);
  int (*set_current)(lathe_cuda_context context);
  int (*alloc)(gpu_address *address, size_t size);
  int (*free)(gpu_address address);
  int (*fill)(gpu_address address, unsigned char value, size_t size);
  int (*to_device)(gpu_address to, const void *from, size_t size);
  int (*to_host)(void *to, gpu_address from, size_t size);
  int (*synchronize)(void);
  int (*event_create)(struct CUevent_st **event, unsigned flags);
  int (*event_record)(struct CUevent_st *event, lathe_stream stream);
  int (*event_synchronize)(struct CUevent_st *event);
  int (*event_elapsed)(float *milliseconds, struct CUevent_st *from, struct CUevent_st *to);
  int (*event_destroy)(struct CUevent_st *event);
} gpu_driver;

static gpu_driver gpu;

/* What gpu_alloc gave out, for gpu_close. */
typedef struct gpu_block {
  void *memory;
  struct gpu_block *next;
} gpu_block;

static gpu_block *gpu_blocks;

/* Ends the program if a call of the driver failed. */
static inline void gpu_expect(int result, const char *what) {
  if (result != 0) {
    fprintf(stderr, "%s failed with error %d\n", what, result);
    exit(1);
  }
}

/* Any other function of the driver; `function` is the address of a function pointer. */
static inline void gpu_symbol(const char *name, void *function) {
  void *symbol = dlsym(gpu.library, name);
  if (!symbol) {
    fprintf(stderr, "libcuda.so.1 has no %s\n", name);
    exit(1);
  }
  memcpy(function, &symbol, sizeof symbol);
}

/* Makes device `ordinal`'s primary context, the one that the CUDA runtime and Lathe use, current.
 */
static inline void gpu_use_device(int ordinal) {
  lathe_cuda_context context;
  int device;
  gpu_expect(gpu.device_get(&device, ordinal), "cuDeviceGet");
  gpu_expect(gpu.retain(&context, device), "cuDevicePrimaryCtxRetain");
  gpu_expect(gpu.set_current(context), "cuCtxSetCurrent");
}

/* First of all: memory of the device that the context is on, or of the host for the CPU backend. */
static inline void gpu_open(const lathe_context *context) {
  lathe_context_info info;
  if (lathe_context_get_info(context, &info) || info.backend == LATHE_BACKEND_CPU)
    return;
  gpu.library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!gpu.library) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  gpu_symbol("cuInit", &gpu.init);
  gpu_symbol("cuDeviceGet", &gpu.device_get);
  gpu_symbol("cuDevicePrimaryCtxRetain", &gpu.retain);
  gpu_symbol("cuCtxSetCurrent", &gpu.set_current);
  gpu_symbol("cuMemAlloc_v2", &gpu.alloc);
  gpu_symbol("cuMemFree_v2", &gpu.free);
  gpu_symbol("cuMemsetD8_v2", &gpu.fill);
  gpu_symbol("cuMemcpyHtoD_v2", &gpu.to_device);
  gpu_symbol("cuMemcpyDtoH_v2", &gpu.to_host);
  gpu_symbol("cuCtxSynchronize", &gpu.synchronize);
  gpu_symbol("cuEventCreate", &gpu.event_create);
  gpu_symbol("cuEventRecord", &gpu.event_record);
  gpu_symbol("cuEventSynchronize", &gpu.event_synchronize);
  gpu_symbol("cuEventElapsedTime", &gpu.event_elapsed);
  gpu_symbol("cuEventDestroy_v2", &gpu.event_destroy);
  gpu_expect(gpu.init(0), "cuInit");
  gpu_use_device(info.device);
}

static inline gpu_address gpu_address_of(const void *memory) {
  return (gpu_address)(uintptr_t)memory;
}

/* 256-byte aligned; null for size 0 */
static inline void *gpu_alloc(size_t size) {
  gpu_block *block = (gpu_block *)malloc(sizeof *block);
  gpu_address address = 0;
  if (gpu.library && size > 0) {
    gpu_expect(gpu.alloc(&address, size), "cuMemAlloc");
  } else if (size > 0) {
    address = gpu_address_of(aligned_alloc(256, (size + 255) / 256 * 256));
  }
  if (!block || (size > 0 && !address)) {
    fprintf(stderr, "no memory for %zu bytes\n", size);
    exit(1);
  }
  block->memory = (void *)(uintptr_t)address;
  block->next = gpu_blocks;
  gpu_blocks = block;
  return block->memory;
}

/* Frees everything that gpu_alloc and gpu_copy gave out. */
static inline void gpu_close(void) {
  while (gpu_blocks) {
    gpu_block *block = gpu_blocks;
    gpu_blocks = block->next;
    if (!gpu.library)
      free(block->memory);
    else if (block->memory)
      gpu_expect(gpu.free(gpu_address_of(block->memory)), "cuMemFree");
    free(block);
  }
}

/* Waits for everything that was enqueued, and tells what went wrong in it. */
static inline void gpu_synchronize(void) {
  if (gpu.library)
    gpu_expect(gpu.synchronize(), "cuCtxSynchronize");
}

static inline void gpu_write(void *to, const void *from, size_t size) {
  if (gpu.library)
    gpu_expect(gpu.to_device(gpu_address_of(to), from, size), "cuMemcpyHtoD");
  else
    memcpy(to, from, size);
}

/* Waits for what was enqueued before it. */
static inline void gpu_read(void *to, const void *from, size_t size) {
  gpu_synchronize();
  if (gpu.library)
    gpu_expect(gpu.to_host(to, gpu_address_of(from), size), "cuMemcpyDtoH");
  else
    memcpy(to, from, size);
}

/* New memory that holds a copy of `from`. */
static inline void *gpu_copy(const void *from, size_t size) {
  void *memory = gpu_alloc(size);
  if (size > 0)
    gpu_write(memory, from, size);
  return memory;
}

static inline void gpu_fill(void *to, unsigned char value, size_t size) {
  if (gpu.library)
    gpu_expect(gpu.fill(gpu_address_of(to), value, size), "cuMemsetD8");
  else
    memset(to, value, size);
}

/* Time between two points of a stream; on the host, between two calls. */
typedef struct gpu_timer {
  struct CUevent_st *from, *to;
  struct timespec start;
} gpu_timer;

static inline void gpu_timer_start(gpu_timer *timer, lathe_stream stream) {
  timespec_get(&timer->start, TIME_UTC);
  if (gpu.library) {
    gpu_expect(gpu.event_create(&timer->from, 0), "cuEventCreate");
    gpu_expect(gpu.event_create(&timer->to, 0), "cuEventCreate");
    gpu_expect(gpu.event_record(timer->from, stream), "cuEventRecord");
  }
}

/* Seconds; waits for the stream. */
static inline double gpu_timer_stop(gpu_timer *timer, lathe_stream stream) {
  struct timespec stop;
  float milliseconds = 0;
  if (gpu.library) {
    gpu_expect(gpu.event_record(timer->to, stream), "cuEventRecord");
    gpu_expect(gpu.event_synchronize(timer->to), "cuEventSynchronize");
    gpu_expect(gpu.event_elapsed(&milliseconds, timer->from, timer->to), "cuEventElapsedTime");
    gpu_expect(gpu.event_destroy(timer->from), "cuEventDestroy");
    gpu_expect(gpu.event_destroy(timer->to), "cuEventDestroy");
    return milliseconds * 1e-3;
  }
  timespec_get(&stop, TIME_UTC);
  return (double)(stop.tv_sec - timer->start.tv_sec) +
         (double)(stop.tv_nsec - timer->start.tv_nsec) * 1e-9;
}

#endif
