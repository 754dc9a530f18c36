// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The benchmark of append: its result checked against the CPU backend, then the whole call timed
// beside a plain copy of the same bytes with the same strides, and beside an empty kernel.
//
//   bench_append [--quick] [--hot] [--json FILE]
//
// Tensors rotate over copies of together twice the L2, unless --hot. Exit status: 0, 1 if a result
// is wrong, 2 for bad arguments, 77 where there is no GPU.
#define _GNU_SOURCE
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "../ref/number.h"
#include "ceilings.h"

// Rows of pieces of 16 bytes from one place to another; of each piece written `reads` are read. A
// thread has four in flight.
static const char copy_source[] =
    "struct part { const char *from; char *to; long long in_token, in_head, out_token, out_head;\n"
    "              int heads, pieces, reads, first; };\n"
    "struct parts { part at[4]; int count, units; };\n"
    "extern \"C\" __global__ void __launch_bounds__(256) copy(const __grid_constant__ parts p) {\n"
    "  uint4 v[4];\n"
    "  char *to[4];\n"
    "#pragma unroll\n"
    "  for (int i = 0; i < 4; ++i) {\n"
    "    int unit = (blockIdx.x * 4 + i) * 256 + threadIdx.x, n = 0;\n"
    "    to[i] = 0;\n"
    "    if (unit >= p.units) continue;\n"
    "    while (n + 1 < p.count && unit >= p.at[n + 1].first) ++n;\n"
    "    const part &q = p.at[n];\n"
    "    unit -= q.first;\n"
    "    const int row = unit / q.pieces, piece = unit % q.pieces;\n"
    "    const int token = row / q.heads, head = row % q.heads;\n"
    "    const uint4 *from = (const uint4 *)(q.from + token * q.in_token + head * q.in_head) +\n"
    "                        piece * q.reads;\n"
    "    v[i] = from[0];\n"
    "    if (q.reads == 2) v[i].x ^= from[1].x ^ from[1].y ^ from[1].z ^ from[1].w;\n"
    "    to[i] = q.to + token * q.out_token + head * q.out_head + piece * 16;\n"
    "  }\n"
    "#pragma unroll\n"
    "  for (int i = 0; i < 4; ++i)\n"
    "    if (to[i]) *(uint4 *)to[i] = v[i];\n"
    "}\n";

typedef struct copy_part {
  gpu_pointer from, to;
  long long in_token, in_head, out_token, out_head;
  int heads, pieces, reads, first;
} copy_part;

typedef struct copy_parts {
  copy_part at[4];
  int count, units;
} copy_parts;

enum { L = 512, R = 64, D = L + R, PAGE = 64, POSITIONS = 8192 };

typedef struct row {
  const char *what;
  int tokens, heads, q_len, ragged, nope, fp8;
} row;

static const row rows[] = {
    {"bf16, joined", 16, 128, 1, 0, 1, 0},     {"bf16, joined", 16, 16, 1, 0, 1, 0},
    {"bf16, in place", 16, 128, 1, 0, 0, 0},   {"e4m3", 16, 128, 1, 0, 1, 1},
    {"bf16, joined", 128, 128, 1, 0, 1, 0},    {"bf16, joined", 128, 128, 4, 1, 1, 0},
    {"bf16, joined", 4096, 128, 1, 0, 1, 0},   {"bf16, joined", 4096, 128, 4, 1, 1, 0},
    {"bf16, in place", 4096, 128, 1, 0, 0, 0}, {"e4m3", 4096, 128, 1, 0, 1, 1},
    {"bf16, joined", 4096, 16, 1, 0, 1, 0},    {"e4m3", 4096, 16, 1, 0, 1, 1},
};

typedef struct step {
  const row *r;
  lathe_append_plan *plan;
  gpu_function copy;
  gpu_pointer memory; // of all tensors that are rotated
  size_t bytes;       // of one copy of them
  int copies, cache_pages;
  size_t q_nope, q_pe, q_out, latent, cache; // offsets in a copy
  gpu_buffer lens, cu, tables, cos_sin;
  lathe_append_args args; // of the first copy
} step;

static int out_bytes(const row *r) {
  return r->fp8 ? 1 : 2;
}

