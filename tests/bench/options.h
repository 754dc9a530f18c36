// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The command line of the benchmark.
#ifndef LATHE_TESTS_BENCH_OPTIONS_H
#define LATHE_TESTS_BENCH_OPTIONS_H

#include "rows.h"

#include <lathe/lathe.h>

#include <stdio.h>
#include <stdlib.h>

static const char bench_usage[] =
    "usage: bench [--rows B,S,H,K[,...] | --grid | --heads | --pages | --windows | --topk] "
    "[OPTION...]\n"
    "which rows (B requests of S new tokens, H heads, K cache rows); default: the table of rows.h\n"
    "  --rows LIST     these rows. K: 4096, or 32k, or 1000-16000 (uneven lengths); 4096c: causal\n"
    "  --grid          B 1 to 128, K 1k to 128k, H 8 to 128, S 1 to 4, timed as with --quick\n"
    "  --heads         6, 12, 20, 24, 40, 48, 96 heads beside the next power of two; with --rows\n"
    "                  of those rows\n"
    "  --pages         pages of 1 to 64 rows, as a fraction of 64; with --rows of those rows\n"
    "  --windows       a sliding window of K rows over 131072, as a fraction of the speed over K; "
    "with\n"
    "                  --rows of those rows\n"
    "  --topk          lists of 2048 rows of 656 bytes, bf16 queries\n"
    "  --filter TEXT   of the rows, those with TEXT in their name\n"
    "  --max-kv GB     no row with more cache than this; default: 5 with --grid, else none\n"
    "  --list          print the rows and end; needs no GPU\n"
    "what of a row\n"
    "  --dtype T       bf16 (default), f16, or e4m3: the cache's, with a bf16 query\n"
    "  --dims L,R      kv_lora_rank and qk_rope_head_dim, default 512,64\n"
    "  --page N        rows of a page, default 64\n"
    "  --kernel NAME   LATHE_KERNEL=NAME; a row that gets another kernel is not timed\n"
    "how\n"
    "  --quick         fewer and shorter bursts, fewer rows checked, interpolated streaming times\n"
    "  --sustained     a column of calls back to back, a second each\n"
    "  --schedule      also runs of a schedule made beforehand, as the peers' metadata is, and\n"
    "                  everything is compared by those\n"
    "  --matmul TF     the compute ceiling in TFLOP/s where there is no cuBLAS\n"
    "  --cublas PATH   the cuBLAS library to open\n"
    "  --json FILE     everything, for plot.py and figures.py\n";

typedef enum bench_mode {
  BENCH_MODE_TABLE = 0,
  BENCH_MODE_ROWS,
  BENCH_MODE_GRID,
  BENCH_MODE_HEADS,
  BENCH_MODE_PAGES,
  BENCH_MODE_WINDOWS,
  BENCH_MODE_TOPK
} bench_mode;

enum { BENCH_MOST_GIVEN = 64 }; // rows of --rows

typedef struct bench_options {
  bench_mode mode;
  bench_row given[BENCH_MOST_GIVEN]; // --rows
  int num_given;
  const char *filter, *json, *cublas, *kernel;
  int page, l, r;
  lathe_dtype q, kv;
  int quick, sustained, schedule, list, help;
  double max_kv; // bytes; 0: no bound
  double matmul; // TFLOP/s; 0: not given
} bench_options;

// A number from 1 to 2^24, with "k" for 1024 of them; moves *text on. 0 if there is none.
static inline int bench_parse_number(const char **text) {
  char *end;
  long value = **text >= '0' && **text <= '9' ? strtol(*text, &end, 10) : 0;
  if (value < 1 || value > 1 << 24)
    return 0;
  if (*end == 'k') {
    end++;
    value *= 1024;
  }
  *text = end;
  return value <= 1 << 24 ? (int)value : 0;
}

// "B,S,H,K[,...]"; returns how many rows, 0 if the text is not such a list.
static inline int bench_parse_rows(const char *text, bench_row *rows, int most) {
  int count = 0;
  while (count < most) {
    bench_row *row = &rows[count];
    int *fields[] = {&row->batch, &row->q_len, &row->heads}, i;
    memset(row, 0, sizeof *row);
    for (i = 0; i < 3; i++)
      if (!(*fields[i] = bench_parse_number(&text)) || *text++ != ',')
        return 0;
    row->kv_min = row->kv_max = bench_parse_number(&text);
    if (*text == '-') {
      text++;
      row->kv_max = bench_parse_number(&text);
    }
    if (*text == 'c') {
      text++;
      row->causal = 1;
    }
    if (!row->kv_min || row->kv_max < row->kv_min || row->kv_min < row->q_len)
      return 0;
    count++;
    if (*text == '\0')
      return count;
    if (*text++ != ',')
      return 0;
  }
  return 0;
}

static inline int bench_parse_dims(const char *text, int *l, int *r) {
  char tail;
  return sscanf(text, "%d,%d%c", l, r, &tail) == 2 && *l > 0 && *r >= 0 ? 0 : -1;
}

