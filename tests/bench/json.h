// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The report of the benchmark as JSON; docs/benchmarks/README.md says what its fields are. What is
// not known is null.
#ifndef LATHE_TESTS_BENCH_JSON_H
#define LATHE_TESTS_BENCH_JSON_H

#include "report.h"

static inline void bench_json_text(FILE *file, const char *text) {
  putc('"', file);
  for (; *text; text++) {
    if ((unsigned char)*text < 0x20)
      fprintf(file, "\\u%04x", (unsigned)*text);
    else
      fprintf(file, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
  }
  putc('"', file);
}

// ", "name": text" and the same with a number: null if it is empty or 0
static inline void bench_json_name(FILE *file, const char *name, const char *text) {
  fprintf(file, ", \"%s\": ", name);
  if (text && text[0])
    bench_json_text(file, text);
  else
    fprintf(file, "null");
}
static inline void bench_json_number(FILE *file, const char *name, double value, int digits) {
  if (value > 0)
    fprintf(file, ", \"%s\": %.*f", name, digits, value);
  else
    fprintf(file, ", \"%s\": null", name);
}

// The command line, without where files lie, which is no part of the measurement.
static inline void bench_json_command(FILE *file, int argc, char **argv) {
  char text[1024] = "bench";
  int i;
  for (i = 1; i < argc; i++)
    if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "--cublas") == 0)
      i++;
    else
      snprintf(text + strlen(text), sizeof text - strlen(text), " %s", argv[i]);
  fprintf(file, "  \"command\": ");
  bench_json_text(file, text);
}

static inline void bench_json_machine(FILE *file, const bench_facts *f, const bench_options *o) {
  char nvrtc[32] = "";
  int i;
  if (f->nvrtc_major)
    snprintf(nvrtc, sizeof nvrtc, "%d.%d", f->nvrtc_major, f->nvrtc_minor);
  fprintf(file, ",\n  \"lathe\": \"%d.%d.%d\",\n  \"device\": ", LATHE_VERSION_MAJOR,
          LATHE_VERSION_MINOR, LATHE_VERSION_PATCH);
  bench_json_text(file, f->device);
  fprintf(file, ",\n  \"num_sms\": %d,\n  \"driver\": %d", f->num_sms, f->driver);
  bench_json_name(file, "driver_name", f->driver_name);
  bench_json_name(file, "nvrtc", nvrtc);
  bench_json_number(file, "max_sm_mhz", f->most_sm, 0);
  bench_json_number(file, "memory_bytes", f->memory_bytes, 0);
  bench_json_number(file, "l2_bytes", f->l2_bytes, 0);
  fprintf(file, ",\n  \"q_dtype\": \"%s\",\n  \"kv_dtype\": \"%s\"", lathe_dtype_string(o->q),
          lathe_dtype_string(o->kv));
  bench_json_name(file, "kernel_asked_for", o->kernel);
  bench_json_name(file, "compared", o->schedule ? "scheduled" : "derived");
  bench_json_name(file, "peers", f->peers);
  fprintf(file, ",\n  \"empty_kernel_us\": %.3f", f->empty_us);
  bench_json_number(file, "matmul_tflops", f->matmul, 1);
  bench_json_name(file, "matmul_source", f->matmul_source);
  fprintf(file, ",\n  \"streaming\": [");
  for (i = 0; i < f->streaming.count; i++)
    fprintf(file, "%s\n    {\"bytes\": %.0f, \"us\": %.2f, \"tbs\": %.3f}", i ? "," : "",
            f->streaming.bytes[i], f->streaming.us[i],
            f->streaming.bytes[i] / f->streaming.us[i] / 1e6);
  fprintf(file, "\n  ]");
}