static lathe_append_args step_args(const step *s, int index) {
  lathe_append_args args = s->args;
  const gpu_pointer at = s->memory + (size_t)(index % s->copies) * s->bytes;
  args.q_nope = s->r->nope ? gpu_address(at + s->q_nope) : NULL;
  args.q_pe = gpu_address(at + s->q_pe);
  args.q_out = gpu_address(at + s->q_out);
  args.latent_cache = gpu_address(at + s->latent);
  args.kv_cache = gpu_address(at + s->cache);
  return args;
}

static void step_append(void *user, int index, gpu_stream stream) {
  const step *s = (const step *)user;
  const lathe_append_args args = step_args(s, index);
  if (lathe_append_run(s->plan, &args, stream)) {
    fprintf(stderr, "bench_append: %s\n", lathe_last_error()->message);
    exit(1);
  }
}

static void add_part(copy_parts *p, const step *s, gpu_pointer from, gpu_pointer to, int elements,
                     int heads, long long in_token, long long in_head, long long out_token,
                     long long out_head) {
  copy_part *part = &p->at[p->count++];
  part->from = from;
  part->to = to;
  part->in_token = in_token;
  part->in_head = in_head;
  part->out_token = out_token;
  part->out_head = out_head;
  part->heads = heads;
  part->reads = s->r->fp8 ? 2 : 1;
  part->pieces = elements * out_bytes(s->r) / 16;
  part->first = p->units;
  p->units += s->r->tokens * heads * part->pieces;
}

static void step_copy(void *user, int index, gpu_stream stream) {
  const step *s = (const step *)user;
  const gpu_pointer at = s->memory + (size_t)(index % s->copies) * s->bytes;
  const int h = s->r->heads, out = out_bytes(s->r);
  copy_parts p;
  void *arguments[] = {&p};
  memset(&p, 0, sizeof p);
  if (s->r->nope)
    add_part(&p, s, at + s->q_nope, at + s->q_out, L, h, h * L * 2, L * 2, h * D * out, D * out);
  add_part(&p, s, at + s->q_pe, at + s->q_out + (size_t)(L * out), R, h, h * R * 2, R * 2,
           h * D * out, D * out);
  add_part(&p, s, at + s->latent, at + s->cache, D, 1, D * 2, 0, D * out, 0);
  gpu_must(gpu.launch(s->copy, (unsigned)((p.units + 1023) / 1024), 1, 1, 256, 1, 1, 0, stream,
                      arguments, NULL));
}

// Bytes that a call has to read and write.
static double step_bytes(const row *r) {
  const double elements =
      (double)r->tokens * (r->heads * (R + (r->nope ? L : 0)) + D); // in and out
  return elements * (2 + out_bytes(r));
}

// Lengths of 1000 and more, so that rows go to pages here and there.
static void step_requests(step *s, const row *r, int32_t *lens, int32_t *cu, int32_t *tables) {
  const int batch = r->tokens / r->q_len, entries = POSITIONS / PAGE;
  int i, k;
  for (i = 0; i < batch; i++) {
    lens[i] = 1000 + i * 37 % 7000;
    cu[i] = i * r->q_len;
    for (k = 0; k < entries; k++)
      tables[i * entries + k] = (int32_t)(((long long)i * 131 + k * 17) % s->cache_pages);
    for (k = 0; k < r->q_len; k++) { // rows of their own
      const int position = lens[i] - r->q_len + k;
      tables[i * entries + position / PAGE] = (i * 2 + position / PAGE % 2) % s->cache_pages;
    }
  }
  cu[batch] = r->tokens;
}

