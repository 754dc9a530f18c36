// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the GPU examples are not about: a decode step of random bf16 tensors, a page table, memory
// on the GPU, and the check of the result against Lathe's CPU backend. Failures end the program.
#ifndef LATHE_EXAMPLES_STEP_H
#define LATHE_EXAMPLES_STEP_H

#include "gpu_memory.h"

#include <math.h>

enum { SKIPPED = 77 }; /* exit status of an example with nothing to run on; Meson shows a skip */

typedef struct step {
  lathe_decode_desc desc;
  lathe_decode_args host; /* host pointers */
  lathe_decode_args args; /* the same on the GPU that was current in step_make() */
  size_t out_size;        /* bytes */
} step;

static inline void expect_ok(lathe_status status, const char *what) {
  if (status != LATHE_STATUS_OK) {
    fprintf(stderr, "%s: %s: %s\n", what, lathe_status_string(status), lathe_last_error()->message);
    exit(1);
  }
}

/* 1, and a line that says why, if there is no GPU to run on; any other failure ends the program. */
static inline int no_gpu(const char *example, lathe_status status) {
  if (status == LATHE_STATUS_NO_DEVICE) {
    printf("%s: skipped: %s\n", example, lathe_last_error()->message);
    return 1;
  }
  expect_ok(status, "lathe_context_create");
  return 0;
}

/* Elements in (-1, 1). A bf16 is the upper half of a float. */
static inline uint16_t *random_bf16(size_t count, unsigned seed) {
  uint16_t *values = (uint16_t *)malloc(count * sizeof *values);
  size_t i;
  if (!values)
    exit(1);
  for (i = 0; i < count; i++) {
    float value;
    uint32_t bits;
    seed = seed * 1664525u + 1013904223u;
    value = (float)(int32_t)seed / 2147483648.0f;
    memcpy(&bits, &value, sizeof bits);
    values[i] = (uint16_t)(bits >> 16);
  }
  return values;
}

static inline float bf16_to_float(uint16_t value) {
  uint32_t bits = (uint32_t)value << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

/* All tensors of a step of desc->max_batch requests with lengths lens[]; pages for max_seq_len
   each, the requests' pages interleaved. The workspace is for `plan`. */
static inline void step_make(step *s, const lathe_decode_desc *desc, const int32_t *lens,
                             const lathe_decode_plan *plan) {
  int32_t batch = desc->max_batch, rows = desc->max_q_len > 0 ? desc->max_q_len : 1, i;
  int32_t pages = (desc->max_seq_len + desc->page_size - 1) / desc->page_size;
  size_t width = (size_t)(desc->kv_lora_rank + desc->qk_rope_head_dim);
  size_t q_size = (size_t)batch * (size_t)(rows * desc->num_heads) * width * 2;
  size_t kv_size = (size_t)batch * (size_t)pages * (size_t)desc->page_size * width * 2;
  int32_t *tables = (int32_t *)malloc(sizeof(int32_t) * (size_t)(batch * pages));
  int32_t *lengths = (int32_t *)malloc(sizeof(int32_t) * (size_t)batch);
  memset(s, 0, sizeof *s);
  if (!tables || !lengths)
    exit(1);
  for (i = 0; i < batch * pages; i++)
    tables[i] = i % pages * batch + i / pages;
  memcpy(lengths, lens, sizeof(int32_t) * (size_t)batch);

  s->desc = *desc;
  s->host.batch = batch;
  s->host.q = random_bf16(q_size / 2, 1);
  s->host.kv_cache = random_bf16(kv_size / 2, 2);
  s->host.num_pages = batch * pages;
  s->host.block_tables = tables;
  s->host.seq_lens = lengths;
  s->host.softmax_scale = 1.0f / sqrtf((float)width);
  s->out_size = (size_t)batch * (size_t)(rows * desc->num_heads * desc->kv_lora_rank) * 2;
  s->host.out = malloc(s->out_size);

  s->args = s->host;
  s->args.q = gpu_copy(s->host.q, q_size);
  s->args.kv_cache = gpu_copy(s->host.kv_cache, kv_size);
  s->args.block_tables =
      (const int32_t *)gpu_copy(tables, sizeof(int32_t) * (size_t)(batch * pages));
  s->args.seq_lens = (const int32_t *)gpu_copy(lengths, sizeof(int32_t) * (size_t)batch);
  s->args.out = gpu_alloc(s->out_size);
  s->args.workspace_size = lathe_decode_workspace_size(plan);
  s->args.workspace = gpu_alloc(s->args.workspace_size);
  gpu_fill(s->args.out, 0xff, s->out_size); /* NaN */
  gpu_synchronize();
}

/* Puts other lengths in place, on the host and on the GPU. */
static inline void step_set_lengths(step *s, const int32_t *lens) {
  size_t size = sizeof(int32_t) * (size_t)s->host.batch;
  memcpy((void *)(uintptr_t)s->host.seq_lens, lens, size);
  gpu_write((void *)(uintptr_t)s->args.seq_lens, lens, size);
}

/* Reads the result and computes it once more on the CPU backend. The largest difference; it is NaN
   or large if anything is wrong. */
static inline double step_error(const step *s) {
  lathe_context_desc context_desc;
  lathe_context *context;
  lathe_decode_plan *plan;
  uint16_t *out = (uint16_t *)malloc(s->out_size);
  const uint16_t *wanted = (const uint16_t *)s->host.out;
  double worst = 0;
  size_t i;
  if (!out)
    exit(1);
  gpu_read(out, s->args.out, s->out_size); /* waits for the GPU */
  memset(&context_desc, 0, sizeof context_desc);
  context_desc.backend = LATHE_BACKEND_CPU;
  expect_ok(lathe_context_create(&context_desc, &context), "lathe_context_create");
  expect_ok(lathe_decode_plan_create(context, &s->desc, &plan), "lathe_decode_plan_create");
  expect_ok(lathe_decode_run(plan, &s->host, NULL), "lathe_decode_run");
  for (i = 0; i < s->out_size / 2; i++) {
    double difference = fabs((double)bf16_to_float(out[i]) - (double)bf16_to_float(wanted[i]));
    if (!(difference <= worst)) /* NaN stays */
      worst = difference;
  }
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  free(out);
  return worst;
}

/* Two bf16 results of sums near zero of values below 1. */
static inline int step_close(double error) {
  return error < 4e-3;
}

/* The host side; gpu_close() frees what is on the GPU. */
static inline void step_free(step *s) {
  const void *host[] = {s->host.q, s->host.kv_cache, s->host.block_tables, s->host.seq_lens,
                        s->host.out};
  size_t i;
  for (i = 0; i < sizeof host / sizeof host[0]; i++)
    free((void *)(uintptr_t)host[i]);
}

#endif
