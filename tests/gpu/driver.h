// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The CUDA driver as the tests and the benchmark use it: opened at run time, so that the programs
// build and start on a machine that has no CUDA, and apart from the library's own loader, which
// they test.
#ifndef LATHE_TESTS_GPU_DRIVER_H
#define LATHE_TESTS_GPU_DRIVER_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long gpu_pointer; // CUdeviceptr
typedef struct CUctx_st *gpu_context;
typedef struct CUstream_st *gpu_stream;
typedef struct CUevent_st *gpu_event;
typedef struct CUgraph_st *gpu_graph;
typedef struct CUgraphExec_st *gpu_graph_exec;
typedef struct CUmod_st *gpu_module;
typedef struct CUfunc_st *gpu_function;

enum {
  GPU_ATTRIBUTE_CLOCK_RATE = 13,
  GPU_ATTRIBUTE_NUM_SMS = 16,
  GPU_ATTRIBUTE_L2_BYTES = 38,
  GPU_ATTRIBUTE_MAJOR = 75,
  GPU_ATTRIBUTE_MINOR = 76,
  GPU_STREAM_NON_BLOCKING = 1
};

// field, symbol, arguments; every function returns CUresult, 0 for success
#define GPU_DRIVER_FUNCTIONS(X)                                                                    \
  X(init, "cuInit", (unsigned flags))                                                              \
  X(driver_version, "cuDriverGetVersion", (int *version))                                          \
  X(device_count, "cuDeviceGetCount", (int *count))                                                \
  X(device_get, "cuDeviceGet", (int *device, int ordinal))                                         \
  X(device_name, "cuDeviceGetName", (char *name, int size, int device))                            \
  X(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))             \
  X(device_pci_bus_id, "cuDeviceGetPCIBusId", (char *id, int size, int device))                    \
  X(primary_retain, "cuDevicePrimaryCtxRetain", (gpu_context * context, int device))               \
  X(primary_release, "cuDevicePrimaryCtxRelease_v2", (int device))                                 \
  X(set_current, "cuCtxSetCurrent", (gpu_context context))                                         \
  X(get_current, "cuCtxGetCurrent", (gpu_context * context))                                       \
  X(context_create, "cuCtxCreate_v2", (gpu_context * context, unsigned flags, int device))         \
  X(context_destroy, "cuCtxDestroy_v2", (gpu_context context))                                     \
  X(synchronize, "cuCtxSynchronize", (void))                                                       \
  X(memory_info, "cuMemGetInfo_v2", (size_t * free, size_t * total))                               \
  X(allocate, "cuMemAlloc_v2", (gpu_pointer * pointer, size_t size))                               \
  X(release, "cuMemFree_v2", (gpu_pointer pointer))                                                \
  X(upload, "cuMemcpyHtoD_v2", (gpu_pointer to, const void *from, size_t size))                    \
  X(download, "cuMemcpyDtoH_v2", (void *to, gpu_pointer from, size_t size))                        \
  X(copy_async, "cuMemcpyDtoDAsync_v2",                                                            \
    (gpu_pointer to, gpu_pointer from, size_t size, gpu_stream stream))                            \
  X(fill8, "cuMemsetD8_v2", (gpu_pointer to, unsigned char value, size_t count))                   \
  X(fill8_async, "cuMemsetD8Async",                                                                \
    (gpu_pointer to, unsigned char value, size_t count, gpu_stream stream))                        \
  X(stream_create, "cuStreamCreate", (gpu_stream * stream, unsigned flags))                        \
  X(stream_destroy, "cuStreamDestroy_v2", (gpu_stream stream))                                     \
  X(stream_synchronize, "cuStreamSynchronize", (gpu_stream stream))                                \
  X(begin_capture, "cuStreamBeginCapture_v2", (gpu_stream stream, int mode))                       \
  X(end_capture, "cuStreamEndCapture", (gpu_stream stream, gpu_graph * graph))                     \
  X(graph_instantiate, "cuGraphInstantiateWithFlags",                                              \
    (gpu_graph_exec * exec, gpu_graph graph, unsigned long long flags))                            \
  X(graph_launch, "cuGraphLaunch", (gpu_graph_exec exec, gpu_stream stream))                       \
  X(graph_exec_destroy, "cuGraphExecDestroy", (gpu_graph_exec exec))                               \
  X(graph_destroy, "cuGraphDestroy", (gpu_graph graph))                                            \
  X(event_create, "cuEventCreate", (gpu_event * event, unsigned flags))                            \
  X(event_destroy, "cuEventDestroy_v2", (gpu_event event))                                         \
  X(event_record, "cuEventRecord", (gpu_event event, gpu_stream stream))                           \
  X(event_synchronize, "cuEventSynchronize", (gpu_event event))                                    \
  X(event_elapsed, "cuEventElapsedTime", (float *milliseconds, gpu_event from, gpu_event to))      \
  X(module_load, "cuModuleLoadData", (gpu_module * module, const void *image))                     \
  X(module_function, "cuModuleGetFunction",                                                        \
    (gpu_function * function, gpu_module module, const char *name))                                \
  X(launch, "cuLaunchKernel",                                                                      \
    (gpu_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,   \
     unsigned block_y, unsigned block_z, unsigned shared, gpu_stream stream, void **arguments,     \
     void **extra))