static int step_begin(step *s, const row *r, lathe_context *context, double cold_bytes) {
  const int batch = r->tokens / r->q_len, out = out_bytes(r);
  const size_t heads = (size_t)r->tokens * (size_t)r->heads;
  int32_t *lens = (int32_t *)ref_alloc(4 * (size_t)batch);
  int32_t *cu = (int32_t *)ref_alloc(4 * (size_t)(batch + 1));
  int32_t *tables = (int32_t *)ref_alloc(4 * (size_t)batch * (POSITIONS / PAGE));
  float *table = (float *)ref_alloc(sizeof(float) * POSITIONS * R);
  lathe_append_desc desc;
  int i, k;
  s->r = r;
  s->cache_pages = 2 * batch;
  s->q_nope = 0;
  s->q_pe = s->q_nope + (r->nope ? heads * L * 2 : 0);
  s->q_out = s->q_pe + heads * R * 2;
  s->latent = s->q_out + heads * (size_t)(D * out);
  s->cache = s->latent + (size_t)r->tokens * D * 2;
  s->bytes = s->cache + (size_t)s->cache_pages * (size_t)(PAGE * D * out);
  s->copies = 1 + (int)(cold_bytes / step_bytes(r));
  s->copies = s->copies > BENCH_MOST_CALLS ? BENCH_MOST_CALLS : s->copies;
  while (s->copies > 1 && (double)s->bytes * s->copies > 8e9)
    s->copies--;
  s->memory = gpu_alloc(s->bytes * (size_t)s->copies);
  step_requests(s, r, lens, cu, tables);
  for (i = 0; i < POSITIONS; i++)
    for (k = 0; k < R / 2; k++) {
      table[i * R + k] = (float)cos(i / pow(10000, 2.0 * k / R));
      table[i * R + R / 2 + k] = (float)sin(i / pow(10000, 2.0 * k / R));
    }
  gpu_buffer_upload(&s->lens, lens, 4 * (size_t)batch);
  gpu_buffer_upload(&s->cu, cu, 4 * (size_t)(batch + 1));
  gpu_buffer_upload(&s->tables, tables, 4 * (size_t)batch * (POSITIONS / PAGE));
  gpu_buffer_upload(&s->cos_sin, table, sizeof(float) * POSITIONS * R);
  free(lens);
  free(cu);
  free(tables);
  free(table);

  memset(&desc, 0, sizeof desc);
  desc.num_heads = r->heads;
  desc.kv_lora_rank = L;
  desc.qk_rope_head_dim = R;
  desc.q_dtype = LATHE_DTYPE_BF16;
  desc.kv_dtype = desc.q_out_dtype = r->fp8 ? LATHE_DTYPE_E4M3 : LATHE_DTYPE_BF16;
  desc.rope = LATHE_ROPE_INTERLEAVED;
  desc.page_size = PAGE;
  desc.max_batch = batch;
  desc.max_q_len = r->q_len;
  desc.max_seq_len = POSITIONS;
  s->args.batch = batch;
  s->args.cu_q_lens = r->ragged ? (const int32_t *)gpu_address(s->cu.at) : NULL;
  s->args.num_tokens = r->tokens;
  s->args.num_pages = s->cache_pages;
  s->args.block_tables = (const int32_t *)gpu_address(s->tables.at);
  s->args.seq_lens = (const int32_t *)gpu_address(s->lens.at);
  s->args.cos_sin = (const float *)gpu_address(s->cos_sin.at);
  if (lathe_append_plan_create(context, &desc, &s->plan)) {
    fprintf(stderr, "bench_append: %s\n", lathe_last_error()->message);
    return -1;
  }
  return 0;
}

// Random inputs, the same in all copies, and in all tokens but for where they are.
static void step_fill(step *s, bench_kernels *k) {
  const size_t block = (size_t)16 << 20;
  ref_palette *palette = ref_palette_make(LATHE_DTYPE_BF16, 1.0, 11);
  ref_random random = {12};
  unsigned char *host = (unsigned char *)ref_alloc(block);
  gpu_pointer from = gpu_alloc(block);
  const size_t total = s->bytes * (size_t)s->copies;
  size_t at;
  ref_palette_fill(palette, &random, host, 0, (int64_t)(block / 2));
  gpu_must(gpu.upload(from, host, block));
  for (at = 0; at < total; at += block)
    gpu_must(
        gpu.copy_async(s->memory + at, from, total - at < block ? total - at : block, k->queue));
  gpu_must(gpu.stream_synchronize(k->queue));
  gpu_free(from);
  free(host);
  free(palette);
}

