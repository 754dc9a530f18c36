// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// One append: options drawn at random, inputs on the host, outputs twice, for the CPU backend and
// for the GPU, poisoned all over, so that whatever is written beside its place shows.
//
// What is copied or quantised as it came must have the oracle's bits. What is rotated may be one
// step of its dtype off, where fp32 and double round to different sides, or by the rounding of fp32
// where the two products all but cancel; and seldom at all.
#ifndef LATHE_TESTS_GPU_APPEND_PROBLEM_H
#define LATHE_TESTS_GPU_APPEND_PROBLEM_H

#include "harness.h"

#include "../ref/number.h"

typedef struct append_shape {
  int l, r, heads, page_size, batch, q_len, max_seq_len;
  lathe_dtype in, kv, out;
  lathe_kv_format format;
  lathe_row_scale row_scale;
  lathe_rope rope;
  int ragged, positions, slots, inactive, bounded, weird, parts; // parts: 0 both, 1 rows, 2 query
  int nope, split_out, split_kv, split_in, device_scale, scales;
  uint64_t seed;
} append_shape;

enum { APPEND_BUFFERS = 20 };

typedef struct append_buffer {
  unsigned char *host, *got; // got: of outputs, what came back from the device
  size_t size, field;        // field: offset of the pointer in lathe_append_args
  gpu_buffer device;
} append_buffer;

typedef struct append_problem {
  append_shape shape;
  lathe_append_desc desc;
  lathe_append_args args; // host pointers
  append_buffer buffers[APPEND_BUFFERS];
  int count, tokens;
} append_problem;

static inline unsigned char *append_buffer_add(append_problem *p, size_t field, size_t size,
                                               int output) {
  append_buffer *b = &p->buffers[p->count++];
  b->size = size;
  b->field = field;
  b->host = (unsigned char *)aligned_alloc(256, (size + 511) / 256 * 256);
  memset(b->host, 0xff, size);
  b->got = output ? (unsigned char *)malloc(size) : NULL;
  memcpy((char *)&p->args + field, &b->host, sizeof b->host);
  return b->host;
}

#define APPEND_INPUT(p, name, size)                                                                \
  append_buffer_add(p, offsetof(lathe_append_args, name), (size_t)(size), 0)
#define APPEND_OUTPUT(p, name, size)                                                               \
  append_buffer_add(p, offsetof(lathe_append_args, name), (size_t)(size), 1)

static inline void append_fill(const append_shape *s, unsigned char *tensor, size_t bytes,
                               ref_random *random) {
  size_t i;
  for (i = 0; i < bytes / 2; i++)
    ref_store(s->in, tensor, (int64_t)i, ref_normal(random) * (ref_below(random, 64) ? 1 : 300));
}

static inline append_shape append_draw(uint64_t seed) {
  static const int dims[][2] = {{512, 64}, {512, 64}, {512, 0}, {256, 32}, {48, 16}, {320, 128}};
  static const int pages[] = {1, 2, 16, 48, 64, 128};
  ref_random seeded = {seed * 977 + 3}, *random = &seeded;
  const int *dim = dims[ref_below(random, 6)];
  append_shape s;
  int kind = (int)ref_below(random, 4), flags = (int)ref_below(random, 1 << 12);
  memset(&s, 0, sizeof s);
  s.seed = seed;
  s.l = dim[0];
  s.r = dim[1];
  s.heads = ref_below(random, 4) ? ref_between(random, 1, 40) : ref_between(random, 64, 140);
  s.page_size = pages[ref_below(random, 6)];
  s.batch = ref_below(random, 4) ? ref_between(random, 1, 6) : ref_between(random, 33, 80);
  s.q_len = ref_between(random, 1, 5);
  s.max_seq_len = ref_between(random, 5, 200);
  s.in = ref_below(random, 2) ? LATHE_DTYPE_F16 : LATHE_DTYPE_BF16;
  s.kv = kind == 0 ? s.in : LATHE_DTYPE_E4M3;
  s.out = kind == 2 ? LATHE_DTYPE_E4M3 : s.in;
  if (kind == 3 && dim == dims[0]) {
    s.in = s.out = LATHE_DTYPE_BF16;
    s.format = LATHE_KV_FORMAT_ROW656;
    s.row_scale = flags & 1 ? LATHE_ROW_SCALE_POW2 : LATHE_ROW_SCALE_F32;
  }
  s.rope = (lathe_rope)ref_between(random, 1, 3);
  s.ragged = flags >> 1 & 1;
  s.positions = flags >> 2 & 1;
  s.slots = (flags >> 3 & 3) == 0;
  s.inactive = flags >> 5 & 1;
  s.bounded = flags >> 6 & 1;
  s.weird = flags >> 7 & 1;
  s.split_out = s.r > 0 && (flags >> 8 & 1);
  s.split_kv = s.r > 0 && s.format == LATHE_KV_FORMAT_PLAIN && (flags >> 9 & 1);
  s.split_in = s.r > 0 && (flags >> 10 & 1);
  s.scales = flags >> 11 & 1;
  s.device_scale = (int)ref_below(random, 2);
  s.parts = (int)ref_below(random, 5);
  s.nope = s.out == LATHE_DTYPE_E4M3 || s.r == 0 || ref_below(random, 4) > 0;
  return s;
}

