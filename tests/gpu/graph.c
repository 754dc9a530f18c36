// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A run captured in a CUDA graph and replayed with other lengths, block tables, lists and tree
// masks: the results are those of a plain run on the same data, bit for bit, whatever the workspace
// held.
#include "families.h"
#include "lists.h"
#include "oracle.h"

static gpu_graph_exec capture(lathe_decode_plan *plan, const lathe_decode_args *args,
                              gpu_stream stream) {
  gpu_graph graph = NULL;
  gpu_graph_exec exec = NULL;
  gpu_must(gpu.begin_capture(stream, 0));
  gpu_ok(lathe_decode_run(plan, args, stream), "lathe_decode_run in a capture");
  gpu_must(gpu.end_capture(stream, &graph));
  gpu_must(gpu.graph_instantiate(&exec, graph, 0));
  gpu_must(gpu.graph_destroy(graph));
  return exec;
}

// Lengths, tables and tree masks of the next step, in place: drawn anew, but the tables' pages
// permuted among the requests' own (a page's contents go with it, so the oracle sees the same
// cache).
static void change(problem *p, ref_random *random) {
  int i, k;
  long long stride = p->args.block_table_stride
                         ? p->args.block_table_stride
                         : (p->desc.max_seq_len + p->shape.page_size - 1) / p->shape.page_size;
  int32_t *swap = (int32_t *)ref_alloc(sizeof(int32_t) * (size_t)stride);
  for (i = p->shape.batch - 1; i > 0; i--) {
    k = (int)ref_below(random, i + 1);
    memcpy(swap, p->tables + i * stride, sizeof(int32_t) * (size_t)stride);
    memcpy(p->tables + i * stride, p->tables + k * stride, sizeof(int32_t) * (size_t)stride);
    memcpy(p->tables + k * stride, swap, sizeof(int32_t) * (size_t)stride);
  }
  for (i = 0; i < p->shape.batch; i++)
    p->lens[i] = ref_between(random, 0, p->shape.kv_len);
  if (p->tree)
    draw_tree(p, random);
  free(swap);
}

// To where the graph reads. `l`: of a plan with lists, which are made anew; else null.
static void upload_change(device_problem *device, const problem *p, const lists *l) {
  lists next;
  gpu_must(gpu.upload(device->lens.at, p->lens, sizeof(int32_t) * (size_t)p->shape.batch));
  gpu_must(gpu.upload(device->tables.at, p->tables, p->tables_size));
  if (p->tree)
    gpu_must(gpu.upload(device->tree.at, p->tree, p->tree_size));
  if (!l)
    return;
  lists_make(&next, p, 1);
  gpu_must(gpu.upload(l->indices_at.at, next.indices,
                      sizeof(int32_t) * (size_t)l->stride * (size_t)p->tokens));
  gpu_must(gpu.upload(l->lens_at.at, next.lens, sizeof(int32_t) * (size_t)p->tokens));
  lists_free(&next);
}

// `listed`: in a plan with lists, of what the problem's tokens see.
static void replay_with_changes(const shape *s, int listed, int replays) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  device_problem device;
  problem p;
  lathe_decode_plan *plan;
  gpu_stream stream;
  gpu_graph_exec exec;
  ref_random random = {s->seed + 5};
  lists l;
  char name[256];
  int i;
  memset(&device, 0, sizeof device);
  problem_make(&p, s);
  if (listed)
    lists_make(&l, &p, 1);
  plan = make_plan(context, listed ? &l.desc : &p.desc);
  if (!plan)
    return;
  device_upload(&device, &p, lathe_decode_workspace_size(plan));
  if (listed)
    lists_args(&l, &p, &device.args);
  gpu_must(gpu.stream_create(&stream, GPU_STREAM_NON_BLOCKING));
  exec = capture(plan, &device.args, stream);
  problem_name(&p, name, sizeof name);
  for (i = 0; i < replays; i++) {
    unsigned char *out = (unsigned char *)ref_alloc(p.out_size);
    float *lse = (float *)ref_alloc(p.lse_size);
    // Every request of this shape fills its pages, so any length up to kv_len is backed by rows.
    change(&p, &random);
    upload_change(&device, &p, listed ? &l : NULL);
    device_poison(&device, i % 2 ? 0xff : 0x41);
    gpu_must(gpu.graph_launch(exec, stream));
    gpu_must(gpu.stream_synchronize(stream));
    device_download(&device, &p);
    memcpy(out, p.out, p.out_size);
    if (p.lse_size)
      memcpy(lse, p.lse, p.lse_size);
    if (i % 4 == 0)
      oracle_check(&p);
    if (device_run(&device, &p, plan, i % 2 ? 0x7f : 0xc2) == 0)
      gpu_check(memcmp(out, p.out, p.out_size) == 0 &&
                    (!p.lse_size || memcmp(lse, p.lse, p.lse_size) == 0),
                "%s: replay %d differs from a plain run", name, i);
    free(out);
    free(lse);
  }
  gpu_must(gpu.graph_exec_destroy(exec));
  gpu_must(gpu.stream_destroy(stream));
  lathe_decode_plan_destroy(plan);
  if (listed)
    lists_free(&l);
  problem_free(&p);
  device_free(&device);
  lathe_context_destroy(context);
}

