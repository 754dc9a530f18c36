// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// One decode problem: built on the host from a shape, with everything that must not be read or
// written poisoned, uploaded, run, and compared with the CPU backend, which gets the same
// arguments.
//
// The data. Cache elements are around 0.1, as normalised latents are; logits spread by about 1.2
// around 5, so that an lse is never near zero, where fp32 rounding has no bound relative to it.
// Column 1 of every cache row is 0.5: output column 1 is 0.5 whatever the weights, if they sum to
// one.
#ifndef LATHE_TESTS_GPU_PROBLEM_H
#define LATHE_TESTS_GPU_PROBLEM_H

#include "harness.h"

#include "../ref/problem.h"

// How a row's scores go along the cache: at random; up; down; one far above the others, at the end
// or at the start; up and down by turns of 16 rows, further each time; all far below zero.
typedef enum pattern {
  PATTERN_NORMAL,
  PATTERN_RISING,
  PATTERN_FALLING,
  PATTERN_HUGE,
  PATTERN_EARLY,
  PATTERN_ALTERNATING,
  PATTERN_SUNK,
  NUM_PATTERNS
} pattern;
// Steps: request i has i rows, and after kv_len of them it starts over.
typedef enum lengths { LENGTHS_EQUAL, LENGTHS_UNEVEN, LENGTHS_ZEROS, LENGTHS_STEPS } lengths;

typedef struct shape {
  int batch, q_len, num_heads, kv_len, page_size, l, r;
  lathe_dtype q, kv, out;
  int max_seq_len; // 0: kv_len and a little
  lengths lengths;
  int ragged;   // cu_q_lens, with requests of 0 to q_len tokens
  int split_q;  // q_nope and q_pe
  int split_kv; // ckv and kpe
  int weird;    // strides that are not packed, heads outside tokens, padding everywhere, this much
  int lse;      // 0 none, 1 natural, 2 base 2
  int no_mask;
  int bounded; // num_pages given
  int window;  // sliding_window
  double softcap;
  int sinks;
  int scale_at;                // the softmax scale is in memory, and another one in args
  int tree;                    // a tree mask in the place of the causal one
  int world, rank, interleave; // context parallelism, if world is 2 or more
  int local;                   // lengths are the rank's own
  int row656;                  // kv is E4M3 and its rows have 656 bytes
  pattern pattern;
  unsigned long long seed;
} shape;

typedef struct problem {
  shape shape;
  lathe_decode_desc desc;
  lathe_decode_args args; // host pointers
  int tokens;             // that exist; the tensors may have more rows
  int32_t *lens, *cu, *tables;
  uint32_t *tree;
  unsigned char *q, *q_pe, *kv, *kpe, *out;
  float *lse;
  float scale;
  float *sinks; // [num_heads], of every size beside logits around 5, and none
  size_t q_size, q_pe_size, kv_size, kpe_size, out_size, lse_size, tables_size, tree_size;
} problem;

// ------------------------------------------------------------------------------------ numbers

// The value of every code of a 16-bit or 8-bit dtype: millions of elements are compared.
static inline const double *element_values(lathe_dtype dtype) {
  static double *made[8];
  unsigned code, count = dtype == LATHE_DTYPE_E4M3 ? 256 : 65536;
  if (!made[dtype]) {
    made[dtype] = (double *)ref_alloc(count * sizeof(double));
    for (code = 0; code < count; code++)
      made[dtype][code] = ref_decode(dtype, code);
  }
  return made[dtype];
}

static inline double element_value(lathe_dtype dtype, const void *at) {
  uint16_t bits;
  if (dtype == LATHE_DTYPE_E4M3)
    return element_values(dtype)[*(const unsigned char *)at];
  memcpy(&bits, at, sizeof bits);
  return element_values(dtype)[bits];
}

static inline const ref_palette *normal_palette(lathe_dtype dtype, double deviation) {
  static struct {
    ref_palette *palette;
    double deviation;
  } made[16];
  int i;
  for (i = 0; i < 15 && made[i].palette; i++)
    if (made[i].palette->dtype == dtype && made[i].deviation == deviation)
      return made[i].palette;
  free(made[i].palette);
  made[i].palette = ref_palette_make(dtype, deviation, 12345);
  made[i].deviation = deviation;
  return made[i].palette;
}

