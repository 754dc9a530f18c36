// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What lathe.h promises for values at the edge and over it: lengths that the host cannot see are
// clamped, table entries outside the cache read as zeros, a NaN stays in its own request.
#include "device.h"
#include "oracle.h"

static shape edge_shape(int batch, int q_len, int heads, int kv_len, int page) {
  shape s;
  memset(&s, 0, sizeof s);
  s.batch = batch;
  s.q_len = q_len;
  s.num_heads = heads;
  s.kv_len = kv_len;
  s.page_size = page;
  s.l = 512;
  s.r = 64;
  s.q = s.kv = s.out = LATHE_DTYPE_BF16;
  s.lse = 1;
  s.bounded = 1;
  s.seed = 21;
  return s;
}

typedef struct bench {
  lathe_context *context;
  lathe_decode_plan *plan;
  device_problem device;
} bench;

// Uploads p as it now is and runs it; 0 if p->out and p->lse hold the result.
static int bench_run(bench *b, problem *p) {
  memset(b, 0, sizeof *b);
  b->context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  b->plan = make_plan(b->context, &p->desc);
  if (!b->plan)
    return -1;
  device_upload(&b->device, p, lathe_decode_workspace_size(b->plan));
  return device_run(&b->device, p, b->plan, 0xff);
}

static void bench_end(bench *b, problem *p) {
  lathe_decode_plan_destroy(b->plan);
  device_free(&b->device);
  lathe_context_destroy(b->context);
  problem_free(p);
}

GPU_TEST(edges, lengths_are_clamped) {
  static const int32_t wild[4] = {-5, 1000000, INT32_MIN, INT32_MAX};
  static const int32_t meant[4] = {0, 100, 0, 100};
  shape s = edge_shape(4, 2, 16, 100, 16);
  problem p;
  bench b;
  problem_make(&p, &s);
  p.desc.max_seq_len = 100; // the same pages as for the 101 that it was
  memcpy(p.lens, wild, sizeof wild);
  if (bench_run(&b, &p) == 0) {
    oracle_whole(&p); // the CPU backend clamps as well
    memcpy(p.lens, meant, sizeof meant);
    oracle_check(&p);
  }
  bench_end(&b, &p);
}

GPU_TEST(edges, lengths_end_with_the_table) {
  shape s = edge_shape(3, 1, 16, 200, 16);
  problem p;
  bench b;
  int i, k;
  problem_make(&p, &s);
  for (i = 0; i < 3; i++) // tables of three pages: 48 rows
    for (k = 0; k < 3; k++)
      p.tables[i * 3 + k] = p.tables[i * 13 + k];
  p.args.block_table_stride = 3;
  p.tables_size = 9 * sizeof(int32_t);
  if (bench_run(&b, &p) == 0) {
    oracle_whole(&p);
    for (i = 0; i < 3; i++)
      p.lens[i] = 48;
    oracle_check(&p);
  }
  bench_end(&b, &p);
}

static void entries_outside_the_cache(int page) {
  shape s = edge_shape(4, 1, 20, 150, page);
  problem p;
  bench b;
  long long stride;
  problem_make(&p, &s);
  stride = (p.desc.max_seq_len + page - 1) / page;
  p.tables[0 * stride + 2] = -1;
  p.tables[1 * stride + 0] = (int32_t)p.args.num_pages;
  p.tables[2 * stride + 9] = INT32_MAX;
  p.tables[3 * stride + 5] = INT32_MIN;
  if (bench_run(&b, &p) == 0)
    oracle_check(&p);
  bench_end(&b, &p);
}
GPU_TEST(edges, entries_outside_the_cache_read_as_zeros) {
  entries_outside_the_cache(16);
  entries_outside_the_cache(3);
}

GPU_TEST(edges, more_new_tokens_than_rows) {
  shape s = edge_shape(6, 8, 16, 5, 4);
  problem p;
  bench b;
  int i;
  problem_make(&p, &s);
  for (i = 0; i < 6; i++)
    p.lens[i] = i; // 0 to 5 rows for 8 tokens
  if (bench_run(&b, &p) == 0)
    oracle_check(&p);
  bench_end(&b, &p);
}

