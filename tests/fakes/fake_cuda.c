// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "fake_cuda.h"

#include <elf.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct CUctx_st *context_handle;
typedef struct CUmod_st {
  const char *text; // a copy of the image, as it may be freed after loading
  size_t size;
} * module_handle;
typedef struct CUfunc_st *function_handle;
typedef struct CUstream_st *stream_handle;

fake_cuda_state fake_cuda = {13000, 2, 9, 0, 132, 232448, 0, 0, 0, 0, 0, 0,  1024,
                             0,     0, 0, 0, 0,   0,      0, 0, 0, 0, 0, "", ""};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char primary[FAKE_MAX_DEVICES], other, functions; // only their addresses count
static __thread context_handle stack[8];
static __thread int depth;

#define COUNT(field)                                                                               \
  (pthread_mutex_lock(&mutex), fake_cuda.field++, (void)pthread_mutex_unlock(&mutex))

int cuInit(unsigned flags) {
  return flags ? 1 : fake_cuda.init_code;
}

int cuDriverGetVersion(int *version) {
  *version = fake_cuda.version;
  return 0;
}

int cuDeviceGetCount(int *count) {
  *count = fake_cuda.count;
  return fake_cuda.count_code;
}

// Handles differ from ordinals, which nobody may take for granted.
int cuDeviceGet(int *device, int ordinal) {
  *device = 40 + ordinal;
  return ordinal < 0 || ordinal >= fake_cuda.count ? 101 : 0;
}

int cuDeviceGetName(char *name, int size, int device) {
  snprintf(name, (size_t)size, "Fake device %d", device - 40);
  return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
  case 16:
    *value = fake_cuda.num_sms;
    return 0;
  case 75:
    *value = fake_cuda.major;
    return 0;
  case 76:
    *value = fake_cuda.minor;
    return 0;
  case 81:
    *value = fake_cuda.shared_optin + 1024;
    return 0;
  case 97:
    *value = fake_cuda.shared_optin;
    return 0;
  }
  return device < 40 ? 101 : 1;
}

int cuDevicePrimaryCtxRetain(context_handle *context, int device) {
  COUNT(retains);
  *context = (context_handle)(void *)&primary[device - 40];
  return fake_cuda.retain_code;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
  COUNT(releases);
  return device < 40;
}

int cuCtxGetCurrent(context_handle *context) {
  *context = depth ? stack[depth - 1] : NULL;
  return 0;
}

int cuCtxGetDevice(int *device) {
  *device = 40;
  if (!depth)
    return 201;
  if ((char *)stack[depth - 1] != &other)
    *device += (int)((char *)stack[depth - 1] - primary);
  else
    *device += 1; // the context that is nobody's primary one is on device 1
  return 0;
}

int cuCtxPushCurrent_v2(context_handle context) {
  if (fake_cuda.push_code)
    return fake_cuda.push_code;
  COUNT(pushes);
  stack[depth++] = context;
  return 0;
}

int cuCtxPopCurrent_v2(context_handle *context) {
  COUNT(pops);
  *context = stack[--depth];
  return 0;
}

// For tests: makes a context of device 1 current that is not its primary one.
void *fake_cuda_enter_other(void);
void *fake_cuda_enter_other(void) {
  stack[depth++] = (context_handle)(void *)&other;
  return &other;
}

// Text, or an ELF file, whose section table is its end.
static size_t image_size(const char *image) {
  Elf64_Ehdr header;
  if (memcmp(image, ELFMAG, SELFMAG))
    return strlen(image);
  memcpy(&header, image, sizeof header);
  return header.e_shoff + (size_t)header.e_shnum * header.e_shentsize;
}

static int load(module_handle *module, const char *image) {
  size_t size = image_size(image);
  char *text;
  memset(fake_cuda.image, 0, sizeof fake_cuda.image);
  memcpy(fake_cuda.image, image,
         size < sizeof fake_cuda.image - 1 ? size : sizeof fake_cuda.image - 1);
  if (fake_cuda.load_fails) {
    fake_cuda.load_fails -= fake_cuda.load_fails > 0;
    return fake_cuda.load_code;
  }
  *module = malloc(sizeof **module);
  text = malloc(size + 1);
  if (!*module || !text)
    abort();
  memcpy(text, image, size);
  text[size] = '\0';
  (*module)->text = text;
  (*module)->size = size;
  return 0;
}

int cuModuleLoadData(module_handle *module, const void *image) {
  int code;
  if (!depth)
    return 201;
  pthread_mutex_lock(&mutex);
  fake_cuda.loads++;
  code = load(module, image);
  pthread_mutex_unlock(&mutex);
  return code;
}

int cuModuleUnload(module_handle module) {
  COUNT(unloads);
  free((char *)(size_t)module->text);
  free(module);
  return depth ? 0 : 201;
}

int cuModuleGetFunction(function_handle *function, module_handle module, const char *name) {
  pthread_mutex_lock(&mutex);
  snprintf(fake_cuda.symbol, sizeof fake_cuda.symbol, "%s", name);
  pthread_mutex_unlock(&mutex);
  *function = (function_handle)(void *)&functions;
  return memmem(module->text, module->size, name, strlen(name)) ? 0 : 500;
}

#ifndef FAKE_OLD
int cuFuncGetAttribute(int *value, int attribute, function_handle function) {
  COUNT(queries);
  switch (attribute) {
  case 1:
    *value = fake_cuda.static_shared;
    break;
  case 4:
    *value = 200;
    break;
  case 5:
  case 6:
    *value = 10 * fake_cuda.major + fake_cuda.minor;
    break;
  default:
    *value = 0;
  }
  return function ? 0 : 400;
}
#endif

int cuFuncSetAttribute(function_handle function, int attribute, int value) {
  pthread_mutex_lock(&mutex);
  if (attribute == 8)
    fake_cuda.dynamic_shared = value;
  if (attribute == 9)
    fake_cuda.carveout = value;
  pthread_mutex_unlock(&mutex);
  return function ? fake_cuda.set_code : 400;
}

int cuLaunchKernel(function_handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                   stream_handle stream, void **arguments, void **extra) {
  (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z;
  (void)shared_bytes, (void)stream, (void)arguments, (void)extra;
  return function ? 0 : 400;
}

int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t size, stream_handle stream) {
  (void)stream;
  memcpy(to, (const void *)(size_t)from, size);
  return 0;
}

int cuStreamSynchronize(stream_handle stream) {
  (void)stream;
  return 0;
}

#ifndef FAKE_BARE
int cuLaunchKernelEx(const void *config, function_handle function, void **arguments, void **extra) {
  (void)config, (void)arguments, (void)extra;
  return function ? 0 : 400;
}

int cuFuncLoad(function_handle function) {
  COUNT(functions_loaded);
  return function ? 0 : 400;
}

int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *address,
                           const unsigned long long *dims, const unsigned long long *strides,
                           const unsigned *box, const unsigned *steps, int interleave, int swizzle,
                           int promotion, int fill) {
  (void)type, (void)rank, (void)dims, (void)strides, (void)box, (void)steps;
  (void)interleave, (void)swizzle, (void)promotion, (void)fill;
  memset(map, 0, 128);
  return address ? 0 : 1;
}

int cuStreamIsCapturing(stream_handle stream, int *status) {
  (void)stream;
  *status = 0;
  return 0;
}
#endif
