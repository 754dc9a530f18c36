// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A libcuda.so.1 of one device, which is machine.c. Everything is done when a call returns, but for
// what a stream that is being captured gets. EMULATOR_ARCH is the device's compute capability, 80,
// 89 or 90 (default), and EMULATOR_SMS its multiprocessors (default 5); blocks run on
// EMULATOR_THREADS threads (default 2).
#define _GNU_SOURCE
#define LATHE_STATIC
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "compiler.h"
#include "machine.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef struct CUfunc_st {
  char name[256];
  emulator_kernel *kernel;
  const size_t *sizes; // of its parameters, up to a 0
} function;

typedef struct CUmod_st {
  void *library;
  function function;
} module;

typedef struct operation { // of a graph
  enum { LAUNCH, COPY, FILL } kind;
  const function *function;
  unsigned grid_x, grid_y, threads, shared_bytes;
  void *arguments[8]; // their own copies
  void *to;
  const void *from;
  size_t size;
  unsigned char value;
} operation;

typedef struct graph {
  operation *operations;
  size_t count;
} graph;

typedef struct stream {
  graph *capturing;
} stream;

static stream default_stream;
static __thread char *current; // context
static char primary, others;   // only their addresses count

static stream *stream_of(void *handle) {
  return handle ? handle : &default_stream;
}

static void perform(const operation *o) {
  if (o->kind == COPY)
    memmove(o->to, o->from, o->size);
  else if (o->kind == FILL)
    memset(o->to, o->value, o->size);
  else
    emulator_run(o->function->name, o->function->kernel, (void **)(uintptr_t)o->arguments,
                 o->grid_x, o->grid_y, o->threads, o->shared_bytes);
}

static int submit(void *handle, operation *o) {
  graph *g = stream_of(handle)->capturing;
  size_t i;
  if (!g) {
    perform(o);
    return 0;
  }
  for (i = 0; o->kind == LAUNCH && o->function->sizes[i]; i++)
    o->arguments[i] = memcpy(malloc(o->function->sizes[i]), o->arguments[i], o->function->sizes[i]);
  g->operations = realloc(g->operations, (g->count + 1) * sizeof *g->operations);
  g->operations[g->count++] = *o;
  return 0;
}

static int launch(const function *f, unsigned grid_x, unsigned grid_y, unsigned threads,
                  unsigned shared_bytes, void *handle, void **arguments) {
  operation o = {LAUNCH, f, grid_x, grid_y, threads, shared_bytes, {NULL}, NULL, NULL, 0, 0};
  size_t i;
  for (i = 0; f->sizes[i]; i++)
    o.arguments[i] = arguments[i];
  return submit(handle, &o);
}

static int number(const char *name, int fallback) {
  const char *value = getenv(name);
  return value ? atoi(value) : fallback;
}

// Every function returns a CUresult.
#define DRIVER(name) __attribute__((visibility("default"))) int name

DRIVER(cuInit)(unsigned flags) {
  return flags != 0;
}
DRIVER(cuDriverGetVersion)(int *version) {
  *version = 13000;
  return 0;
}
DRIVER(cuDeviceGetCount)(int *count) {
  *count = 1;
  return 0;
}
DRIVER(cuDeviceGet)(int *device, int ordinal) {
  *device = 0;
  return ordinal ? LATHEP_CUDA_ERROR_INVALID_DEVICE : 0;
}
DRIVER(cuDeviceGetName)(char *name, int size, int device) {
  (void)device;
  snprintf(name, (size_t)size, "emulated sm_%d", number("EMULATOR_ARCH", 90));
  return 0;
}
DRIVER(cuDeviceGetPCIBusId)(char *id, int size, int device) {
  (void)device;
  snprintf(id, (size_t)size, "0000:00:00.0");
  return 0;
}
DRIVER(cuDeviceGetAttribute)(int *value, int attribute, int device) {
  const int arch = number("EMULATOR_ARCH", 90);
  (void)device;
  switch (attribute) {
  case 16:
    *value = number("EMULATOR_SMS", 5);
    return 0;
  case 75:
    *value = arch / 10;
    return 0;
  case 76:
    *value = arch % 10;
    return 0;
  case 97: // shared memory of a block, at most
    *value = arch == 90 ? 232448 : arch == 80 ? 166912 : 101376;
    return 0;
  case 81: // and of a multiprocessor
    *value = arch == 90 ? 233472 : arch == 80 ? 167936 : 102400;
    return 0;
  }
  *value = 0;
  return 0;
}

