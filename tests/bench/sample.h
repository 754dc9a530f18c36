// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A report with made-up times on an H100, so that what is made of a report can be tested without a
// GPU: every row of the table at 1.25 times the peers' limit, but the last two.
#ifndef LATHE_TESTS_BENCH_SAMPLE_H
#define LATHE_TESTS_BENCH_SAMPLE_H

#include "json.h"

typedef struct bench_sample {
  bench_options options;
  bench_cases cases;
  bench_facts facts;
  bench_result *results;
} bench_sample;

static inline double bench_sample_stream(void *user, double bytes) {
  (void)user;
  return 2 + bytes / 3.2e6;
}

static inline void bench_sample_make(bench_sample *s, int argc, char **argv) {
  int i;
  memset(s, 0, sizeof *s);
  if (bench_parse(&s->options, argc, argv))
    abort();
  bench_cases_make(&s->cases, &s->options);
  snprintf(s->facts.device, sizeof s->facts.device, "NVIDIA H100 80GB HBM3");
  s->facts.peers = bench_peers_of(s->facts.device);
  s->facts.num_sms = 132;
  s->facts.driver = 13000;
  s->facts.empty_us = 0.8;
  s->facts.matmul = 800;
  s->facts.matmul_source = "option";
  s->results = (bench_result *)calloc((size_t)s->cases.count + 1, sizeof *s->results);
  for (i = 0; s->results && i < s->cases.count; i++) {
    bench_result *r = &s->results[i];
    r->c = &s->cases.at[i];
    r->peer = bench_case_reference(r->c, s->options.kv, s->facts.peers);
    r->bytes = bench_case_bytes(r->c, s->options.kv);
    r->flops = bench_case_flops(r->c);
    r->stream_us = bench_curve_exact(&s->facts.streaming, r->bytes, bench_sample_stream, NULL);
    r->limit_us = bench_limit(r->stream_us, r->flops, s->facts.matmul);
    r->time.graph = 1.25 * r->limit_us;
    r->time.single = r->time.graph + 2;
    if (s->options.schedule) {
      r->scheduled.graph = 1.125 * r->limit_us;
      r->scheduled.single = r->scheduled.graph + 2;
      r->schedule_us = 3;
    }
    snprintf(r->kernel, sizeof r->kernel, "decode_sample");
    if (i == s->cases.count - 2) {
      r->outcome = BENCH_SKIPPED;
      snprintf(r->why, sizeof r->why, "a \"sample\" of a reason");
    } else if (i == s->cases.count - 1) {
      r->outcome = BENCH_WRONG;
      snprintf(r->why, sizeof r->why, "a sample of a mistake");
    }
  }
}

static inline void bench_sample_free(bench_sample *s) {
  free(s->results);
  free(s->cases.at);
}

#endif
