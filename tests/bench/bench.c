// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The benchmark: checks each row's result against the CPU backend, then times the whole call,
// beside what this machine can do at most and what other libraries took (rows.h).
//
//   bench [--filter TEXT] [--json FILE] [--quick] [--list] [--kv bf16|f16|e4m3] [--cublas LIBRARY]
//
// Exit status: 0, 1 if a result is wrong, 2 for bad arguments, 77 where there is no GPU.
#define _GNU_SOURCE
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "../ref/compare.h"
#include "../ref/number.h"
#include "ceilings.h"
#include "rows.h"

#include <math.h>
#include <pthread.h>

enum { L = 512, R = 64, D = L + R, PAGE = 64, CHECKED_REQUESTS = 8, CHECKED_ROWS = 64 };
static const double COLD_BYTES = 400e6; // of cache copies that calls rotate over

typedef struct options {
  const char *filter, *json, *cublas;
  int quick, list;
  lathe_dtype q, kv;
} options;

typedef struct machine {
  char name[128];
  int sms, driver, num_rows;
  double l2_bytes, empty_us, matmul, matmul_used;
  bench_kernels kernels;
  bench_clocks clocks;
  lathe_context *context, *oracle;
  gpu_pointer cache; // random elements, shared by all rows
  size_t cache_bytes;
} machine;

typedef struct result {
  char name[64], kernel[128], merge[128];
  int wrong, blocks, splits, registers, shared_bytes;
  double bytes, flops, stream_us, limit_us, checked_worst;
  unsigned clock_sm, clock_memory;
  bench_time time;
  const bench_row *row;
} result;

// ------------------------------------------------------------------------------------- one row

typedef struct step {
  const bench_row *row;
  lathe_decode_plan *plan;
  lathe_decode_args args;
  int32_t *lens, *table;
  long long stride, pages; // entries of a table row; pages of one copy
  int copies;
  size_t copy_bytes;
  gpu_pointer cache, q, out, lse, lens_at, table_at, workspace;
  uint16_t *host_q;
} step;

static const char *row_name(const bench_row *r, char *text, size_t size) {
  if (r->kv_min == r->kv_max)
    snprintf(text, size, "b%d_s%d_h%d_k%d%s", r->batch, r->q_len, r->heads, r->kv_max,
             r->causal ? "_causal" : "");
  else
    snprintf(text, size, "b%d_s%d_h%d_k%d-%d%s", r->batch, r->q_len, r->heads, r->kv_min, r->kv_max,
             r->causal ? "_causal" : "");
  return text;
}

static void build_lengths(const bench_row *r, int32_t *lens) {
  ref_random random = {2026};
  int i;
  for (i = 0; i < r->batch; i++)
    lens[i] = ref_between(&random, r->kv_min, r->kv_max);
}

static long long count_pages(const bench_row *r, const int32_t *lens) {
  long long pages = 0;
  int i;
  for (i = 0; i < r->batch; i++)
    pages += (lens[i] + PAGE - 1) / PAGE;
  return pages;
}

static double cache_bytes_of(const bench_row *r, lathe_dtype kv) {
  int32_t lens[256];
  build_lengths(r, lens);
  return (double)count_pages(r, lens) * PAGE * D * (double)ref_dtype_size(kv);
}

static void step_call(void *user, int index, gpu_stream stream) {
  step *s = (step *)user;
  lathe_decode_args args = s->args;
  args.kv_cache = gpu_address(s->cache + (gpu_pointer)(index % s->copies) * s->copy_bytes);
  if (lathe_decode_run(s->plan, &args, stream) != LATHE_STATUS_OK) {
    fprintf(stderr, "lathe_decode_run: %s\n", lathe_last_error()->message);
    exit(1);
  }
}