DRIVER(cuDevicePrimaryCtxRetain)(char **context, int device) {
  *context = &primary;
  return device;
}
DRIVER(cuDevicePrimaryCtxRelease_v2)(int device) {
  return device;
}
DRIVER(cuCtxCreate_v2)(char **context, unsigned flags, int device) {
  (void)flags;
  current = *context = &others;
  return device;
}
DRIVER(cuCtxDestroy_v2)(char *context) {
  if (current == context)
    current = NULL;
  return 0;
}
DRIVER(cuCtxSetCurrent)(char *context) {
  current = context;
  return 0;
}
DRIVER(cuCtxGetCurrent)(char **context) {
  *context = current;
  return 0;
}
DRIVER(cuCtxGetDevice)(int *device) {
  *device = 0;
  return current ? 0 : 201;
}
static __thread char *stack[16];
static __thread int depth;
DRIVER(cuCtxPushCurrent_v2)(char *context) {
  stack[depth++] = current;
  current = context;
  return 0;
}
DRIVER(cuCtxPopCurrent_v2)(char **context) {
  *context = current;
  current = stack[--depth];
  return 0;
}
DRIVER(cuCtxSynchronize)(void) {
  return 0;
}

DRIVER(cuMemGetInfo_v2)(size_t *free_bytes, size_t *total) {
  *free_bytes = *total = (size_t)1 << 31;
  return 0;
}
DRIVER(cuMemAlloc_v2)(void **at, size_t size) {
  *at = emulator_allocate(size ? size : 1);
  return *at ? 0 : 2;
}
DRIVER(cuMemFree_v2)(void *at) {
  emulator_release(at);
  return 0;
}
DRIVER(cuMemcpyHtoD_v2)(void *to, const void *from, size_t size) {
  memcpy(to, from, size);
  return 0;
}
DRIVER(cuMemcpyDtoH_v2)(void *to, const void *from, size_t size) {
  memcpy(to, from, size);
  return 0;
}
DRIVER(cuMemsetD8_v2)(void *to, unsigned char value, size_t size) {
  memset(to, value, size);
  return 0;
}
static int copy_on(void *to, const void *from, size_t size, void *handle) {
  operation o = {COPY, NULL, 0, 0, 0, 0, {NULL}, to, from, size, 0};
  return submit(handle, &o);
}
DRIVER(cuMemcpyDtoHAsync_v2)(void *to, const void *from, size_t size, void *handle) {
  return copy_on(to, from, size, handle);
}
DRIVER(cuMemcpyDtoDAsync_v2)(void *to, const void *from, size_t size, void *handle) {
  return copy_on(to, from, size, handle);
}
DRIVER(cuMemsetD8Async)(void *to, unsigned char value, size_t size, void *handle) {
  operation o = {FILL, NULL, 0, 0, 0, 0, {NULL}, to, NULL, size, value};
  return submit(handle, &o);
}

DRIVER(cuStreamCreate)(stream **created, unsigned flags) {
  (void)flags;
  *created = calloc(1, sizeof **created);
  return 0;
}
DRIVER(cuStreamDestroy_v2)(stream *s) {
  free(s);
  return 0;
}
DRIVER(cuStreamSynchronize)(void *handle) {
  (void)handle;
  return 0;
}
DRIVER(cuStreamIsCapturing)(void *handle, int *status) {
  *status = stream_of(handle)->capturing != NULL;
  return 0;
}
DRIVER(cuStreamBeginCapture_v2)(void *handle, int mode) {
  (void)mode;
  stream_of(handle)->capturing = calloc(1, sizeof(graph));
  return 0;
}
DRIVER(cuStreamEndCapture)(void *handle, graph **captured) {
  *captured = stream_of(handle)->capturing;
  stream_of(handle)->capturing = NULL;
  return 0;
}
// A graph and what is made of it are one; the graph's end ends neither.
DRIVER(cuGraphInstantiateWithFlags)(graph **made, graph *from, unsigned long long flags) {
  (void)flags;
  *made = from;
  return 0;
}
DRIVER(cuGraphLaunch)(graph *g, void *handle) {
  size_t i;
  (void)handle;
  for (i = 0; i < g->count; i++)
    perform(&g->operations[i]);
  return 0;
}
DRIVER(cuGraphDestroy)(graph *g) {
  (void)g;
  return 0;
}
DRIVER(cuGraphExecDestroy)(graph *g) {
  size_t i, j;
  for (i = 0; i < g->count; i++)
    for (j = 0; g->operations[i].kind == LAUNCH && g->operations[i].function->sizes[j]; j++)
      free(g->operations[i].arguments[j]);
  free(g->operations);
  free(g);
  return 0;
}

