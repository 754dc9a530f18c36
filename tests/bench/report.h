// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What a run of the benchmark found, and its table on the terminal. Host code.
#ifndef LATHE_TESTS_BENCH_REPORT_H
#define LATHE_TESTS_BENCH_REPORT_H

#include "cases.h"
#include "ceilings.h"

// The machine and its ceilings; 0 and "" where not known.
typedef struct bench_facts {
  char device[128], driver_name[80];
  const char *peers;         // column of rows.h, or null
  const char *matmul_source; // "measured", "option" or "none"
  int num_sms, driver, nvrtc_major, nvrtc_minor;
  unsigned most_sm; // MHz
  double memory_bytes, l2_bytes, empty_us;
  double matmul; // TFLOP/s
  bench_curve streaming;
} bench_facts;

typedef enum bench_outcome { BENCH_TIMED = 0, BENCH_SKIPPED, BENCH_WRONG } bench_outcome;

typedef struct bench_result {
  const bench_case *c;
  bench_outcome outcome;
  char why[512]; // of BENCH_SKIPPED and BENCH_WRONG
  char kernel[128], merge[128];
  int blocks, splits, registers, shared_bytes;
  int checked_rows;
  double worst_abs; // largest difference from the oracle in them
  double bytes, flops;
  double stream_us;
  double limit_us;      // 0: there is no compute ceiling to take it from
  bench_time time;      // of runs that derive their schedule
  bench_time scheduled; // of runs of a schedule made beforehand; all zero: not measured
  double schedule_us;   // making it; 0: not measured
  const bench_reference *peer;
} bench_result;

static inline double bench_ratio(double a, double b) { // 0 where either is not known
  return a > 0 && b > 0 ? a / b : 0;
}

// The larger of the two; 0 without a rate for the FLOPs.
static inline double bench_limit(double stream_us, double flops, double matmul) {
  return matmul > 0 ? fmax(stream_us, flops / matmul / 1e6) : 0;
}

// The time that counts where it is compared with anything.
static inline double bench_compared(const bench_result *r) {
  return bench_best(r->scheduled.graph > 0 ? &r->scheduled : &r->time);
}

static inline double bench_fraction(const bench_result *r) { // of the limit; 1 is all of it
  return r->outcome == BENCH_TIMED ? bench_ratio(r->limit_us, bench_compared(r)) : 0;
}

// How many times as fast as the case it is compared with; 0: with none.
static inline double bench_relative(const bench_result *results, const bench_result *r) {
  const bench_result *to = r->c->relative < 0 ? NULL : &results[r->c->relative];
  return to && to->outcome == BENCH_TIMED && r->outcome == BENCH_TIMED
             ? bench_ratio(bench_compared(to), bench_compared(r))
             : 0;
}

// 1 if `name` has `word` between underscores or ends: "sm90" is in decode_sm90_bf16, not in
// decode_sm90a_bf16.
static inline int bench_has_word(const char *name, const char *word) {
  size_t length = strlen(word);
  const char *at = name;
  while (length && (at = strstr(at, word)) != NULL) {
    if ((at == name || at[-1] == '_') && (at[length] == '\0' || at[length] == '_'))
      return 1;
    at++;
  }
  return 0;
}

// -------------------------------------------------------------------------------------- summary

// Geometric means of time over limit, of Lathe and of one peer, over the rows that both have.
typedef struct bench_mean {
  const char *peer;
  int rows;
  double lathe, other;
} bench_mean;

enum { BENCH_PEERS = 4 };

static inline bench_mean bench_mean_of(const bench_result *results, int count, int peer) {
  static const char *const names[BENCH_PEERS] = {"FlashMLA", "FlashInfer fa3", "FlashInfer fa2",
                                                 "target"};
  bench_mean mean;
  int i;
  memset(&mean, 0, sizeof mean);
  mean.peer = names[peer];
  for (i = 0; i < count; i++) {
    const bench_reference *p = results[i].peer;
    double times[BENCH_PEERS] = {p->flashmla, p->fa3, p->fa2, p->target};
    double lathe = bench_ratio(1, bench_fraction(&results[i]));
    double other = bench_ratio(times[peer], p->limit);
    if (lathe == 0 || other == 0)
      continue;
    mean.lathe += log(lathe);
    mean.other += log(other);
    mean.rows++;
  }
  mean.lathe = mean.rows ? exp(mean.lathe / mean.rows) : 0;
  mean.other = mean.rows ? exp(mean.other / mean.rows) : 0;
  return mean;
}

// ---------------------------------------------------------------------------------------- table

// Which columns the table has.
typedef struct bench_columns {
  int name_width, sustained, schedule, peers;
  const char *relative; // its title, or null
} bench_columns;