static int step_begin(step *s, machine *m, const options *o, const bench_row *row) {
  lathe_decode_desc desc;
  ref_random random = {7};
  ref_palette *palette;
  int32_t *order;
  long long i, k, at = 0;
  size_t rows = (size_t)(row->batch * row->q_len) * (size_t)row->heads;
  memset(s, 0, sizeof *s);
  memset(&desc, 0, sizeof desc);
  s->row = row;
  desc.num_heads = row->heads;
  desc.kv_lora_rank = L;
  desc.qk_rope_head_dim = R;
  desc.q_dtype = o->q;
  desc.kv_dtype = o->kv;
  desc.page_size = PAGE;
  desc.max_batch = row->batch;
  desc.max_q_len = row->q_len;
  desc.max_seq_len = row->kv_max;
  desc.mask = row->causal ? LATHE_MASK_CAUSAL : LATHE_MASK_NONE;
  if (lathe_decode_plan_create(m->context, &desc, &s->plan) != LATHE_STATUS_OK) {
    fprintf(stderr, "lathe_decode_plan_create: %s\n", lathe_last_error()->message);
    return -1;
  }

  // Lengths, and pages in random order.
  s->lens = (int32_t *)ref_alloc(sizeof(int32_t) * (size_t)row->batch);
  build_lengths(row, s->lens);
  s->pages = count_pages(row, s->lens);
  s->stride = (row->kv_max + PAGE - 1) / PAGE;
  s->table = (int32_t *)ref_alloc(sizeof(int32_t) * (size_t)(row->batch * s->stride));
  memset(s->table, 0x7f, sizeof(int32_t) * (size_t)(row->batch * s->stride));
  order = (int32_t *)ref_alloc(sizeof(int32_t) * (size_t)s->pages);
  for (i = 0; i < s->pages; i++)
    order[i] = (int32_t)i;
  ref_shuffle(&random, order, s->pages);
  for (i = 0; i < row->batch; i++)
    for (k = 0; k < (s->lens[i] + PAGE - 1) / PAGE; k++)
      s->table[i * s->stride + k] = order[at++];
  free(order);

  s->host_q = (uint16_t *)ref_alloc(rows * D * 2);
  palette = ref_palette_make(o->q, 1.0, 3);
  ref_palette_fill(palette, &random, s->host_q, 0, (int64_t)(rows * D));
  free(palette);
  s->q = gpu_alloc(rows * D * 2);
  s->out = gpu_alloc(rows * L * 2);
  s->lse = gpu_alloc(rows * 4);
  s->lens_at = gpu_alloc(sizeof(int32_t) * (size_t)row->batch);
  s->table_at = gpu_alloc(sizeof(int32_t) * (size_t)(row->batch * s->stride));
  s->workspace = gpu_alloc(lathe_decode_workspace_size(s->plan));
  gpu_must(gpu.upload(s->q, s->host_q, rows * D * 2));
  gpu_must(gpu.upload(s->lens_at, s->lens, sizeof(int32_t) * (size_t)row->batch));
  gpu_must(gpu.upload(s->table_at, s->table, sizeof(int32_t) * (size_t)(row->batch * s->stride)));
  gpu_must(gpu.fill8(s->out, 0xff, rows * L * 2));
  gpu_must(gpu.fill8(s->lse, 0xff, rows * 4));
  gpu_must(gpu.fill8(s->workspace, 0xff, lathe_decode_workspace_size(s->plan)));
  gpu_must(gpu.synchronize());

  s->cache = m->cache;
  s->copy_bytes = (size_t)s->pages * PAGE * D * ref_dtype_size(o->kv);
  s->copies = (int)(m->cache_bytes / s->copy_bytes);
  k = (long long)(fmax(COLD_BYTES, 2 * m->l2_bytes) / (double)s->copy_bytes) + 1;
  s->copies = s->copies > k ? (int)k : s->copies;
  s->args.batch = row->batch;
  s->args.q = gpu_address(s->q);
  s->args.kv_cache = gpu_address(s->cache);
  s->args.num_pages = s->pages;
  s->args.block_tables = (const int32_t *)gpu_address(s->table_at);
  s->args.seq_lens = (const int32_t *)gpu_address(s->lens_at);
  s->args.softmax_scale = lathe_softmax_scale(128, 64, 1.0f);
  s->args.kv_scale = o->kv == LATHE_DTYPE_E4M3 ? 0.5f : 0.0f;
  s->args.out = gpu_address(s->out);
  s->args.lse = (float *)gpu_address(s->lse);
  s->args.workspace = gpu_address(s->workspace);
  s->args.workspace_size = lathe_decode_workspace_size(s->plan);
  return 0;
}

