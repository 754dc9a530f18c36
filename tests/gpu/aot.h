// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Kernels made ahead of time against the same kernels compiled now: the same bits.
#ifndef LATHE_TESTS_GPU_AOT_H
#define LATHE_TESTS_GPU_AOT_H

#include "append_problem.h"
#include "device.h"
#include "oracle.h"

static inline shape aot_shape(int heads, lathe_dtype q, lathe_dtype kv, int l, int r) {
  shape s;
  memset(&s, 0, sizeof s);
  s.batch = 5;
  s.q_len = 1;
  s.num_heads = heads;
  s.kv_len = gpu_small() ? 200 : 1100;
  s.page_size = 64;
  s.l = l;
  s.r = r;
  s.q = s.out = q;
  s.kv = kv;
  s.lengths = LENGTHS_UNEVEN;
  s.lse = 1;
  s.seed = (unsigned long long)heads;
  return s;
}

// 1: compared; 0: the table has no such kernel.
static inline int aot_compare(lathe_context *ahead, lathe_context *now, const shape *s) {
  problem p;
  device_problem device;
  lathe_decode_plan *a = NULL, *b = NULL;
  lathe_decode_plan_info ia, ib;
  lathe_status status;
  char name[256];
  unsigned char *out;
  int compared = 0;
  problem_make(&p, s);
  problem_name(&p, name, sizeof name);
  status = lathe_decode_plan_create(ahead, &p.desc, &a);
  if (status == LATHE_STATUS_JIT_DISABLED) { // and the message says which row would add it
    fprintf(stderr, "# not in the table: %s (%s)\n", name, lathe_last_error()->message);
    problem_free(&p);
    return 0;
  }
  if (gpu_ok(status, name) && (b = make_plan(now, &p.desc)) != NULL) {
    gpu_ok(lathe_decode_plan_get_info(a, &ia), "lathe_decode_plan_get_info");
    gpu_ok(lathe_decode_plan_get_info(b, &ib), "lathe_decode_plan_get_info");
    gpu_check(strcmp(ia.kernel, ib.kernel) == 0, "%s is %s ahead of time and %s now", name,
              ia.kernel, ib.kernel);
    gpu_check(ia.source == LATHE_KERNEL_SOURCE_AHEAD_OF_TIME ||
                  ia.source == LATHE_KERNEL_SOURCE_MEMORY, // of an earlier plan, from the table too
              "%s: source %d", name, (int)ia.source);
    gpu_check(ib.source == LATHE_KERNEL_SOURCE_NVRTC || ib.source == LATHE_KERNEL_SOURCE_CACHE ||
                  ib.source == LATHE_KERNEL_SOURCE_MEMORY,
              "%s: source %d", name, (int)ib.source);
    memset(&device, 0, sizeof device);
    device_upload(&device, &p, lathe_decode_workspace_size(a));
    if (device_run(&device, &p, a, 0xff) == 0) {
      out = (unsigned char *)ref_alloc(p.out_size + p.lse_size);
      memcpy(out, p.out, p.out_size);
      memcpy(out + p.out_size, p.lse, p.lse_size);
      if (device_run(&device, &p, b, 0x55) == 0) {
        gpu_check(memcmp(out, p.out, p.out_size) == 0 &&
                      memcmp(out + p.out_size, p.lse, p.lse_size) == 0,
                  "%s (%s): ahead of time and compiled now differ", name, ia.kernel);
        oracle_check(&p);
        compared = 1;
      }
      free(out);
    }
    device_free(&device);
  }
  lathe_decode_plan_destroy(a);
  lathe_decode_plan_destroy(b);
  problem_free(&p);
  return compared;
}

// An append of random options, where the table has its kernel.
static inline int aot_compare_append(lathe_context *ahead, lathe_context *now, uint64_t seed) {
  append_shape shape = append_draw(seed);
  append_problem p;
  lathe_append_plan *a = NULL, *b = NULL;
  lathe_append_args args;
  lathe_status status;
  unsigned char *first[APPEND_BUFFERS];
  char name[256];
  int i, compared = 0;
  append_problem_make(&p, &shape);
  append_name(&shape, name, sizeof name);
  status = lathe_append_plan_create(ahead, &p.desc, &a);
  if (status != LATHE_STATUS_JIT_DISABLED && gpu_ok(status, name) &&
      (b = append_plan(now, &p.desc)) != NULL) {
    args = append_upload(&p);
    gpu_ok(lathe_append_run(a, &args, NULL), name);
    append_download(&p);
    for (i = 0; i < p.count; i++) {
      first[i] = p.buffers[i].got;
      p.buffers[i].got = first[i] ? (unsigned char *)malloc(p.buffers[i].size) : NULL;
    }
    args = append_upload(&p);
    gpu_ok(lathe_append_run(b, &args, NULL), name);
    append_download(&p);
    for (i = 0; i < p.count; i++) {
      gpu_check(!first[i] || memcmp(first[i], p.buffers[i].got, p.buffers[i].size) == 0,
                "%s: ahead of time and compiled now differ", name);
      free(first[i]);
    }
    compared = 1;
  }
  lathe_append_plan_destroy(a);
  lathe_append_plan_destroy(b);
  append_problem_free(&p);
  return compared;
}

static inline void aot_compare_appends(const lathe_kernel_table *table) {
  lathe_context *ahead = gpu_context_create(table, LATHE_SWITCH_OFF);
  lathe_context *now = gpu_context_create(NULL, LATHE_SWITCH_ON);
  int compared = 0;
  uint64_t seed;
  for (seed = 0; seed < 40; seed++)
    compared += aot_compare_append(ahead, now, seed);
  gpu_check(compared >= 10, "the table holds the kernels of %d of 40 appends", compared);
  lathe_context_destroy(ahead);
  lathe_context_destroy(now);
}

static inline void aot_compare_all(const lathe_kernel_table *table) {
  static const lathe_dtype qs[] = {LATHE_DTYPE_BF16, LATHE_DTYPE_F16};
  static const int heads[] = {16, 20, 128};
  static const int dims[][2] = {{512, 64}, {512, 0}, {256, 64}, {256, 32}, {128, 32}, {320, 64}};
  lathe_context *ahead = gpu_context_create(table, LATHE_SWITCH_OFF);
  lathe_context *now = gpu_context_create(NULL, LATHE_SWITCH_ON);
  int d, h, q, e4m3, compared = 0;
  for (d = 0; d < (gpu_small() ? 1 : 6); d++)
    for (h = 0; h < 3; h++)
      for (q = 0; q < 2; q++)
        for (e4m3 = 0; e4m3 < 2; e4m3++) {
          shape s =
              aot_shape(heads[h], qs[q], e4m3 ? LATHE_DTYPE_E4M3 : qs[q], dims[d][0], dims[d][1]);
          compared += aot_compare(ahead, now, &s);
        }
  fprintf(stderr, "# %d kernels compared\n", compared);
  gpu_check(compared >= 3, "the table holds %d of the kernels that were looked for", compared);
  lathe_context_destroy(ahead);
  lathe_context_destroy(now);
}

#endif