static inline bench_columns bench_columns_of(const bench_cases *cases, const bench_options *o,
                                             const bench_facts *f) {
  bench_columns columns = {3, o->sustained, o->schedule, 0, NULL};
  int i;
  for (i = 0; i < cases->count; i++) {
    const bench_case *c = &cases->at[i];
    int length = (int)strlen(c->name);
    columns.name_width = length > columns.name_width ? length : columns.name_width;
    columns.peers |= bench_case_reference(c, o->kv, f->peers)->limit > 0;
  }
  if (o->mode == BENCH_MODE_PAGES)
    columns.relative = "of p64";
  else if (o->mode == BENCH_MODE_WINDOWS)
    columns.relative = "of K=w";
  else if (o->mode == BENCH_MODE_HEADS)
    columns.relative = "of 2^n";
  return columns;
}

static inline void bench_print_head(const bench_facts *f, const bench_options *o,
                                    const bench_columns *columns) {
  printf("%s, %d SMs, driver %s (CUDA %d.%d), NVRTC %d.%d\n", f->device, f->num_sms,
         f->driver_name[0] ? f->driver_name : "?", f->driver / 1000, f->driver % 1000 / 10,
         f->nvrtc_major, f->nvrtc_minor);
  printf("query %s, cache %s, L %d, R %d; empty kernel %.2f us\n", lathe_dtype_string(o->q),
         lathe_dtype_string(o->kv), o->l, o->r, f->empty_us);
  if (f->matmul > 0)
    printf("bf16 matrix product %.0f TFLOP/s (%s)\n", f->matmul, f->matmul_source);
  else
    printf("no libcublas: no compute ceiling, so no limits; --cublas PATH or --matmul TF\n");
  printf("times in us, medians; \"of lim\": limit over the smaller of graph and single%s%s%s\n\n",
         columns->schedule ? " of runs of a schedule made beforehand" : "",
         columns->peers ? "; peers and target: another " : "", columns->peers ? f->peers : "");
  printf("%-*s %9s %9s", columns->name_width, "row", "graph", "single");
  if (columns->sustained)
    printf(" %9s", "sustain");
  if (columns->schedule)
    printf(" %9s %9s %6s", "graph s.", "single s.", "sched.");
  printf(" %6s %6s %6s %9s %9s %6s", "TB/s", "TF/s", "MHz", "stream", "limit", "of lim");
  if (columns->relative)
    printf(" %7s", columns->relative);
  if (columns->peers)
    printf(" | %8s %8s %8s %8s    ", "FlashMLA", "FI fa3", "FI fa2", "target");
  printf("  kernel\n");
}

static inline void bench_print_number(int width, int digits, double value) {
  if (value > 0)
    printf(" %*.*f", width, digits, value);
  else
    printf(" %*s", width, "-");
}

static inline void bench_print_row(const bench_columns *columns, const bench_result *results,
                                   const bench_result *r) {
  double best = bench_compared(r);
  printf("%-*s", columns->name_width, r->c->name);
  if (r->outcome != BENCH_TIMED) {
    printf(" %s: %s\n", r->outcome == BENCH_SKIPPED ? "skipped" : "WRONG", r->why);
    return;
  }
  printf(" %9.2f %9.2f", r->time.graph, r->time.single);
  if (columns->sustained)
    printf(" %9.2f", r->time.sustained);
  if (columns->schedule)
    printf(" %9.2f %9.2f %6.2f", r->scheduled.graph, r->scheduled.single, r->schedule_us);
  printf(" %6.2f %6.0f", r->bytes / best / 1e6, r->flops / best / 1e6);
  bench_print_number(6, 0, r->time.sm);
  printf(" %9.2f", r->stream_us);
  bench_print_number(9, 2, r->limit_us);
  bench_print_number(6, 3, bench_fraction(r));
  if (columns->relative)
    bench_print_number(7, 3, bench_relative(results, r));
  if (columns->peers) {
    printf(" |");
    bench_print_number(8, 1, r->peer->flashmla);
    bench_print_number(8, 1, r->peer->fa3);
    bench_print_number(8, 1, r->peer->fa2);
    bench_print_number(8, 1, r->peer->target);
    printf(r->peer->target <= 0 ? "    " : best <= r->peer->target ? " met" : " not");
  }
  printf("  %s\n", r->kernel);
  fflush(stdout);
}

static inline void bench_print_summary(const bench_result *results, int count, double seconds) {
  int outcomes[3] = {0, 0, 0}, i;
  for (i = 0; i < count; i++)
    outcomes[results[i].outcome]++;
  printf("\n");
  for (i = 0; i < BENCH_PEERS; i++) {
    bench_mean mean = bench_mean_of(results, count, i);
    if (mean.rows)
      printf("time over limit, geometric mean of %d rows: Lathe %.3f, %s %.3f\n", mean.rows,
             mean.lathe, mean.peer, mean.other);
  }
  printf("%d rows timed, %d skipped, %d wrong, in %.0f s\n", outcomes[BENCH_TIMED],
         outcomes[BENCH_SKIPPED], outcomes[BENCH_WRONG], seconds);
}

#endif
