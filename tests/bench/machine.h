// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The device of a run: its facts and ceilings, and the memory that all rows share.
#ifndef LATHE_TESTS_BENCH_MACHINE_H
#define LATHE_TESTS_BENCH_MACHINE_H

#include "report.h"

// The cache of all rows is one block of random elements again and again, each time turned by some
// bytes, so that no two pages that a kernel reads at once need be equal. The host has it too, twice
// in a row, and so knows every byte.
enum { BENCH_BLOCK = 96 << 20, BENCH_TURN = 1296 * 16 };

typedef struct bench_machine {
  bench_facts facts;
  bench_kernels kernels;
  const bench_effort *effort;
  const bench_options *options;
  lathe_context *context, *oracle;
  unsigned char *block;
  gpu_pointer cache; // of the rows; past its end lies what keeps the device busy
  size_t cache_bytes;
  double cold_bytes; // of cache copies that calls rotate over
  uint16_t *host_q;  // random query, of which each row takes the first elements
  gpu_buffer q, out, lse, lens, table, lists, workspace;
} bench_machine;

// Bytes of the first copy of the cache, as the device was given them.
static inline void bench_cache_read(const bench_machine *m, size_t offset, size_t bytes,
                                    unsigned char *to) {
  while (bytes > 0) {
    size_t turn = offset / BENCH_BLOCK * BENCH_TURN % BENCH_BLOCK, in = offset % BENCH_BLOCK;
    size_t piece = bytes < BENCH_BLOCK - in ? bytes : BENCH_BLOCK - in;
    memcpy(to, m->block + turn + in, piece);
    offset += piece;
    to += piece;
    bytes -= piece;
  }
}

static inline void bench_block_fill(bench_machine *m, lathe_dtype dtype) {
  ref_palette *palette = ref_palette_make(dtype, dtype == LATHE_DTYPE_E4M3 ? 2.0 : 1.0, 2);
  ref_random random = {1};
  int i;
  // Four codes of a 656-byte row are a scale too, and two a bf16: 1.625 and 1.75, as which they are
  // 0.03 to 0.5. A few rows with larger ones would take all of the weight.
  for (i = 0; dtype == LATHE_DTYPE_E4M3 && m->options->mode == BENCH_MODE_TOPK && i < 4096; i++)
    palette->codes[i] = (palette->codes[i] & 0x80) | (0x3d + (palette->codes[i] & 1));
  ref_palette_fill(palette, &random, m->block, 0,
                   (int64_t)((size_t)BENCH_BLOCK / ref_dtype_size(dtype)));
  memcpy(m->block + BENCH_BLOCK, m->block, BENCH_BLOCK);
  free(palette);
}

// Measures the matrix product on the block, then fills the cache from it.
static inline void bench_cache_fill(bench_machine *m, size_t total) {
  gpu_pointer block = gpu_alloc(2 * (size_t)BENCH_BLOCK);
  size_t at;
  m->block = (unsigned char *)ref_alloc(2 * (size_t)BENCH_BLOCK);
  bench_block_fill(m, LATHE_DTYPE_BF16);
  gpu_must(gpu.upload(block, m->block, 2 * (size_t)BENCH_BLOCK));
  m->facts.matmul = bench_matmul(&m->kernels, m->options->cublas, block,
                                 block + 2 * (size_t)BENCH_BLOCK - BENCH_MATMUL_BYTES);
  m->facts.matmul_source = m->facts.matmul > 0 ? "measured" : "none";
  if (m->facts.matmul <= 0 && m->options->matmul > 0) {
    m->facts.matmul = m->options->matmul;
    m->facts.matmul_source = "option";
  }
  if (m->options->kv != LATHE_DTYPE_BF16) {
    bench_block_fill(m, m->options->kv);
    gpu_must(gpu.upload(block, m->block, 2 * (size_t)BENCH_BLOCK));
  }
  m->cache = gpu_alloc(total);
  for (at = 0; at < total; at += BENCH_BLOCK)
    gpu_must(gpu.copy_async(m->cache + at, block + at / BENCH_BLOCK * BENCH_TURN % BENCH_BLOCK,
                            BENCH_BLOCK, m->kernels.queue));
  gpu_must(gpu.stream_synchronize(m->kernels.queue));
  gpu_free(block);
}

