// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// libcuda and libnvrtc, opened at run time into tables: nothing links to CUDA, and nothing of ours
// is named like the driver's. The declarations are our own; tests/compile/test_driver_decls.c
// holds them against cuda.h and nvrtc.h. Libraries are never closed: both leave handlers and
// thread-local data behind in the process that outlive a context.

// Put before the names of the libraries, for tests that bring their own.
#ifndef LATHEP_LIBRARY_DIR
#define LATHEP_LIBRARY_DIR ""
#endif

typedef unsigned long long lathep_device_ptr; // CUdeviceptr

enum {
  LATHEP_CUDA_ERROR_NO_DEVICE = 100,
  LATHEP_CUDA_ERROR_INVALID_DEVICE = 101,

  LATHEP_DEVICE_NUM_SMS = 16,       // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
  LATHEP_DEVICE_MAJOR = 75,         // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
  LATHEP_DEVICE_MINOR = 76,         // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
  LATHEP_DEVICE_SHARED_PER_SM = 81, // CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
  LATHEP_DEVICE_SHARED_OPTIN = 97,  // CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN

  LATHEP_FUNC_STATIC_SHARED = 1,      // CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
  LATHEP_FUNC_LOCAL_BYTES = 3,        // CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES
  LATHEP_FUNC_REGISTERS = 4,          // CU_FUNC_ATTRIBUTE_NUM_REGS
  LATHEP_FUNC_PTX_VERSION = 5,        // CU_FUNC_ATTRIBUTE_PTX_VERSION
  LATHEP_FUNC_BINARY_VERSION = 6,     // CU_FUNC_ATTRIBUTE_BINARY_VERSION
  LATHEP_FUNC_MAX_DYNAMIC_SHARED = 8, // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
  LATHEP_FUNC_CARVEOUT = 9,           // CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT
  LATHEP_CARVEOUT_MAX_SHARED = 100,   // CU_SHAREDMEM_CARVEOUT_MAX_SHARED

  // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
  LATHEP_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION = 6,

  LATHEP_TENSOR_MAP_F16 = 6,        // CU_TENSOR_MAP_DATA_TYPE_FLOAT16
  LATHEP_TENSOR_MAP_BF16 = 9,       // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
  LATHEP_TENSOR_MAP_PLAIN = 0,      // CU_TENSOR_MAP_INTERLEAVE_NONE
  LATHEP_TENSOR_MAP_SWIZZLE128 = 3, // CU_TENSOR_MAP_SWIZZLE_128B
  LATHEP_TENSOR_MAP_L2_256 = 3,     // CU_TENSOR_MAP_L2_PROMOTION_L2_256B
  LATHEP_TENSOR_MAP_ZEROS = 0,      // CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE

  LATHEP_MIN_DRIVER = 11000 // the first to know sm_80
};

typedef struct lathep_tensor_map { // CUtensorMap
  uint64_t opaque[16];
} __attribute__((aligned(128))) lathep_tensor_map;

typedef struct lathep_launch_attribute { // CUlaunchAttribute
  int id;
  char pad[4];
  union {
    char bytes[64];
    void *aligned;
    int number; // programmaticStreamSerializationAllowed
  } value;
} lathep_launch_attribute;

typedef struct lathep_launch_config { // CUlaunchConfig
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z;
  unsigned shared_bytes;
  lathe_stream stream;
  lathep_launch_attribute *attributes;
  unsigned num_attributes;
} lathep_launch_config;

// X(field, symbol, arguments). All return CUresult, an int. A field is named by macro after cuda.h,
// as that renames some functions: the symbol is what is asked of the library.
#define LATHEP_CUDA_FUNCTIONS(X)                                                                   \
  X(cuInit, "cuInit", (unsigned flags))                                                            \
  X(cuDriverGetVersion, "cuDriverGetVersion", (int *version))                                      \
  X(cuDeviceGetCount, "cuDeviceGetCount", (int *count))                                            \
  X(cuDeviceGet, "cuDeviceGet", (int *device, int ordinal))                                        \
  X(cuDeviceGetName, "cuDeviceGetName", (char *name, int size, int device))                        \
  X(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))         \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain",                                          \
    (struct CUctx_st * *context, int device))                                                      \
  X(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (int device))                       \
  X(cuCtxGetCurrent, "cuCtxGetCurrent", (struct CUctx_st * *context))                              \
  X(cuCtxGetDevice, "cuCtxGetDevice", (int *device))                                               \
  X(cuCtxPushCurrent, "cuCtxPushCurrent_v2", (struct CUctx_st * context))                          \
  X(cuCtxPopCurrent, "cuCtxPopCurrent_v2", (struct CUctx_st * *context))                           \
  X(cuModuleLoadData, "cuModuleLoadData", (struct CUmod_st * *module, const void *image))          \
  X(cuModuleUnload, "cuModuleUnload", (struct CUmod_st * module))                                  \
  X(cuModuleGetFunction, "cuModuleGetFunction",                                                    \
    (struct CUfunc_st * *function, struct CUmod_st * module, const char *name))                    \
  X(cuFuncGetAttribute, "cuFuncGetAttribute",                                                      \
    (int *value, int attribute, struct CUfunc_st *function))                                       \
  X(cuFuncSetAttribute, "cuFuncSetAttribute",                                                      \
    (struct CUfunc_st * function, int attribute, int value))                                       \
  X(cuLaunchKernel, "cuLaunchKernel",                                                              \
    (struct CUfunc_st * function, unsigned grid_x, unsigned grid_y, unsigned grid_z,               \
     unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,                  \
     lathe_stream stream, void **arguments, void **extra))                                         \
  X(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2",                                                     \
    (void *to, lathep_device_ptr from, size_t size, lathe_stream stream))                          \
  X(cuStreamSynchronize, "cuStreamSynchronize", (lathe_stream stream))