// -------------------------------------------------------------------------------------- building

static const float E4M3_SCALE = 0.0625f; // kv_scale of the tests: 0.1 is stored as 1.6
static const float Q_SCALE = 0.5f;       // q_scale: 200 is stored as 400, of 448
// out_scale: steps of e4m3 near zero are 2^-11 then, and no finer than what an output may err by
static const float OUT_SCALE = 0.25f;
enum { TABLE_POISON = 2147483647 }; // what table entries hold that must not be read

static inline double problem_scale(const shape *s) {
  return 1.2 / sqrt(s->l + s->r);
}

static inline double kv_unit(const shape *s) {
  return s->kv == LATHE_DTYPE_E4M3 ? (double)E4M3_SCALE : 1;
}

static inline double q_unit(const shape *s) {
  return s->q == LATHE_DTYPE_E4M3 ? (double)Q_SCALE : 1;
}

static inline void *poisoned(size_t size) {
  void *memory = aligned_alloc(256, (size + 511) / 256 * 256);
  if (!memory)
    abort();
  memset(memory, 0xff, (size + 511) / 256 * 256); // NaN in every dtype
  return memory;
}

// The latent of a packed row, which has scales of its own, each row others. Group 0's is a power of
// two, so that column 1 is 0.5.
static inline void fill_row656(unsigned char *row, int at, ref_random *random) {
  float scales[4];
  int g;
  ref_palette_fill(normal_palette(LATHE_DTYPE_E4M3, 0.1 / (double)E4M3_SCALE), random, row, 0, 512);
  for (g = 0; g < 4; g++)
    scales[g] = E4M3_SCALE * (0.75f + 0.0625f * (float)((at + 3 * g) % 9));
  scales[0] = at % 2 ? E4M3_SCALE : E4M3_SCALE * 0.5f;
  memcpy(row + 512, scales, sizeof scales);
  ref_store(LATHE_DTYPE_E4M3, row + 1, 0, 0.5 / (double)scales[0]);
}

// One cache row: position `at` of a request of `length` rows (of `span` at most, for the ramps).
static inline void fill_kv_row(problem *p, long long page, int slot, int at, int length,
                               ref_random *random) {
  const shape *s = &p->shape;
  const lathe_decode_args *a = &p->args;
  const lathe_dtype dtype = s->row656 ? LATHE_DTYPE_BF16 : s->kv; // of the roped part
  const double unit = s->row656 ? 1 : kv_unit(s);
  int size = (int)ref_dtype_size(s->kv), span = s->kv_len > 1 ? s->kv_len - 1 : 1;
  const ref_palette *from = normal_palette(dtype, 0.1 / unit);
  unsigned char *latent = p->kv + (page * a->kv_page_stride + slot * a->kv_row_stride) * size;
  unsigned char *rope = s->split_kv
                            ? p->kpe + (page * a->kpe_page_stride + slot * a->kpe_row_stride) * size
                        : s->row656 ? latent + 528
                                    : latent + s->l * size;
  unsigned char *trend = s->r > 0 ? rope + (s->r - 1) * (int)ref_dtype_size(dtype) : latent;
  // Rising from 0, falling from 3: an lse near 0, of logits that cancel, would be asked for to
  // more digits than the tensor cores' sums of such scores have.
  double ramp = 6.0 * at / span;
  if (s->row656) {
    fill_row656(latent, at, random);
  } else {
    ref_palette_fill(from, random, latent, 0, s->l);
    ref_store(s->kv, latent + size, 0, 0.5 / unit);
  }
  if (s->r > 0)
    ref_palette_fill(from, random, rope, 0, s->r);
  if (s->pattern == PATTERN_RISING)
    ref_store(dtype, trend, 0, ramp / unit);
  if (s->pattern == PATTERN_FALLING)
    ref_store(dtype, trend, 0, (3.0 - ramp) / unit);
  if (s->pattern == PATTERN_HUGE)
    ref_store(dtype, trend, 0, (at == length - 1 ? 3.0 : 0.01) / unit);
  if (s->pattern == PATTERN_EARLY)
    ref_store(dtype, trend, 0, (at == 0 ? 3.0 : 0.01) / unit);
  if (s->pattern == PATTERN_ALTERNATING)
    ref_store(dtype, trend, 0, (at / 16 % 2 ? -3.0 : 3.0) * at / span / unit);
  if (s->pattern == PATTERN_SUNK)
    ref_store(dtype, trend, 0, -12.0 / unit);
}

