// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Our declarations of the driver and of NVRTC held against cuda.h and nvrtc.h. Compiled as C11, for
// sizes, offsets and values, and as C++17, which can take function types apart, for the functions.
#include <cuda.h>
#include <nvrtc.h>

#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#ifdef __cplusplus
#define HOLD(condition) static_assert(condition, #condition)
#else
#define HOLD(condition) _Static_assert(condition, #condition)
#endif

// ------------------------------------------------------------------------------------------ values

#define HOLD_ERROR(value, name) HOLD(value == (int)name);
LATHEP_CUDA_ERRORS(HOLD_ERROR)
HOLD((int)LATHEP_CUDA_ERROR_NO_DEVICE == (int)CUDA_ERROR_NO_DEVICE);
HOLD((int)LATHEP_CUDA_ERROR_INVALID_DEVICE == (int)CUDA_ERROR_INVALID_DEVICE);

HOLD((int)LATHEP_DEVICE_NUM_SMS == (int)CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
HOLD((int)LATHEP_DEVICE_MAJOR == (int)CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
HOLD((int)LATHEP_DEVICE_MINOR == (int)CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
HOLD((int)LATHEP_DEVICE_SHARED_PER_SM ==
     (int)CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
HOLD((int)LATHEP_DEVICE_SHARED_OPTIN == (int)CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);

HOLD((int)LATHEP_FUNC_STATIC_SHARED == (int)CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
HOLD((int)LATHEP_FUNC_LOCAL_BYTES == (int)CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
HOLD((int)LATHEP_FUNC_REGISTERS == (int)CU_FUNC_ATTRIBUTE_NUM_REGS);
HOLD((int)LATHEP_FUNC_PTX_VERSION == (int)CU_FUNC_ATTRIBUTE_PTX_VERSION);
HOLD((int)LATHEP_FUNC_BINARY_VERSION == (int)CU_FUNC_ATTRIBUTE_BINARY_VERSION);
HOLD((int)LATHEP_FUNC_MAX_DYNAMIC_SHARED == (int)CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
HOLD((int)LATHEP_FUNC_CARVEOUT == (int)CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT);
HOLD((int)LATHEP_CARVEOUT_MAX_SHARED == (int)CU_SHAREDMEM_CARVEOUT_MAX_SHARED);
HOLD((int)LATHEP_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION ==
     (int)CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);

HOLD((int)LATHEP_TENSOR_MAP_F16 == (int)CU_TENSOR_MAP_DATA_TYPE_FLOAT16);
HOLD((int)LATHEP_TENSOR_MAP_BF16 == (int)CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
HOLD((int)LATHEP_TENSOR_MAP_PLAIN == (int)CU_TENSOR_MAP_INTERLEAVE_NONE);
HOLD((int)LATHEP_TENSOR_MAP_SWIZZLE128 == (int)CU_TENSOR_MAP_SWIZZLE_128B);
HOLD((int)LATHEP_TENSOR_MAP_L2_256 == (int)CU_TENSOR_MAP_L2_PROMOTION_L2_256B);
HOLD((int)LATHEP_TENSOR_MAP_ZEROS == (int)CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);

// ------------------------------------------------------------------------------------------- types

HOLD(sizeof(CUresult) == sizeof(int));
HOLD(sizeof(nvrtcResult) == sizeof(int));
HOLD(sizeof(CUdevice) == sizeof(int));
HOLD(sizeof(CUstreamCaptureStatus) == sizeof(int));
HOLD(sizeof(CUdeviceptr) == sizeof(lathep_device_ptr));
HOLD(sizeof(CUtensorMapDataType) == sizeof(int));
HOLD(sizeof(CUtensorMap) == sizeof(lathep_tensor_map));
#ifdef __cplusplus
HOLD(alignof(CUtensorMap) <= alignof(lathep_tensor_map));
#else
HOLD(_Alignof(CUtensorMap) <= _Alignof(lathep_tensor_map));
#endif

HOLD(sizeof(CUlaunchAttribute) == sizeof(lathep_launch_attribute));
HOLD(offsetof(CUlaunchAttribute, id) == offsetof(lathep_launch_attribute, id));
HOLD(offsetof(CUlaunchAttribute, value) == offsetof(lathep_launch_attribute, value));
HOLD(offsetof(CUlaunchAttribute, value.programmaticStreamSerializationAllowed) ==
     offsetof(lathep_launch_attribute, value.number));
HOLD(sizeof(((CUlaunchAttribute *)0)->value) == sizeof(((lathep_launch_attribute *)0)->value));

HOLD(sizeof(CUlaunchConfig) == sizeof(lathep_launch_config));
HOLD(offsetof(CUlaunchConfig, gridDimX) == offsetof(lathep_launch_config, grid_x));
HOLD(offsetof(CUlaunchConfig, gridDimY) == offsetof(lathep_launch_config, grid_y));
HOLD(offsetof(CUlaunchConfig, gridDimZ) == offsetof(lathep_launch_config, grid_z));
HOLD(offsetof(CUlaunchConfig, blockDimX) == offsetof(lathep_launch_config, block_x));
HOLD(offsetof(CUlaunchConfig, blockDimY) == offsetof(lathep_launch_config, block_y));
HOLD(offsetof(CUlaunchConfig, blockDimZ) == offsetof(lathep_launch_config, block_z));
HOLD(offsetof(CUlaunchConfig, sharedMemBytes) == offsetof(lathep_launch_config, shared_bytes));
HOLD(offsetof(CUlaunchConfig, hStream) == offsetof(lathep_launch_config, stream));
HOLD(offsetof(CUlaunchConfig, attrs) == offsetof(lathep_launch_config, attributes));
HOLD(offsetof(CUlaunchConfig, numAttrs) == offsetof(lathep_launch_config, num_attributes));

// --------------------------------------------------------------------------------------- functions

#ifdef __cplusplus
#include <type_traits>

// The same on the calling convention's level: as many parameters, each of the same size, and a
// pointer where the other has one.
template <typename A, typename B>
constexpr bool passed_alike = sizeof(A) == sizeof(B) && std::is_pointer<A>::value
                                                            == std::is_pointer<B>::value;

template <typename A, typename B> constexpr bool called_alike = false;
template <typename R, typename... A, typename S, typename... B>
constexpr bool called_alike<R (*)(A...), S (*)(B...)> = [] {
  if constexpr (sizeof...(A) == sizeof...(B))
    return passed_alike<R, S> && (... && passed_alike<A, B>);
  else
    return false;
}();

constexpr bool same_text(const char *a, const char *b) {
  while (*a && *a == *b)
    a++, b++;
  return *a == *b;
}

// cuda.h renames functions by macro, so that the field's name, once expanded, is the symbol.
#define TEXT(name) #name
#define HOLD_CUDA(field, symbol, arguments)                                                        \
  static_assert(same_text(TEXT(field), symbol), symbol);                                           \
  static_assert(called_alike<decltype(&::field), decltype(lathep_cuda::field)>, symbol);
LATHEP_CUDA_FUNCTIONS(HOLD_CUDA)
LATHEP_CUDA_OPTIONAL(HOLD_CUDA)

#define HOLD_NVRTC(field, arguments)                                                               \
  static_assert(called_alike<decltype(&::field), decltype(lathep_nvrtc::field)>, #field);
LATHEP_NVRTC_FUNCTIONS(HOLD_NVRTC)
#endif