static void step_end(step *s) {
  lathe_decode_plan_destroy(s->plan);
  gpu_free(s->q);
  gpu_free(s->out);
  gpu_free(s->lse);
  gpu_free(s->lens_at);
  gpu_free(s->table_at);
  gpu_free(s->workspace);
  free(s->lens);
  free(s->table);
  free(s->host_q);
}

// -------------------------------------------------------------------------------------- checking

typedef struct checked_row {
  const unsigned char *cache; // the request's pages, in order
  const uint16_t *q;
  int length;
  int64_t token, head;
  uint16_t out[L];
  float lse;
  int failed;
} checked_row;

typedef struct checking {
  machine *m;
  const options *o;
  const step *s;
  checked_row *rows;
  int count, next;
  pthread_mutex_t lock;
} checking;

// One (token, head) row as a request of its own, on the CPU backend.
static void check_row(checking *c, checked_row *row) {
  lathe_decode_desc desc;
  lathe_decode_args args = c->s->args;
  lathe_decode_plan *plan = NULL;
  int32_t length = row->length, pages = (length + PAGE - 1) / PAGE, i;
  int32_t *table = (int32_t *)ref_alloc(sizeof(int32_t) * (size_t)(pages + 1));
  memset(&desc, 0, sizeof desc);
  for (i = 0; i < pages; i++)
    table[i] = i;
  desc.num_heads = desc.max_batch = 1;
  desc.kv_lora_rank = L;
  desc.qk_rope_head_dim = R;
  desc.q_dtype = c->o->q;
  desc.kv_dtype = c->o->kv;
  desc.page_size = PAGE;
  desc.max_seq_len = length;
  args.batch = 1;
  args.q = row->q;
  args.kv_cache = row->cache;
  args.num_pages = pages;
  args.block_tables = table;
  args.seq_lens = &length;
  args.out = row->out;
  args.lse = &row->lse;
  args.workspace = NULL;
  args.workspace_size = 0;
  row->failed = lathe_decode_plan_create(c->m->oracle, &desc, &plan) != LATHE_STATUS_OK ||
                lathe_decode_run(plan, &args, NULL) != LATHE_STATUS_OK;
  lathe_decode_plan_destroy(plan);
  free(table);
}

static void *check_worker(void *user) {
  checking *c = (checking *)user;
  for (;;) {
    int index;
    pthread_mutex_lock(&c->lock);
    index = c->next++;
    pthread_mutex_unlock(&c->lock);
    if (index >= c->count)
      return NULL;
    check_row(c, &c->rows[index]);
  }
}

