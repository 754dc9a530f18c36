// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What templates/device has as PTX, function by function, on machine.h.
#ifndef LATHE_TESTS_EMULATOR_PTX_H
#define LATHE_TESTS_EMULATOR_PTX_H

#include "cuda_words.h"

// ------------------------------------------------------------------------------------------ ptx

inline unsigned shared_address(const void *pointer) {
  return emulator_address(pointer);
}
inline void copy_async16(unsigned shared, const void *global, unsigned bytes) {
  emulator_copy(shared, global, bytes, 16);
}
inline void copy_async4(unsigned shared, const void *global, unsigned bytes) {
  emulator_copy(shared, global, bytes, 4);
}
inline void copy_async_commit() {
  emulator_copy_commit();
}
template <int PENDING> void copy_async_wait() {
  emulator_copy_wait(PENDING);
}
inline void sync_warps(int barrier, int threads) {
  emulator_barrier(barrier, threads, false);
}

template <class T> T emulated_load(unsigned shared) {
  T r;
  memcpy(&r, emulator_shared(shared, sizeof r, sizeof r), sizeof r);
  return r;
}
template <class T> void emulated_store(unsigned shared, T x) {
  memcpy(emulator_shared(shared, sizeof x, sizeof x), &x, sizeof x);
}

// `tiles` 8x8 tiles; lane i gives the address of row i % 8 of tile i / 8.
inline void emulated_load_matrix(unsigned *r, unsigned shared, int tiles, bool transposed) {
  const int lane = emulated_lane();
  const uint64_t *rows = emulator_exchange(shared);
  for (int i = 0; i < tiles; ++i) {
    if (transposed) {
      const int row = i * 8 + lane % 4 * 2;
      r[i] = 0;
      for (int j = 0; j < 2; ++j) {
        const unsigned at = static_cast<unsigned>(rows[row + j]);
        emulator_shared(at, 16, 16);
        r[i] |=
            static_cast<unsigned>(emulated_load<uint16_t>(at + static_cast<unsigned>(lane / 4) * 2))
            << 16 * j;
      }
    } else {
      const unsigned at = static_cast<unsigned>(rows[i * 8 + lane / 4]);
      emulator_shared(at, 16, 16);
      r[i] = emulated_load<unsigned>(at + static_cast<unsigned>(lane % 4) * 4);
    }
  }
}
inline void load_matrix(unsigned (&r)[4], unsigned shared) {
  emulated_load_matrix(r, shared, 4, false);
}
inline void load_matrix_transposed(unsigned (&r)[4], unsigned shared) {
  emulated_load_matrix(r, shared, 4, true);
}
inline void load_matrix_pair_transposed(unsigned (&r)[2], unsigned shared) {
  emulated_load_matrix(r, shared, 2, true);
}
inline void store_matrix(unsigned shared, const unsigned (&r)[4]) {
  const int lane = emulated_lane();
  const uint64_t *rows = emulator_exchange(shared);
  for (int i = 0; i < 4; ++i) {
    const unsigned at = static_cast<unsigned>(rows[i * 8 + lane / 4]);
    emulator_shared(at, 16, 16);
    emulated_store(at + static_cast<unsigned>(lane % 4) * 4, r[i]);
  }
}
inline void store_shared4(unsigned shared, unsigned x) {
  emulated_store(shared, x);
}
inline void store_shared16(unsigned shared, unsigned a, unsigned b, unsigned c, unsigned d) {
  emulated_store(shared, uint4{a, b, c, d});
}
inline void store_shared16(unsigned shared, const float (&x)[4]) {
  emulated_store(shared, float4{x[0], x[1], x[2], x[3]});
}
template <class T> void load_shared8(T (&r)[2], unsigned shared) {
  memcpy(r, emulator_shared(shared, sizeof r, sizeof r), sizeof r);
}
template <class T> void load_shared16(T (&r)[4], unsigned shared) {
  memcpy(r, emulator_shared(shared, sizeof r, sizeof r), sizeof r);
}
inline int load_shared_int(unsigned shared) {
  return emulated_load<int>(shared);
}
inline float load_shared_float(unsigned shared) {
  return emulated_load<float>(shared);
}

inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  emulator_mma(c, a, b0, b1, emulator_bf16);
}
inline void mma_f16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  emulator_mma(c, a, b0, b1, emulator_f16);
}

inline unsigned pack_bf16(float low, float high) {
  return emulator_to_bf16(low) | emulator_to_bf16(high) << 16;
}
inline unsigned pack_f16(float low, float high) {
  return emulator_to_f16(low) | emulator_to_f16(high) << 16;
}
inline float2 unpack_f16(unsigned x) {
  return {emulator_f16[x & 0xffff], emulator_f16[x >> 16]};
}
inline unsigned keep(unsigned x) {
  return x;
}
inline float exp2_approx(float x) {
  const float r = exp2f(x);
  return fabsf(r) < 0x1p-126f ? 0.0f : r;
}
inline float log2_approx(float x) {
  return log2f(x);
}
inline float multiply(float a, float b) {
  volatile float r = a * b;
  return r;
}
inline float log_sum(float base, float sum) {
  return base + log2f(sum);
}
inline float divide(float a, float b) {
  return a / b;
}
inline float reciprocal_approx(float a) {
  return 1.0f / a;
}
inline float negative_infinity() {
  return -INFINITY;
}
inline void launch_dependents() {}
inline void wait_for_predecessors() {}

inline bool sync_any(int barrier, int threads, bool vote) {
  return emulator_barrier(barrier, threads, vote);
}

