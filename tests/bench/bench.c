// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The benchmark: checks each row's result against the CPU backend, then times the whole call,
// beside what this machine can do at most and what other libraries took. docs/benchmarks/README.md
// says how, options.h with which options.
//
// Exit status: 0, 1 if a result is wrong, 2 for bad arguments, 77 where there is no GPU.
#define _GNU_SOURCE
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "check.h"
#include "json.h"

// Runs of a schedule made beforehand: that they give the bits of the others, then their time.
static void run_scheduled(bench_step *s, bench_result *to) {
  bench_machine *m = s->m;
  const size_t size = (size_t)bench_case_rows(s->c) * (size_t)s->c->l * 2;
  unsigned char *derived = (unsigned char *)ref_alloc(size);
  unsigned char *scheduled = (unsigned char *)ref_alloc(size);
  bench_time making;
  bench_step_call(s, 0, m->kernels.queue);
  gpu_must(gpu.stream_synchronize(m->kernels.queue));
  gpu_must(gpu.download(derived, m->out.at, size));
  gpu_buffer_fill(&m->out, 0xff);
  gpu_must(gpu.synchronize());
  making = bench_measure(&m->kernels, bench_step_schedule, s, m->effort, 0);
  s->args.scheduled = 1;
  bench_step_call(s, 0, m->kernels.queue);
  gpu_must(gpu.stream_synchronize(m->kernels.queue));
  gpu_must(gpu.download(scheduled, m->out.at, size));
  if (memcmp(derived, scheduled, size)) {
    to->outcome = BENCH_WRONG;
    snprintf(to->why, sizeof to->why, "runs of a schedule made beforehand give other bits");
  } else {
    to->schedule_us = bench_best(&making);
    to->scheduled = bench_measure(&m->kernels, bench_step_call, s, m->effort, 0);
  }
  free(derived);
  free(scheduled);
}

static void run_case(bench_machine *m, const bench_case *c, bench_result *to) {
  const bench_options *o = m->options;
  bench_step s;
  memset(to, 0, sizeof *to);
  to->c = c;
  to->peer = bench_case_reference(c, o->kv, m->facts.peers);
  if (c->skipped[0]) {
    to->outcome = BENCH_SKIPPED;
    snprintf(to->why, sizeof to->why, "%s", c->skipped);
    return;
  }
  if (bench_step_begin(&s, m, to) == 0 && bench_check(&s, to) == 0) {
    to->bytes = bench_case_bytes(c, o->kv);
    to->flops = bench_case_flops(c);
    to->stream_us = bench_machine_streaming(m, to->bytes);
    to->limit_us = bench_limit(to->stream_us, to->flops, m->facts.matmul);
    to->time = bench_measure(&m->kernels, bench_step_call, &s, m->effort, o->sustained);
    if (o->schedule)
      run_scheduled(&s, to);
  }
  bench_step_end(&s);
}

static double now(void) { // seconds
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int run(const bench_options *o, bench_cases *cases, int argc, char **argv) {
  static bench_machine m;
  bench_result *results = (bench_result *)ref_alloc(sizeof *results * (size_t)(cases->count + 1));
  double start = now();
  bench_columns columns;
  int i, wrong = 0;
  if (o->kernel && setenv("LATHE_KERNEL", o->kernel, 1))
    return 1;
  if (bench_machine_begin(&m, o, cases))
    return 1;
  columns = bench_columns_of(cases, o, &m.facts);
  bench_print_head(&m.facts, o, &columns);
  for (i = 0; i < cases->count; i++) {
    run_case(&m, &cases->at[i], &results[i]);
    bench_print_row(&columns, results, &results[i]);
    wrong += results[i].outcome == BENCH_WRONG;
  }
  bench_print_summary(results, cases->count, now() - start);
  if (o->json &&
      bench_json_write(o->json, &m.facts, o, results, cases->count, now() - start, argc, argv))
    wrong++;
  bench_machine_end(&m);
  free(results);
  return wrong != 0;
}

int main(int argc, char **argv) {
  bench_options o;
  bench_cases cases;
  char why[256];
  int status = 0;
  if (bench_parse(&o, argc, argv)) {
    fprintf(stderr, "bench: --help lists the options\n");
    return 2;
  }
  if (o.help) {
    printf("%s", bench_usage);
    return 0;
  }
  bench_cases_make(&cases, &o);
  if (o.list) {
    bench_cases_print(&cases);
  } else if (gpu_driver_open(0, why, sizeof why)) {
    printf("bench: skipped: %s\n", why);
    status = 77;
  } else {
    status = run(&o, &cases, argc, argv);
  }
  free(cases.at);
  return status;
}