static const struct {
  int batch, q_len, heads, kv_len, page;
  lathe_dtype kv;
} sizes[] = {{6, 1, 16, 1000, 64, LATHE_DTYPE_BF16},
             {17, 1, 128, 777, 32, LATHE_DTYPE_BF16},
             {3, 4, 20, 513, 16, LATHE_DTYPE_E4M3},
             {64, 2, 16, 300, 1, LATHE_DTYPE_BF16}};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static shape size_shape(int i) {
  shape s;
  memset(&s, 0, sizeof s);
  s.batch = sizes[i].batch;
  s.q_len = sizes[i].q_len;
  s.num_heads = sizes[i].heads;
  s.kv_len = sizes[i].kv_len;
  s.page_size = sizes[i].page;
  s.l = 512;
  s.r = 64;
  s.q = s.out = LATHE_DTYPE_BF16;
  s.kv = sizes[i].kv;
  s.lse = 1;
  s.weird = i & 1;
  s.seed = (unsigned long long)i;
  return s;
}

GPU_TEST(graph, replay_with_other_lengths_and_tables) {
  int i, count = gpu_small() ? 1 : SIZES;
  for (i = 0; i < count; i++) {
    shape s = size_shape(i);
    replay_with_changes(&s, 0, gpu_small() ? 3 : 24);
  }
}

GPU_TEST(graph, replay_with_other_lists) {
  int i, count = gpu_small() ? 1 : SIZES;
  for (i = 0; i < count; i++) {
    shape s = size_shape(i);
    replay_with_changes(&s, 1, gpu_small() ? 3 : 12);
  }
}

GPU_TEST(graph, replay_with_other_tree_masks) {
  int i;
  for (i = 0; i < SIZES; i++) {
    shape s = size_shape(i);
    s.tree = 1;
    if (s.q_len > 1 && !(gpu_small() && i > 2))
      replay_with_changes(&s, 0, gpu_small() ? 3 : 12);
  }
}

// A graph of several steps in a row over one workspace, as an engine captures its layers.
GPU_TEST(graph, many_runs_share_a_workspace) {
  enum { LAYERS = 8 };
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  problem p[LAYERS];
  device_problem device[LAYERS];
  lathe_decode_plan *plan = NULL;
  gpu_stream stream;
  gpu_graph graph;
  gpu_graph_exec exec;
  int i, replay;
  memset(device, 0, sizeof device);
  gpu_must(gpu.stream_create(&stream, GPU_STREAM_NON_BLOCKING));
  for (i = 0; i < LAYERS; i++) {
    shape s;
    memset(&s, 0, sizeof s);
    s.batch = 4;
    s.q_len = 1;
    s.num_heads = 16;
    s.kv_len = 700;
    s.page_size = 64;
    s.l = 512;
    s.r = 64;
    s.q = s.kv = s.out = LATHE_DTYPE_BF16;
    s.lengths = LENGTHS_UNEVEN;
    s.lse = 1;
    s.seed = (unsigned long long)(100 + i);
    problem_make(&p[i], &s);
    if (i == 0)
      plan = make_plan(context, &p[0].desc);
    if (!plan)
      return;
    device_upload(&device[i], &p[i], i ? 0 : lathe_decode_workspace_size(plan));
    device[i].args.workspace = device[0].args.workspace;
    device[i].args.workspace_size = device[0].args.workspace_size;
  }
  gpu_must(gpu.begin_capture(stream, 0));
  for (i = 0; i < LAYERS; i++)
    gpu_ok(lathe_decode_run(plan, &device[i].args, stream), "lathe_decode_run in a capture");
  gpu_must(gpu.end_capture(stream, &graph));
  gpu_must(gpu.graph_instantiate(&exec, graph, 0));
  for (replay = 0; replay < 3; replay++) {
    for (i = LAYERS - 1; i >= 0; i--)
      device_poison(&device[i], 0xff);
    gpu_must(gpu.graph_launch(exec, stream));
    gpu_must(gpu.stream_synchronize(stream));
    for (i = 0; i < LAYERS; i++) {
      device_download(&device[i], &p[i]);
      oracle_check(&p[i]);
    }
  }
  gpu_must(gpu.graph_exec_destroy(exec));
  gpu_must(gpu.graph_destroy(graph));
  gpu_must(gpu.stream_destroy(stream));
  lathe_decode_plan_destroy(plan);
  for (i = 0; i < LAYERS; i++) {
    problem_free(&p[i]);
    device_free(&device[i]);
  }
  lathe_context_destroy(context);
}