// Runs once from poisoned outputs, looks at every element for NaN and at CHECKED_ROWS rows closely.
static int step_check(step *s, machine *m, const options *o, result *to) {
  const bench_row *r = s->row;
  size_t rows = (size_t)(r->batch * r->q_len) * (size_t)r->heads, element = ref_dtype_size(o->kv);
  size_t page_bytes = PAGE * D * element, i;
  uint16_t *out = (uint16_t *)ref_alloc(rows * L * 2);
  float *lse = (float *)ref_alloc(rows * 4);
  checked_row *picked = (checked_row *)calloc(CHECKED_ROWS, sizeof *picked);
  unsigned char *cache[CHECKED_REQUESTS];
  ref_random random = {99};
  ref_error error;
  checking c;
  pthread_t threads[32];
  char message[512];
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  long long nans = 0, page;
  int requests = r->batch < CHECKED_REQUESTS ? r->batch : CHECKED_REQUESTS, k, started = 0, ok;
  step_call(s, 0, m->kernels.queue);
  gpu_must(gpu.stream_synchronize(m->kernels.queue));
  gpu_must(gpu.download(out, s->out, rows * L * 2));
  gpu_must(gpu.download(lse, s->lse, rows * 4));
  for (i = 0; i < rows * L; i++)
    nans += (out[i] & 0x7fff) > (o->q == LATHE_DTYPE_BF16 ? 0x7f80 : 0x7c00);

  for (k = 0; k < requests; k++) {
    int request = k == 0 ? r->batch - 1 : (int)ref_below(&random, r->batch);
    long long pages = (s->lens[request] + PAGE - 1) / PAGE;
    cache[k] = (unsigned char *)ref_alloc((size_t)pages * page_bytes);
    for (page = 0; page < pages; page++)
      gpu_must(gpu.download(
          cache[k] + (size_t)page * page_bytes,
          s->cache + (gpu_pointer)s->table[request * s->stride + page] * page_bytes, page_bytes));
    for (i = (size_t)k; i < CHECKED_ROWS; i += (size_t)requests) {
      checked_row *row = &picked[i];
      int token = (int)ref_below(&random, r->q_len);
      row->cache = cache[k];
      row->token = request * r->q_len + token;
      row->head = ref_below(&random, r->heads);
      row->q = s->host_q + (size_t)(row->token * r->heads + row->head) * D;
      row->length = r->causal ? s->lens[request] - r->q_len + token + 1 : s->lens[request];
    }
  }
  c.m = m;
  c.o = o;
  c.s = s;
  c.rows = picked;
  c.count = CHECKED_ROWS;
  c.next = 0;
  pthread_mutex_init(&c.lock, NULL);
  while (started + 1 < cores && started < 31 &&
         pthread_create(&threads[started], NULL, check_worker, &c) == 0)
    started++;
  check_worker(&c);
  while (started > 0)
    pthread_join(threads[--started], NULL);

  memset(&error, 0, sizeof error);
  ok = nans == 0;
  for (i = 0; i < CHECKED_ROWS; i++) {
    const checked_row *row = &picked[i];
    size_t at = (size_t)(row->token * r->heads + row->head);
    ok &= !row->failed;
    for (k = 0; k < L; k++)
      ref_error_add(&error, row->token, row->head, k, ref_decode(o->q, out[at * L + (size_t)k]),
                    ref_decode(o->q, row->out[k]));
    ref_error_add_lse(&error, row->token, row->head, (double)lse[at], (double)row->lse);
  }
  ok &= ref_error_ok(&error, message, sizeof message);
  if (!ok)
    fprintf(stderr, "%s: %lld NaNs; %s\n", to->name, nans, message);
  to->checked_worst = error.worst_abs;
  to->wrong = !ok;
  for (k = 0; k < requests; k++)
    free(cache[k]);
  free(picked);
  free(out);
  free(lse);
  return ok;
}

// ---------------------------------------------------------------------------------------- report

static const bench_reference *reference_of(const machine *m, const bench_row *row) {
  static const bench_reference none;
  return strstr(m->name, "H100") ? &row->h100 : strstr(m->name, "H200") ? &row->h200 : &none;
}

static double best_time(const result *r) {
  return r->time.graph < r->time.single ? r->time.graph : r->time.single;
}

static void run_row(machine *m, const options *o, const bench_row *row, result *to) {
  lathe_decode_plan_info info;
  step s;
  double kv_rows = 0;
  int i;
  row_name(row, to->name, sizeof to->name);
  to->row = row;
  to->wrong = 1;
  if (step_begin(&s, m, o, row))
    return;
  lathe_decode_plan_get_info(s.plan, &info);
  snprintf(to->kernel, sizeof to->kernel, "%s", info.kernel);
  snprintf(to->merge, sizeof to->merge, "%s", info.merge_kernel);
  to->blocks = info.blocks;
  to->splits = info.splits;
  to->registers = info.registers;
  to->shared_bytes = info.shared_bytes;
  for (i = 0; i < row->batch; i++)
    kv_rows += s.lens[i];
  to->bytes = kv_rows * D * (double)ref_dtype_size(o->kv) +
              (double)row->batch * row->q_len * row->heads * (D + L) * 2;
  to->flops = 2 * kv_rows * row->q_len * row->heads * (D + L);
  if (step_check(&s, m, o, to)) {
    to->stream_us =
        bench_streaming_time(&m->kernels, m->cache, m->cache_bytes, (size_t)to->bytes / 16 * 16);
    to->limit_us = fmax(to->stream_us, to->flops / m->matmul_used / 1e6);
    to->time = bench_measure(&m->kernels, step_call, &s, !o->quick);
    to->clock_sm = bench_clock(&m->clocks, 1);
    to->clock_memory = bench_clock(&m->clocks, 2);
  }
  step_end(&s);
}

