// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What this machine can do, measured in the same run: reads of so many bytes that are not in the
// cache, and a large matrix product, through cuBLAS if it is there.
#ifndef LATHE_TESTS_BENCH_CEILINGS_H
#define LATHE_TESTS_BENCH_CEILINGS_H

#include "timing.h"

#include <math.h>

// stream: loads of 16 bytes. bulk: copies of 15 KB into shared memory by the copy engine of sm_90
// and later, three in flight a block; one that never lands is a trap.
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
    "extern \"C\" __global__ void empty() {}\n"
    "extern \"C\" __global__ void __launch_bounds__(32)\n"
    "bulk(const uint4 *from, unsigned long long count, unsigned *sink) {\n"
    "#if __CUDA_ARCH__ >= 900\n"
    "  constexpr unsigned long long SLOTS = 3, PIECE = 960;\n"
    "  __shared__ __align__(128) uint4 slots[SLOTS][PIECE];\n"
    "  __shared__ unsigned long long full[SLOTS];\n"
    "  if (threadIdx.x != 0) return;\n"
    "  const unsigned to = (unsigned)__cvta_generic_to_shared(slots);\n"
    "  const unsigned barrier = (unsigned)__cvta_generic_to_shared(full);\n"
    "  for (unsigned s = 0; s < SLOTS; ++s)\n"
    "    asm volatile(\"mbarrier.init.shared::cta.b64 [%0], 1;\" ::\n"
    "                 \"r\"(barrier + 8 * s) : \"memory\");\n"
    "  asm volatile(\"fence.mbarrier_init.release.cluster;\" ::: \"memory\");\n"
    "  asm volatile(\"fence.proxy.async.shared::cta;\" ::: \"memory\");\n"
    "  const unsigned long long pieces = (count + PIECE - 1) / PIECE;\n"
    "  const unsigned long long mine =\n"
    "      blockIdx.x < pieces ? (pieces - 1 - blockIdx.x) / gridDim.x + 1 : 0;\n"
    "  for (unsigned long long n = 0; n < mine + SLOTS; ++n) {\n"
    "    const unsigned slot = n % SLOTS;\n"
    "    if (n >= SLOTS) {\n"
    "      unsigned landed = 0, tries = 0;\n"
    "      while (!landed) {\n"
    "        asm volatile(\"{ .reg .pred p;\\n\"\n"
    "                     \"mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\\n\"\n"
    "                     \"selp.u32 %0, 1, 0, p; }\"\n"
    "                     : \"=r\"(landed)\n"
    "                     : \"r\"(barrier + 8 * slot), \"r\"((unsigned)(n / SLOTS - 1) & 1)\n"
    "                     : \"memory\");\n"
    "        if (++tries > 1u << 21) __trap();\n"
    "      }\n"
    "    }\n"
    "    if (n < mine) {\n"
    "      const unsigned long long first = (blockIdx.x + n * gridDim.x) * PIECE;\n"
    "      const unsigned bytes =\n"
    "          16 * (unsigned)(count - first < PIECE ? count - first : PIECE);\n"
    "      asm volatile(\"mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\" ::\n"
    "                   \"r\"(barrier + 8 * slot), \"r\"(bytes) : \"memory\");\n"
    "      asm volatile(\"cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes \"\n"
    "                   \"[%0], [%1], %2, [%3];\" ::\n"
    "                   \"r\"(to + slot * 16 * (unsigned)PIECE), \"l\"(from + first), "
    "\"r\"(bytes),\n"
    "                   \"r\"(barrier + 8 * slot) : \"memory\");\n"
    "    }\n"
    "  }\n"
    "#endif\n"
    "}\n";

typedef struct bench_nvrtc {
  int (*create)(void **, const char *, const char *, int, const char *const *, const char *const *);
  int (*compile)(void *, int, const char *const *);
  int (*size)(void *, size_t *);
  int (*get)(void *, char *);
  int (*version)(int *, int *);
} bench_nvrtc;

