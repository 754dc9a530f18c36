// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the layer example is not about: products of bf16 matrices with a vector and RMSNorm, as
// loops on the host, or by cuBLAS and a kernel compiled with NVRTC, both opened at run time; the
// same in double; and the CUDA graph that a step is recorded in. Failures end the program.
#ifndef LATHE_EXAMPLES_LAYER_MATH_H
#define LATHE_EXAMPLES_LAYER_MATH_H

#include "step.h"

typedef struct matrix {
  int batches, in, out;
  uint16_t *host, *where; // [batches, in, out]; `where` the layer runs
} matrix;

struct CUgraph_st;
struct CUgraphExec_st;
struct CUmod_st;
struct CUfunc_st;
struct cublasContext;

static lathe_stream stream; // null on the host

static struct {
  int (*stream_create)(lathe_stream *, unsigned);
  int (*stream_destroy)(lathe_stream);
  int (*begin_capture)(lathe_stream, int);
  int (*end_capture)(lathe_stream, struct CUgraph_st **);
  int (*instantiate)(struct CUgraphExec_st **, struct CUgraph_st *, unsigned long long);
  int (*launch_graph)(struct CUgraphExec_st *, lathe_stream);
  int (*exec_destroy)(struct CUgraphExec_st *);
  int (*graph_destroy)(struct CUgraph_st *);
  int (*module_load)(struct CUmod_st **, const void *);
  int (*module_unload)(struct CUmod_st *);
  int (*module_function)(struct CUfunc_st **, struct CUmod_st *, const char *);
  int (*launch)(struct CUfunc_st *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                unsigned, lathe_stream, void **, void **);
  int (*blas_create)(struct cublasContext **);
  int (*blas_destroy)(struct cublasContext *);
  int (*blas_set_stream)(struct cublasContext *, lathe_stream);
  int (*blas_set_workspace)(struct cublasContext *, void *, size_t);
  int (*blas_multiply)(struct cublasContext *, int, int, int, int, int, const void *, const void *,
                       int, int, long long, const void *, int, int, long long, const void *, void *,
                       int, int, long long, int, int, int);
  struct cublasContext *blas;
  struct CUmod_st *module;
  struct CUfunc_st *normalise;
  gpu_address workspace; // of cuBLAS, which may not allocate inside a capture
  struct CUgraph_st *graph;
  struct CUgraphExec_st *exec;
} math;

static inline const char *math_backend(void) {
  return math.blas ? "on a GPU" : "on the CPU backend";
}

// ------------------------------------------------------------------------------------ on the host

// To nearest; values are finite.
static inline uint16_t float_to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Random, so that a product with a vector is about as large as the vector.
static inline matrix matrix_make(int batches, int in, int out, unsigned seed) {
  const size_t count = (size_t)batches * (size_t)in * (size_t)out;
  matrix w = {batches, in, out, NULL, NULL};
  if (count == 0)
    return w;
  w.host = random_bf16(count, seed);
  for (size_t i = 0; i < count; i++)
    w.host[i] = float_to_bf16(bf16_to_float(w.host[i]) * sqrtf(3.0f / (float)in));
  w.where = (uint16_t *)gpu_copy(w.host, count * 2);
  return w;
}

static inline void matrix_free(matrix *w) {
  free(w->host);
}

static inline void host_multiply(const matrix *w, int batch, const uint16_t *x, uint16_t *y) {
  const uint16_t *row = w->where + (size_t)batch * (size_t)w->in * (size_t)w->out;
  float *sums = (float *)calloc((size_t)w->out, sizeof *sums);
  if (!sums)
    exit(1);
  for (int i = 0; i < w->in; i++, row += w->out) {
    const float factor = bf16_to_float(x[i]);
    for (int o = 0; o < w->out; o++)
      sums[o] += bf16_to_float(row[o]) * factor;
  }
  for (int o = 0; o < w->out; o++)
    y[o] = float_to_bf16(sums[o]);
  free(sums);
}

static inline void host_normalise(uint16_t *x, int count) {
  float sum = 0;
  for (int i = 0; i < count; i++)
    sum += bf16_to_float(x[i]) * bf16_to_float(x[i]);
  for (int i = 0; i < count; i++)
    x[i] = float_to_bf16(bf16_to_float(x[i]) / sqrtf(sum / (float)count + 1e-6f));
}

static inline void exact_multiply(const matrix *w, int batch, const double *x, double *y) {
  const uint16_t *row = w->host + (size_t)batch * (size_t)w->in * (size_t)w->out;
  for (int o = 0; o < w->out; o++)
    y[o] = 0;
  for (int i = 0; i < w->in && w->out > 0; i++, row += w->out)
    for (int o = 0; o < w->out; o++)
      y[o] += (double)bf16_to_float(row[o]) * x[i];
}

