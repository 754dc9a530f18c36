// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The words of CUDA C++ that the kernels use, for a C++ compiler and machine.h.
#ifndef LATHE_TESTS_EMULATOR_CUDA_WORDS_H
#define LATHE_TESTS_EMULATOR_CUDA_WORDS_H

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "machine.h"

#define __device__
#define __host__
#define __global__
#define __constant__    static
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__       static thread_local // fibers of a block are of one thread
#define threadIdx        emulator_thread
#define blockIdx         emulator_block
#define gridDim          emulator_grid

using std::max;
using std::min;

template <class T, unsigned N, unsigned ALIGNMENT> struct emulated_vector;
#define EMULATED_VECTOR(name, type, alignment, ...)                                                \
  struct alignas(alignment) name {                                                                 \
    type __VA_ARGS__;                                                                              \
  };
EMULATED_VECTOR(int2, int, 8, x, y)
EMULATED_VECTOR(int4, int, 16, x, y, z, w)
EMULATED_VECTOR(uint2, unsigned, 8, x, y)
EMULATED_VECTOR(uint4, unsigned, 16, x, y, z, w)
EMULATED_VECTOR(float2, float, 8, x, y)
EMULATED_VECTOR(float4, float, 16, x, y, z, w)
#undef EMULATED_VECTOR
inline int2 make_int2(int x, int y) {
  return {x, y};
}
inline int4 make_int4(int x, int y, int z, int w) {
  return {x, y, z, w};
}
inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

template <class To, class From> To emulated_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline unsigned __float_as_uint(float x) {
  return emulated_bits<unsigned>(x);
}
inline int __float_as_int(float x) {
  return emulated_bits<int>(x);
}
inline float __uint_as_float(unsigned x) {
  return emulated_bits<float>(x);
}
inline float __int_as_float(int x) {
  return emulated_bits<float>(x);
}
inline int __float2int_rn(float x) {
  return static_cast<int>(std::nearbyint(x));
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __clz(int x) {
  return x ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long bytes = static_cast<unsigned long long>(y) << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) {
    r |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  }
  return r;
}
template <class T> T __ldg(const T *at) {
  return *at;
}

inline void __syncthreads() {
  emulator_barrier(0, 0, false);
}
inline void __syncwarp() {
  emulator_warp();
}
inline int emulated_lane() {
  return static_cast<int>(threadIdx.x % 32);
}
template <class T> T emulated_shuffle(T value, int from) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  memcpy(&value, &emulator_exchange(bits)[from], sizeof value);
  return value;
}
template <class T> T __shfl_sync(unsigned, T value, int lane) {
  return emulated_shuffle(value, lane & 31);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulated_shuffle(value, emulated_lane() ^ mask);
}
template <class T> T __shfl_up_sync(unsigned, T value, int by) {
  return emulated_shuffle(value, emulated_lane() >= by ? emulated_lane() - by : emulated_lane());
}
template <class T> T __shfl_down_sync(unsigned, T value, int by) {
  return emulated_shuffle(value,
                          emulated_lane() + by < 32 ? emulated_lane() + by : emulated_lane());
}
inline unsigned __ballot_sync(unsigned, bool vote) {
  unsigned r = 0;
  const uint64_t *votes = emulator_exchange(vote);
  for (int i = 0; i < 32; ++i) {
    r |= static_cast<unsigned>(votes[i]) << i;
  }
  return r;
}
inline bool __any_sync(unsigned mask, bool vote) {
  return __ballot_sync(mask, vote) != 0;
}
inline bool __all_sync(unsigned mask, bool vote) {
  return __ballot_sync(mask, vote) == ~0u;
}

// How driver.c calls a kernel, and the sizes of its parameters.
template <class... P, size_t... I>
void emulated_call(void (*kernel)(P...), void **arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_cv_t<P> *>(arguments[I])...);
}
template <class... P> void emulated_call(void (*kernel)(P...), void **arguments) {
  emulated_call(kernel, arguments, std::index_sequence_for<P...>());
}
template <size_t N> struct emulated_array { size_t of[N]; };
template <class... P>
constexpr emulated_array<sizeof...(P) + 1> emulated_parameters(void (*)(P...)) {
  return {{sizeof(P)..., 0}};
}
#define EMULATED_ENTRY(kernel)                                                                     \
  extern "C" void emulated_entry(void **arguments) {                                               \
    emulated_call(kernel, arguments);                                                              \
  }                                                                                                \
  extern "C" const auto emulated_sizes = emulated_parameters(kernel);

#endif
