// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What this machine can do, measured in the same run: streaming reads, an empty kernel, a large
// matrix product (through cuBLAS if it is there), and what clocks the driver reports. All of it
// opened at run time; what is missing is left out of the report.
#ifndef LATHE_TESTS_BENCH_CEILINGS_H
#define LATHE_TESTS_BENCH_CEILINGS_H

#include "timing.h"

static const char bench_kernel_source[] =
    "extern \"C\" __global__ void __launch_bounds__(256)\n"
    "stream(const uint4 *from, unsigned long long count, unsigned *sink) {\n"
    "  const unsigned long long stride = gridDim.x * 256ull;\n"
    "  unsigned long long i = blockIdx.x * 256ull + threadIdx.x;\n"
    "  unsigned x = 0;\n"
    "  for (; i + 7 * stride < count; i += 8 * stride) {\n"
    "    uint4 v[8];\n"
    "#pragma unroll\n"
    "    for (int k = 0; k < 8; ++k) v[k] = __ldg(from + i + k * stride);\n"
    "#pragma unroll\n"
    "    for (int k = 0; k < 8; ++k) x ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;\n"
    "  }\n"
    "#pragma unroll 4\n"
    "  for (; i < count; i += stride) {\n"
    "    const uint4 v = __ldg(from + i);\n"
    "    x ^= v.x ^ v.y ^ v.z ^ v.w;\n"
    "  }\n"
    "  if (x == 0x9e3779b9u) *sink = x;\n"
    "}\n"
    "extern \"C\" __global__ void empty() {}\n";

typedef struct bench_nvrtc {
  int (*create)(void **, const char *, const char *, int, const char *const *, const char *const *);
  int (*compile)(void *, int, const char *const *);
  int (*size)(void *, size_t *);
  int (*get)(void *, char *);
} bench_nvrtc;

static inline void *bench_open(const char *first, const char *const *names) {
  void *library = first && first[0] ? dlopen(first, RTLD_NOW | RTLD_LOCAL) : NULL;
  int i;
  for (i = 0; !library && names[i]; i++)
    library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  return library;
}

// Compiles the two kernels of this file; 0 on success.
static inline int bench_kernels_make(bench_kernels *k, const char *nvrtc_path) {
  static const char *const names[] = {"libnvrtc.so.13",
                                      "libnvrtc.so.12",
                                      "libnvrtc.so.11.2",
                                      "libnvrtc.so",
                                      "/usr/local/cuda/lib64/libnvrtc.so",
                                      NULL};
  void *library = bench_open(nvrtc_path, names), *program = NULL;
  bench_nvrtc nvrtc;
  char option[64], *ptx;
  const char *options[] = {option};
  size_t size = 0;
  gpu_module module;
  int major = gpu_attribute(GPU_ATTRIBUTE_MAJOR), minor = gpu_attribute(GPU_ATTRIBUTE_MINOR);
  if (!library || !gpu_driver_symbol(library, "nvrtcCreateProgram", &nvrtc.create) ||
      !gpu_driver_symbol(library, "nvrtcCompileProgram", &nvrtc.compile) ||
      !gpu_driver_symbol(library, "nvrtcGetCUBINSize", &nvrtc.size) ||
      !gpu_driver_symbol(library, "nvrtcGetCUBIN", &nvrtc.get))
    return -1;
  snprintf(option, sizeof option, "--gpu-architecture=sm_%d", 10 * major + minor);
  if (nvrtc.create(&program, bench_kernel_source, "bench.cu", 0, NULL, NULL) ||
      nvrtc.compile(program, 1, options) || nvrtc.size(program, &size))
    return -1;
  ptx = (char *)malloc(size);
  if (!ptx || nvrtc.get(program, ptx))
    return -1;
  gpu_must(gpu.module_load(&module, ptx));
  gpu_must(gpu.module_function(&k->stream, module, "stream"));
  gpu_must(gpu.module_function(&k->empty, module, "empty"));
  free(ptx);
  return 0;
}

typedef struct bench_streaming {
  bench_kernels *kernels;
  gpu_pointer buffer;
  size_t buffer_bytes, bytes;
  int blocks;
} bench_streaming;

static inline void bench_streaming_call(void *user, int index, gpu_stream stream) {
  bench_streaming *s = (bench_streaming *)user;
  size_t copies = s->buffer_bytes / s->bytes;
  (void)stream;
  bench_stream(s->kernels,
               s->buffer + (copies > 1 ? (size_t)index % copies * (s->bytes / 256 * 256) : 0),
               s->bytes, s->blocks);
}

