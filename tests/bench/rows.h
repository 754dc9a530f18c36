// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The rows that other libraries were timed on, with their times.
//
// The peers' columns were measured, not quoted: FlashMLA and FlashInfer (fa3, fa2) on one H100 80GB
// HBM3 (132 SMs, driver 580, CUDA 13.0) and, but for fa2, on one H200, dense bf16, L = 512, R = 64,
// pages of 64 rows in random order, random data. Whole call: split kernel and combine; plan or
// metadata made beforehand and not counted. Median; the smaller of single calls between their own
// events and of graph replay of many calls with an empty kernel between them. The cache cold: calls
// rotate over copies of together 400 MB or more. This is how the benchmark times Lathe too.
// Microseconds; 0: not measured.
//
// limit: the larger of the row's bytes over the streaming rate measured at that size and of its
// FLOPs over the rate of a large matrix product (787 and 802 TFLOP/s), on the same machine. Chips
// differ by a few percent, so compare time over limit here with time over limit there.
#ifndef LATHE_TESTS_BENCH_ROWS_H
#define LATHE_TESTS_BENCH_ROWS_H

#include <stddef.h>
#include <string.h>

typedef struct bench_row {
  int batch, q_len, heads, kv_min, kv_max; // lengths uniform in kv_min to kv_max
  int causal;
} bench_row;

typedef struct bench_reference {
  double flashmla, fa3, fa2, limit, target;
} bench_reference;

typedef struct bench_table_row {
  bench_row row;
  bench_reference h100, h200;
} bench_table_row;

static const bench_table_row bench_table[] = {
    // clang-format off
  {{  1, 1, 128,   4096,   4096, 0}, { 21.1,   20.7,  27.4,   4.8,  12}, { 20.0,  19.8, 0,   4.1,  12}},
  {{  1, 1, 128,  32768,  32768, 0}, { 42.1,   42.7,  61.2,  14.8,  23}, { 41.0,  40.0, 0,  11.5,  20}},
  {{  1, 1, 128, 131072, 131072, 0}, { 84.0,   88.9, 163.0,  50.2,  64}, { 77.9,  84.5, 0,  45.5,  58}},
  {{  1, 1,  16,  32768,  32768, 0}, { 48.0,   51.5,  59.8,  14.8,20.5}, { 44.9,  48.0, 0,  11.4,  17}},
  {{ 16, 1,  16,   4096,   4096, 0}, { 35.8,   37.8,  48.3,  27.3,  32}, { 29.8,  30.3, 0,  19.8,  25}},
  {{ 32, 1,  16,   8192,   8192, 0}, {108.6,  110.4, 149.0,  97.5, 102}, {    0,     0, 0,     0,   0}},
  {{ 64, 1,  16,   4096,   4096, 0}, {107.9,  110.1, 149.0,  97.5, 102}, { 80.6,  80.9, 0,  69.0,  74}},
  {{128, 1,   8,   4096,   4096, 0}, {200.3,  202.9, 280.0, 191.0, 196}, {    0,     0, 0,     0,   0}},
  {{128, 1,  16,   4096,   4096, 0}, {201.5,  204.9, 284.0, 191.0, 196}, {144.3, 146.6, 0, 135.0, 140}},
  {{128, 1,  32,   4096,   4096, 0}, {203.5,  206.4, 285.0, 193.0, 197}, {    0,     0, 0,     0,   0}},
  {{128, 1,  64,   4096,   4096, 0}, {205.7,  211.6, 297.0, 196.0, 200}, {147.1, 154.3, 0, 139.0, 143}},
  {{128, 1, 128,   4096,   4096, 0}, {243.9,  273.0, 550.0, 202.0, 222}, {222.8, 271.7, 0, 182.0, 206}},
  {{128, 1, 128,   8192,   8192, 0}, {506.0,  540.0,1078.0, 388.0, 425}, {452.0, 520.0, 0, 364.0, 415}},
  {{ 32, 1, 128,  16384,  16384, 0}, {256.0,  277.0, 552.0, 193.0, 220}, {229.0, 270.0, 0, 182.0, 208}},
  {{128, 2, 128,   4096,   4096, 0}, {460.0,  545.0,1087.0, 371.0, 408}, {433.0, 513.0, 0, 364.0, 410}},
  {{128, 2, 128,   8192,   8192, 0}, {931.0, 1039.0,2138.0, 742.0, 820}, {    0,     0, 0,     0,   0}},
  {{ 64, 4, 128,   4096,   4096, 1}, {423.0,  532.0,1081.0, 371.0, 410}, {417.0, 513.0, 0, 364.0, 405}},
  {{ 64, 1, 128,   1000,  16000, 0}, {299.0,  442.0, 980.0, 209.0, 245}, {262.0, 435.0, 0, 205.0, 235}},
    // clang-format on
};

enum { BENCH_TABLE_ROWS = sizeof bench_table / sizeof bench_table[0] };

// Lists of BENCH_TOPK rows of 656 bytes, drawn at random from a request's: what FlashMLA's sparse
// decode took, measured likewise, on the H100.
enum { BENCH_TOPK = 2048 };
static const bench_table_row bench_topk_table[] = {
    // clang-format off
  {{128, 1,  64,  32768,  32768, 0}, {119.0,      0,     0,     0,   0}, {    0,     0, 0,     0,   0}},
  {{128, 1, 128,  32768,  32768, 0}, {185.0,      0,     0,     0,   0}, {    0,     0, 0,     0,   0}},
  {{128, 2,  64,  32768,  32768, 0}, {232.0,      0,     0,     0,   0}, {    0,     0, 0,     0,   0}},
  {{128, 2, 128,  32768,  32768, 0}, {364.0,      0,     0,     0,   0}, {    0,     0, 0,     0,   0}},
    // clang-format on
};
enum { BENCH_TOPK_ROWS = sizeof bench_topk_table / sizeof bench_topk_table[0] };

// The column of bench_table for a device: "H100", "H200", or null. Other chips of these names
// (PCIe, NVL) have other clocks and memory.
static inline const char *bench_peers_of(const char *device) {
  return strstr(device, "H100 80GB HBM3")     ? "H100"
         : strcmp(device, "NVIDIA H200") == 0 ? "H200"
                                              : NULL;
}

// What the peers took for a row on the device of that column; all zero if it was not measured.
static inline const bench_reference *bench_reference_in(const bench_table_row *table, int count,
                                                        const char *peers, const bench_row *row) {
  static const bench_reference none;
  int i;
  for (i = 0; peers && i < count; i++)
    if (memcmp(&table[i].row, row, sizeof *row) == 0)
      return strcmp(peers, "H200") == 0 ? &table[i].h200 : &table[i].h100;
  return &none;
}
static inline const bench_reference *bench_reference_of(const char *peers, const bench_row *row) {
  return bench_reference_in(bench_table, BENCH_TABLE_ROWS, peers, row);
}

#endif