// With rows and columns in each other's place: x has w->out elements, y w->in.
static inline void exact_multiply_transposed(const matrix *w, int batch, const double *x,
                                             double *y) {
  const uint16_t *row = w->host + (size_t)batch * (size_t)w->in * (size_t)w->out;
  for (int i = 0; i < w->in; i++, row += w->out) {
    y[i] = 0;
    for (int o = 0; o < w->out; o++)
      y[i] += (double)bf16_to_float(row[o]) * x[o];
  }
}

static inline void exact_normalise(double *x, int count) {
  double sum = 0;
  for (int i = 0; i < count; i++)
    sum += x[i] * x[i];
  for (int i = 0; i < count; i++)
    x[i] /= sqrt(sum / count + 1e-6);
}

// ---------------------------------------------------------------------------------- where it runs

// y = x W for each of the matrix's batches, whose vectors are these strides apart.
static inline void multiply(const matrix *w, const uint16_t *x, int x_stride, uint16_t *y,
                            int y_stride) {
  enum { AS_IT_IS = 0, BF16 = 14, COMPUTE_32F = 68, ANY_ALGORITHM = -1 };
  const float one = 1, zero = 0;
  if (!math.blas) {
    for (int batch = 0; batch < w->batches; batch++)
      host_multiply(w, batch, x + (size_t)batch * (size_t)x_stride,
                    y + (size_t)batch * (size_t)y_stride);
    return;
  }
  // To cuBLAS, which counts columns first, W is [out, in].
  gpu_expect(math.blas_multiply(math.blas, AS_IT_IS, AS_IT_IS, w->out, 1, w->in, &one, w->where,
                                BF16, w->out, (long long)w->in * w->out, x, BF16, w->in, x_stride,
                                &zero, y, BF16, w->out, y_stride, w->batches, COMPUTE_32F,
                                ANY_ALGORITHM),
             "cublasGemmStridedBatchedEx");
}

// RMSNorm without weights, which may as well be in the matrix that follows.
static inline void normalise(uint16_t *x, int count) {
  void *arguments[] = {&x, &count};
  if (!math.blas)
    host_normalise(x, count);
  else
    gpu_expect(math.launch(math.normalise, 1, 1, 1, 256, 1, 1, 0, stream, arguments, NULL),
               "cuLaunchKernel");
}

// ------------------------------------------------------------------------------------ CUDA graphs

// 0: nothing was recorded
static inline int replay(void) {
  if (math.exec)
    gpu_expect(math.launch_graph(math.exec, stream), "cuGraphLaunch");
  return math.exec != NULL;
}

// What is enqueued until record_end() is recorded, and then runs once. On the host it just runs.
static inline void record_begin(void) {
  if (math.blas)
    gpu_expect(math.begin_capture(stream, 0), "cuStreamBeginCapture");
}

static inline void record_end(void) {
  if (!math.blas)
    return;
  gpu_expect(math.end_capture(stream, &math.graph), "cuStreamEndCapture");
  gpu_expect(math.instantiate(&math.exec, math.graph, 0), "cuGraphInstantiate");
  replay();
}

static inline void forget(void) {
  if (!math.exec)
    return;
  gpu_expect(math.exec_destroy(math.exec), "cuGraphExecDestroy");
  gpu_expect(math.graph_destroy(math.graph), "cuGraphDestroy");
  math.exec = NULL;
}

// ------------------------------------------------------------------------------- opening, closing

static const char normalise_source[] =
    "extern \"C\" __global__ void normalise(unsigned short *x, int count) {\n"
    "  __shared__ float sums[8];\n"
    "  float sum = 0;\n"
    "  for (int i = threadIdx.x; i < count; i += 256) {\n"
    "    const float value = __uint_as_float((unsigned)x[i] << 16);\n"
    "    sum += value * value;\n"
    "  }\n"
    "  for (int step = 16; step > 0; step /= 2)\n"
    "    sum += __shfl_xor_sync(0xffffffffu, sum, step);\n"
    "  if (threadIdx.x % 32 == 0)\n"
    "    sums[threadIdx.x / 32] = sum;\n"
    "  __syncthreads();\n"
    "  sum = 0;\n"
    "  for (int i = 0; i < 8; ++i)\n"
    "    sum += sums[i];\n"
    "  for (int i = threadIdx.x; i < count; i += 256) {\n"
    "    const float value = __uint_as_float((unsigned)x[i] << 16);\n"
    "    const unsigned bits = __float_as_uint(value * rsqrtf(sum / count + 1e-6f));\n"
    "    x[i] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;\n"
    "  }\n"
    "}\n";

// The file, or the library of this name in one of CUDA's versions; null: it is not there.
static inline void *open_library(const char *file, const char *name) {
  static const char *const versions[] = {".so.13", ".so.12", ".so"};
  void *library = file && file[0] ? dlopen(file, RTLD_NOW | RTLD_LOCAL) : NULL;
  for (size_t i = 0; i < sizeof versions / sizeof versions[0] && !library; i++) {
    char versioned[64];
    snprintf(versioned, sizeof versioned, "lib%s%s", name, versions[i]);
    library = dlopen(versioned, RTLD_NOW | RTLD_LOCAL);
  }
  return library;
}

