// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "block.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__thread emulator_dim emulator_thread, emulator_block, emulator_grid;
__thread machine *emulator_machine;
static __thread const char *running;

void emulator_die(const char *format, ...) {
  va_list list;
  va_start(list, format);
  fprintf(stderr, "emulator: %s: block %u thread %u: ", running ? running : "?", emulator_block.x,
          emulator_thread.x);
  vfprintf(stderr, format, list);
  fputc('\n', stderr);
  va_end(list);
  abort();
}
// ------------------------------------------------------------------------------------------ fibers

// void switch_to(void **from, void *to): leaves the registers that a call must keep on the stack
// whose pointer then goes to *from, and takes up what was left at `to`.
void switch_to(void **from, void *to);
__asm__(".text\n"
        ".globl switch_to\n"
        ".hidden switch_to\n"
        "switch_to:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rdi)\n"
        "  mov %rsi, %rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n");

// Lets others run until *word is not `value`.
void emulator_wait_for(const unsigned *word, unsigned value) {
  emulator_self()->word = word;
  emulator_self()->value = value;
  switch_to(&emulator_self()->stack_pointer, emulator_machine->scheduler);
}

static const unsigned never;
static void fiber_main(void) {
  emulator_machine->kernel(emulator_machine->arguments);
  if (emulator_self()->done < emulator_self()->num_copies || emulator_self()->num_products)
    emulator_die("ends before what it started");
  emulator_self()->ended = true;
  for (;;)
    emulator_wait_for(&never, never);
}

static void fiber_begin(unsigned thread) {
  fiber *f = &emulator_machine->fibers[thread];
  void **top = (void **)(void *)(emulator_machine->stacks + (size_t)(thread + 1) * STACK_BYTES);
  int i;
  *--top = NULL; // so that the stack is aligned as after a call
  *--top = (void *)(uintptr_t)fiber_main;
  for (i = 0; i < 6; i++)
    *--top = NULL;
  f->stack_pointer = top;
  f->ended = false;
  f->word = NULL;
  f->num_copies = f->done = 0;
  f->num_groups = f->num_products = f->num_product_groups = 0;
}
// ---------------------------------------------------------------------------------------- barriers

static bool meet(gate *g, unsigned threads, bool vote) {
  const unsigned turn = g->turn;
  g->vote |= vote;
  if (++g->come == threads) {
    g->outcome = g->vote;
    g->vote = false;
    g->come = 0;
    g->turn++;
  } else {
    emulator_wait_for(&g->turn, turn);
  }
  return g->outcome;
}

bool emulator_barrier(int barrier, int threads, bool vote) {
  if (barrier < 0 || barrier >= BARRIERS || threads % 32)
    emulator_die("barrier %d of %d threads", barrier, threads);
  return meet(&emulator_machine->barriers[barrier],
              threads ? (unsigned)threads : emulator_machine->num_threads, vote);
}

void emulator_warp(void) {
  meet(emulator_own_warp(), 32, false);
}

// Nobody is two exchanges ahead, so two sets of places do.
const uint64_t *emulator_exchange(uint64_t value) {
  const unsigned parity = emulator_self()->shuffles ^= 1;
  uint64_t *words = emulator_machine->words[emulator_machine->current / 32][parity];
  words[emulator_machine->current % 32] = value;
  emulator_warp();
  return words;
}
// ------------------------------------------------------------------------------------------ memory

static pthread_mutex_t memory_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct allocation {
  char *at;
  size_t size;
} * allocations;
static size_t num_allocations, allocations_room;

void *emulator_allocate(size_t size) {
  char *at = aligned_alloc(256, (size + 511) / 256 * 256);
  pthread_mutex_lock(&memory_mutex);
  if (num_allocations == allocations_room) {
    allocations_room = allocations_room * 2 + 64;
    allocations = realloc(allocations, allocations_room * sizeof *allocations);
  }
  allocations[num_allocations].at = at;
  allocations[num_allocations++].size = size;
  pthread_mutex_unlock(&memory_mutex);
  return at;
}

void emulator_release(void *memory) {
  size_t i;
  pthread_mutex_lock(&memory_mutex);
  for (i = 0; i < num_allocations && allocations[i].at != memory; i++)
    ;
  if (i < num_allocations)
    allocations[i] = allocations[--num_allocations];
  pthread_mutex_unlock(&memory_mutex);
  free(memory);
}

// Allocations do not change while a kernel runs.
void emulator_check_global(const void *pointer, size_t bytes) {
  static __thread size_t last;
  const char *at = pointer;
  size_t i;
  for (i = 0; i < num_allocations; i++) {
    const struct allocation *a = &allocations[(last + i) % num_allocations];
    if (at >= a->at && at + bytes <= a->at + a->size) {
      last = (last + i) % num_allocations;
      return;
    }
  }
  emulator_die("reads %zu bytes at %p, which are in no allocation", bytes, pointer);
}

unsigned char *emulator_dynamic(void) {
  return emulator_machine->dynamic;
}

unsigned emulator_address(const void *pointer) {
  const ptrdiff_t address = (const unsigned char *)pointer - emulator_machine->dynamic;
  if (address < 0 || address > (ptrdiff_t)emulator_machine->dynamic_bytes)
    emulator_die("%p is not in dynamic shared memory", pointer);
  return (unsigned)address;
}

unsigned char *emulator_shared(unsigned address, unsigned bytes, unsigned alignment) {
  if (address > emulator_machine->dynamic_bytes ||
      bytes > emulator_machine->dynamic_bytes - address || address % alignment)
    emulator_die("shared memory %u, %u bytes of %u, aligned to %u", address, bytes,
                 emulator_machine->dynamic_bytes, alignment);
  return emulator_machine->dynamic + address;
}
// ------------------------------------------------------------------------------------------ blocks