static inline void fill_q_row(problem *p, long long token, int head, ref_random *random) {
  const shape *s = &p->shape;
  const lathe_decode_args *a = &p->args;
  const int size = (int)ref_dtype_size(s->q);
  const ref_palette *from = normal_palette(s->q, 10.0 / q_unit(s));
  unsigned char *nope = p->q + (token * a->q_token_stride + head * a->q_head_stride) * size;
  unsigned char *pe =
      s->split_q ? p->q_pe + (token * a->q_pe_token_stride + head * a->q_pe_head_stride) * size
                 : nope + s->l * size;
  unsigned char *trend = s->r > 0 ? pe + (s->r - 1) * size : nope;
  ref_palette_fill(from, random, nope, 0, s->l);
  if (s->r > 0)
    ref_palette_fill(from, random, pe, 0, s->r);
  ref_store(s->q, nope + size, 0, 10.0 / problem_scale(s) / q_unit(s)); // times 0.5: logit 5
  if (s->pattern != PATTERN_NORMAL)
    ref_store(s->q, trend, 0, 200.0 / q_unit(s));
}

static inline void build_lengths(problem *p, ref_random *random) {
  const shape *s = &p->shape;
  int i, at = 0, longest = (int)ref_below(random, s->batch);
  p->lens = (int32_t *)malloc(sizeof(int32_t) * (size_t)s->batch);
  p->cu = (int32_t *)malloc(sizeof(int32_t) * (size_t)(s->batch + 1));
  for (i = 0; i < s->batch; i++) {
    int zero = s->lengths == LENGTHS_ZEROS && i % 3 == 1;
    p->lens[i] = s->lengths == LENGTHS_STEPS                   ? i % (s->kv_len + 1)
                 : s->lengths == LENGTHS_EQUAL || i == longest ? s->kv_len
                 : zero                                        ? 0
                                                               : ref_between(random, 0, s->kv_len);
    p->cu[i] = at;
    at += s->ragged && i != longest ? ref_between(random, 0, s->q_len) : s->q_len;
  }
  p->cu[s->batch] = at;
  p->tokens = at;
}

// The first cache row that a token of request i sees. Those before it are not due to be read.
static inline int first_seen(const problem *p, int i) {
  int first = p->lens[i] - (p->cu[i + 1] - p->cu[i]) + 1 - p->shape.window;
  first = p->shape.window == 0 || first < 0 ? 0 : first > p->lens[i] ? p->lens[i] : first;
  return (int)ref_rows(&p->desc, first);
}

// Entries of a row of the block table, where the default says how many.
static inline int table_entries(const problem *p) {
  lathe_decode_desc first = p->desc; // rank 0 has the most rows
  first.cp_rank = 0;
  return ((int)ref_rows(&first, first.max_seq_len) + p->shape.page_size - 1) / p->shape.page_size;
}