static inline void bench_json_timed(FILE *file, const bench_result *results,
                                    const bench_result *r) {
  const bench_reference *peer = r->peer;
  double best = bench_compared(r), relative = bench_relative(results, r);
  fprintf(file, ",\n     \"blocks\": %d, \"splits\": %d, \"registers\": %d, \"shared_bytes\": %d",
          r->blocks, r->splits, r->registers, r->shared_bytes);
  fprintf(file, ", \"checked_rows\": %d, \"worst_abs\": %.3g", r->checked_rows, r->worst_abs);
  fprintf(file, ",\n     \"graph_us\": %.2f, \"single_us\": %.2f", r->time.graph, r->time.single);
  bench_json_number(file, "sustained_us", r->time.sustained, 2);
  if (r->scheduled.graph > 0)
    fprintf(file,
            ",\n     \"scheduled_graph_us\": %.2f, \"scheduled_single_us\": %.2f, "
            "\"schedule_us\": %.2f",
            r->scheduled.graph, r->scheduled.single, r->schedule_us);
  fprintf(file, ", \"stream_us\": %.2f", r->stream_us);
  bench_json_number(file, "limit_us", r->limit_us, 2);
  bench_json_number(file, "fraction", bench_fraction(r), 4);
  fprintf(file, ",\n     \"bytes\": %.0f, \"flops\": %.0f, \"tbs\": %.3f, \"tflops\": %.1f",
          r->bytes, r->flops, r->bytes / best / 1e6, r->flops / best / 1e6);
  bench_json_number(file, "sm_mhz", r->time.sm, 0);
  bench_json_number(file, "memory_mhz", r->time.memory, 0);
  if (relative > 0)
    fprintf(file, ",\n     \"relative_to\": \"%s\", \"relative\": %.4f",
            results[r->c->relative].c->name, relative);
  fprintf(file, ",\n     \"reference\": {\"met\": %s",
          peer->target <= 0      ? "null"
          : best <= peer->target ? "true"
                                 : "false");
  bench_json_number(file, "flashmla_us", peer->flashmla, 1);
  bench_json_number(file, "flashinfer_fa3_us", peer->fa3, 1);
  bench_json_number(file, "flashinfer_fa2_us", peer->fa2, 1);
  bench_json_number(file, "limit_us", peer->limit, 1);
  bench_json_number(file, "target_us", peer->target, 1);
  putc('}', file);
}

static inline void bench_json_row(FILE *file, const bench_result *results, const bench_result *r) {
  static const char *const correct[] = {"true", "null", "false"}; // by outcome
  const bench_row *row = &r->c->row;
  fprintf(file, "\n    {\"row\": \"%s\", \"batch\": %d, \"q_len\": %d, \"num_heads\": %d",
          r->c->name, row->batch, row->q_len, row->heads);
  fprintf(file, ", \"kv_min\": %d, \"kv_max\": %d, \"causal\": %s", row->kv_min, row->kv_max,
          row->causal ? "true" : "false");
  fprintf(file, ", \"sliding_window\": %d, \"sparse_topk\": %d", r->c->window, r->c->topk);
  fprintf(file, ", \"page_size\": %d, \"kv_lora_rank\": %d, \"qk_rope_head_dim\": %d", r->c->page,
          r->c->l, r->c->r);
  fprintf(file, ",\n     \"correct\": %s", correct[r->outcome]);
  bench_json_name(file, "kernel", r->kernel);
  bench_json_name(file, "merge_kernel", r->merge);
  if (r->outcome == BENCH_TIMED)
    bench_json_timed(file, results, r);
  else
    bench_json_name(file, r->outcome == BENCH_SKIPPED ? "skipped" : "wrong", r->why);
  putc('}', file);
}

static inline void bench_json_summary(FILE *file, const bench_result *results, int count) {
  int i, any = 0;
  fprintf(file, ",\n  \"time_over_limit\": [");
  for (i = 0; i < BENCH_PEERS; i++) {
    bench_mean mean = bench_mean_of(results, count, i);
    if (mean.rows)
      fprintf(file, "%s\n    {\"peer\": \"%s\", \"rows\": %d, \"lathe\": %.4f, \"other\": %.4f}",
              any++ ? "," : "", mean.peer, mean.rows, mean.lathe, mean.other);
  }
  fprintf(file, "\n  ]");
}

// 0, or -1 after a line on stderr.
static inline int bench_json_write(const char *path, const bench_facts *f, const bench_options *o,
                                   const bench_result *results, int count, double seconds, int argc,
                                   char **argv) {
  FILE *file = fopen(path, "w");
  int i;
  if (!file) {
    fprintf(stderr, "bench: cannot write %s\n", path);
    return -1;
  }
  fprintf(file, "{\n");
  bench_json_command(file, argc, argv);
  bench_json_machine(file, f, o);
  bench_json_summary(file, results, count);
  fprintf(file, ",\n  \"seconds\": %.0f,\n  \"rows\": [", seconds);
  for (i = 0; i < count; i++) {
    bench_json_row(file, results, &results[i]);
    fprintf(file, i + 1 < count ? "," : "");
  }
  fprintf(file, "\n  ]\n}\n");
  if (ferror(file) | fclose(file)) {
    fprintf(stderr, "bench: could not write all of %s\n", path);
    return -1;
  }
  return 0;
}

#endif
