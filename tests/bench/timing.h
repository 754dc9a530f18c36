// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Two ways to time a call that enqueues work, both of the whole call and both after the chip has
// rested:
// (a) replay of a graph of many calls with an empty kernel between them, which no launch of the
//     host can delay and no two calls of which overlap; the empty kernel's time is included;
// (b) single calls, each between events of its own, enqueued while the device is busy with
//     something else.
#ifndef LATHE_TESTS_BENCH_TIMING_H
#define LATHE_TESTS_BENCH_TIMING_H

#include "clocks.h"

#include <time.h>
#include <unistd.h>

typedef void (*bench_call)(void *user, int index, gpu_stream stream); // index: picks the cache copy

// A burst is at most 30 ms long, or one call where that takes longer.
typedef struct bench_effort {
  double burst_us, rest_ms; // of calls, and of nothing before them
  int replays, singles;     // bursts of either kind; the median counts
} bench_effort;

static const bench_effort bench_thorough = {25e3, 30, 11, 3};
static const bench_effort bench_brief = {8e3, 10, 5, 2};

typedef struct bench_kernels {
  gpu_function empty, stream, bulk; // bulk: null where there are no bulk copies
  gpu_stream queue;
  gpu_event before, after;
  gpu_pointer scratch; // the streaming kernels' sink
  gpu_pointer busy;    // what is streamed to keep the device busy, and to empty its cache
  size_t busy_bytes;
  int num_sms;
  bench_clocks clocks;
} bench_kernels;

enum { BENCH_MOST_CALLS = 512, BENCH_MOST_SINGLES = 64, BENCH_MOST_BURSTS = 16 };

static inline void bench_empty(bench_kernels *k) {
  gpu_must(gpu.launch(k->empty, 1, 1, 1, 32, 1, 1, 0, k->queue, NULL, NULL));
}

static inline void bench_stream(bench_kernels *k, gpu_pointer from, size_t bytes, int blocks) {
  unsigned long long count = bytes / 16;
  void *arguments[] = {&from, &count, &k->scratch};
  gpu_must(gpu.launch(k->stream, (unsigned)blocks, 1, 1, 256, 1, 1, 0, k->queue, arguments, NULL));
}

static inline void bench_rest(double milliseconds) {
  usleep((useconds_t)(milliseconds * 1e3));
}

static inline int bench_compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static inline double bench_median(double *values, int count) { // sorts them; 0 of none
  if (count == 0)
    return 0;
  qsort(values, (size_t)count, sizeof *values, bench_compare);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static inline double bench_elapsed(bench_kernels *k) { // microseconds
  float milliseconds = 0;
  gpu_must(gpu.event_synchronize(k->after));
  gpu_must(gpu.event_elapsed(&milliseconds, k->before, k->after));
  return 1e3 * (double)milliseconds;
}

typedef struct bench_graph {
  gpu_graph_exec exec;
  int calls;
} bench_graph;

static inline bench_graph bench_capture(bench_kernels *k, bench_call call, void *user, int calls) {
  bench_graph g;
  gpu_graph graph;
  int i;
  g.calls = calls;
  gpu_must(gpu.begin_capture(k->queue, 0));
  for (i = 0; i < calls; i++) {
    call(user, i, k->queue);
    bench_empty(k);
  }
  gpu_must(gpu.end_capture(k->queue, &graph));
  gpu_must(gpu.graph_instantiate(&g.exec, graph, 0));
  gpu_must(gpu.graph_destroy(graph));
  return g;
}

static inline void bench_replay(bench_kernels *k, const bench_graph *g) {
  gpu_must(gpu.event_record(k->before, k->queue));
  gpu_must(gpu.graph_launch(g->exec, k->queue));
  gpu_must(gpu.event_record(k->after, k->queue));
}

typedef struct bench_time {
  double graph, single, sustained; // microseconds a call; sustained 0: not measured
  unsigned sm, memory;             // MHz in the middle of the replays; 0: not known
} bench_time;

static inline double bench_best(const bench_time *t) {
  return t->graph < t->single ? t->graph : t->single;
}

// (b): calls between events. The device first streams for a while, so that the host is ahead of it.
static inline double bench_single(bench_kernels *k, bench_call call, void *user, int calls) {
  gpu_event before[BENCH_MOST_SINGLES], after[BENCH_MOST_SINGLES];
  double times[BENCH_MOST_SINGLES];
  int i;
  calls = calls > BENCH_MOST_SINGLES ? BENCH_MOST_SINGLES : calls;
  for (i = 0; i < calls; i++) {
    gpu_must(gpu.event_create(&before[i], 0));
    gpu_must(gpu.event_create(&after[i], 0));
  }
  for (i = 0; i < 12; i++)
    bench_stream(k, k->busy, k->busy_bytes, 4 * k->num_sms);
  for (i = 0; i < calls; i++) {
    gpu_must(gpu.event_record(before[i], k->queue));
    call(user, i, k->queue);
    gpu_must(gpu.event_record(after[i], k->queue));
  }
  gpu_must(gpu.stream_synchronize(k->queue));
  for (i = 0; i < calls; i++) {
    float milliseconds;
    gpu_must(gpu.event_elapsed(&milliseconds, before[i], after[i]));
    times[i] = 1e3 * (double)milliseconds;
    gpu_must(gpu.event_destroy(before[i]));
    gpu_must(gpu.event_destroy(after[i]));
  }
  return bench_median(times, calls);
}

// A second without rest; the second half of it counts.
static inline double bench_sustained(bench_kernels *k, const bench_graph *g) {
  double total = 0, counted = 0, calls = 0;
  while (total < 1e6) {
    double burst;
    bench_replay(k, g);
    burst = bench_elapsed(k);
    total += burst;
    if (total > 5e5) {
      counted += burst;
      calls += g->calls;
    }
  }
  return counted / calls;
}

static inline bench_time bench_measure(bench_kernels *k, bench_call call, void *user,
                                       const bench_effort *effort, int sustained) {
  bench_time t;
  bench_graph g;
  double once, bursts[BENCH_MOST_BURSTS], sm[BENCH_MOST_BURSTS], memory[BENCH_MOST_BURSTS];
  int calls, i;
  memset(&t, 0, sizeof t);
  call(user, 0, k->queue); // loaded and warm
  once = bench_single(k, call, user, 5);
  calls = (int)(effort->burst_us / (once + 1)); // of a burst
  calls = calls > BENCH_MOST_CALLS ? BENCH_MOST_CALLS : calls < 1 ? 1 : calls;
  g = bench_capture(k, call, user, calls);
  bench_replay(k, &g);
  bench_elapsed(k);
  for (i = 0; i < effort->replays; i++) {
    bench_rest(effort->rest_ms);
    bench_replay(k, &g);
    bench_rest(once * calls / 2e3); // while the burst runs
    sm[i] = bench_clock(&k->clocks, BENCH_CLOCK_SM);
    memory[i] = bench_clock(&k->clocks, BENCH_CLOCK_MEMORY);
    bursts[i] = bench_elapsed(k) / calls;
  }
  t.graph = bench_median(bursts, effort->replays);
  t.sm = (unsigned)bench_median(sm, effort->replays);
  t.memory = (unsigned)bench_median(memory, effort->replays);
  for (i = 0; i < effort->singles; i++) {
    bench_rest(effort->rest_ms);
    bursts[i] = bench_single(k, call, user, calls);
  }
  t.single = bench_median(bursts, effort->singles);
  if (sustained)
    t.sustained = bench_sustained(k, &g);
  gpu_must(gpu.graph_exec_destroy(g.exec));
  return t;
}

#endif