// The first copy's last token, head 0: its roped part against the formula, its latent against what
// was read.
static int step_wrong(step *s, bench_kernels *k) {
  const row *r = s->r;
  const int out = out_bytes(r), token = r->tokens - 1, batch = r->tokens / r->q_len;
  const int position = 1000 + (batch - 1) * 37 % 7000 - 1;
  const lathe_dtype dtype = r->fp8 ? LATHE_DTYPE_E4M3 : LATHE_DTYPE_BF16;
  unsigned char in[R * 2], nope[L * 2], got[D * 2];
  int i, wrong = 0;
  step_append(s, 0, k->queue);
  gpu_must(gpu.stream_synchronize(k->queue));
  gpu_must(
      gpu.download(in, s->memory + s->q_pe + (size_t)token * (size_t)(r->heads * R * 2), R * 2));
  if (r->nope)
    gpu_must(gpu.download(nope, s->memory + s->q_nope + (size_t)token * (size_t)(r->heads * L * 2),
                          L * 2));
  gpu_must(gpu.download(got, s->memory + s->q_out + (size_t)token * (size_t)(r->heads * D * out),
                        (size_t)(D * out)));
  for (i = 0; i < R; i++) {
    const double angle = position / pow(10000, 2.0 * (i / 2) / R);
    const double a = ref_load(LATHE_DTYPE_BF16, in, i), b = ref_load(LATHE_DTYPE_BF16, in, i ^ 1);
    const double want = a * cos(angle) + (i % 2 ? 1 : -1) * b * sin(angle);
    wrong +=
        !(fabs(ref_load(dtype, got, L + i) - want) <= (r->fp8 ? 0.07 : 0.01) * (1 + fabs(want)));
  }
  for (i = 0; i < L && r->nope; i++) {
    const double want = ref_load(LATHE_DTYPE_BF16, nope, i);
    wrong += ref_load(dtype, got, i) != ref_decode(dtype, ref_encode(dtype, want));
  }
  return wrong;
}

static void step_end(step *s) {
  lathe_append_plan_destroy(s->plan);
  gpu_free(s->memory);
  gpu_free(s->lens.at);
  gpu_free(s->cu.at);
  gpu_free(s->tables.at);
  gpu_free(s->cos_sin.at);
}

static void nothing(void *user, int index, gpu_stream stream) {
  (void)index;
  (void)stream;
  bench_empty((bench_kernels *)user);
}

static int run(bench_kernels *k, lathe_context *context, gpu_function copy, int hot,
               const bench_effort *effort, FILE *json) {
  const double l2 = gpu_attribute(GPU_ATTRIBUTE_L2_BYTES);
  bench_time empty = bench_measure(k, nothing, k, effort, 0);
  int device = 0, failed = 0;
  char name[128] = "";
  size_t i;
  gpu_must(gpu.device_get(&device, 0));
  gpu_must(gpu.device_name(name, sizeof name, device));
  printf("%s, empty kernel %.2f us%s\n", name, bench_best(&empty),
         hot ? ", tensors in the L2" : "");
  printf("%-16s %6s %5s %3s %9s %9s %9s %6s %6s\n", "what", "tokens", "heads", "S", "append us",
         "copy us", "over nil", "TB/s", "ratio");
  if (json)
    fprintf(json,
            "{\n  \"command\": \"bench_append%s%s\",\n  \"device\": \"%s\", \"lathe\": "
            "\"%d.%d.%d\", \"hot\": %s,\n"
            "  \"empty_kernel_us\": %.3f,\n  \"rows\": [",
            effort == &bench_brief ? " --quick" : "", hot ? " --hot" : "", name,
            LATHE_VERSION_MAJOR, LATHE_VERSION_MINOR, LATHE_VERSION_PATCH, hot ? "true" : "false",
            bench_best(&empty));
  for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    bench_time append, plain;
    step s;
    int wrong;
    memset(&s, 0, sizeof s);
    s.copy = copy;
    if (step_begin(&s, &rows[i], context, hot ? 0 : 2 * l2))
      return 1;
    step_fill(&s, k);
    wrong = step_wrong(&s, k);
    append = bench_measure(k, step_append, &s, effort, 0);
    plain = bench_measure(k, step_copy, &s, effort, 0);
    failed |= wrong != 0;
    printf("%-16s %6d %5d %3d %9.2f %9.2f %9.2f %6.3f %6.3f%s\n", rows[i].what, rows[i].tokens,
           rows[i].heads, rows[i].q_len, bench_best(&append), bench_best(&plain),
           bench_best(&append) - bench_best(&empty),
           step_bytes(&rows[i]) / bench_best(&append) / 1e6,
           bench_best(&plain) / bench_best(&append), wrong ? "  WRONG" : "");
    if (json)
      fprintf(json,
              "%s\n    {\"what\": \"%s\", \"tokens\": %d, \"num_heads\": %d, \"q_len\": %d, "
              "\"cu_q_lens\": %s, \"correct\": %s,\n     \"graph_us\": %.2f, \"single_us\": %.2f, "
              "\"copy_graph_us\": %.2f, \"copy_single_us\": %.2f, \"bytes\": %.0f,\n"
              "     \"over_empty_us\": %.2f, \"speed_of_copy\": %.4f}",
              i ? "," : "", rows[i].what, rows[i].tokens, rows[i].heads, rows[i].q_len,
              rows[i].ragged ? "true" : "false", wrong ? "false" : "true", append.graph,
              append.single, plain.graph, plain.single, step_bytes(&rows[i]),
              bench_best(&append) - bench_best(&empty), bench_best(&plain) / bench_best(&append));
    step_end(&s);
  }
  if (json)
    fprintf(json, "\n  ]\n}\n");
  return failed;
}