// Skips the rows that do not fit, and sizes the shared memory for the others.
static inline void bench_machine_allocate(bench_machine *m, bench_cases *cases) {
  static const double margin = 2e9; // workspace, matrix product, block tables
  size_t free_bytes, total_bytes, largest, total, q_elements = 1;
  ref_random random = {7};
  ref_palette *palette;
  int i;
  gpu_must(gpu.memory_info(&free_bytes, &total_bytes));
  m->facts.memory_bytes = (double)total_bytes;
  m->cold_bytes = fmax(400e6, 2 * m->facts.l2_bytes);
  largest = (size_t)(2 * m->cold_bytes); // room for copies of small rows
  for (i = 0; i < cases->count; i++) {
    bench_case *c = &cases->at[i];
    size_t elements = (size_t)bench_case_rows(c) * (size_t)(c->l + c->r);
    size_t cache = bench_cache_bytes(c, m->options->kv);
    double need = (double)cache + 4 * (double)elements + m->cold_bytes + margin;
    if (c->skipped[0])
      continue;
    if (need > (double)free_bytes) {
      snprintf(c->skipped, sizeof c->skipped, "needs %.1f GB of device memory, %.1f GB are free",
               need / 1e9, (double)free_bytes / 1e9);
      continue;
    }
    largest = cache > largest ? cache : largest;
    q_elements = elements > q_elements ? elements : q_elements;
  }
  m->cache_bytes = (largest / BENCH_BLOCK + 1) * BENCH_BLOCK;
  total = m->cache_bytes + ((size_t)m->cold_bytes / BENCH_BLOCK + 1) * BENCH_BLOCK;
  bench_cache_fill(m, total);
  m->kernels.busy = m->cache + m->cache_bytes;
  m->kernels.busy_bytes = (size_t)m->cold_bytes;

  m->host_q = (uint16_t *)ref_alloc(q_elements * 2);
  palette = ref_palette_make(m->options->q, 1.0, 3);
  ref_palette_fill(palette, &random, m->host_q, 0, (int64_t)q_elements);
  free(palette);
  gpu_buffer_upload(&m->q, m->host_q, q_elements * 2);
}

static inline void bench_nothing(void *user, int index, gpu_stream stream) {
  (void)index;
  (void)stream;
  bench_empty((bench_kernels *)user);
}

// 0, or -1 after a line on stderr. The driver is open.
static inline int bench_machine_begin(bench_machine *m, const bench_options *o,
                                      bench_cases *cases) {
  bench_kernels *k = &m->kernels;
  bench_facts *f = &m->facts;
  bench_nvrtc nvrtc;
  lathe_context_desc desc;
  bench_time empty;
  int device = 0;
  memset(m, 0, sizeof *m);
  m->options = o;
  m->effort = o->quick ? &bench_brief : &bench_thorough;
  gpu_must(gpu.device_get(&device, 0));
  gpu_must(gpu.device_name(f->device, sizeof f->device, device));
  gpu_must(gpu.driver_version(&f->driver));
  f->num_sms = k->num_sms = gpu_attribute(GPU_ATTRIBUTE_NUM_SMS);
  f->l2_bytes = gpu_attribute(GPU_ATTRIBUTE_L2_BYTES);
  f->peers = bench_peers_of(f->device);
  bench_clocks_open(&k->clocks);
  memcpy(f->driver_name, k->clocks.driver, sizeof f->driver_name);
  f->most_sm = k->clocks.most_sm;
  if (bench_nvrtc_open(&nvrtc, getenv("LATHE_NVRTC_LIB")) || bench_kernels_make(k, &nvrtc)) {
    fprintf(stderr, "bench: no NVRTC for the streaming kernels; name one in LATHE_NVRTC_LIB\n");
    return -1;
  }
  nvrtc.version(&f->nvrtc_major, &f->nvrtc_minor);
  gpu_must(gpu.stream_create(&k->queue, GPU_STREAM_NON_BLOCKING));
  gpu_must(gpu.event_create(&k->before, 0));
  gpu_must(gpu.event_create(&k->after, 0));
  k->scratch = gpu_alloc(256);

  memset(&desc, 0, sizeof desc);
  desc.backend = LATHE_BACKEND_CPU;
  if (lathe_context_create(&desc, &m->oracle) == LATHE_STATUS_OK) {
    desc.backend = LATHE_BACKEND_CUDA;
    desc.device = LATHE_DEVICE(0);
  }
  if (!m->oracle || lathe_context_create(&desc, &m->context) != LATHE_STATUS_OK) {
    fprintf(stderr, "bench: lathe_context_create: %s\n", lathe_last_error()->message);
    return -1;
  }
  bench_machine_allocate(m, cases);
  empty = bench_measure(k, bench_nothing, k, m->effort, 0);
  f->empty_us = empty.graph / 2; // with the one that is put between calls
  return 0;
}

static inline void bench_machine_end(bench_machine *m) {
  lathe_context_destroy(m->context);
  lathe_context_destroy(m->oracle);
  free(m->host_q);
  free(m->block);
}

static inline double bench_machine_stream(void *user, double bytes) {
  bench_machine *m = (bench_machine *)user;
  return bench_streaming_time(&m->kernels, m->cache, m->cache_bytes, bytes, m->effort);
}

// Microseconds to read so many bytes. A run with --quick measures powers of two and goes between.
static inline double bench_machine_streaming(bench_machine *m, double bytes) {
  return m->options->quick
             ? bench_curve_between(&m->facts.streaming, bytes, bench_machine_stream, m)
             : bench_curve_exact(&m->facts.streaming, bytes, bench_machine_stream, m);
}

#endif
