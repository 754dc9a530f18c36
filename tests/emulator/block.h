// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What machine.c, copies.c and products.c know of the block that this OS thread runs.
#ifndef LATHE_TESTS_EMULATOR_BLOCK_H
#define LATHE_TESTS_EMULATOR_BLOCK_H

#include "machine.h"

enum {
  MAX_THREADS = 1024,
  MAX_WARPS = MAX_THREADS / 32,
  BARRIERS = 16,
  STACK_BYTES = 1 << 16,
  MAX_WORKERS = 64,
  HANG_ROUNDS = 10000 // without anything done
};

typedef struct gate { // where so many threads meet
  unsigned turn, come;
  bool vote, outcome;
} gate;

typedef struct mbarrier {
  unsigned arrivals, pending, phase; // 0 arrivals: not initialised
  int64_t bytes;
} mbarrier;

typedef struct copy { // a cp.async
  unsigned shared, bytes, size;
  const void *global;
} copy;

typedef struct product { // a wgmma
  float *c;
  int columns;
  const unsigned *own;
  uint64_t a, b;
  bool add, values;
  const float *to_float;
} product;

typedef struct fiber {
  void *stack_pointer;
  bool ended;
  const unsigned *word; // what it waits for: to be another value
  unsigned value;
  unsigned shuffles; // parity
  // copies[done] on are under way; groups[i] is the number of copies before the end of group i
  copy *copies;
  size_t num_copies, room, done, groups[64];
  product products[64];
  unsigned num_groups, num_products, product_groups[64], num_product_groups;
} fiber;

typedef struct event { // what the copy engine has to do
  enum { BOX, ARRIVE } kind;
  unsigned shared, barrier;
  emulator_map map;
  int at[4];
  fiber *of;     // ARRIVE: when its copies are done
  size_t copies; // as many as that
} event;

typedef struct machine {
  fiber fibers[MAX_THREADS];
  void *scheduler; // its stack pointer
  unsigned num_threads, current;
  gate warps[MAX_WARPS], barriers[BARRIERS];
  uint64_t words[MAX_WARPS][2][32]; // exchanged
  struct operands {                 // of an mma
    float *c;
    unsigned a[4], b[2];
  } operands[MAX_WARPS][32];
  unsigned char *stacks, *dynamic;
  unsigned dynamic_bytes;
  mbarrier *mbarriers; // one for every 8 bytes of dynamic
  event *events;
  size_t num_events, events_room;
  uint64_t random;
  bool progress; // since the last round
  emulator_kernel *kernel;
  void **arguments;
} machine;

extern __thread machine *emulator_machine;

static inline fiber *emulator_self(void) {
  return &emulator_machine->fibers[emulator_machine->current];
}
static inline gate *emulator_own_warp(void) {
  return &emulator_machine->warps[emulator_machine->current / 32];
}
static inline unsigned
emulator_swizzled(unsigned address) { // 128 bytes: the 16-byte piece by the row of eight
  return address ^ (address >> 7 & 7) << 4;
}

// Lets others run until *word is not `value`.
void emulator_wait_for(const unsigned *word, unsigned value);
// Between turns: the copy engine does some of what it has to do.
void emulator_copy_engine(void);
uint64_t emulator_random(void);

#endif