// Null where the driver lacks them: launches go without the programmatic attribute, functions are
// loaded by asking for their attributes, streams are taken as not capturing, kernels that want
// tensor maps are passed over.
#define LATHEP_CUDA_OPTIONAL(X)                                                                    \
  X(cuLaunchKernelEx, "cuLaunchKernelEx",                                                          \
    (const lathep_launch_config *config, struct CUfunc_st *function, void **arguments,             \
     void **extra))                                                                                \
  X(cuFuncLoad, "cuFuncLoad", (struct CUfunc_st * function))                                       \
  X(cuStreamIsCapturing, "cuStreamIsCapturing", (lathe_stream stream, int *status))                \
  X(cuTensorMapEncodeTiled, "cuTensorMapEncodeTiled",                                              \
    (lathep_tensor_map * map, int type, unsigned rank, void *address, const uint64_t *dims,        \
     const uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave,          \
     int swizzle, int promotion, int fill))

typedef struct lathep_cuda {
  void *library;
#define LATHEP_CUDA_FIELD(field, symbol, arguments) int(*field) arguments;
  LATHEP_CUDA_FUNCTIONS(LATHEP_CUDA_FIELD)
  LATHEP_CUDA_OPTIONAL(LATHEP_CUDA_FIELD)
#undef LATHEP_CUDA_FIELD
} lathep_cuda;

struct _nvrtcProgram; // NVRTC's own name

// All return nvrtcResult, an int.
#define LATHEP_NVRTC_FUNCTIONS(X)                                                                  \
  X(nvrtcVersion, (int *major, int *minor))                                                        \
  X(nvrtcGetNumSupportedArchs, (int *count))                                                       \
  X(nvrtcGetSupportedArchs, (int *archs))                                                          \
  X(nvrtcCreateProgram, (struct _nvrtcProgram * *program, const char *source, const char *name,    \
                         int num_headers, const char *const *headers, const char *const *names))   \
  X(nvrtcDestroyProgram, (struct _nvrtcProgram * *program))                                        \
  X(nvrtcCompileProgram,                                                                           \
    (struct _nvrtcProgram * program, int num_options, const char *const *options))                 \
  X(nvrtcGetProgramLogSize, (struct _nvrtcProgram * program, size_t * size))                       \
  X(nvrtcGetProgramLog, (struct _nvrtcProgram * program, char *log))                               \
  X(nvrtcGetPTXSize, (struct _nvrtcProgram * program, size_t * size))                              \
  X(nvrtcGetPTX, (struct _nvrtcProgram * program, char *ptx))                                      \
  X(nvrtcGetCUBINSize, (struct _nvrtcProgram * program, size_t * size))                            \
  X(nvrtcGetCUBIN, (struct _nvrtcProgram * program, char *cubin))

typedef struct lathep_nvrtc {
  void *library; // null: not loaded
  char name[LATHEP_PATH_MAX];
  int major, minor;
#define LATHEP_NVRTC_FIELD(field, arguments) int(*field) arguments;
  LATHEP_NVRTC_FUNCTIONS(LATHEP_NVRTC_FIELD)
#undef LATHEP_NVRTC_FIELD
  void *(*uselocale)(void *); // libc's, which strict C11 does not declare; may be null
} lathep_nvrtc;

// C has no cast from an object pointer to a function pointer; POSIX says that they look alike.
LATHEP_FN int lathep_symbol(void *library, const char *symbol, void *field) {
  void *address = dlsym(library, symbol);
  memcpy(field, &address, sizeof address);
  return address != NULL;
}

LATHEP_FN const char *lathep_dl_error(void) {
  const char *text = dlerror();
  return text ? text : "no reason given";
}

LATHEP_FN lathe_status lathep_cuda_load(lathep_cuda *cuda) {
  char path[LATHEP_PATH_MAX];
  const char *missing = NULL;
  int version = 0;
  memset(cuda, 0, sizeof *cuda);
  lathep_print(path, sizeof path, "%s%s", LATHEP_LIBRARY_DIR, "libcuda.so.1");
  cuda->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!cuda->library)
    return lathep_fail(LATHE_STATUS_NO_DEVICE,
                       "the CUDA driver did not open: %s; install NVIDIA's driver, or use the CPU "
                       "backend (LATHE_BACKEND=cpu)",
                       lathep_dl_error());