// A warp runs until all of its threads wait for something that others have to do.
static void take_turns(unsigned warp) {
  bool ran = true;
  while (ran) {
    unsigned i;
    ran = false;
    for (i = warp * 32; i < warp * 32 + 32; i++) {
      fiber *f = &emulator_machine->fibers[i];
      if (f->ended || (f->word && *f->word == f->value))
        continue;
      emulator_machine->current = i;
      emulator_thread.x = i;
      switch_to(&emulator_machine->scheduler, f->stack_pointer);
      ran = emulator_machine->progress = true;
    }
  }
}

uint64_t emulator_random(void) { // xorshift64*
  emulator_machine->random ^= emulator_machine->random >> 12;
  emulator_machine->random ^= emulator_machine->random << 25;
  emulator_machine->random ^= emulator_machine->random >> 27;
  return emulator_machine->random * 0x2545f4914f6cdd1dull >> 32;
}

static bool all_ended(void) {
  unsigned i;
  for (i = 0; i < emulator_machine->num_threads; i++)
    if (!emulator_machine->fibers[i].ended)
      return false;
  return true;
}

static void run_block(void) {
  const unsigned warps = emulator_machine->num_threads / 32;
  unsigned i, idle = 0;
  memset(emulator_machine->dynamic, 0xff, emulator_machine->dynamic_bytes); // NaN in every type
  memset(emulator_machine->mbarriers, 0,
         (emulator_machine->dynamic_bytes / 8 + 1) * sizeof *emulator_machine->mbarriers);
  memset(emulator_machine->warps, 0, sizeof emulator_machine->warps);
  memset(emulator_machine->barriers, 0, sizeof emulator_machine->barriers);
  emulator_machine->num_events = 0;
  emulator_machine->random = 0x9e3779b97f4a7c15ull * (emulator_block.x + 1);
  for (i = 0; i < emulator_machine->num_threads; i++)
    fiber_begin(i);
  while (!all_ended()) {
    const unsigned first = (unsigned)(emulator_random() % warps);
    emulator_machine->progress = false;
    for (i = 0; i < warps; i++)
      if (warps == 1 || emulator_random() % 4) // a warp may fall behind
        take_turns((first + i) % warps);
    emulator_copy_engine();
    idle = emulator_machine->progress ? 0 : idle + 1;
    if (idle > HANG_ROUNDS)
      emulator_die("hangs");
  }
  for (i = 0; i < BARRIERS; i++)
    if (emulator_machine->barriers[i].come)
      emulator_die("ended with threads at barrier %u", i);
  if (emulator_machine->num_events)
    emulator_die("ended before its copies");
}

typedef struct job {
  const char *name;
  emulator_kernel *kernel;
  void **arguments;
  unsigned grid_x, grid_y, threads, shared_bytes, next;
  pthread_mutex_t mutex;
} job;

static void *work(void *argument) {
  job *j = argument;
  static __thread machine *own; // ends with the thread
  size_t i;
  own = calloc(1, sizeof *own);
  emulator_machine = own;
  emulator_machine->stacks = aligned_alloc(64, (size_t)j->threads * STACK_BYTES);
  emulator_machine->dynamic = aligned_alloc(1024, (j->shared_bytes + 2047) / 1024 * 1024);
  emulator_machine->mbarriers =
      malloc((j->shared_bytes / 8 + 1) * sizeof *emulator_machine->mbarriers);
  emulator_machine->dynamic_bytes = j->shared_bytes;
  emulator_machine->num_threads = j->threads;
  emulator_machine->kernel = j->kernel;
  emulator_machine->arguments = j->arguments;
  running = j->name;
  emulator_grid.x = j->grid_x;
  emulator_grid.y = j->grid_y;
  emulator_grid.z = 1;
  for (;;) {
    unsigned block;
    pthread_mutex_lock(&j->mutex);
    block = j->next++;
    pthread_mutex_unlock(&j->mutex);
    if (block >= j->grid_x * j->grid_y)
      break;
    emulator_block.x = block % j->grid_x;
    emulator_block.y = block / j->grid_x;
    run_block();
  }
  for (i = 0; i < MAX_THREADS; i++)
    free(emulator_machine->fibers[i].copies);
  free(emulator_machine->stacks);
  free(emulator_machine->dynamic);
  free(emulator_machine->mbarriers);
  free(emulator_machine->events);
  free(emulator_machine);
  emulator_machine = NULL;
  return NULL;
}

void emulator_run(const char *name, emulator_kernel *kernel, void **arguments, unsigned grid_x,
                  unsigned grid_y, unsigned threads, unsigned shared_bytes) {
  const char *asked = getenv("EMULATOR_THREADS");
  const int wanted = asked ? atoi(asked) : 2, workers = wanted < 1             ? 1
                                                        : wanted > MAX_WORKERS ? MAX_WORKERS
                                                                               : wanted;
  job j = {
      name, kernel, arguments, grid_x, grid_y, threads, shared_bytes, 0, PTHREAD_MUTEX_INITIALIZER};
  pthread_t others[MAX_WORKERS];
  int i;
  if (threads > MAX_THREADS || threads % 32)
    emulator_die("%u threads a block", threads);
  for (i = 0; i < workers; i++)
    if (pthread_create(&others[i], NULL, work, &j))
      emulator_die("no thread");
  for (i = 0; i < workers; i++)
    pthread_join(others[i], NULL);
}