static inline int bench_nvrtc_open(bench_nvrtc *nvrtc, const char *path) {
  static const char *const names[] = {"libnvrtc.so.13",
                                      "libnvrtc.so.12",
                                      "libnvrtc.so.11.2",
                                      "libnvrtc.so",
                                      "/usr/local/cuda/lib64/libnvrtc.so",
                                      NULL};
  void *library = bench_open(path, names);
  return library && gpu_driver_symbol(library, "nvrtcCreateProgram", &nvrtc->create) &&
                 gpu_driver_symbol(library, "nvrtcCompileProgram", &nvrtc->compile) &&
                 gpu_driver_symbol(library, "nvrtcGetCUBINSize", &nvrtc->size) &&
                 gpu_driver_symbol(library, "nvrtcGetCUBIN", &nvrtc->get) &&
                 gpu_driver_symbol(library, "nvrtcVersion", &nvrtc->version)
             ? 0
             : -1;
}

// Kernels as a cubin for sm_<compute>, to be freed; null if NVRTC refuses.
static inline char *bench_compile(const bench_nvrtc *nvrtc, const char *source, int compute) {
  char option[64], *cubin = NULL;
  const char *options[] = {option};
  void *program = NULL;
  size_t size = 0;
  snprintf(option, sizeof option, "--gpu-architecture=sm_%d", compute);
  if (nvrtc->create(&program, source, "bench.cu", 0, NULL, NULL) ||
      nvrtc->compile(program, 1, options) || nvrtc->size(program, &size))
    return NULL;
  cubin = (char *)malloc(size);
  if (cubin && nvrtc->get(program, cubin)) {
    free(cubin);
    cubin = NULL;
  }
  return cubin;
}

static inline int bench_kernels_make(bench_kernels *k, const bench_nvrtc *nvrtc) {
  int major = gpu_attribute(GPU_ATTRIBUTE_MAJOR), minor = gpu_attribute(GPU_ATTRIBUTE_MINOR);
  char *cubin = bench_compile(nvrtc, bench_kernel_source, 10 * major + minor);
  gpu_module module;
  if (!cubin)
    return -1;
  gpu_must(gpu.module_load(&module, cubin));
  gpu_must(gpu.module_function(&k->stream, module, "stream"));
  gpu_must(gpu.module_function(&k->empty, module, "empty"));
  if (major >= 9)
    gpu_must(gpu.module_function(&k->bulk, module, "bulk"));
  free(cubin);
  return 0;
}

// ------------------------------------------------------------------------------------ streaming

typedef struct bench_streaming {
  bench_kernels *kernels;
  gpu_pointer buffer;
  size_t buffer_bytes, bytes;
  int bulk, blocks; // a multiprocessor
} bench_streaming;

static inline void bench_streaming_call(void *user, int index, gpu_stream queue) {
  bench_streaming *s = (bench_streaming *)user;
  size_t copies = s->buffer_bytes / s->bytes, step = s->bytes / 256 * 256;
  gpu_pointer from = s->buffer + (copies > 1 ? (size_t)index % copies * step : 0);
  unsigned long long count = s->bytes / 16;
  void *arguments[] = {&from, &count, &s->kernels->scratch};
  gpu_must(gpu.launch(s->bulk ? s->kernels->bulk : s->kernels->stream,
                      (unsigned)(s->blocks * s->kernels->num_sms), 1, 1, s->bulk ? 32 : 256, 1, 1,
                      0, queue, arguments, NULL));
}

// Microseconds to read so many bytes at the best of a few shapes: which one is found briefly, and
// then timed. More bytes than there are in the buffer: at the rate of the whole buffer.
static inline double bench_streaming_time(bench_kernels *k, gpu_pointer buffer, size_t buffer_bytes,
                                          double bytes, const bench_effort *effort) {
  static const int shapes[][2] = {{0, 2}, {0, 4}, {0, 8}, {1, 4}}; // bulk, blocks
  bench_streaming s, best;
  bench_time t;
  double time, least = 0;
  size_t i;
  memset(&s, 0, sizeof s);
  s.kernels = k;
  s.buffer = buffer;
  s.buffer_bytes = buffer_bytes;
  s.bytes = bytes > (double)buffer_bytes ? buffer_bytes : ((size_t)bytes + 15) / 16 * 16;
  best = s;
  for (i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    s.bulk = shapes[i][0];
    s.blocks = shapes[i][1];
    if (s.bulk && !k->bulk)
      continue;
    t = bench_measure(k, bench_streaming_call, &s, &bench_brief, 0);
    time = bench_best(&t);
    if (least == 0 || time < least) {
      least = time;
      best = s;
    }
  }
  if (effort != &bench_brief) {
    t = bench_measure(k, bench_streaming_call, &best, effort, 0);
    least = bench_best(&t);
  }
  return least * bytes / (double)s.bytes;
}

