// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// sample --json FILE [OPTION of bench...]: prints and writes the report of sample.h.
#define _GNU_SOURCE
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "sample.h"

int main(int argc, char **argv) {
  bench_sample s;
  bench_columns columns;
  int i, failed;
  bench_sample_make(&s, argc, argv);
  columns = bench_columns_of(&s.cases, &s.options, &s.facts);
  bench_print_head(&s.facts, &s.options, &columns);
  for (i = 0; i < s.cases.count; i++)
    bench_print_row(&columns, s.results, &s.results[i]);
  bench_print_summary(s.results, s.cases.count, 1);
  failed = !s.options.json || bench_json_write(s.options.json, &s.facts, &s.options, s.results,
                                               s.cases.count, 1, argc, argv);
  bench_sample_free(&s);
  return failed;
}
