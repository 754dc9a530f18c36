// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Two ways to time a call that enqueues work, both of the whole call and both after the chip has
// rested: (a) replay of a graph of many calls with an empty kernel between them, which no launch of
// the host can
//     delay and no two calls of which overlap; the empty kernel's time is included;
// (b) single calls, each between events of its own, enqueued while the device is busy with
// something else.
#ifndef LATHE_TESTS_BENCH_TIMING_H
#define LATHE_TESTS_BENCH_TIMING_H

#include "../gpu/driver.h"

#include <time.h>
#include <unistd.h>

typedef void (*bench_call)(void *user, int index, gpu_stream stream); // index: picks the cache copy

typedef struct bench_kernels {
  gpu_function empty, stream;
  gpu_stream queue;
  gpu_event before, after;
  gpu_pointer scratch; // the streaming kernel's sink
  gpu_pointer buffer;  // what is streamed to keep the device busy
  size_t buffer_bytes;
  int num_sms, bursts;
} bench_kernels;

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
static inline double bench_median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, bench_compare);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static inline double bench_elapsed(bench_kernels *k) { // microseconds
  float milliseconds = 0;
  gpu_must(gpu.event_synchronize(k->after));
  gpu_must(gpu.event_elapsed(&milliseconds, k->before, k->after));
  return 1e3 * (double)milliseconds;
}

enum { BENCH_MOST_CALLS = 384, BENCH_MOST_BURSTS = 64 };

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

static inline double bench_replay(bench_kernels *k, const bench_graph *g) { // per call
  gpu_must(gpu.event_record(k->before, k->queue));
  gpu_must(gpu.graph_launch(g->exec, k->queue));
  gpu_must(gpu.event_record(k->after, k->queue));
  return bench_elapsed(k) / g->calls;
}

typedef struct bench_time {
  double graph, single, sustained; // microseconds a call; sustained 0: not measured
} bench_time;

// (b): calls between events. The device first streams for a while, so that the host is ahead of it.
static inline double bench_single(bench_kernels *k, bench_call call, void *user, int calls) {
  gpu_event before[64], after[64];
  double times[64];
  int i;
  calls = calls > 64 ? 64 : calls;
  for (i = 0; i < calls; i++) {
    gpu_must(gpu.event_create(&before[i], 0));
    gpu_must(gpu.event_create(&after[i], 0));
  }
  for (i = 0; i < 12; i++)
    bench_stream(k, k->buffer, k->buffer_bytes, 4 * k->num_sms);
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

// Median of bursts of at most 30 ms, at least as much rest between them as they took.
static inline bench_time bench_measure(bench_kernels *k, bench_call call, void *user,
                                       int sustained) {
  bench_time t = {0, 0, 0};
  bench_graph g;
  double once, bursts[BENCH_MOST_BURSTS];
  int calls, i, count = k->bursts < BENCH_MOST_BURSTS ? k->bursts : BENCH_MOST_BURSTS;
  call(user, 0, k->queue); // loaded and warm
  once = bench_single(k, call, user, 5);
  calls = (int)(25e3 / (once + 1)); // of a burst
  calls = calls > BENCH_MOST_CALLS ? BENCH_MOST_CALLS : calls < 4 ? 4 : calls;
  g = bench_capture(k, call, user, calls);
  bench_replay(k, &g);
  for (i = 0; i < count; i++) {
    bench_rest(30);
    bursts[i] = bench_replay(k, &g);
  }
  t.graph = bench_median(bursts, count);
  for (i = 0; i < 3; i++) {
    bench_rest(30);
    bursts[i] = bench_single(k, call, user, calls);
  }
  t.single = bench_median(bursts, 3);
  if (sustained) { // a second without rest; the second half of it counts
    double start = 5e5, total = 0, counted = 0;
    int n = 0;
    while (total < 1e6) {
      double each = bench_replay(k, &g);
      total += each * calls;
      if (total > start) {
        counted += each;
        n++;
      }
    }
    t.sustained = n ? counted / n : 0;
  }
  gpu_must(gpu.graph_exec_destroy(g.exec));
  return t;
}

#endif
