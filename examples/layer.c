// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A whole attention layer, token after token, as an engine runs it: projections, absorption of W_UK
// into the query, lathe_append_run, lathe_decode_run, W_UV, the output projection. Weights are
// random, shapes those of DeepSeek-V2-Lite and MiniCPM3. Each step is compared with attention that
// keeps keys and values for every head, nothing absorbed, in double.
//
// On a GPU with cuBLAS and NVRTC the layer is one CUDA graph, captured once; else all of it runs on
// the CPU backend.
//
//     cc -O2 -Iinclude -Ibuild/include examples/layer.c -o layer -ldl -lpthread -lm
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "layer_math.h"

enum { STEPS = 64, PAGE = 16, PAGES = STEPS / PAGE };

typedef struct model {
  const char *name;
  int hidden, heads, latent, rope, nope, value; // head dims: kv_lora_rank, qk_rope, qk_nope, v
  int q_latent;                                 // q_lora_rank; 0: one matrix makes the query
  lathe_rope pairing;
} model;

static const model models[] = {
    {"DeepSeek-V2-Lite", 2048, 16, 512, 64, 128, 128, 0, LATHE_ROPE_INTERLEAVED},
    {"MiniCPM3", 2560, 40, 256, 32, 64, 64, 768, LATHE_ROPE_HALF_SPLIT},
};

typedef struct layer {
  model m;
  matrix q_down, q_up, kv_down, key, value, output;
  float *cos_sin; // [STEPS, rope]
  // bf16, where the layer runs
  uint16_t *in, *q_latent, *query, *kv, *absorbed, *joined, *cache, *attended, *values, *out;
  int32_t *length; // with the new token
  lathe_append_plan *append;
  lathe_decode_plan *decode;
  lathe_append_args append_args;
  lathe_decode_args decode_args;
} layer;

// ------------------------------------------------------------------------------------- the layer

static void layer_weights(layer *l) {
  const model *m = &l->m;
  const int query = m->heads * (m->nope + m->rope);
  l->q_down = matrix_make(1, m->hidden, m->q_latent, 1);
  l->q_up = matrix_make(1, m->q_latent ? m->q_latent : m->hidden, query, 2);
  l->kv_down = matrix_make(1, m->hidden, m->latent + m->rope, 3);
  l->key = matrix_make(m->heads, m->nope, m->latent, 4);    // W_UK of each head
  l->value = matrix_make(m->heads, m->latent, m->value, 5); // W_UV
  l->output = matrix_make(1, m->heads * m->value, m->hidden, 6);
  l->cos_sin = (float *)malloc(sizeof(float) * (size_t)(STEPS * m->rope));
  for (int position = 0; position < STEPS; position++)
    for (int i = 0; i < m->rope / 2; i++) {
      double angle = position * pow(10000, -2.0 * i / m->rope);
      l->cos_sin[position * m->rope + i] = (float)cos(angle);
      l->cos_sin[position * m->rope + m->rope / 2 + i] = (float)sin(angle);
    }
}

static uint16_t *halves(int count) {
  return (uint16_t *)gpu_alloc((size_t)count * 2);
}

static void layer_plans(layer *l, lathe_context *context) {
  const model *m = &l->m;
  lathe_append_desc append = {.num_heads = m->heads,
                              .kv_lora_rank = m->latent,
                              .qk_rope_head_dim = m->rope,
                              .q_dtype = LATHE_DTYPE_BF16,
                              .kv_dtype = LATHE_DTYPE_BF16,
                              .rope = m->pairing,
                              .page_size = PAGE,
                              .max_batch = 1,
                              .max_seq_len = STEPS};
  lathe_decode_desc decode = {.num_heads = m->heads,
                              .kv_lora_rank = m->latent,
                              .qk_rope_head_dim = m->rope,
                              .q_dtype = LATHE_DTYPE_BF16,
                              .kv_dtype = LATHE_DTYPE_BF16,
                              .page_size = PAGE,
                              .max_batch = 1,
                              .max_seq_len = STEPS};
  expect_ok(lathe_append_plan_create(context, &append, &l->append), "lathe_append_plan_create");
  expect_ok(lathe_decode_plan_create(context, &decode, &l->decode), "lathe_decode_plan_create");
}