static inline int append_entry_pages(const append_shape *s) {
  return (s->max_seq_len + s->page_size - 1) / s->page_size;
}

// Requests, and where their tokens are. No two rows fall on one place, as the order of writes is
// nobody's.
static inline void append_build_places(append_problem *p, int pages, ref_random *random) {
  const append_shape *s = &p->shape;
  const int most = append_entry_pages(s);
  int32_t *cu = (int32_t *)(void *)APPEND_INPUT(p, cu_q_lens, 4 * (s->batch + 1));
  int32_t *lens = (int32_t *)(void *)APPEND_INPUT(p, seq_lens, 4 * s->batch);
  int32_t *inactive = (int32_t *)(void *)APPEND_INPUT(p, inactive, 4 * s->batch);
  int32_t *tables = (int32_t *)(void *)APPEND_INPUT(p, block_tables, 4 * s->batch * most);
  int32_t *positions, *order = (int32_t *)malloc(sizeof(int32_t) * (size_t)pages);
  int64_t *slots;
  int i, t, at = 0;
  for (i = 0; i < s->batch; i++) {
    lens[i] = ref_below(random, 8) ? ref_between(random, 0, s->max_seq_len) : 0;
    inactive[i] = ref_below(random, 3) == 0;
    cu[i] = at;
    at += s->ragged ? ref_between(random, 0, s->q_len) : s->q_len;
  }
  cu[s->batch] = at;
  p->tokens =
      s->ragged ? at + (int)ref_below(random, 4) + (at == 0) : at; // the last ones are of none
  positions = (int32_t *)(void *)APPEND_INPUT(p, positions, 4 * p->tokens);
  slots = (int64_t *)(void *)APPEND_INPUT(p, slot_mapping, 8 * p->tokens);
  for (i = 0; i < pages; i++)
    order[i] = i;
  ref_shuffle(random, order, pages);
  for (i = 0; i < s->batch * most; i++)
    tables[i] = INT32_MAX; // not to be read
  for (i = 0; i < s->batch; i++)
    for (t = cu[i]; t < cu[i + 1]; t++) {
      const int position = lens[i] - cu[i + 1] + t;
      positions[t] = ref_below(random, 6) ? position : -1;
      if ((s->positions ? positions[t] : position) >= 0)
        tables[i * most + position / s->page_size] =
            s->bounded && ref_below(random, 16) == 0 ? (ref_below(random, 2) ? pages : -1)
                                                     : order[i * most + position / s->page_size];
    }
  free(order);
  order = (int32_t *)malloc(sizeof(int32_t) * (size_t)(pages * s->page_size));
  for (i = 0; i < pages * s->page_size; i++)
    order[i] = i;
  ref_shuffle(random, order, pages * s->page_size);
  for (t = 0; t < p->tokens; t++)
    slots[t] = t < pages * s->page_size && ref_below(random, 5) ? order[t] : -1;
  free(order);
  p->args.batch = s->batch;
  p->args.q_len = s->q_len;
  p->args.num_tokens = p->tokens;
  p->args.num_pages = s->bounded ? pages : 0;
  if (!s->ragged)
    p->args.cu_q_lens = NULL;
  if (!s->positions)
    p->args.positions = NULL;
  else
    p->args.seq_lens = NULL;
  if (!s->slots)
    p->args.slot_mapping = NULL;
  else
    p->args.block_tables = NULL;
  if (!s->inactive)
    p->args.inactive = NULL;
}

