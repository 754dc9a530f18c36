// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A problem on the device: uploaded, run with poisoned output and workspace, brought back.
#ifndef LATHE_TESTS_GPU_DEVICE_H
#define LATHE_TESTS_GPU_DEVICE_H

#include "problem.h"

typedef struct device_problem {
  gpu_buffer q, q_pe, kv, kpe, lens, cu, tables, sinks, scale, tree, out, lse, workspace;
  lathe_decode_args args; // device pointers
} device_problem;

// Uploads `p` into the buffers of `d`, which may hold an earlier problem.
static inline void device_upload(device_problem *d, const problem *p, size_t workspace_size) {
  const shape *s = &p->shape;
  gpu_buffer_upload(&d->q, p->q, p->q_size);
  gpu_buffer_upload(&d->q_pe, p->q_pe, p->q_pe_size);
  gpu_buffer_upload(&d->kv, p->kv, p->kv_size);
  gpu_buffer_upload(&d->kpe, p->kpe, p->kpe_size);
  gpu_buffer_upload(&d->lens, p->lens, sizeof(int32_t) * (size_t)s->batch);
  gpu_buffer_upload(&d->cu, p->cu, sizeof(int32_t) * (size_t)(s->batch + 1));
  gpu_buffer_upload(&d->tables, p->tables, p->tables_size);
  gpu_buffer_upload(&d->sinks, p->sinks, p->sinks ? sizeof(float) * (size_t)s->num_heads : 0);
  gpu_buffer_upload(&d->tree, p->tree, p->tree_size);
  gpu_buffer_upload(&d->scale, &p->scale, sizeof p->scale);
  gpu_buffer_reserve(&d->out, p->out_size);
  gpu_buffer_reserve(&d->lse, p->lse_size);
  gpu_buffer_reserve(&d->workspace, workspace_size);
  d->args = problem_args(p);
  d->args.q = gpu_address(d->q.at);
  d->args.q_pe = p->q_pe ? gpu_address(d->q_pe.at) : NULL;
  d->args.kv_cache = gpu_address(d->kv.at);
  d->args.kpe_cache = p->kpe ? gpu_address(d->kpe.at) : NULL;
  d->args.seq_lens = (const int32_t *)gpu_address(d->lens.at);
  d->args.cu_q_lens = s->ragged ? (const int32_t *)gpu_address(d->cu.at) : NULL;
  d->args.block_tables = (const int32_t *)gpu_address(d->tables.at);
  d->args.sinks = p->sinks ? (const float *)gpu_address(d->sinks.at) : NULL;
  d->args.softmax_scale_at = s->scale_at ? (const float *)gpu_address(d->scale.at) : NULL;
  d->args.tree_mask = p->tree ? (const uint32_t *)gpu_address(d->tree.at) : NULL;
  d->args.out = gpu_address(d->out.at);
  d->args.lse = p->lse ? (float *)gpu_address(d->lse.at) : NULL;
  d->args.workspace = gpu_address(d->workspace.at);
  d->args.workspace_size = workspace_size;
}

// Poison in everything that a run writes; `workspace` is the byte put all over the workspace.
static inline void device_poison(device_problem *d, int workspace) {
  gpu_buffer_fill(&d->out, 0xff);
  gpu_buffer_fill(&d->lse, 0xff);
  gpu_buffer_fill(&d->workspace, workspace);
  gpu_must(gpu.synchronize()); // fills are of the default stream, runs perhaps of another
}

static inline void device_download(device_problem *d, problem *p) {
  gpu_must(gpu.synchronize());
  if (p->out_size)
    gpu_must(gpu.download(p->out, d->out.at, p->out_size));
  if (p->lse_size)
    gpu_must(gpu.download(p->lse, d->lse.at, p->lse_size));
}

static inline void device_free(device_problem *d) {
  gpu_buffer *all[] = {&d->q,     &d->q_pe,  &d->kv,   &d->kpe, &d->lens, &d->cu,       &d->tables,
                       &d->sinks, &d->scale, &d->tree, &d->out, &d->lse,  &d->workspace};
  size_t i;
  for (i = 0; i < sizeof all / sizeof all[0]; i++)
    gpu_free(all[i]->at);
  memset(d, 0, sizeof *d);
}

// One run from poison to the host's out and lse. 0 on success.
static inline int device_run(device_problem *d, problem *p, lathe_decode_plan *plan,
                             int workspace) {
  char name[256];
  device_poison(d, workspace);
  if (!gpu_ok(lathe_decode_run(plan, &d->args, NULL), problem_name(p, name, sizeof name)))
    return -1;
  device_download(d, p);
  return 0;
}

static inline lathe_decode_plan *make_plan(lathe_context *context, const lathe_decode_desc *desc) {
  lathe_decode_plan *plan = NULL;
  gpu_ok(lathe_decode_plan_create(context, desc, &plan), "lathe_decode_plan_create");
  return plan;
}

#endif