static void print_head(void) {
  printf("%-24s %8s %8s %8s %6s %6s %8s %8s %6s | %8s %8s %8s %8s %6s\n", "row", "graph us",
         "single", "sustain", "TB/s", "TF/s", "stream", "limit", "x lim", "FlashMLA", "FI fa3",
         "FI fa2", "target", "vs fa2");
}

// "vs fa2": how many times faster than FlashInfer fa2, each relative to its own machine's limit.
static void print_row(const machine *m, const result *r) {
  const bench_reference *peer = reference_of(m, r->row);
  double best = best_time(r);
  if (r->wrong) {
    printf("%-24s WRONG\n", r->name);
    return;
  }
  printf("%-24s %8.1f %8.1f %8.1f %6.2f %6.0f %8.1f %8.1f %6.2f |", r->name, r->time.graph,
         r->time.single, r->time.sustained, r->bytes / best / 1e6, r->flops / best / 1e6,
         r->stream_us, r->limit_us, best / r->limit_us);
  printf(" %8.1f %8.1f %8.1f %8.1f", peer->flashmla, peer->fa3, peer->fa2, peer->target);
  if (peer->fa2 > 0)
    printf(" %6.2f", (peer->fa2 / peer->limit) / (best / r->limit_us));
  printf("\n");
  fflush(stdout);
}

static int write_json(const char *path, const machine *m, const options *o, const result *results,
                      int count, int argc, char **argv) {
  FILE *file = fopen(path, "w");
  int i;
  if (!file) {
    fprintf(stderr, "cannot write %s\n", path);
    return -1;
  }
  fprintf(file, "{\n  \"command\": \"bench");
  for (i = 1; i < argc; i++)
    if (strcmp(argv[i], "--json") == 0)
      i++; // where it went is no part of the measurement
    else
      fprintf(file, " %s", argv[i]);
  fprintf(file, "\",\n  \"lathe\": \"%d.%d.%d\",\n", LATHE_VERSION_MAJOR, LATHE_VERSION_MINOR,
          LATHE_VERSION_PATCH);
  fprintf(file, "  \"device\": \"%s\",\n  \"num_sms\": %d,\n  \"driver\": %d,\n", m->name, m->sms,
          m->driver);
  fprintf(file, "  \"q_dtype\": \"%s\",\n  \"kv_dtype\": \"%s\",\n", lathe_dtype_string(o->q),
          lathe_dtype_string(o->kv));
  fprintf(file, "  \"empty_kernel_us\": %.3f,\n  \"matmul_tflops\": %.1f,\n", m->empty_us,
          m->matmul_used);
  fprintf(file, "  \"matmul_source\": \"%s\",\n  \"rows\": [",
          m->matmul > 0 ? "measured" : "rows.h");
  for (i = 0; i < count; i++) {
    const result *r = &results[i];
    const bench_reference *peer = reference_of(m, r->row);
    fprintf(file, "%s\n    {\"row\": \"%s\", \"batch\": %d, \"q_len\": %d, \"num_heads\": %d, ",
            i ? "," : "", r->name, r->row->batch, r->row->q_len, r->row->heads);
    fprintf(file, "\"kv_min\": %d, \"kv_max\": %d, \"causal\": %s, \"correct\": %s,\n",
            r->row->kv_min, r->row->kv_max, r->row->causal ? "true" : "false",
            r->wrong ? "false" : "true");
    fprintf(file, "     \"kernel\": \"%s\", \"merge_kernel\": \"%s\", ", r->kernel, r->merge);
    fprintf(file, "\"blocks\": %d, \"splits\": %d, \"registers\": %d, \"shared_bytes\": %d,\n",
            r->blocks, r->splits, r->registers, r->shared_bytes);
    fprintf(file, "     \"graph_us\": %.2f, \"single_us\": %.2f, \"sustained_us\": %.2f, ",
            r->time.graph, r->time.single, r->time.sustained);
    fprintf(file, "\"stream_us\": %.2f, \"limit_us\": %.2f, \"bytes\": %.0f, \"flops\": %.0f,\n",
            r->stream_us, r->limit_us, r->bytes, r->flops);
    fprintf(file, "     \"sm_mhz\": %u, \"memory_mhz\": %u, ", r->clock_sm, r->clock_memory);
    fprintf(file,
            "\"reference\": {\"flashmla_us\": %.1f, \"flashinfer_fa3_us\": %.1f, "
            "\"flashinfer_fa2_us\": %.1f, \"limit_us\": %.1f, \"target_us\": %.1f}}",
            peer->flashmla, peer->fa3, peer->fa2, peer->limit, peer->target);
  }
  fprintf(file, "\n  ]\n}\n");
  return fclose(file);
}