int main(int argc, char **argv) {
  const bench_effort *effort = &bench_thorough;
  const char *path = NULL;
  bench_kernels k;
  bench_nvrtc nvrtc;
  lathe_context_desc desc;
  lathe_context *context;
  gpu_module module;
  gpu_function copy;
  FILE *json = NULL;
  char why[256], *cubin;
  int i, hot = 0, failed;
  for (i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--quick")) {
      effort = &bench_brief;
    } else if (!strcmp(argv[i], "--hot")) {
      hot = 1;
    } else if (!strcmp(argv[i], "--json") && i + 1 < argc) {
      path = argv[++i];
    } else {
      fprintf(stderr, "usage: bench_append [--quick] [--hot] [--json FILE]\n");
      return 2;
    }
  }
  if (gpu_driver_open(0, why, sizeof why)) {
    printf("bench_append: skipped: %s\n", why);
    return 77;
  }
  memset(&k, 0, sizeof k);
  memset(&desc, 0, sizeof desc);
  k.num_sms = gpu_attribute(GPU_ATTRIBUTE_NUM_SMS);
  bench_clocks_open(&k.clocks);
  cubin = NULL;
  if (!bench_nvrtc_open(&nvrtc, getenv("LATHE_NVRTC_LIB")) && !bench_kernels_make(&k, &nvrtc))
    cubin =
        bench_compile(&nvrtc, copy_source,
                      10 * gpu_attribute(GPU_ATTRIBUTE_MAJOR) + gpu_attribute(GPU_ATTRIBUTE_MINOR));
  if (!cubin) {
    fprintf(stderr, "bench_append: no NVRTC for the copying kernel; name one in LATHE_NVRTC_LIB\n");
    return 1;
  }
  gpu_must(gpu.module_load(&module, cubin));
  gpu_must(gpu.module_function(&copy, module, "copy"));
  free(cubin);
  gpu_must(gpu.stream_create(&k.queue, GPU_STREAM_NON_BLOCKING));
  gpu_must(gpu.event_create(&k.before, 0));
  gpu_must(gpu.event_create(&k.after, 0));
  k.scratch = gpu_alloc(256);
  k.busy_bytes = (size_t)400 << 20;
  k.busy = gpu_alloc(k.busy_bytes);
  desc.backend = LATHE_BACKEND_CUDA;
  desc.device = LATHE_DEVICE(0);
  if (lathe_context_create(&desc, &context)) {
    fprintf(stderr, "bench_append: lathe_context_create: %s\n", lathe_last_error()->message);
    return 1;
  }
  if (path && !(json = fopen(path, "w"))) {
    fprintf(stderr, "bench_append: cannot write %s\n", path);
    return 1;
  }
  failed = run(&k, context, copy, hot, effort, json);
  if (json && (ferror(json) | fclose(json))) {
    fprintf(stderr, "bench_append: could not write all of %s\n", path);
    failed = 1;
  }
  lathe_context_destroy(context);
  gpu_free(k.busy);
  gpu_free(k.scratch);
  return failed;
}