// ------------------------------------------------------------------------------------ conversions

inline unsigned pack_e4m3(float low, float high) {
  return emulator_to_e4m3(low) | emulator_to_e4m3(high) << 8;
}
constexpr bool FIND_NAN = true; // codes of NaN come out as 480
inline float emulated_code(unsigned code) {
  return (code & 0x7f) == 0x7f ? (code & 0x80 ? -480.0f : 480.0f) : emulator_e4m3[code];
}
template <unsigned (*PACK)(float, float)>
void emulated_decode(unsigned &low, unsigned &high, unsigned codes) {
  low = PACK(emulated_code(codes & 0xff), emulated_code(codes >> 8 & 0xff));
  high = PACK(emulated_code(codes >> 16 & 0xff), emulated_code(codes >> 24));
}
inline void decode_bf16(unsigned &low, unsigned &high, unsigned codes) {
  emulated_decode<pack_bf16>(low, high, codes);
}
inline void decode_f16(unsigned &low, unsigned &high, unsigned codes) {
  emulated_decode<pack_f16>(low, high, codes);
}
inline unsigned nan_bits(unsigned codes) {
  return (codes & 0x7f7f7f7fu) + 0x01010101u;
}

struct Eight {
  float x[8];
};
inline const float *emulated_half() {
  return EMULATED_HALF ? emulator_f16 : emulator_bf16;
}
inline Eight unpack(uint4 piece) {
  const unsigned words[4] = {piece.x, piece.y, piece.z, piece.w};
  Eight r;
  for (int i = 0; i < 8; ++i) {
    r.x[i] = emulated_half()[words[i / 2] >> i % 2 * 16 & 0xffff];
  }
  return r;
}
inline uint4 pack(const Eight &e) {
  unsigned words[4];
  for (int i = 0; i < 4; ++i) {
    words[i] = (EMULATED_HALF ? pack_f16 : pack_bf16)(e.x[2 * i], e.x[2 * i + 1]);
  }
  return {words[0], words[1], words[2], words[3]};
}
inline uint2 quantise(const Eight &e, float inverse) {
  unsigned r[4];
  for (int i = 0; i < 4; ++i) {
    r[i] = pack_e4m3(e.x[2 * i] * inverse, e.x[2 * i + 1] * inverse);
  }
  return {r[0] | r[1] << 16, r[2] | r[3] << 16};
}

// -------------------------------------------------------------------------------------------- TMA

struct alignas(64) lathep_tensor_map {
  emulator_map map;
  char rest[128 - sizeof(emulator_map)];
};
static_assert(sizeof(lathep_tensor_map) == 128);
inline void barrier_init(unsigned barrier, unsigned arrivals) {
  emulator_mbarrier_init(barrier, arrivals);
}
inline void barrier_init_fence() {}
inline void barrier_arrive(unsigned barrier) {
  emulator_mbarrier_arrive(barrier, 0);
}
inline void barrier_arrive_expect(unsigned barrier, unsigned bytes) {
  emulator_mbarrier_arrive(barrier, bytes);
}
inline void copy_async_arrive(unsigned barrier) {
  emulator_copy_arrive(barrier);
}
inline bool barrier_test(unsigned barrier, unsigned parity) {
  return emulator_mbarrier_test(barrier, parity);
}
inline void barrier_wait(unsigned barrier, unsigned parity) {
  emulator_mbarrier_wait(barrier, parity);
}
inline void fence_async_proxy() {}
inline void copy_box(unsigned shared, const lathep_tensor_map &map, int column, int row, int chunk,
                     int page, unsigned barrier) {
  const int at[4] = {column, row, chunk, page};
  emulator_box(shared, &map.map, at, barrier);
}
inline void copy_box_once(unsigned shared, const lathep_tensor_map &map, int column, int row,
                          int chunk, int page, unsigned barrier) {
  copy_box(shared, map, column, row, chunk, page, barrier);
}
inline void prefetch_box(const lathep_tensor_map &, int, int, int, int) {}
inline void prefetch_line(const void *) {}
inline void prefetch_map(const lathep_tensor_map &) {}

// ------------------------------------------------------------------------------------------ wgmma

inline unsigned long long tile_descriptor(unsigned shared, unsigned chunk) {
  return static_cast<unsigned long long>(shared >> 4 & 0x3fff) |
         static_cast<unsigned long long>(chunk >> 4) << 16 |
         static_cast<unsigned long long>(1024 >> 4) << 32 | 1ull << 62;
}
inline void wgmma_fence() {}
inline void wgmma_commit() {
  emulator_wgmma_commit();
}
template <int PENDING> void wgmma_wait() {
  emulator_wgmma_wait(PENDING);
}
template <int N> void settle(float (&)[N]) {}
template <int N>
void wgmma_keys(float (&c)[N], unsigned long long a, unsigned long long b, int add) {
  emulator_wgmma(c, N * 2, nullptr, a, b, add != 0, false, emulated_half());
}
template <int N>
void wgmma_keys(float (&c)[N], const unsigned (&a)[4], unsigned long long b, int add) {
  emulator_wgmma(c, N * 2, a, 0, b, add != 0, false, emulated_half());
}
template <int N>
void wgmma_values(float (&c)[N], unsigned long long a, unsigned long long b, int add) {
  emulator_wgmma(c, N * 2, nullptr, a, b, add != 0, true, emulated_half());
}
template <int REGISTERS> void more_registers() {}
template <int REGISTERS> void fewer_registers() {}

#endif