static inline void library_symbol(void *library, const char *name, void *function) {
  void *symbol = dlsym(library, name);
  if (!symbol) {
    fprintf(stderr, "a library has no %s\n", name);
    exit(1);
  }
  memcpy(function, &symbol, sizeof symbol);
}

// The kernel above as PTX, which the driver compiles for its device.
static inline void compile_normalise(void *nvrtc) {
  int (*create)(void **, const char *, const char *, int, const char *const *, const char *const *);
  int (*compile)(void *, int, const char *const *);
  int (*size_of)(void *, size_t *);
  int (*get)(void *, char *);
  int (*destroy)(void **);
  const char *options[] = {"--gpu-architecture=compute_80"};
  void *program;
  size_t size;
  char *ptx;
  library_symbol(nvrtc, "nvrtcCreateProgram", &create);
  library_symbol(nvrtc, "nvrtcCompileProgram", &compile);
  library_symbol(nvrtc, "nvrtcGetPTXSize", &size_of);
  library_symbol(nvrtc, "nvrtcGetPTX", &get);
  library_symbol(nvrtc, "nvrtcDestroyProgram", &destroy);
  gpu_expect(create(&program, normalise_source, "normalise.cu", 0, NULL, NULL), "nvrtcCreate");
  gpu_expect(compile(program, 1, options), "nvrtcCompileProgram");
  gpu_expect(size_of(program, &size), "nvrtcGetPTXSize");
  ptx = (char *)malloc(size);
  if (!ptx)
    exit(1);
  gpu_expect(get(program, ptx), "nvrtcGetPTX");
  gpu_expect(destroy(&program), "nvrtcDestroyProgram");
  gpu_symbol("cuModuleLoadData", &math.module_load);
  gpu_symbol("cuModuleUnload", &math.module_unload);
  gpu_symbol("cuModuleGetFunction", &math.module_function);
  gpu_expect(math.module_load(&math.module, ptx), "cuModuleLoadData");
  gpu_expect(math.module_function(&math.normalise, math.module, "normalise"),
             "cuModuleGetFunction");
  free(ptx);
}

static inline void open_graphs(void) {
  gpu_symbol("cuStreamCreate", &math.stream_create);
  gpu_symbol("cuStreamDestroy_v2", &math.stream_destroy);
  gpu_symbol("cuStreamBeginCapture_v2", &math.begin_capture);
  gpu_symbol("cuStreamEndCapture", &math.end_capture);
  gpu_symbol("cuGraphInstantiateWithFlags", &math.instantiate);
  gpu_symbol("cuGraphLaunch", &math.launch_graph);
  gpu_symbol("cuGraphExecDestroy", &math.exec_destroy);
  gpu_symbol("cuGraphDestroy", &math.graph_destroy);
  gpu_symbol("cuLaunchKernel", &math.launch);
  gpu_expect(math.stream_create(&stream, 1), "cuStreamCreate");
}

static inline void open_blas(void *blas) {
  const size_t bytes = (size_t)32 << 20;
  library_symbol(blas, "cublasCreate_v2", &math.blas_create);
  library_symbol(blas, "cublasDestroy_v2", &math.blas_destroy);
  library_symbol(blas, "cublasSetStream_v2", &math.blas_set_stream);
  library_symbol(blas, "cublasSetWorkspace_v2", &math.blas_set_workspace);
  library_symbol(blas, "cublasGemmStridedBatchedEx", &math.blas_multiply);
  gpu_expect(gpu.alloc(&math.workspace, bytes), "cuMemAlloc");
  gpu_expect(math.blas_create(&math.blas), "cublasCreate");
  gpu_expect(math.blas_set_stream(math.blas, stream), "cublasSetStream");
  gpu_expect(math.blas_set_workspace(math.blas, (void *)(uintptr_t)math.workspace, bytes),
             "cublasSetWorkspace");
}

// First of all. 0, and a line that says why: the context is on a GPU, and there is nothing to
// multiply with there.
static inline int math_open(const lathe_context *context) {
  lathe_context_info info;
  void *blas, *nvrtc;
  expect_ok(lathe_context_get_info(context, &info), "lathe_context_get_info");
  if (info.backend == LATHE_BACKEND_CPU)
    return 1;
  blas = open_library(NULL, "cublas");
  nvrtc = open_library(getenv("LATHE_NVRTC_LIB"), "nvrtc");
  if (!blas || !nvrtc) {
    printf("layer: no %s for the GPU\n", blas ? "NVRTC" : "cuBLAS");
    return 0;
  }
  gpu_open(context);
  open_graphs();
  open_blas(blas);
  compile_normalise(nvrtc);
  return 1;
}

static inline void math_close(void) {
  if (!math.blas)
    return;
  gpu_expect(math.blas_destroy(math.blas), "cublasDestroy");
  gpu_expect(gpu.free(math.workspace), "cuMemFree");
  gpu_expect(math.module_unload(math.module), "cuModuleUnload");
  gpu_expect(math.stream_destroy(stream), "cuStreamDestroy");
}

#endif
