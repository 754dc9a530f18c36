// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A block of threads on the CPU. A kernel compiled for it (compiler.c) runs as fibers, one a
// thread, which give way where CUDA's threads would wait for each other: at barriers, warp
// collectives, mbarriers. What is asynchronous on a GPU is so here: a copy to shared memory is done
// some time between its start and the wait for it, a wgmma at its wait, and warps take turns in
// random order. So a missing wait shows, as wrong numbers; a missing arrival as a hang, which is
// told. Fibers of a block are of one OS thread; blocks go to several.
#ifndef LATHE_TESTS_EMULATOR_MACHINE_H
#define LATHE_TESTS_EMULATOR_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// -------------------------------------------------------------------------------- for the driver

typedef void emulator_kernel(void **arguments);

// Runs a kernel to its end. `grid` is in one or two dimensions.
void emulator_run(const char *name, emulator_kernel *kernel, void **arguments, unsigned grid_x,
                  unsigned grid_y, unsigned threads, unsigned shared_bytes);

// Global memory. Reads outside what is allocated end the process.
void *emulator_allocate(size_t size);
void emulator_release(void *memory);

typedef struct emulator_map { // in place of a CUtensorMap, of 128 bytes
  const char *base;
  uint64_t dims[4], strides[3]; // elements of 2 bytes; bytes
  uint32_t box[4], zero;
} emulator_map;

// ----------------------------------------------------------------------------------- for kernels

typedef struct emulator_dim {
  unsigned x, y, z;
} emulator_dim;
extern __thread emulator_dim emulator_thread, emulator_block, emulator_grid;

__attribute__((noreturn, format(printf, 1, 2))) void emulator_die(const char *format, ...);

// Waits for `threads` threads, 0 for all of the block. Returns whether any came with `vote`.
bool emulator_barrier(int barrier, int threads, bool vote);
void emulator_warp(void); // waits for it
// The 32 lanes' values, until the exchange after the next.
const uint64_t *emulator_exchange(uint64_t value);

// Dynamic shared memory; addresses are offsets in it.
unsigned char *emulator_dynamic(void);
unsigned emulator_address(const void *pointer);
unsigned char *emulator_shared(unsigned address, unsigned bytes, unsigned alignment);
void emulator_check_global(const void *pointer, size_t bytes);

// cp.async: `size` bytes, all but the first `bytes` zeros.
void emulator_copy(unsigned shared, const void *global, unsigned bytes, unsigned size);
void emulator_copy_commit(void);
void emulator_copy_wait(unsigned pending);
void emulator_copy_arrive(unsigned barrier);

// mbarriers and TMA.
void emulator_mbarrier_init(unsigned barrier, unsigned arrivals);
void emulator_mbarrier_arrive(unsigned barrier, unsigned expected_bytes);
bool emulator_mbarrier_test(unsigned barrier, unsigned parity);
void emulator_mbarrier_wait(unsigned barrier, unsigned parity);
void emulator_box(unsigned shared, const emulator_map *map, const int at[4], unsigned barrier);

// c (16 x 8) += a * b of a warp, in the lanes' registers.
void emulator_mma(float *c, const unsigned *a, unsigned b0, unsigned b1, const float *to_float);

// c (64 x columns of a warpgroup) += a * b, 16 of k; as descriptors. `values`: b has rows of
// columns, not of k.
// own: the left operand's four registers, read at the wait; null: it is at a.
void emulator_wgmma(float *c, int columns, const unsigned *own, uint64_t a, uint64_t b, bool add,
                    bool values, const float *to_float);
void emulator_wgmma_commit(void);
void emulator_wgmma_wait(unsigned pending);

// Every value of a type as a float, and back, rounded to nearest even; e4m3 saturates.
extern float emulator_bf16[65536], emulator_f16[65536], emulator_e4m3[256];
unsigned emulator_to_bf16(float x);
unsigned emulator_to_f16(float x);
unsigned emulator_to_e4m3(float x);

#ifdef __cplusplus
}
#endif
#endif