static void layer_make(layer *l, const model *m, lathe_context *context) {
  static const int32_t table[PAGES] = {2, 0, 3, 1};
  const int width = m->latent + m->rope, head = m->nope + m->rope;
  memset(l, 0, sizeof *l);
  l->m = *m;
  layer_weights(l);
  layer_plans(l, context);
  l->in = halves(m->hidden);
  l->q_latent = halves(m->q_latent);
  l->query = halves(m->heads * head);
  l->kv = halves(width);
  l->absorbed = halves(m->heads * m->latent);
  l->joined = halves(m->heads * width);
  l->cache = halves(PAGES * PAGE * width);
  l->attended = halves(m->heads * m->latent);
  l->values = halves(m->heads * m->value);
  l->out = halves(m->hidden);
  l->length = (int32_t *)gpu_alloc(sizeof(int32_t));
  gpu_fill(l->cache, 0xff, (size_t)(PAGES * PAGE * width) * 2); // NaN
  l->append_args = (lathe_append_args){
      .batch = 1,
      .q_nope = l->absorbed,
      .q_pe = l->query + m->nope, // behind each head's other part, still to be rotated
      .q_pe_head_stride = head,
      .q_out = l->joined,
      .latent_cache = l->kv,
      .kv_cache = l->cache,
      .num_pages = PAGES,
      .block_tables = (const int32_t *)gpu_copy(table, sizeof table),
      .seq_lens = l->length,
      .cos_sin = (const float *)gpu_copy(l->cos_sin, sizeof(float) * (size_t)(STEPS * m->rope)),
  };
  l->decode_args = (lathe_decode_args){
      .batch = 1,
      .q = l->joined,
      .kv_cache = l->cache,
      .num_pages = PAGES,
      .block_tables = l->append_args.block_tables,
      .seq_lens = l->length,
      .softmax_scale = lathe_softmax_scale(m->nope, m->rope, 0),
      .out = l->attended,
      .workspace_size = lathe_decode_workspace_size(l->decode),
  };
  l->decode_args.workspace = gpu_alloc(l->decode_args.workspace_size);
}

// One token: enqueued on the GPU, done on return on the CPU.
static void layer_step(layer *l) {
  const model *m = &l->m;
  const uint16_t *to_query = l->in;
  if (m->q_latent) {
    multiply(&l->q_down, l->in, 0, l->q_latent, 0);
    normalise(l->q_latent, m->q_latent);
    to_query = l->q_latent;
  }
  multiply(&l->q_up, to_query, 0, l->query, 0);
  multiply(&l->kv_down, l->in, 0, l->kv, 0);
  normalise(l->kv, m->latent); // the latent; k_pe, behind it, stays
  multiply(&l->key, l->query, m->nope + m->rope, l->absorbed, m->latent);
  expect_ok(lathe_append_run(l->append, &l->append_args, stream), "lathe_append_run");
  expect_ok(lathe_decode_run(l->decode, &l->decode_args, stream), "lathe_decode_run");
  multiply(&l->value, l->attended, m->latent, l->values, m->value);
  multiply(&l->output, l->values, 0, l->out, 0);
}

static void layer_free(layer *l) {
  matrix *all[] = {&l->q_down, &l->q_up, &l->kv_down, &l->key, &l->value, &l->output};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    matrix_free(all[i]);
  lathe_append_plan_destroy(l->append);
  lathe_decode_plan_destroy(l->decode);
  free(l->cos_sin);
}

// ------------------------------------------------------------------------- attention, un-absorbed

typedef struct reference {
  const layer *l;
  double *keys;   // [STEPS, heads, nope + rope]
  double *values; // [STEPS, heads, value]
  int length;
} reference;

static double *doubles(int count) {
  double *values = (double *)calloc((size_t)count + 1, sizeof *values);
  if (!values)
    exit(1);
  return values;
}

static void reference_rotate(const layer *l, double *x, int position) {
  const int half = l->m.rope / 2, interleaved = l->m.pairing == LATHE_ROPE_INTERLEAVED;
  for (int i = 0; i < half; i++) {
    double angle = position * pow(10000, -1.0 * i / half);
    double *a = x + (interleaved ? 2 * i : i), *b = interleaved ? a + 1 : a + half, real = *a;
    *a = real * cos(angle) - *b * sin(angle);
    *b = real * sin(angle) + *b * cos(angle);
  }
}

// Appends the token's keys and values, and attends to all: query [heads, nope + rope], rotated.
static void reference_attend(const reference *r, const double *query, double *out) {
  const model *m = &r->l->m;
  const int head = m->nope + m->rope;
  const double scale = 1 / sqrt((double)head);
  double p[STEPS];
  for (int h = 0; h < m->heads; h++) {
    double top = -INFINITY, sum = 0;
    for (int j = 0; j < r->length; j++) {
      const double *key = r->keys + (j * m->heads + h) * head;
      p[j] = 0;
      for (int i = 0; i < head; i++)
        p[j] += scale * query[h * head + i] * key[i];
      top = fmax(top, p[j]);
    }
    for (int j = 0; j < r->length; j++)
      sum += p[j] = exp(p[j] - top);
    for (int i = 0; i < m->value; i++)
      out[h * m->value + i] = 0;
    for (int j = 0; j < r->length; j++)
      for (int i = 0; i < m->value; i++)
        out[h * m->value + i] += p[j] / sum * r->values[(j * m->heads + h) * m->value + i];
  }
}