static inline void append_build_query(append_problem *p, ref_random *random) {
  const append_shape *s = &p->shape;
  lathe_append_args *a = &p->args;
  const int pad = s->weird ? 16 : 0, bytes = (int)ref_dtype_size(s->out);
  const int width = s->split_out ? s->l : s->l + s->r, rows = p->tokens * s->heads;
  size_t size;
  if (s->nope) {
    size = (size_t)(rows * (s->l + pad)) * 2;
    append_fill(s, APPEND_INPUT(p, q_nope, size), size, random);
  }
  if (s->r > 0) {
    size = (size_t)(rows * (s->r + pad)) * 2;
    append_fill(s, APPEND_INPUT(p, q_pe, size), size, random);
  }
  if (s->nope || !s->split_out)
    APPEND_OUTPUT(p, q_out, rows * (width + pad) * bytes);
  if (s->split_out)
    APPEND_OUTPUT(p, q_pe_out, rows * (s->r + pad) * bytes);
  if (!s->weird)
    return;
  if (a->q_nope) { // heads outside tokens
    a->q_nope_token_stride = s->l + pad;
    a->q_nope_head_stride = p->tokens * (s->l + pad);
  }
  if (a->q_pe) {
    a->q_pe_head_stride = s->r + pad;
    a->q_pe_token_stride = s->heads * (s->r + pad);
  }
  if (a->q_out) {
    a->q_out_head_stride = width + pad;
    a->q_out_token_stride = s->heads * (width + pad);
  }
  if (a->q_pe_out) {
    a->q_pe_out_token_stride = s->r + pad;
    a->q_pe_out_head_stride = p->tokens * (s->r + pad);
  }
}

static inline void append_build_rows(append_problem *p, int pages, ref_random *random) {
  const append_shape *s = &p->shape;
  lathe_append_args *a = &p->args;
  const int pad = s->weird ? 16 : 0, bytes = (int)ref_dtype_size(s->kv);
  const int in = s->split_in ? s->l : s->l + s->r;
  const int row = s->format == LATHE_KV_FORMAT_ROW656 ? 656 : s->split_kv ? s->l : s->l + s->r;
  size_t size = (size_t)(p->tokens * (in + pad)) * 2;
  append_fill(s, APPEND_INPUT(p, latent_cache, size), size, random);
  if (s->split_in) {
    size = (size_t)(p->tokens * (s->r + pad)) * 2;
    append_fill(s, APPEND_INPUT(p, k_pe, size), size, random);
  }
  APPEND_OUTPUT(p, kv_cache, pages * (s->page_size * (row + pad) + pad) * bytes);
  if (s->split_kv)
    APPEND_OUTPUT(p, kpe_cache, pages * s->page_size * (s->r + pad) * bytes);
  if (!s->weird)
    return;
  a->latent_token_stride = in + pad;
  a->k_pe_token_stride = s->split_in ? s->r + pad : 0;
  a->kv_row_stride = row + pad;
  a->kv_page_stride = s->page_size * (row + pad) + pad;
  if (s->split_kv) // pages inside rows
    a->kpe_page_stride = s->r + pad, a->kpe_row_stride = pages * (s->r + pad);
}

static inline void append_build_scales(append_problem *p) {
  const append_shape *s = &p->shape;
  lathe_append_args *a = &p->args;
  const int plain = s->kv == LATHE_DTYPE_E4M3 && s->format == LATHE_KV_FORMAT_PLAIN;
  if (plain && s->device_scale)
    *(float *)(void *)APPEND_INPUT(p, kv_scale_device, sizeof(float)) = 0.7f;
  else if (plain)
    a->kv_scale = 0.7f;
  if (s->out == LATHE_DTYPE_E4M3 && s->device_scale)
    *(float *)(void *)APPEND_INPUT(p, q_scale_device, sizeof(float)) = 0.3f;
  else if (s->out == LATHE_DTYPE_E4M3)
    a->q_scale = 0.3f;
  if (s->scales) {
    a->softmax_scale = 0.137f;
    APPEND_OUTPUT(p, scales_out, 3 * sizeof(float));
  }
}

