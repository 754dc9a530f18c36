// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// One row made ready to run: its plan, lengths and block tables, and the call that is timed.
#ifndef LATHE_TESTS_BENCH_STEP_H
#define LATHE_TESTS_BENCH_STEP_H

#include "machine.h"

typedef struct bench_step {
  bench_machine *m;
  const bench_case *c;
  lathe_decode_plan *plan;
  lathe_decode_args args;
  int32_t *lens, *table; // the host's
  int32_t *listed;       // with lists: [tokens, topk], positions in the token's request
  int64_t stride, pages; // entries of a table row; pages of one copy
  int copies;            // of the cache
  size_t copy_bytes;
} bench_step;

static inline void bench_step_call(void *user, int index, gpu_stream stream) {
  bench_step *s = (bench_step *)user;
  lathe_decode_args args = s->args;
  args.kv_cache = gpu_address(s->m->cache + (gpu_pointer)(index % s->copies) * s->copy_bytes);
  if (lathe_decode_run(s->plan, &args, stream) != LATHE_STATUS_OK) {
    fprintf(stderr, "lathe_decode_run: %s\n", lathe_last_error()->message);
    exit(1);
  }
}

static inline void bench_step_schedule(void *user, int index, gpu_stream stream) {
  const bench_step *s = (const bench_step *)user;
  (void)index;
  if (lathe_decode_schedule(s->plan, &s->args, stream) != LATHE_STATUS_OK) {
    fprintf(stderr, "lathe_decode_schedule: %s\n", lathe_last_error()->message);
    exit(1);
  }
}

static inline lathe_decode_desc bench_step_desc(const bench_case *c, const bench_options *o) {
  lathe_decode_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.num_heads = c->row.heads;
  desc.kv_lora_rank = c->l;
  desc.qk_rope_head_dim = c->r;
  desc.q_dtype = o->q;
  desc.kv_dtype = o->kv;
  desc.page_size = c->page;
  desc.max_batch = c->row.batch;
  desc.max_q_len = c->row.q_len;
  desc.max_seq_len = c->row.kv_max;
  desc.sliding_window = c->window;
  desc.kv_format = c->topk ? LATHE_KV_FORMAT_ROW656 : LATHE_KV_FORMAT_PLAIN;
  desc.sparse_topk = c->topk;
  desc.mask = c->row.causal ? LATHE_MASK_CAUSAL : LATHE_MASK_NONE;
  return desc;
}

// The plan, and whether it is one that was asked for; else to->outcome and why.
static inline int bench_step_plan(bench_step *s, bench_result *to) {
  const bench_options *o = s->m->options;
  lathe_decode_desc desc = bench_step_desc(s->c, o);
  lathe_status status = lathe_decode_plan_create(s->m->context, &desc, &s->plan);
  lathe_decode_plan_info info;
  if (status != LATHE_STATUS_OK) {
    to->outcome = status == LATHE_STATUS_UNSUPPORTED ? BENCH_SKIPPED : BENCH_WRONG;
    snprintf(to->why, sizeof to->why, "%s", lathe_last_error()->message);
    return -1;
  }
  lathe_decode_plan_get_info(s->plan, &info);
  snprintf(to->kernel, sizeof to->kernel, "%s", info.kernel);
  snprintf(to->merge, sizeof to->merge, "%s", info.merge_kernel);
  to->blocks = info.blocks;
  to->splits = info.splits;
  to->registers = info.registers;
  to->shared_bytes = info.shared_bytes;
  if (o->kernel && !bench_has_word(info.kernel, o->kernel)) {
    to->outcome = BENCH_SKIPPED;
    snprintf(to->why, sizeof to->why, "the plan took %s, not %s", info.kernel, o->kernel);
    return -1;
  }
  return 0;
}