// Replay after replay of one graph, while the lengths change between a few sets: each set's bits
// are those of its first replay, which the oracle has seen.
static void ten_thousand(const family *f, int heads, int page) {
  enum { SETS = 5 };
  lathe_context *context = family_context(f);
  device_problem device;
  problem p;
  shape s;
  lathe_decode_plan *plan;
  gpu_stream stream;
  gpu_graph_exec exec;
  ref_random random = {17};
  int32_t lens[SETS][4];
  unsigned char *kept[SETS] = {NULL};
  int set, i, replays = gpu_small() ? 200 : 10000, differ = 0;
  char name[256];
  double start;
  memset(&s, 0, sizeof s);
  memset(&device, 0, sizeof device);
  s.batch = 4;
  s.q_len = 1;
  s.num_heads = heads;
  s.kv_len = 300;
  s.page_size = page;
  s.l = 512;
  s.r = 64;
  s.q = s.kv = s.out = LATHE_DTYPE_BF16;
  s.lse = 1;
  s.seed = 31;
  problem_make(&p, &s); // of full length, so that rows are behind any length up to it
  p.desc.num_sms = 12;  // a few blocks each
  plan = family_plan(context, f, &p.desc);
  if (!plan)
    return;
  device_upload(&device, &p, lathe_decode_workspace_size(plan));
  device_poison(&device, 0xff);
  gpu_must(gpu.stream_create(&stream, GPU_STREAM_NON_BLOCKING));
  exec = capture(plan, &device.args, stream);
  for (set = 0; set < SETS; set++)
    for (i = 0; i < s.batch; i++)
      lens[set][i] = set == 0 ? s.kv_len : ref_between(&random, 0, s.kv_len);
  start = gpu_now();
  for (i = 0; i < replays; i++) {
    // A while of each set, then a while of all of them in turn.
    set = i / 1000 % 2 || gpu_small() ? i % SETS : i / 100 % SETS;
    memcpy(p.lens, lens[set], sizeof lens[set]);
    gpu_must(gpu.upload(device.lens.at, lens[set], sizeof lens[set]));
    gpu_must(gpu.fill8_async(device.out.at, 0xff, p.out_size, stream));
    gpu_must(gpu.graph_launch(exec, stream));
    gpu_must(gpu.stream_synchronize(stream));
    gpu_must(gpu.download(p.out, device.out.at, p.out_size));
    gpu_must(gpu.download(p.lse, device.lse.at, p.lse_size));
    if (kept[set]) {
      differ += memcmp(kept[set], p.out, p.out_size) != 0 ||
                memcmp(kept[set] + p.out_size, p.lse, p.lse_size) != 0;
      continue;
    }
    kept[set] = (unsigned char *)ref_alloc(p.out_size + p.lse_size);
    memcpy(kept[set], p.out, p.out_size);
    memcpy(kept[set] + p.out_size, p.lse, p.lse_size);
    oracle_check(&p);
  }
  problem_name(&p, name, sizeof name);
  fprintf(stderr, "# %s, %s: %d replays in %.1f s\n", name, f->word, replays, gpu_now() - start);
  for (set = 0; set < SETS; set++) {
    gpu_check(kept[set] != NULL, "%s: set %d was never replayed", name, set);
    free(kept[set]);
  }
  gpu_check(differ == 0, "%s, %s: %d of %d replays differ from the first of their lengths", name,
            f->word, differ, replays);
  gpu_must(gpu.graph_exec_destroy(exec));
  gpu_must(gpu.stream_destroy(stream));
  lathe_decode_plan_destroy(plan);
  problem_free(&p);
  device_free(&device);
  lathe_context_destroy(context);
}

GPU_TEST(graph, ten_thousand_replays) {
  int f;
  for (f = 0; f < FAMILIES; f++)
    if (family_runs(&families[f]))
      ten_thousand(&families[f], families[f].heads, 64);
}
GPU_TEST(graph, ten_thousand_replays_of_small_pages) {
  int f;
  for (f = 0; f < FAMILIES; f++)
    if (family_runs(&families[f]))
      ten_thousand(&families[f], families[f].heads, 8);
}