static inline void append_problem_make(append_problem *p, const append_shape *s) {
  ref_random seeded = {s->seed * 31 + 5}, *random = &seeded;
  const int pages = s->batch * append_entry_pages(s) + 1;
  lathe_append_desc *d = &p->desc;
  memset(p, 0, sizeof *p);
  p->shape = *s;
  d->num_heads = s->heads;
  d->kv_lora_rank = s->l;
  d->qk_rope_head_dim = s->r;
  d->q_dtype = s->in;
  d->kv_dtype = s->kv;
  d->q_out_dtype = s->out;
  d->kv_format = s->format;
  d->row_scale = s->row_scale;
  d->rope = s->rope;
  d->page_size = s->page_size;
  d->max_batch = s->batch;
  d->max_q_len = s->q_len;
  d->max_seq_len = s->max_seq_len;
  append_build_places(p, pages, random);
  if (s->parts != 1)
    append_build_query(p, random);
  if (s->parts != 2)
    append_build_rows(p, pages, random);
  append_build_scales(p);
  if (s->r > 0 && s->rope != LATHE_ROPE_NONE) {
    const int stride = s->r + (s->weird ? 4 : 0);
    float *table = (float *)(void *)APPEND_INPUT(p, cos_sin, 4 * s->max_seq_len * stride);
    int i, k;
    for (i = 0; i < s->max_seq_len; i++)
      for (k = 0; k < s->r / 2; k++) {
        table[i * stride + k] = (float)cos(i / pow(10000, 2.0 * k / s->r));
        table[i * stride + s->r / 2 + k] = (float)sin(i / pow(10000, 2.0 * k / s->r));
      }
    p->args.cos_sin_row_stride = s->weird ? stride : 0;
  }
}

// The same arguments with device pointers, inputs and poisoned outputs uploaded.
static inline lathe_append_args append_upload(append_problem *p) {
  lathe_append_args args = p->args;
  int i;
  for (i = 0; i < p->count; i++) {
    append_buffer *b = &p->buffers[i];
    void *pointer, *given;
    memcpy(&given, (char *)&args + b->field, sizeof given);
    if (!given)
      continue; // made, but left out
    if (b->got)
      memset(b->host, 0xff, b->size);
    gpu_buffer_upload(&b->device, b->host, b->size);
    pointer = gpu_address(b->device.at);
    memcpy((char *)&args + b->field, &pointer, sizeof pointer);
  }
  return args;
}

static inline void append_download(append_problem *p) {
  int i;
  gpu_must(gpu.synchronize());
  for (i = 0; i < p->count; i++)
    if (p->buffers[i].got)
      gpu_must(gpu.download(p->buffers[i].got, p->buffers[i].device.at, p->buffers[i].size));
}

static inline void append_problem_free(append_problem *p) {
  int i;
  for (i = 0; i < p->count; i++) {
    gpu_free(p->buffers[i].device.at);
    free(p->buffers[i].host);
    free(p->buffers[i].got);
  }
  memset(p, 0, sizeof *p);
}

static inline lathe_append_plan *append_plan(lathe_context *context,
                                             const lathe_append_desc *desc) {
  lathe_append_plan *plan = NULL;
  gpu_ok(lathe_append_plan_create(context, desc, &plan), "lathe_append_plan_create");
  return plan;
}

// The oracle's outputs, into the host's buffers.
static inline void append_oracle(append_problem *p) {
  lathe_append_plan *plan = append_plan(gpu_oracle_context(), &p->desc);
  gpu_ok(lathe_append_run(plan, &p->args, NULL), "lathe_append_run on the CPU");
  lathe_append_plan_destroy(plan);
}

// ------------------------------------------------------------------------------------ comparison

// Codes in the order of their values.
static inline int append_order(lathe_dtype dtype, unsigned code) {
  const unsigned sign = dtype == LATHE_DTYPE_E4M3 ? 0x80 : 0x8000;
  return code & sign ? -(int)(code & (sign - 1)) : (int)code;
}

typedef struct append_difference {
  long compared, bits, wrong; // elements; other bits, but within what rounding explains; not
  char first[256];
} append_difference;

