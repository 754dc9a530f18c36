// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What is asynchronous: cp.async, which a fiber does when it waits for it or the engine before, and
// TMA boxes, which the engine does in any order.
#include "block.h"

#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------------- cp.async

void emulator_copy(unsigned shared, const void *global, unsigned bytes, unsigned size) {
  fiber *f = emulator_self();
  const copy c = {shared, bytes, size, global};
  emulator_shared(shared, size, size);
  if (bytes && (uintptr_t)global % size)
    emulator_die("cp.async of %u bytes from %p", size, global);
  if (bytes)
    emulator_check_global(global, bytes);
  if (f->num_copies == f->room) {
    f->room = f->room * 2 + 64;
    f->copies = realloc(f->copies, f->room * sizeof *f->copies);
  }
  f->copies[f->num_copies++] = c;
}

static void do_copies(fiber *f, size_t end) {
  for (; f->done < end; f->done++) {
    const copy *c = &f->copies[f->done];
    unsigned char *to = emulator_machine->dynamic + c->shared;
    memset(to, 0, c->size);
    if (c->bytes)
      memcpy(to, c->global, c->bytes);
  }
}

void emulator_copy_commit(void) {
  fiber *f = emulator_self();
  if (f->num_groups == sizeof f->groups / sizeof f->groups[0]) {
    memmove(f->groups, f->groups + 1, sizeof f->groups - sizeof f->groups[0]);
    f->num_groups--;
  }
  f->groups[f->num_groups++] = f->num_copies;
}

void emulator_copy_wait(unsigned pending) {
  fiber *f = emulator_self();
  if (f->num_groups > pending)
    do_copies(f, f->groups[f->num_groups - 1 - pending]);
}

static void post(const event *e) {
  if (emulator_machine->num_events == emulator_machine->events_room) {
    emulator_machine->events_room = emulator_machine->events_room * 2 + 64;
    emulator_machine->events = realloc(
        emulator_machine->events, emulator_machine->events_room * sizeof *emulator_machine->events);
  }
  emulator_machine->events[emulator_machine->num_events++] = *e;
}

void emulator_copy_arrive(unsigned barrier) {
  event e;
  memset(&e, 0, sizeof e);
  e.kind = ARRIVE;
  e.barrier = barrier;
  e.of = emulator_self();
  e.copies = emulator_self()->num_copies;
  post(&e);
}
// ------------------------------------------------------------------------------- mbarriers and TMA

static mbarrier *mbarrier_at(unsigned barrier) {
  emulator_shared(barrier, 8, 8);
  return &emulator_machine->mbarriers[barrier / 8];
}

static mbarrier *initialised(unsigned barrier) {
  mbarrier *b = mbarrier_at(barrier);
  if (!b->arrivals)
    emulator_die("mbarrier %u was not initialised", barrier);
  return b;
}

void emulator_mbarrier_init(unsigned barrier, unsigned arrivals) {
  mbarrier *b = mbarrier_at(barrier);
  b->arrivals = b->pending = arrivals;
  b->phase = 0;
  b->bytes = 0;
}

static void settle(mbarrier *b) {
  if (!b->pending && !b->bytes) {
    b->pending = b->arrivals;
    b->phase++;
  }
}

void emulator_mbarrier_arrive(unsigned barrier, unsigned expected_bytes) {
  mbarrier *b = initialised(barrier);
  if (!b->pending)
    emulator_die("an arrival too many at mbarrier %u", barrier);
  b->bytes += expected_bytes;
  b->pending--;
  settle(b);
}

bool emulator_mbarrier_test(unsigned barrier, unsigned parity) {
  return (initialised(barrier)->phase & 1) != parity;
}

void emulator_mbarrier_wait(unsigned barrier, unsigned parity) {
  while (!emulator_mbarrier_test(barrier, parity))
    emulator_wait_for(&mbarrier_at(barrier)->phase, mbarrier_at(barrier)->phase);
}

void emulator_box(unsigned shared, const emulator_map *map, const int at[4], unsigned barrier) {
  event e;
  memset(&e, 0, sizeof e);
  e.kind = BOX;
  e.map = *map;
  memcpy(e.at, at, sizeof e.at);
  e.shared = shared;
  e.barrier = barrier;
  emulator_shared(shared, map->box[0] * map->box[1] * map->box[2] * map->box[3] * 2, 128);
  initialised(barrier);
  post(&e);
}

static void do_box(const event *e) {
  const emulator_map *map = &e->map;
  unsigned to = e->shared, i[4], d;
  mbarrier *b = initialised(e->barrier);
  for (i[3] = 0; i[3] < map->box[3]; i[3]++)
    for (i[2] = 0; i[2] < map->box[2]; i[2]++)
      for (i[1] = 0; i[1] < map->box[1]; i[1]++)
        for (i[0] = 0; i[0] < map->box[0]; i[0]++, to += 2) {
          const char *from = map->base;
          bool inside = true;
          uint16_t element = 0;
          for (d = 0; d < 4; d++) {
            const int64_t index = (int64_t)e->at[d] + i[d];
            inside &= index >= 0 && (uint64_t)index < map->dims[d];
            from += d ? index * (int64_t)map->strides[d - 1] : index * 2;
          }
          if (inside) {
            emulator_check_global(from, sizeof element);
            memcpy(&element, from, sizeof element);
          }
          memcpy(emulator_machine->dynamic + emulator_swizzled(to), &element, sizeof element);
        }
  b->bytes -= to - e->shared;
  settle(b);
}

// Some of what there is to do, in any order.
void emulator_copy_engine(void) {
  size_t tries = emulator_machine->num_events;
  while (tries-- > 0 && emulator_machine->num_events) {
    const size_t at = emulator_random() % emulator_machine->num_events;
    const event e = emulator_machine->events[at];
    if (emulator_random() % 4)
      continue;
    emulator_machine->events[at] = emulator_machine->events[--emulator_machine->num_events];
    emulator_machine->progress = true;
    if (e.kind == BOX) {
      do_box(&e);
    } else {
      do_copies(e.of, e.copies);
      emulator_mbarrier_arrive(e.barrier, 0);
    }
  }
}