DRIVER(cuEventCreate)(struct timespec **event, unsigned flags) {
  (void)flags;
  *event = calloc(1, sizeof **event);
  return 0;
}
DRIVER(cuEventDestroy_v2)(struct timespec *event) {
  free(event);
  return 0;
}
DRIVER(cuEventRecord)(struct timespec *event, void *handle) {
  (void)handle;
  clock_gettime(CLOCK_MONOTONIC, event);
  return 0;
}
DRIVER(cuEventSynchronize)(struct timespec *event) {
  (void)event;
  return 0;
}
DRIVER(cuEventElapsedTime)
(float *milliseconds, const struct timespec *from, const struct timespec *to) {
  *milliseconds = (float)(1e3 * (double)(to->tv_sec - from->tv_sec) +
                          1e-6 * (double)(to->tv_nsec - from->tv_nsec));
  return 0;
}

DRIVER(cuModuleLoadData)(module **loaded, const void *image) {
  const char *path = (const char *)image + sizeof EMULATOR_IMAGE - 1;
  module *made = calloc(1, sizeof *made);
  Dl_info own;
  if (memcmp(image, EMULATOR_IMAGE, sizeof EMULATOR_IMAGE - 1))
    emulator_die("an image that is not the emulator's; set LATHE_CACHE=0");
  if (dladdr(&default_stream, &own)) // a kernel finds machine.h's functions in this library
    dlopen(own.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
  made->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!made->library)
    emulator_die("%s", dlerror());
  *loaded = made;
  return 0;
}
DRIVER(cuModuleUnload)(module *loaded) {
  dlclose(loaded->library);
  free(loaded);
  return 0;
}
DRIVER(cuModuleGetFunction)(function **found, module *of, const char *name) {
  void *entry = dlsym(of->library, "emulated_entry");
  memcpy(&of->function.kernel, &entry, sizeof entry);
  of->function.sizes = dlsym(of->library, "emulated_sizes");
  snprintf(of->function.name, sizeof of->function.name, "%s", name);
  *found = &of->function;
  return 0;
}
DRIVER(cuFuncLoad)(const function *f) {
  (void)f;
  return 0;
}
DRIVER(cuFuncGetAttribute)(int *value, int attribute, const function *f) {
  const int arch = number("EMULATOR_ARCH", 90);
  (void)f;
  *value = attribute == 0 ? 1024 : attribute == 1 ? 512 : attribute == 4 ? 64 : 0;
  if (attribute == 5 || attribute == 6) // versions of PTX and binary
    *value = arch;
  return 0;
}
DRIVER(cuFuncSetAttribute)(const function *f, int attribute, int value) {
  (void)f;
  (void)attribute;
  (void)value;
  return 0;
}
DRIVER(cuLaunchKernel)
(const function *f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
 unsigned block_y, unsigned block_z, unsigned shared, void *handle, void **arguments,
 void **extra) {
  (void)extra;
  if (grid_z != 1 || block_y != 1 || block_z != 1)
    emulator_die("%s: a grid of three dimensions or a block of two", f->name);
  return launch(f, grid_x, grid_y, block_x, shared, handle, arguments);
}
DRIVER(cuLaunchKernelEx)
(const lathep_launch_config *config, const function *f, void **arguments, void **extra) {
  (void)extra;
  return launch(f, config->grid_x, config->grid_y, config->block_x, config->shared_bytes,
                (void *)config->stream, arguments);
}

DRIVER(cuTensorMapEncodeTiled)
(void *to, int type, unsigned rank, void *base, const uint64_t *dims, const uint64_t *strides,
 const unsigned *box, const unsigned *steps, int interleave, int swizzle, int promotion, int fill) {
  emulator_map map;
  unsigned i;
  (void)type, (void)promotion;
  memset(&map, 0, sizeof map);
  if (rank != 4 || interleave != LATHEP_TENSOR_MAP_PLAIN ||
      swizzle != LATHEP_TENSOR_MAP_SWIZZLE128 || fill != LATHEP_TENSOR_MAP_ZEROS || box[0] != 64 ||
      (uintptr_t)base % 16)
    return 1;
  map.base = base;
  for (i = 0; i < 4; i++) {
    if (steps[i] != 1 || dims[i] == 0 || dims[i] > (uint64_t)1 << 32 || box[i] == 0 ||
        box[i] > 256 || (i < 3 && (strides[i] % 16 || strides[i] >> 40)))
      return 1;
    map.dims[i] = dims[i];
    map.box[i] = box[i];
  }
  memcpy(map.strides, strides, sizeof map.strides);
  memset(to, 0, 128);
  memcpy(to, &map, sizeof map);
  return 0;
}

DRIVER(cuGetErrorName)(int error, const char **name) {
  (void)error;
  *name = "CUDA_ERROR_EMULATED";
  return 0;
}