static inline void build_cache(problem *p, ref_random *random) {
  const shape *s = &p->shape;
  lathe_decode_args *a = &p->args;
  int size = (int)ref_dtype_size(s->kv), pad = 16 * s->weird, i, k;
  // pages of the longest request, and of one that has no row here
  int most = ((int)ref_rows(&p->desc, s->kv_len) + s->page_size - 1) / s->page_size;
  // Full pages are drawn from `copies` of each page number, so that requests share some; the last
  // page of each request is its own, with a poisoned tail, and so is under a window the first, with
  // poisoned rows before it.
  int copies = 16384 / (most * s->page_size + 1) + 1, shared, pages;
  int32_t *order;
  copies = copies > s->batch ? s->batch : copies;
  shared = copies * most;
  pages = shared + 2 * s->batch + 2; // two that nobody uses
  order = (int32_t *)malloc(sizeof(int32_t) * (size_t)pages);
  for (i = 0; i < pages; i++)
    order[i] = i;
  ref_shuffle(random, order, pages);

  a->kv_row_stride = (s->row656 ? 656 : s->split_kv ? s->l : s->l + s->r) + pad;
  a->kv_page_stride = s->page_size * a->kv_row_stride + 3 * pad;
  p->kv_size = (size_t)(pages * a->kv_page_stride * size);
  p->kv = (unsigned char *)poisoned(p->kv_size);
  if (s->split_kv) {
    a->kpe_row_stride = s->r + 2 * pad;
    a->kpe_page_stride = s->page_size * a->kpe_row_stride + pad;
    p->kpe_size = (size_t)(pages * a->kpe_page_stride * size);
    p->kpe = (unsigned char *)poisoned(p->kpe_size);
  }
  a->num_pages = s->bounded ? pages : 0;

  a->block_table_stride = table_entries(p) + (s->weird ? 3 : 0);
  p->tables_size = sizeof(int32_t) * (size_t)(s->batch * a->block_table_stride);
  p->tables = (int32_t *)malloc(p->tables_size);
  for (i = 0; i < s->batch * (int)a->block_table_stride; i++)
    p->tables[i] = TABLE_POISON;
  for (k = 0; k < shared; k++) {
    int page = k % most, slot;
    for (slot = 0; slot < s->page_size; slot++)
      fill_kv_row(p, order[k], slot, page * s->page_size + slot, s->kv_len + 1, random);
  }
  for (i = 0; i < s->batch; i++) {
    int length = (int)ref_rows(&p->desc, p->lens[i]);
    int used = (length + s->page_size - 1) / s->page_size, page, slot;
    int first = first_seen(p, i), begin = first / s->page_size;
    int32_t *table = p->tables + i * a->block_table_stride;
    for (page = begin; page + 1 < used; page++)
      table[page] = order[(int)ref_below(random, copies) * most + page];
    if (begin + 1 < used && first % s->page_size) {
      table[begin] = order[shared + s->batch + i];
      for (slot = first % s->page_size; slot < s->page_size; slot++)
        fill_kv_row(p, table[begin], slot, begin * s->page_size + slot, length, random);
    }
    if (used > 0 && begin < used) {
      table[used - 1] = order[shared + i];
      for (slot = begin == used - 1 ? first % s->page_size : 0;
           (used - 1) * s->page_size + slot < length; slot++)
        fill_kv_row(p, order[shared + i], slot, (used - 1) * s->page_size + slot, length, random);
    }
  }
  free(order);

  // Packed strides are left at zero where the default says the same.
  if (!s->weird) {
    a->kv_row_stride = a->kv_page_stride = a->kpe_row_stride = a->kpe_page_stride = 0;
    a->block_table_stride = 0;
  }
}

static inline void build_query(problem *p, ref_random *random) {
  const shape *s = &p->shape;
  lathe_decode_args *a = &p->args;
  long long rows, width = s->split_q ? s->l : s->l + s->r;
  const int size = (int)ref_dtype_size(s->q), out = (int)ref_dtype_size(s->out);
  const int pad = s->weird * 16 / size, out_pad = s->weird * 16 / out; // 16 bytes
  int token, head, i;
  a->num_tokens = s->ragged ? p->tokens + (s->weird ? 3 : 0) : 0;
  if (s->ragged && !s->weird && s->seed % 4 < 2)
    a->num_tokens = 0; // then B * max_q_len rows exist
  rows = a->num_tokens ? a->num_tokens : s->batch * s->q_len;
  if (rows == 0)
    rows = 1;

  // Weird: the query head-major with padded rows, q_pe token-major and padded, out head-major.
  a->q_head_stride = s->weird ? rows * (width + pad) : width;
  a->q_token_stride = s->weird ? width + pad : s->num_heads * width;
  p->q_size = (size_t)(s->num_heads * rows * (width + pad) * size);
  p->q = (unsigned char *)poisoned(p->q_size);
  if (s->split_q) {
    a->q_pe_head_stride = s->r + 2 * pad;
    a->q_pe_token_stride = s->num_heads * a->q_pe_head_stride + 3 * pad;
    p->q_pe_size = (size_t)(rows * a->q_pe_token_stride * size);
    p->q_pe = (unsigned char *)poisoned(p->q_pe_size);
  }
  a->out_head_stride = s->weird ? rows * (s->l + out_pad) : s->l;
  a->out_token_stride = s->weird ? s->l + out_pad : s->num_heads * s->l;
  p->out_size = (size_t)(s->num_heads * rows * (s->l + out_pad) * out);
  p->out = (unsigned char *)poisoned(p->out_size);
  if (s->lse) {
    a->lse_head_stride = s->weird ? rows + 3 : 1;
    a->lse_token_stride = s->weird ? 1 : s->num_heads;
    p->lse_size = (size_t)(s->num_heads * (rows + (s->weird ? 3 : 0))) * sizeof(float);
    p->lse = (float *)poisoned(p->lse_size);
  }
  for (i = 0; i < s->batch; i++)
    for (token = p->cu[i]; token < p->cu[i + 1]; token++)
      for (head = 0; head < s->num_heads; head++)
        fill_q_row(p, token, head, random);
}