#define LATHEP_CUDA_LOAD(field, symbol, arguments)                                                 \
  if (!lathep_symbol(cuda->library, symbol, &cuda->field) && !missing)                             \
    missing = symbol;
  LATHEP_CUDA_FUNCTIONS(LATHEP_CUDA_LOAD)
#undef LATHEP_CUDA_LOAD
#define LATHEP_CUDA_LOAD(field, symbol, arguments)                                                 \
  lathep_symbol(cuda->library, symbol, &cuda->field);
  LATHEP_CUDA_OPTIONAL(LATHEP_CUDA_LOAD)
#undef LATHEP_CUDA_LOAD
  if (cuda->cuDriverGetVersion && cuda->cuDriverGetVersion(&version))
    version = 0;
  if (missing)
    return lathep_fail(LATHE_STATUS_DRIVER_TOO_OLD,
                       "libcuda.so.1 (CUDA %d.%d) has no function %s; install a driver of CUDA "
                       "%d.%d or later, or use the CPU backend (LATHE_BACKEND=cpu)",
                       version / 1000, version % 1000 / 10, missing, LATHEP_MIN_DRIVER / 1000,
                       LATHEP_MIN_DRIVER % 1000 / 10);
  if (version < LATHEP_MIN_DRIVER)
    return lathep_fail(LATHE_STATUS_DRIVER_TOO_OLD,
                       "libcuda.so.1 is of CUDA %d.%d; install a driver of CUDA %d.%d or later, or "
                       "use the CPU backend (LATHE_BACKEND=cpu)",
                       version / 1000, version % 1000 / 10, LATHEP_MIN_DRIVER / 1000,
                       LATHEP_MIN_DRIVER % 1000 / 10);
  return LATHE_STATUS_OK;
}

// Opens one library; what is wrong with it goes to `why`.
LATHEP_FN int lathep_nvrtc_open(lathep_nvrtc *nvrtc, const char *path, char *why, size_t why_size) {
  const char *missing = NULL;
  void *process, *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    lathep_print(why, why_size, "%s", lathep_dl_error());
    return 0;
  }
#define LATHEP_NVRTC_LOAD(field, arguments)                                                        \
  if (!lathep_symbol(library, #field, &nvrtc->field) && !missing)                                  \
    missing = #field;
  LATHEP_NVRTC_FUNCTIONS(LATHEP_NVRTC_LOAD)
#undef LATHEP_NVRTC_LOAD
  if (missing) {
    lathep_print(why, why_size, "%s has no function %s", path, missing);
    return 0;
  }
  if (nvrtc->nvrtcVersion(&nvrtc->major, &nvrtc->minor)) {
    lathep_print(why, why_size, "%s does not tell its version", path);
    return 0;
  }
  process = dlopen(NULL, RTLD_NOW);
  if (process)
    lathep_symbol(process, "uselocale", &nvrtc->uselocale);
  lathep_print(nvrtc->name, sizeof nvrtc->name, "%s", path);
  nvrtc->library = library;
  return 1;
}

// `path`: that library and no other. Null: the one whose version is the driver's, whose output the
// driver surely takes, then others.
LATHEP_FN lathe_status lathep_nvrtc_load(lathep_nvrtc *nvrtc, const char *path,
                                         int driver_version) {
  const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2",
                               "libnvrtc.so"};
  char first[32], tried[LATHEP_PATH_MAX], why[512] = "";
  size_t i;
  memset(nvrtc, 0, sizeof *nvrtc);
  if (path) {
    if (lathep_nvrtc_open(nvrtc, path, why, sizeof why))
      return LATHE_STATUS_OK;
    return lathep_fail(LATHE_STATUS_NVRTC_UNAVAILABLE,
                       "NVRTC \"%s\" is not usable: %s; name an NVRTC of CUDA 11.2 or later in "
                       "LATHE_NVRTC_LIB or lathe_context_desc.nvrtc_path, or neither",
                       path, why);
  }
  lathep_print(first, sizeof first,
               driver_version / 1000 == 11 ? "libnvrtc.so.%d.2" : "libnvrtc.so.%d",
               driver_version / 1000);
  lathep_print(tried, sizeof tried, "%s%s", LATHEP_LIBRARY_DIR, first);
  if (lathep_nvrtc_open(nvrtc, tried, why, sizeof why))
    return LATHE_STATUS_OK;
  for (i = 0; i < sizeof names / sizeof names[0]; i++) {
    char other[512];
    lathep_print(tried, sizeof tried, "%s%s", LATHEP_LIBRARY_DIR, names[i]);
    if (strcmp(names[i], first) && lathep_nvrtc_open(nvrtc, tried, other, sizeof other))
      return LATHE_STATUS_OK;
  }
  return lathep_fail(LATHE_STATUS_NVRTC_UNAVAILABLE,
                     "no NVRTC to compile with: %s, nor libnvrtc.so.13, .12, .11.2 or libnvrtc.so; "
                     "install the NVRTC package of CUDA %d, name its path in LATHE_NVRTC_LIB, or "
                     "hand over kernels built ahead of time",
                     why, driver_version / 1000);
}