GPU_TEST(edges, nan_stays_in_its_request) {
  shape s = edge_shape(3, 1, 16, 300, 32);
  problem p;
  bench b;
  int head, k, clean = 1, dirty = 1;
  long long stride, row = s.l + s.r;
  problem_make(&p, &s);
  stride = (p.desc.max_seq_len + 31) / 32;
  // The last page of a request is its own: poison the latent of row 299 of request 1.
  memset(p.kv + (p.tables[stride + 9] * 32 + 11) * row * 2, 0xff, 64);
  if (bench_run(&b, &p) == 0) {
    for (head = 0; head < 16; head++)
      for (k = 0; k < s.l; k++) {
        clean &= !isnan(element_value(s.out, p.out + (0 * 16 + head) * 1024 + k * 2)) &&
                 !isnan(element_value(s.out, p.out + (2 * 16 + head) * 1024 + k * 2));
        dirty &= isnan(element_value(s.out, p.out + (1 * 16 + head) * 1024 + k * 2)) != 0;
      }
    gpu_check(clean, "a NaN of request 1 reached another request");
    gpu_check(dirty, "a NaN row was taken for a masked one");
  }
  bench_end(&b, &p);
}

// Scores hundreds apart, maxima that rise and fall from block to block.
GPU_TEST(edges, scores_far_apart) {
  static const int heads[] = {16, 20, 128};
  int i, kind;
  for (i = 0; i < 3; i++)
    for (kind = PATTERN_RISING; kind <= PATTERN_HUGE; kind++) {
      shape s = edge_shape(2, 1, heads[i], gpu_small() ? 200 : 2000, 64);
      problem p;
      bench b;
      s.pattern = (pattern)kind;
      s.seed = (unsigned long long)(i * 4 + kind);
      problem_make(&p, &s);
      p.args.softmax_scale *= 10;
      if (bench_run(&b, &p) == 0)
        oracle_check(&p);
      bench_end(&b, &p);
      if (gpu_small())
        return;
    }
}

// The same in parts of many blocks, which few multiprocessors make of short requests: bases change
// inside a part, and rings go round.
GPU_TEST(edges, long_parts) {
  static const int heads[] = {16, 20, 128};
  int i, kind;
  for (i = 0; i < 3; i++)
    for (kind = PATTERN_RISING; kind <= PATTERN_HUGE; kind++) {
      shape s = edge_shape(3, 1, heads[i], 450, 64);
      problem p;
      bench b;
      s.pattern = (pattern)kind;
      s.lengths = LENGTHS_UNEVEN;
      s.seed = (unsigned long long)(40 + i * 4 + kind);
      problem_make(&p, &s);
      p.args.softmax_scale *= 10;
      p.desc.num_sms = 1;
      if (bench_run(&b, &p) == 0)
        oracle_check(&p);
      bench_end(&b, &p);
    }
}

GPU_TEST(edges, many_requests_many_heads_long_requests) {
  static const struct {
    int batch, q_len, heads, kv_len, page;
  } sizes[] = {
      {1000, 1, 16, 50, 16}, {3, 3, 200, 700, 64}, {1, 1, 16, 131072, 64}, {1500, 2, 8, 3, 1}};
  int i;
  if (gpu_small()) {
    gpu_skip("too large for a small run");
    return;
  }
  for (i = 0; i < 4; i++) {
    shape s =
        edge_shape(sizes[i].batch, sizes[i].q_len, sizes[i].heads, sizes[i].kv_len, sizes[i].page);
    problem p;
    bench b;
    s.lengths = i < 3 ? LENGTHS_ZEROS : LENGTHS_UNEVEN;
    problem_make(&p, &s);
    if (bench_run(&b, &p) == 0)
      oracle_check(&p);
    bench_end(&b, &p);
  }
}