// A token sees any of those before it, often itself, and now and then one after it. What it does
// not have a row or a bit for is set.
static inline void draw_tree(problem *p, ref_random *random) {
  const shape *s = &p->shape;
  const long long words = p->args.tree_mask_stride;
  int i, token, j;
  memset(p->tree, 0xff, p->tree_size);
  for (i = 0; i < s->batch; i++)
    for (token = p->cu[i]; token < p->cu[i + 1]; token++)
      for (j = 0; j < p->cu[i + 1] - p->cu[i]; j++) {
        const int before = token - p->cu[i] - j, draw = (int)ref_below(random, 8);
        if (before > 0 ? draw < 4 : before == 0 ? draw == 0 : draw > 0)
          p->tree[token * words + j / 32] &= ~(UINT32_C(1) << j % 32);
      }
}

static inline void build_tree(problem *p, ref_random *random) {
  const shape *s = &p->shape;
  p->args.tree_mask_stride = (s->q_len + 31) / 32 + s->weird;
  p->tree_size = sizeof(uint32_t) * (size_t)(p->args.tree_mask_stride * (p->tokens + 1));
  p->tree = (uint32_t *)ref_alloc(p->tree_size);
  p->args.tree_mask = p->tree;
  draw_tree(p, random);
}

static inline void problem_make(problem *p, const shape *s) {
  lathe_decode_desc *d = &p->desc;
  lathe_decode_args *a = &p->args;
  ref_random seeded = {s->seed * 7919 + 1}, *random = &seeded;
  memset(p, 0, sizeof *p);
  p->shape = *s;
  if (s->r == 0)
    p->shape.split_q = p->shape.split_kv = 0;
  if (s->row656)
    p->shape.split_kv = 0;
  d->num_heads = s->num_heads;
  d->kv_lora_rank = s->l;
  d->qk_rope_head_dim = s->r;
  d->q_dtype = s->q;
  d->kv_dtype = s->kv;
  d->kv_format = s->row656 ? LATHE_KV_FORMAT_ROW656 : LATHE_KV_FORMAT_PLAIN;
  d->out_dtype = s->out;
  d->page_size = s->page_size;
  d->max_batch = s->batch + (s->weird ? 2 : 0);
  d->max_q_len = s->q_len;
  d->max_seq_len = s->max_seq_len ? s->max_seq_len : s->kv_len + (s->weird ? 70 : 1);
  d->mask = s->tree ? LATHE_MASK_TREE : s->no_mask ? LATHE_MASK_NONE : LATHE_MASK_CAUSAL;
  d->cp_world = s->world;
  d->cp_rank = s->rank;
  d->cp_interleave = s->interleave;
  d->cp_lens = s->local ? LATHE_CP_LENS_LOCAL : LATHE_CP_LENS_GLOBAL;
  d->sliding_window = s->window;
  d->logit_softcap = (float)s->softcap;
  d->attention_sinks = s->sinks;
  if (s->sinks) {
    static const float some[] = {5, -INFINITY, 9, 0, 12.5f, -40, 7, 100};
    int head;
    p->sinks = (float *)ref_alloc(sizeof(float) * (size_t)s->num_heads);
    for (head = 0; head < s->num_heads; head++)
      p->sinks[head] = some[(head + (int)(s->seed % 8)) % 8];
    a->sinks = p->sinks;
  }
  d->lse_base = s->lse == 2 ? LATHE_LSE_BASE2 : LATHE_LSE_NATURAL;

  a->batch = s->batch;
  a->q_len = s->weird ? s->q_len : 0;
  a->softmax_scale = (float)problem_scale(s);
  if (s->scale_at) {
    p->scale = a->softmax_scale;
    d->softmax_scale_on_device = 1;
    a->softmax_scale = 3.5f;
    a->softmax_scale_at = &p->scale;
  }
  a->kv_scale = s->kv == LATHE_DTYPE_E4M3 && !s->row656 ? E4M3_SCALE : 0.0f;
  a->q_scale = s->q == LATHE_DTYPE_E4M3 ? Q_SCALE : 0.0f;
  a->out_scale = s->out == LATHE_DTYPE_E4M3 ? OUT_SCALE : 0.0f;
  build_lengths(p, random);
  build_query(p, random);
  build_cache(p, random);
  if (s->tree)
    build_tree(p, random);
  a->q = p->q;
  a->q_pe = p->q_pe;
  a->kv_cache = p->kv;
  a->kpe_cache = p->kpe;
  a->block_tables = p->tables;
  a->seq_lens = p->lens;
  a->cu_q_lens = s->ragged ? p->cu : NULL;
  a->out = p->out;
  a->lse = p->lse;
}