// ------------------------------------------------------------------------------------------ main

static void nothing(void *user, int index, gpu_stream stream) {
  (void)index;
  (void)stream;
  bench_empty((bench_kernels *)user);
}

static int machine_begin(machine *m, const options *o) {
  lathe_context_desc desc;
  ref_palette *palette;
  ref_random random = {1};
  bench_time empty;
  double largest = fmax(COLD_BYTES, 3 * (double)BENCH_MATMUL * BENCH_MATMUL * 2);
  size_t piece = (size_t)96 << 20, at;
  unsigned char *block;
  size_t i;
  int device = 0;
  gpu_must(gpu.device_get(&device, 0));
  gpu_must(gpu.device_name(m->name, sizeof m->name, device));
  gpu_must(gpu.driver_version(&m->driver));
  m->sms = m->kernels.num_sms = gpu_attribute(GPU_ATTRIBUTE_NUM_SMS);
  m->l2_bytes = gpu_attribute(GPU_ATTRIBUTE_L2_BYTES);
  m->kernels.bursts = o->quick ? 5 : 11;
  bench_clocks_open(&m->clocks);
  gpu_must(gpu.stream_create(&m->kernels.queue, GPU_STREAM_NON_BLOCKING));
  gpu_must(gpu.event_create(&m->kernels.before, 0));
  gpu_must(gpu.event_create(&m->kernels.after, 0));
  m->kernels.scratch = gpu_alloc(256);
  if (bench_kernels_make(&m->kernels, getenv("LATHE_NVRTC_LIB"))) {
    fprintf(stderr, "no NVRTC for the streaming kernel; name one in LATHE_NVRTC_LIB\n");
    return -1;
  }

  memset(&desc, 0, sizeof desc);
  desc.backend = LATHE_BACKEND_CUDA;
  desc.device = LATHE_DEVICE(0);
  if (lathe_context_create(&desc, &m->context) != LATHE_STATUS_OK) {
    fprintf(stderr, "lathe_context_create: %s\n", lathe_last_error()->message);
    return -1;
  }
  memset(&desc, 0, sizeof desc);
  desc.backend = LATHE_BACKEND_CPU;
  if (lathe_context_create(&desc, &m->oracle) != LATHE_STATUS_OK)
    return -1;

  // The cache of all rows: random elements, the same block of them again and again, each time
  // turned by some rows, so that no two pages that a kernel reads at once need be equal.
  for (i = 0; i < sizeof bench_rows / sizeof bench_rows[0]; i++)
    if (cache_bytes_of(&bench_rows[i], o->kv) > largest)
      largest = cache_bytes_of(&bench_rows[i], o->kv);
  m->cache_bytes = ((size_t)largest / piece + 2) * piece;
  m->cache = gpu_alloc(m->cache_bytes);
  block = (unsigned char *)ref_alloc(2 * piece);
  palette = ref_palette_make(o->kv, o->kv == LATHE_DTYPE_E4M3 ? 2.0 : 1.0, 2);
  ref_palette_fill(palette, &random, block, 0, (int64_t)(piece / ref_dtype_size(o->kv)));
  memcpy(block + piece, block, piece);
  for (at = 0; at < m->cache_bytes; at += piece)
    gpu_must(gpu.upload(m->cache + at, block + at / piece * 1296 * 16 % piece, piece));
  free(block);
  free(palette);
  m->kernels.buffer = m->cache;
  m->kernels.buffer_bytes = (size_t)COLD_BYTES;

  empty = bench_measure(&m->kernels, nothing, &m->kernels, 0);
  m->empty_us = empty.graph / 2; // with the one that is put between calls
  m->matmul = bench_matmul(&m->kernels, o->cublas, m->cache);
  m->matmul_used = m->matmul > 0             ? m->matmul
                   : strstr(m->name, "H200") ? bench_matmul_h200
                                             : bench_matmul_h100;
  return 0;
}