typedef struct gpu_driver {
#define GPU_DRIVER_FIELD(field, symbol, arguments) int(*field) arguments;
  GPU_DRIVER_FUNCTIONS(GPU_DRIVER_FIELD)
#undef GPU_DRIVER_FIELD
  int (*error_name)(int result, const char **name);
} gpu_driver;

// One driver a process; filled by gpu_driver_open().
static gpu_driver gpu;

static inline int gpu_driver_symbol(void *library, const char *symbol, void *field) {
  void *address = dlsym(library, symbol);
  memcpy(field, &address, sizeof address); // C has no cast from an object to a function pointer
  return address != NULL;
}

// 0 if the driver and device `ordinal` are there, its primary context then current; else `why` says
// what is missing.
static inline int gpu_driver_open(int ordinal, char *why, size_t size) {
  int result, count = 0, device = 0;
  gpu_context context;
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(why, size, "no libcuda.so.1");
    return -1;
  }
#define GPU_DRIVER_LOAD(field, symbol, arguments)                                                  \
  if (!gpu_driver_symbol(library, symbol, &gpu.field)) {                                           \
    snprintf(why, size, "libcuda.so.1 has no %s", symbol);                                         \
    return -1;                                                                                     \
  }
  GPU_DRIVER_FUNCTIONS(GPU_DRIVER_LOAD)
#undef GPU_DRIVER_LOAD
  gpu_driver_symbol(library, "cuGetErrorName", &gpu.error_name);
  if ((result = gpu.init(0)) != 0) {
    snprintf(why, size, "no CUDA device: cuInit returns %d", result);
    return -1;
  }
  if (gpu.device_count(&count) != 0 || count <= ordinal) {
    snprintf(why, size, "%d CUDA devices, %d needed", count, ordinal + 1);
    return -1;
  }
  if (gpu.device_get(&device, ordinal) != 0 || gpu.primary_retain(&context, device) != 0 ||
      gpu.set_current(context) != 0) {
    snprintf(why, size, "no context on CUDA device %d", ordinal);
    return -1;
  }
  return 0;
}

// Every driver call of a test goes through gpu_must: a program that goes on after one has failed
// tests nothing.
static inline void gpu_must_(int result, const char *call, const char *file, int line) {
  const char *name = "?";
  if (result == 0)
    return;
  if (gpu.error_name)
    gpu.error_name(result, &name);
  fprintf(stderr, "%s:%d: %s returns %d (%s)\n", file, line, call, result, name ? name : "?");
  abort();
}
#define gpu_must(call) gpu_must_((call), #call, __FILE__, __LINE__)

static inline int gpu_attribute(int attribute) {
  int value = 0;
  gpu_must(gpu.device_attribute(&value, attribute, 0));
  return value;
}

static inline gpu_pointer gpu_alloc(size_t size) {
  gpu_pointer pointer = 0;
  gpu_must(gpu.allocate(&pointer, size ? size : 1));
  return pointer;
}

static inline void gpu_free(gpu_pointer pointer) {
  if (pointer)
    gpu_must(gpu.release(pointer));
}

static inline void *gpu_address(gpu_pointer pointer) {
  return (void *)(size_t)pointer;
}

// A device buffer that only ever grows, so that a loop over cases allocates a handful of times.
typedef struct gpu_buffer {
  gpu_pointer at;
  size_t size, capacity;
} gpu_buffer;

static inline void gpu_buffer_reserve(gpu_buffer *buffer, size_t size) {
  buffer->size = size;
  if (size <= buffer->capacity && buffer->at)
    return;
  gpu_free(buffer->at);
  buffer->capacity = size < 4096 ? 4096 : size;
  buffer->at = gpu_alloc(buffer->capacity);
}

static inline void gpu_buffer_upload(gpu_buffer *buffer, const void *data, size_t size) {
  gpu_buffer_reserve(buffer, size);
  if (size)
    gpu_must(gpu.upload(buffer->at, data, size));
}

static inline void gpu_buffer_fill(gpu_buffer *buffer, int value) {
  if (buffer->size)
    gpu_must(gpu.fill8(buffer->at, (unsigned char)value, buffer->size));
}

#endif