static void reference_step(reference *r, const uint16_t *in, double *out) {
  const layer *l = r->l;
  const model *m = &l->m;
  const int head = m->nope + m->rope, position = r->length++;
  double *x = doubles(m->hidden), *q_latent = doubles(m->q_latent);
  double *query = doubles(m->heads * head), *kv = doubles(m->latent + m->rope);
  double *attended = doubles(m->heads * m->value);
  for (int i = 0; i < m->hidden; i++)
    x[i] = (double)bf16_to_float(in[i]);
  exact_multiply(&l->q_down, 0, x, q_latent);
  exact_normalise(q_latent, m->q_latent);
  exact_multiply(&l->q_up, 0, m->q_latent ? q_latent : x, query);
  exact_multiply(&l->kv_down, 0, x, kv);
  exact_normalise(kv, m->latent);
  reference_rotate(l, kv + m->latent, position);
  for (int h = 0; h < m->heads; h++) {
    double *key = r->keys + (position * m->heads + h) * head;
    exact_multiply_transposed(&l->key, h, kv, key);
    memcpy(key + m->nope, kv + m->latent, sizeof(double) * (size_t)m->rope);
    exact_multiply(&l->value, h, kv, r->values + (position * m->heads + h) * m->value);
    reference_rotate(l, query + h * head + m->nope, position);
  }
  reference_attend(r, query, attended);
  exact_multiply(&l->output, 0, attended, out);
  free(x);
  free(q_latent);
  free(query);
  free(kv);
  free(attended);
}

// -------------------------------------------------------------------------------------------- main

// The largest difference over the largest magnitude; NaN stays.
static double error_of(const uint16_t *out, const double *want, int count) {
  double worst = 0, most = 0;
  for (int i = 0; i < count; i++) {
    double difference = fabs((double)bf16_to_float(out[i]) - want[i]);
    if (!(difference <= worst))
      worst = difference;
    most = fmax(most, fabs(want[i]));
  }
  return worst / most;
}

// Of all steps the largest error.
static double run(const model *m, lathe_context *context) {
  layer l;
  reference r;
  uint16_t *out = (uint16_t *)malloc((size_t)m->hidden * 2);
  double *want = doubles(m->hidden), worst = 0;
  layer_make(&l, m, context);
  r = (reference){&l, doubles(STEPS * m->heads * (m->nope + m->rope)),
                  doubles(STEPS * m->heads * m->value), 0};
  printf("%s, %s: error of each step", m->name, math_backend());
  for (int32_t length = 1; length <= STEPS; length++) {
    uint16_t *in = random_bf16((size_t)m->hidden, 1000u + (unsigned)length);
    double error;
    gpu_write(l.in, in, (size_t)m->hidden * 2);
    gpu_write(l.length, &length, sizeof length);
    gpu_synchronize();
    if (length == 1 || !replay()) { // the first one loads what its kernels need
      if (length > 1)
        record_begin();
      layer_step(&l);
      if (length > 1)
        record_end();
    }
    gpu_read(out, l.out, (size_t)m->hidden * 2);
    reference_step(&r, in, want);
    error = error_of(out, want, m->hidden);
    if (!(error <= worst))
      worst = error;
    printf("%s%.4f", length % 8 == 1 ? "\n  " : " ", error);
    free(in);
  }
  printf("\n");
  forget();
  layer_free(&l);
  gpu_close();
  free(r.keys);
  free(r.values);
  free(want);
  free(out);
  return worst;
}

int main(void) {
  lathe_context_desc desc = {0};
  lathe_context *context;
  double worst = 0;
  expect_ok(lathe_context_create(&desc, &context), "lathe_context_create");
  if (!math_open(context)) { // a GPU, and nothing to multiply with
    lathe_context_destroy(context);
    desc.backend = LATHE_BACKEND_CPU;
    expect_ok(lathe_context_create(&desc, &context), "lathe_context_create");
  }
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    double error = run(&models[i], context);
    if (!(error <= worst))
      worst = error;
  }
  math_close();
  lathe_context_destroy(context);
  printf("layer: worst error %.2g of the largest output\n", worst);
  return !(worst < 2e-2);
}