static int parse(options *o, int argc, char **argv) {
  int i;
  memset(o, 0, sizeof *o);
  o->q = o->kv = LATHE_DTYPE_BF16;
  for (i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(argv[i], "--quick") == 0)
      o->quick = 1;
    else if (strcmp(argv[i], "--list") == 0)
      o->list = 1;
    else if (value && strcmp(argv[i], "--filter") == 0)
      o->filter = argv[++i];
    else if (value && strcmp(argv[i], "--json") == 0)
      o->json = argv[++i];
    else if (value && strcmp(argv[i], "--cublas") == 0)
      o->cublas = argv[++i];
    else if (value && strcmp(argv[i], "--kv") == 0 && strcmp(value, "bf16") == 0)
      i++;
    else if (value && strcmp(argv[i], "--kv") == 0 && strcmp(value, "f16") == 0)
      o->q = o->kv = LATHE_DTYPE_F16, i++;
    else if (value && strcmp(argv[i], "--kv") == 0 && strcmp(value, "e4m3") == 0)
      o->kv = LATHE_DTYPE_E4M3, i++;
    else
      return -1;
  }
  return 0;
}

int main(int argc, char **argv) {
  static result results[sizeof bench_rows / sizeof bench_rows[0]];
  static machine m;
  options o;
  char why[256], name[64];
  size_t i;
  int count = 0, wrong = 0;
  if (parse(&o, argc, argv)) {
    fprintf(stderr, "usage: bench [--filter TEXT] [--json FILE] [--quick] [--list] "
                    "[--kv bf16|f16|e4m3] [--cublas LIBRARY]\n");
    return 2;
  }
  if (o.list) {
    for (i = 0; i < sizeof bench_rows / sizeof bench_rows[0]; i++)
      printf("%s\n", row_name(&bench_rows[i], name, sizeof name));
    return 0;
  }
  if (gpu_driver_open(0, why, sizeof why)) {
    printf("bench: skipped: %s\n", why);
    return 77;
  }
  if (machine_begin(&m, &o))
    return 1;
  printf("%s, %d SMs, driver %d; query %s, cache %s, L 512, R 64, page 64\n", m.name, m.sms,
         m.driver, lathe_dtype_string(o.q), lathe_dtype_string(o.kv));
  printf("empty kernel %.2f us; bf16 matrix product %.0f TFLOP/s (%s); times in us, medians\n",
         m.empty_us, m.matmul_used, m.matmul > 0 ? "measured" : "from rows.h: no cuBLAS here");
  print_head();
  for (i = 0; i < sizeof bench_rows / sizeof bench_rows[0]; i++) {
    if (o.filter && !strstr(row_name(&bench_rows[i], name, sizeof name), o.filter))
      continue;
    run_row(&m, &o, &bench_rows[i], &results[count]);
    print_row(&m, &results[count]);
    wrong += results[count].wrong;
    count++;
  }
  if (o.json && write_json(o.json, &m, &o, results, count, argc, argv))
    return 1;
  lathe_context_destroy(m.context);
  lathe_context_destroy(m.oracle);
  return wrong != 0;
}