static inline int bench_parse_dtype(const char *text, bench_options *o) {
  o->q = strcmp(text, "f16") == 0 ? LATHE_DTYPE_F16 : LATHE_DTYPE_BF16;
  o->kv = strcmp(text, "e4m3") == 0 ? LATHE_DTYPE_E4M3 : o->q;
  return strcmp(text, "bf16") && strcmp(text, "f16") && strcmp(text, "e4m3") ? -1 : 0;
}

static inline int bench_parse_positive(const char *text, double *value) {
  char *end;
  *value = strtod(text, &end);
  return *value > 0 && *value < 1e9 && *end == '\0' ? 0 : -1;
}

static inline int bench_parse_mode(bench_options *o, bench_mode mode) {
  if (o->mode != BENCH_MODE_TABLE)
    return -1;
  o->mode = mode;
  return 0;
}

// One option with its value; -1 if the value is none of its.
static inline int bench_parse_value(bench_options *o, const char *name, const char *value) {
  if (strcmp(name, "--rows") == 0)
    return (o->num_given = bench_parse_rows(value, o->given, BENCH_MOST_GIVEN)) ? 0 : -1;
  if (strcmp(name, "--dtype") == 0)
    return bench_parse_dtype(value, o);
  if (strcmp(name, "--dims") == 0)
    return bench_parse_dims(value, &o->l, &o->r);
  if (strcmp(name, "--page") == 0)
    return (o->page = bench_parse_number(&value)) && *value == '\0' ? 0 : -1;
  if (strcmp(name, "--max-kv") == 0)
    return bench_parse_positive(value, &o->max_kv);
  if (strcmp(name, "--matmul") == 0)
    return bench_parse_positive(value, &o->matmul);
  if (strcmp(name, "--filter") == 0)
    o->filter = value;
  else if (strcmp(name, "--kernel") == 0)
    o->kernel = value;
  else if (strcmp(name, "--cublas") == 0)
    o->cublas = value;
  else if (strcmp(name, "--json") == 0)
    o->json = value;
  else
    return -1;
  return 0;
}

// 0, or -1 after a line on stderr.
static inline int bench_parse(bench_options *o, int argc, char **argv) {
  int i, bad = 0;
  memset(o, 0, sizeof *o);
  o->q = o->kv = LATHE_DTYPE_BF16;
  o->l = 512;
  o->r = 64;
  for (i = 1; i < argc && !bad; i++) {
    if (strcmp(argv[i], "--grid") == 0)
      bad = bench_parse_mode(o, BENCH_MODE_GRID);
    else if (strcmp(argv[i], "--heads") == 0)
      bad = bench_parse_mode(o, BENCH_MODE_HEADS);
    else if (strcmp(argv[i], "--pages") == 0)
      bad = bench_parse_mode(o, BENCH_MODE_PAGES);
    else if (strcmp(argv[i], "--windows") == 0)
      bad = bench_parse_mode(o, BENCH_MODE_WINDOWS);
    else if (strcmp(argv[i], "--topk") == 0)
      bad = bench_parse_mode(o, BENCH_MODE_TOPK);
    else if (strcmp(argv[i], "--quick") == 0)
      o->quick = 1;
    else if (strcmp(argv[i], "--sustained") == 0)
      o->sustained = 1;
    else if (strcmp(argv[i], "--schedule") == 0)
      o->schedule = 1;
    else if (strcmp(argv[i], "--list") == 0)
      o->list = 1;
    else if (strcmp(argv[i], "--help") == 0)
      o->help = 1;
    else if (i + 1 < argc && bench_parse_value(o, argv[i], argv[i + 1]) == 0)
      i++;
    else
      bad = 1;
    if (bad)
      fprintf(stderr, "bench: not understood: %s%s%s\n", argv[i], i + 1 < argc ? " " : "",
              i + 1 < argc ? argv[i + 1] : "");
  }
  if (!bad && o->mode == BENCH_MODE_GRID && o->num_given) {
    fprintf(stderr, "bench: --grid and --rows each say which rows; give one\n");
    bad = 1;
  }
  if (!bad && o->mode == BENCH_MODE_PAGES && o->page) {
    fprintf(stderr, "bench: --pages and --page each say which pages; give one\n");
    bad = 1;
  }
  if (!bad && o->mode == BENCH_MODE_TOPK &&
      (o->l != 512 || o->r != 64 || o->q != LATHE_DTYPE_BF16 || o->kv != LATHE_DTYPE_BF16)) {
    fprintf(stderr, "bench: --topk has rows of 656 bytes; leave --dims and --dtype out\n");
    bad = 1;
  }
  if (o->mode == BENCH_MODE_TOPK)
    o->kv = LATHE_DTYPE_E4M3;
  if (o->mode == BENCH_MODE_TABLE && o->num_given)
    o->mode = BENCH_MODE_ROWS;
  if (o->mode == BENCH_MODE_GRID) {
    o->quick = 1;
    o->max_kv = o->max_kv > 0 ? o->max_kv : 5;
  }
  o->max_kv *= 1e9;
  o->page = o->page ? o->page : 64;
  return bad ? -1 : 0;
}

#endif