static inline void append_compare(append_difference *d, const char *what, lathe_dtype dtype,
                                  const unsigned char *got, const unsigned char *want, size_t count,
                                  int rotated) {
  const size_t bytes = ref_dtype_size(dtype);
  size_t i;
  for (i = 0; i < count; i++) {
    unsigned a = got[i * bytes], b = want[i * bytes];
    double x, y;
    if (bytes == 2) {
      a |= (unsigned)got[i * 2 + 1] << 8;
      b |= (unsigned)want[i * 2 + 1] << 8;
    }
    d->compared++;
    if (a == b)
      continue;
    x = ref_decode(dtype, a);
    y = ref_decode(dtype, b);
    d->bits++;
    if (rotated && (abs(append_order(dtype, a) - append_order(dtype, b)) <= 1 ||
                    fabs(x - y) <= 1500 * 0x1p-22))
      continue;
    if (d->wrong++ == 0)
      snprintf(d->first, sizeof d->first, "%s element %zu is %g (0x%x), wanted %g (0x%x)", what, i,
               x, a, y, b);
  }
}

// Every byte of every output.
static inline append_difference append_check(const append_problem *p) {
  const append_shape *s = &p->shape;
  const int rotated = s->r > 0 && s->rope != LATHE_ROPE_NONE;
  append_difference d;
  int i;
  memset(&d, 0, sizeof d);
  for (i = 0; i < p->count; i++) {
    const append_buffer *b = &p->buffers[i];
    size_t row;
    if (!b->got)
      continue;
    if (b->field == offsetof(lathe_append_args, scales_out)) {
      d.wrong += memcmp(b->got, b->host, b->size) != 0;
    } else if (b->field == offsetof(lathe_append_args, q_out)) {
      append_compare(&d, "q_out", s->out, b->got, b->host, b->size / ref_dtype_size(s->out),
                     rotated && !s->split_out);
    } else if (b->field == offsetof(lathe_append_args, q_pe_out)) {
      append_compare(&d, "q_pe_out", s->out, b->got, b->host, b->size / ref_dtype_size(s->out),
                     rotated);
    } else if (b->field == offsetof(lathe_append_args, kpe_cache)) {
      append_compare(&d, "kpe_cache", s->kv, b->got, b->host, b->size / ref_dtype_size(s->kv),
                     rotated);
    } else if (s->format == LATHE_KV_FORMAT_PLAIN) {
      append_compare(&d, "kv_cache", s->kv, b->got, b->host, b->size / ref_dtype_size(s->kv),
                     rotated && !s->split_kv);
    } else {
      const size_t stride = s->weird ? 672 : 656,
                   page = stride * (size_t)s->page_size + (s->weird ? 16 : 0);
      for (row = 0; row < b->size / page * (size_t)s->page_size; row++) {
        const size_t at = row / (size_t)s->page_size * page + row % (size_t)s->page_size * stride;
        append_compare(&d, "codes", LATHE_DTYPE_E4M3, b->got + at, b->host + at, 512, 0);
        d.wrong += memcmp(b->got + at + 512, b->host + at + 512, 16) != 0;
        append_compare(&d, "rope", s->in, b->got + at + 528, b->host + at + 528, 64, rotated);
        append_compare(&d, "padding", LATHE_DTYPE_E4M3, b->got + at + 656, b->host + at + 656,
                       stride - 656, 0);
      }
    }
  }
  return d;
}

static inline const char *append_name(const append_shape *s, char *text, size_t size) {
  static const char *const pairings[] = {"", "interleaved", "half-split", "no rope"};
  snprintf(text, size, "seed %llu: l%d r%d h%d p%d b%d s%d k%d %s/%s/%s%s %s%s%s%s%s%s%s%s%s%s",
           (unsigned long long)s->seed, s->l, s->r, s->heads, s->page_size, s->batch, s->q_len,
           s->max_seq_len, lathe_dtype_string(s->in), lathe_dtype_string(s->kv),
           lathe_dtype_string(s->out), s->format ? " row656" : "", pairings[s->rope],
           s->ragged ? " ragged" : "", s->positions ? " positions" : "", s->slots ? " slots" : "",
           s->inactive ? " inactive" : "", s->bounded ? " bounded" : "", s->weird ? " strided" : "",
           s->parts == 1   ? " rows"
           : s->parts == 2 ? " query"
                           : "",
           s->split_kv ? " split-kv" : "", s->split_out ? " split-out" : "");
  return text;
}

#endif