// Microseconds to read `bytes` that are not in the cache, at the best of a few grids.
static inline double bench_streaming_time(bench_kernels *k, gpu_pointer buffer, size_t buffer_bytes,
                                          size_t bytes) {
  static const int blocks[] = {2, 4, 8};
  bench_streaming s;
  double best = 0;
  int i;
  s.kernels = k;
  s.buffer = buffer;
  s.buffer_bytes = buffer_bytes;
  s.bytes = bytes > buffer_bytes ? buffer_bytes : bytes;
  for (i = 0; i < 3; i++) {
    bench_time t;
    double time;
    s.blocks = blocks[i] * k->num_sms;
    t = bench_measure(k, bench_streaming_call, &s, 0);
    time = t.graph < t.single ? t.graph : t.single;
    if (best == 0 || time < best)
      best = time;
  }
  return best * ((double)bytes / (double)s.bytes);
}

// ------------------------------------------------------------------------------- matrix product

typedef struct bench_cublas {
  int (*create)(void **);
  int (*set_stream)(void *, gpu_stream);
  int (*gemm)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *,
              int, int, const void *, void *, int, int, int, int);
  void *handle;
  gpu_pointer a, b, c;
} bench_cublas;

enum { BENCH_MATMUL = 8192 };

static inline void bench_matmul_call(void *user, int index, gpu_stream stream) {
  bench_cublas *m = (bench_cublas *)user;
  float one = 1, zero = 0;
  (void)index;
  (void)stream;
  m->gemm(m->handle, 0, 0, BENCH_MATMUL, BENCH_MATMUL, BENCH_MATMUL, &one, gpu_address(m->a),
          14 /* CUDA_R_16BF */, BENCH_MATMUL, gpu_address(m->b), 14, BENCH_MATMUL, &zero,
          gpu_address(m->c), 14, BENCH_MATMUL, 68 /* CUBLAS_COMPUTE_32F */, -1);
}

// TFLOP/s of an 8192 cubed bf16 product over random data (the cache's), or 0 without cuBLAS.
static inline double bench_matmul(bench_kernels *k, const char *path, gpu_pointer data) {
  static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so",
                                      "/usr/local/cuda/lib64/libcublas.so", NULL};
  void *library = bench_open(path, names);
  bench_cublas m;
  double times[32], flops = 2.0 * BENCH_MATMUL * BENCH_MATMUL * BENCH_MATMUL;
  int i, burst;
  memset(&m, 0, sizeof m);
  if (!library || !gpu_driver_symbol(library, "cublasCreate_v2", &m.create) ||
      !gpu_driver_symbol(library, "cublasSetStream_v2", &m.set_stream) ||
      !gpu_driver_symbol(library, "cublasGemmEx", &m.gemm) || m.create(&m.handle) ||
      m.set_stream(m.handle, k->queue))
    return 0;
  m.a = data;
  m.b = data + (gpu_pointer)BENCH_MATMUL * BENCH_MATMUL * 2;
  m.c = gpu_alloc((size_t)BENCH_MATMUL * BENCH_MATMUL * 2);
  bench_matmul_call(&m, 0, k->queue);
  for (burst = 0; burst < 5; burst++) { // bursts of about 30 ms
    gpu_must(gpu.stream_synchronize(k->queue));
    bench_rest(50);
    gpu_must(gpu.event_record(k->before, k->queue));
    for (i = 0; i < 20; i++)
      bench_matmul_call(&m, i, k->queue);
    gpu_must(gpu.event_record(k->after, k->queue));
    times[burst] = bench_elapsed(k) / 20;
  }
  gpu_free(m.c);
  return flops / bench_median(times, 5) / 1e6;
}

// ---------------------------------------------------------------------------------------- clocks

typedef struct bench_clocks {
  int (*clock)(void *, int, unsigned *);
  int (*power)(void *, unsigned *);
  void *device;
} bench_clocks;

// NVML finds the device by its bus number, as its own order is not CUDA's. 0 on success.
static inline int bench_clocks_open(bench_clocks *c) {
  static const char *const names[] = {"libnvidia-ml.so.1", NULL};
  void *library = bench_open(NULL, names);
  int (*init)(void), (*find)(const char *, void **);
  char bus[64];
  memset(c, 0, sizeof *c);
  if (!library || !gpu_driver_symbol(library, "nvmlInit_v2", &init) ||
      !gpu_driver_symbol(library, "nvmlDeviceGetHandleByPciBusId_v2", &find) ||
      !gpu_driver_symbol(library, "nvmlDeviceGetClockInfo", &c->clock) ||
      !gpu_driver_symbol(library, "nvmlDeviceGetPowerUsage", &c->power) || init())
    return -1;
  gpu_must(gpu.device_pci_bus_id(bus, sizeof bus, 0));
  return find(bus, &c->device);
}

static inline unsigned bench_clock(const bench_clocks *c, int kind) { // 1: SM, 2: memory; MHz
  unsigned value = 0;
  return c->device && c->clock(c->device, kind, &value) == 0 ? value : 0;
}

#endif