// Lengths, and tables of pages in random order; entries of what is not seen name no page.
static inline void bench_step_tables(bench_step *s) {
  const bench_case *c = s->c;
  ref_random random = {7};
  int32_t *order;
  int64_t kv_rows, i, k, at = 0;
  size_t entries;
  bench_case_total(c, &kv_rows, &s->pages);
  s->stride = (c->row.kv_max + c->page - 1) / c->page;
  entries = (size_t)(c->row.batch * s->stride);
  s->lens = (int32_t *)ref_alloc(sizeof *s->lens * (size_t)c->row.batch);
  s->table = (int32_t *)ref_alloc(sizeof *s->table * entries);
  order = (int32_t *)ref_alloc(sizeof *order * (size_t)s->pages);
  bench_case_lens(&c->row, s->lens);
  memset(s->table, 0x7f, sizeof *s->table * entries);
  for (i = 0; i < s->pages; i++)
    order[i] = (int32_t)i;
  ref_shuffle(&random, order, s->pages);
  for (i = 0; i < c->row.batch; i++)
    for (k = bench_case_hidden_pages(c, s->lens[i]); k < (s->lens[i] + c->page - 1) / c->page; k++)
      s->table[i * s->stride + k] = order[at++];
  free(order);
  gpu_buffer_upload(&s->m->lens, s->lens, sizeof *s->lens * (size_t)c->row.batch);
  gpu_buffer_upload(&s->m->table, s->table, sizeof *s->table * entries);
}

// Lists of positions at random, and on the device the rows of the cache that these are.
static inline void bench_step_lists(bench_step *s) {
  const bench_case *c = s->c;
  const size_t entries = (size_t)c->row.batch * (size_t)c->row.q_len * (size_t)c->topk;
  int32_t *rows = (int32_t *)ref_alloc(sizeof *rows * (entries + 1));
  ref_random random = {11};
  size_t i;
  s->listed = (int32_t *)ref_alloc(sizeof *s->listed * (entries + 1));
  for (i = 0; i < entries; i++) {
    const int64_t request = (int64_t)(i / ((size_t)c->row.q_len * (size_t)c->topk));
    const int32_t at = (int32_t)ref_below(&random, s->lens[request]);
    s->listed[i] = at;
    rows[i] = s->table[request * s->stride + at / c->page] * c->page + at % c->page;
  }
  gpu_buffer_upload(&s->m->lists, rows, sizeof *rows * entries);
  free(rows);
}

// 0, or -1 with the reason in `to`. Outputs and workspace are poisoned.
static inline int bench_step_begin(bench_step *s, bench_machine *m, bench_result *to) {
  const bench_case *c = to->c;
  const size_t rows = (size_t)bench_case_rows(c);
  double wanted;
  memset(s, 0, sizeof *s);
  s->m = m;
  s->c = c;
  if (bench_step_plan(s, to))
    return -1;
  bench_step_tables(s);
  if (c->topk)
    bench_step_lists(s);
  gpu_buffer_reserve(&m->out, rows * (size_t)c->l * 2);
  gpu_buffer_reserve(&m->lse, rows * 4);
  gpu_buffer_reserve(&m->workspace, lathe_decode_workspace_size(s->plan));
  gpu_buffer_fill(&m->out, 0xff);
  gpu_buffer_fill(&m->lse, 0xff);
  gpu_buffer_fill(&m->workspace, 0xff);
  gpu_must(gpu.synchronize());

  s->copy_bytes = (size_t)s->pages * bench_page_bytes(c, m->options->kv);
  s->copies = (int)(m->cache_bytes / s->copy_bytes);
  wanted = floor(m->cold_bytes / (double)s->copy_bytes) + 1;
  s->copies = s->copies > wanted ? (int)wanted : s->copies;
  s->args.batch = c->row.batch;
  s->args.q = gpu_address(m->q.at);
  s->args.kv_cache = gpu_address(m->cache);
  s->args.num_pages = s->pages;
  s->args.block_tables = (const int32_t *)gpu_address(m->table.at);
  s->args.block_table_stride = s->stride;
  s->args.seq_lens = (const int32_t *)gpu_address(m->lens.at);
  s->args.softmax_scale = lathe_softmax_scale(128, 64, 1.0f);
  s->args.kv_scale = m->options->kv == LATHE_DTYPE_E4M3 && !c->topk ? 0.5f : 0.0f;
  s->args.sparse_indices = c->topk ? (const int32_t *)gpu_address(m->lists.at) : NULL;
  s->args.out = gpu_address(m->out.at);
  s->args.lse = (float *)gpu_address(m->lse.at);
  s->args.workspace = gpu_address(m->workspace.at);
  s->args.workspace_size = lathe_decode_workspace_size(s->plan);
  return 0;
}

static inline void bench_step_end(bench_step *s) {
  lathe_decode_plan_destroy(s->plan);
  free(s->lens);
  free(s->table);
  free(s->listed);
}

#endif