// The arguments as a caller would pass them: p->args has every stride of the query and the output
// written out, for the tests' own arithmetic; half of the packed problems leave them to the
// default.
static inline lathe_decode_args problem_args(const problem *p) {
  lathe_decode_args args = p->args;
  if (!p->shape.weird && p->shape.seed % 2 == 0) {
    args.q_token_stride = args.q_head_stride = 0;
    args.q_pe_token_stride = args.q_pe_head_stride = 0;
    args.out_token_stride = args.out_head_stride = 0;
    args.lse_token_stride = args.lse_head_stride = 0;
    args.tree_mask_stride = 0;
  }
  return args;
}

static inline void problem_free(problem *p) {
  free(p->lens);
  free(p->cu);
  free(p->tables);
  free(p->q);
  free(p->q_pe);
  free(p->kv);
  free(p->kpe);
  free(p->out);
  free(p->lse);
  free(p->sinks);
  free(p->tree);
  memset(p, 0, sizeof *p);
}

static inline const char *problem_name(const problem *p, char *text, size_t size) {
  const shape *s = &p->shape;
  static const char *const patterns[] = {"",       " rising",      " falling", " huge",
                                         " early", " alternating", " sunk"};
  static const char *const kinds[] = {"", " uneven", " zeros", " steps"};
  static const char *const bases[] = {"", " lse", " lse2"};
  char options[96] = "";
  if (s->window)
    snprintf(options, sizeof options, " window %d", s->window);
  if (s->softcap > 0)
    snprintf(options + strlen(options), sizeof options - strlen(options), " cap %g", s->softcap);
  if (s->sinks)
    snprintf(options + strlen(options), sizeof options - strlen(options), " sinks");
  if (s->scale_at)
    snprintf(options + strlen(options), sizeof options - strlen(options), " scale-at");
  if (s->row656)
    snprintf(options + strlen(options), sizeof options - strlen(options), " row656");
  if (s->tree)
    snprintf(options + strlen(options), sizeof options - strlen(options), " tree");
  if (s->world > 1)
    snprintf(options + strlen(options), sizeof options - strlen(options), " rank %d of %d by %d%s",
             s->rank, s->world, s->interleave, s->local ? " local" : "");
  snprintf(text, size, "b%d s%d h%d k%d p%d l%d r%d %s/%s/%s%s%s%s%s%s%s%s%s%s%s seed %llu",
           s->batch, s->q_len, s->num_heads, s->kv_len, s->page_size, s->l, s->r,
           lathe_dtype_string(s->q), lathe_dtype_string(s->kv), lathe_dtype_string(s->out),
           kinds[s->lengths], s->ragged ? " ragged" : "", s->split_q ? " split-q" : "",
           s->split_kv ? " split-kv" : "", s->weird ? " strided" : "", bases[s->lse],
           s->no_mask ? " no-mask" : "", s->bounded ? " bounded" : "", options,
           patterns[s->pattern], s->seed);
  return text;
}

#endif