// What was measured so far, to be asked for again, and written into the report.
enum { BENCH_MOST_POINTS = 512 };
typedef struct bench_curve {
  double bytes[BENCH_MOST_POINTS], us[BENCH_MOST_POINTS];
  int count;
} bench_curve;

typedef double (*bench_curve_measure)(void *user, double bytes);

static inline double bench_curve_exact(bench_curve *c, double bytes, bench_curve_measure measure,
                                       void *user) {
  double us;
  int i;
  for (i = 0; i < c->count; i++)
    if (c->bytes[i] == bytes)
      return c->us[i];
  us = measure(user, bytes);
  if (c->count < BENCH_MOST_POINTS) {
    c->bytes[c->count] = bytes;
    c->us[c->count++] = us;
  }
  return us;
}

// On the line between the powers of two on both sides.
static inline double bench_curve_between(bench_curve *c, double bytes, bench_curve_measure measure,
                                         void *user) {
  double low = exp2(floor(log2(bytes)));
  double from = bench_curve_exact(c, low, measure, user);
  double to = bytes > low ? bench_curve_exact(c, 2 * low, measure, user) : from;
  return from + (to - from) * (bytes / low - 1);
}

// ------------------------------------------------------------------------------- matrix product

typedef struct bench_cublas {
  int (*create)(void **), (*destroy)(void *);
  int (*set_stream)(void *, gpu_stream);
  int (*gemm)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *,
              int, int, const void *, void *, int, int, int, int);
  void *handle;
  gpu_pointer a, b, c;
} bench_cublas;

enum { BENCH_MATMUL = 8192, BENCH_MATMUL_BYTES = BENCH_MATMUL * BENCH_MATMUL * 2 };

static inline int bench_matmul_call(bench_cublas *m) {
  const int bf16 = 14, compute_f32 = 68, any_algorithm = -1; // CUDA_R_16BF and so on
  float one = 1, zero = 0;
  return m->gemm(m->handle, 0, 0, BENCH_MATMUL, BENCH_MATMUL, BENCH_MATMUL, &one, gpu_address(m->a),
                 bf16, BENCH_MATMUL, gpu_address(m->b), bf16, BENCH_MATMUL, &zero,
                 gpu_address(m->c), bf16, BENCH_MATMUL, compute_f32, any_algorithm);
}

// TFLOP/s of an 8192 cubed bf16 product over the random numbers at `a` and `b`, in bursts of about
// 30 ms; 0 without cuBLAS.
static inline double bench_matmul(bench_kernels *k, const char *path, gpu_pointer a,
                                  gpu_pointer b) {
  static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so",
                                      "/usr/local/cuda/lib64/libcublas.so", NULL};
  void *library = bench_open(path, names);
  double times[5], flops = 2.0 * BENCH_MATMUL * BENCH_MATMUL * BENCH_MATMUL;
  bench_cublas m;
  int i, burst, failed;
  memset(&m, 0, sizeof m);
  if (!library || !gpu_driver_symbol(library, "cublasCreate_v2", &m.create) ||
      !gpu_driver_symbol(library, "cublasDestroy_v2", &m.destroy) ||
      !gpu_driver_symbol(library, "cublasSetStream_v2", &m.set_stream) ||
      !gpu_driver_symbol(library, "cublasGemmEx", &m.gemm) || m.create(&m.handle))
    return 0;
  m.a = a;
  m.b = b;
  m.c = gpu_alloc(BENCH_MATMUL_BYTES);
  failed = m.set_stream(m.handle, k->queue) || bench_matmul_call(&m);
  for (burst = 0; burst < 5 && !failed; burst++) {
    gpu_must(gpu.stream_synchronize(k->queue));
    bench_rest(50);
    gpu_must(gpu.event_record(k->before, k->queue));
    for (i = 0; i < 20; i++)
      failed |= bench_matmul_call(&m);
    gpu_must(gpu.event_record(k->after, k->queue));
    times[burst] = bench_elapsed(k) / 20;
  }
  m.destroy(m.handle);
  gpu_free(m.c);
  return failed ? 0 : flops / bench_median(times, 5) / 1e6;
}

#endif
