// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Schedules made beforehand: the layers of a step that share one give the bits that each gives by
// itself, in a stream, launched early, and in a graph that is replayed with other lengths. Cuts at
// fixed places: a request gives the same bits alone, among others, and wherever it is among them.
#include "device.h"
#include "oracle.h"

enum { LAYERS = 60, BATCH = 8 };

static shape make_shape(int batch, int q_len, int heads, int page, lathe_dtype kv, int kv_len) {
  shape s;
  memset(&s, 0, sizeof s);
  s.batch = batch;
  s.q_len = q_len;
  s.num_heads = heads;
  s.kv_len = kv_len;
  s.page_size = page;
  s.l = 512;
  s.r = 64;
  s.q = s.out = LATHE_DTYPE_BF16;
  s.kv = kv;
  s.lse = 1;
  s.lengths = LENGTHS_UNEVEN;
  s.seed = (unsigned long long)(heads * 100 + page);
  return s;
}

typedef struct tried {
  lathe_context *context;
  lathe_decode_plan *plan;
  problem p;
  device_problem device;
  gpu_stream stream;
  size_t size;               // of outputs, then lse, of all layers
  gpu_buffer out;            // the same
  unsigned char *want, *got; // the same
} tried;

static int tried_begin(tried *t, const shape *s, int split_len, int layers) {
  memset(t, 0, sizeof *t);
  t->context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  problem_make(&t->p, s);
  t->p.desc.split_len = split_len;
  t->plan = make_plan(t->context, &t->p.desc);
  if (!t->plan)
    return -1;
  device_upload(&t->device, &t->p, lathe_decode_workspace_size(t->plan));
  t->size = (t->p.out_size + t->p.lse_size) * (size_t)layers;
  gpu_buffer_reserve(&t->out, t->size);
  t->want = (unsigned char *)ref_alloc(t->size);
  t->got = (unsigned char *)ref_alloc(t->size);
  gpu_must(gpu.stream_create(&t->stream, GPU_STREAM_NON_BLOCKING));
  return 0;
}

static void tried_end(tried *t) {
  gpu_must(gpu.stream_destroy(t->stream));
  lathe_decode_plan_destroy(t->plan);
  device_free(&t->device);
  problem_free(&t->p);
  gpu_free(t->out.at);
  free(t->want);
  free(t->got);
  lathe_context_destroy(t->context);
}

// ----------------------------------------------------------------------------------------- layers

typedef struct way { // to enqueue the layers of a step
  const char *name;
  int scheduled, programmatic;
  int alone; // of each ten layers one derives its schedule itself, as far as others let it
} way;

// Layers differ in their scale, so that their partial results do.
static void enqueue_layers(tried *t, const way *w) {
  lathe_decode_args args = t->device.args;
  int layer;
  args.programmatic_launch = w->programmatic;
  if (w->scheduled)
    gpu_ok(lathe_decode_schedule(t->plan, &args, t->stream), "lathe_decode_schedule");
  for (layer = 0; layer < LAYERS; layer++) {
    const gpu_pointer out = t->out.at + t->p.out_size * (size_t)layer;
    const gpu_pointer lse = t->out.at + t->p.out_size * LAYERS + t->p.lse_size * (size_t)layer;
    args.out = gpu_address(out);
    args.lse = (float *)gpu_address(lse);
    args.softmax_scale = t->device.args.softmax_scale * (1.0f - 0.01f * (float)layer);
    args.scheduled = w->scheduled && !(w->alone && layer % 10 == 5);
    gpu_ok(lathe_decode_run(t->plan, &args, t->stream), "lathe_decode_run of a layer");
  }
}

static void poison(tried *t, int workspace) {
  gpu_buffer_fill(&t->out, 0xff);
  device_poison(&t->device, workspace);
}

static void collect(tried *t, unsigned char *to) {
  gpu_must(gpu.stream_synchronize(t->stream));
  gpu_must(gpu.download(to, t->out.at, t->size));
}

static void compare_layers(tried *t, const char *how, int round) {
  char name[256];
  int layer, differ = 0, first = -1;
  collect(t, t->got);
  for (layer = LAYERS - 1; layer >= 0; layer--) {
    const size_t out = t->p.out_size * (size_t)layer;
    const size_t lse = t->p.out_size * LAYERS + t->p.lse_size * (size_t)layer;
    if (memcmp(t->got + out, t->want + out, t->p.out_size) ||
        memcmp(t->got + lse, t->want + lse, t->p.lse_size)) {
      differ++;
      first = layer;
    }
  }
  gpu_check(differ == 0, "%s: %s, round %d: %d layers differ, the first is %d",
            problem_name(&t->p, name, sizeof name), how, round, differ, first);
}

static void set_lengths(tried *t, int round, ref_random *random) {
  const shape *s = &t->p.shape;
  int i;
  for (i = 0; i < s->batch; i++)
    t->p.lens[i] = round == 1   ? s->kv_len
                   : round == 2 ? 0
                   : round == 3 ? (i == s->batch / 2) * s->kv_len
                                : ref_between(random, 0, s->kv_len);
  gpu_must(gpu.upload(t->device.lens.at, t->p.lens, sizeof(int32_t) * (size_t)s->batch));
}

// The first layer against the CPU backend.
static void check_first_layer(tried *t) {
  memcpy(t->p.out, t->want, t->p.out_size);
  memcpy(t->p.lse, t->want + t->p.out_size * LAYERS, t->p.lse_size);
  oracle_check(&t->p);
}

static void share_a_schedule(int batch, int q_len, int heads, int page, lathe_dtype kv,
                             int split_len) {
  static const way ways[] = {{"scheduled", 1, 0, 0},
                             {"some alone", 1, 0, 1},
                             {"scheduled early", 1, 1, 0},
                             {"some alone early", 1, 1, 1}};
  const way derived = {"derived", 0, 0, 0};
  shape s = make_shape(batch, q_len, heads, page, kv, gpu_small() ? 700 : 3000);
  gpu_graph_exec exec[4];
  ref_random random = {s.seed};
  int round, i, rounds = gpu_small() ? 4 : 10, count;
  tried t;
  s.lengths = LENGTHS_EQUAL; // so that all shorter ones are backed by rows
  if (tried_begin(&t, &s, split_len, LAYERS))
    return;
  count = t.context->device.major < 9 ? 2 : 4;
  poison(&t, 0xff);
  for (i = 0; i < count; i++) {
    gpu_graph graph;
    gpu_must(gpu.begin_capture(t.stream, 0));
    enqueue_layers(&t, &ways[i]);
    gpu_must(gpu.end_capture(t.stream, &graph));
    gpu_must(gpu.graph_instantiate(&exec[i], graph, 0));
    gpu_must(gpu.graph_destroy(graph));
  }
  for (round = 0; round < rounds; round++) {
    set_lengths(&t, round, &random);
    poison(&t, round * 37);
    enqueue_layers(&t, &derived);
    collect(&t, t.want);
    if (round < 2)
      check_first_layer(&t);
    for (i = 0; i < count; i++) {
      poison(&t, round * 41);
      enqueue_layers(&t, &ways[i]);
      compare_layers(&t, ways[i].name, round);
      poison(&t, round * 43);
      gpu_must(gpu.graph_launch(exec[i], t.stream));
      compare_layers(&t, ways[i].name, round + 100);
    }
  }
  for (i = 0; i < count; i++)
    gpu_must(gpu.graph_exec_destroy(exec[i]));
  tried_end(&t);
}

// On compute capability 9.0 each of these is another kernel.
GPU_TEST(schedule, few_rows) {
  share_a_schedule(6, 1, 16, 64, LATHE_DTYPE_BF16, 0);
}
GPU_TEST(schedule, few_rows_copied_by_threads) {
  share_a_schedule(5, 1, 8, 1, LATHE_DTYPE_BF16, 0);
}
GPU_TEST(schedule, wide) {
  share_a_schedule(5, 1, 128, 64, LATHE_DTYPE_BF16, 0);
}
GPU_TEST(schedule, wide_of_many_requests) {
  share_a_schedule(140, 1, 17, 16, LATHE_DTYPE_BF16, 0);
}
GPU_TEST(schedule, portable_16_rows) {
  share_a_schedule(7, 1, 16, 64, LATHE_DTYPE_E4M3, 0);
}
GPU_TEST(schedule, portable_64_rows) {
  share_a_schedule(4, 2, 40, 32, LATHE_DTYPE_E4M3, 0);
}
GPU_TEST(schedule, few_rows_of_fixed_cuts) {
  share_a_schedule(6, 1, 16, 64, LATHE_DTYPE_BF16, 128);
}
GPU_TEST(schedule, wide_of_fixed_cuts) {
  share_a_schedule(5, 2, 64, 64, LATHE_DTYPE_BF16, 192);
}
GPU_TEST(schedule, portable_of_fixed_cuts) {
  share_a_schedule(4, 2, 40, 32, LATHE_DTYPE_E4M3, 64);
}

// Each with a workspace and a schedule of its own, at once.
GPU_TEST(schedule, two_plans_on_two_streams) {
  static const way scheduled = {"scheduled beside another plan", 1, 0, 1};
  const way derived = {"derived", 0, 0, 0};
  const shape shapes[] = {make_shape(5, 1, 128, 64, LATHE_DTYPE_BF16, gpu_small() ? 700 : 3000),
                          make_shape(6, 1, 16, 64, LATHE_DTYPE_BF16, gpu_small() ? 700 : 3000)};
  ref_random random = {9};
  int i, round;
  tried t[2];
  for (i = 0; i < 2; i++) {
    shape s = shapes[i];
    s.lengths = LENGTHS_EQUAL;
    if (tried_begin(&t[i], &s, i ? 128 : 0, LAYERS))
      return;
  }
  for (round = 0; round < (gpu_small() ? 2 : 8); round++) {
    for (i = 0; i < 2; i++) {
      set_lengths(&t[i], round, &random);
      poison(&t[i], round * 37);
      enqueue_layers(&t[i], &derived);
      collect(&t[i], t[i].want);
      poison(&t[i], round * 41);
    }
    for (i = 0; i < 2; i++)
      enqueue_layers(&t[i], &scheduled);
    for (i = 0; i < 2; i++)
      compare_layers(&t[i], scheduled.name, round);
  }
  for (i = 0; i < 2; i++)
    tried_end(&t[i]);
}

// What LATHE_CHECK=1 looks at is what the kernel writes.
GPU_TEST(schedule, passes_the_validator) {
  static const int split_lens[] = {0, 256};
  ref_random random = {5};
  int i, round;
  for (i = 0; i < 2; i++) {
    shape s = make_shape(40, 2, 16, 64, LATHE_DTYPE_BF16, gpu_small() ? 700 : 3000);
    lathe_decode_args args;
    tried t;
    s.lengths = LENGTHS_EQUAL;
    if (tried_begin(&t, &s, split_lens[i], 1))
      return;
    args = t.device.args;
    args.scheduled = 1;
    for (round = 0; round < 8; round++) {
      set_lengths(&t, round, &random);
      gpu_must(gpu.synchronize());
      gpu_ok(lathe_decode_schedule(t.plan, &args, t.stream), "lathe_decode_schedule");
      gpu_ok(lathe_decode_validate(t.plan, &args, t.stream), "lathe_decode_validate");
      t.p.lens[s.batch / 2] = t.p.lens[s.batch / 2] > 256 ? 0 : s.kv_len; // other parts
      gpu_must(gpu.upload(t.device.lens.at, t.p.lens, sizeof(int32_t) * (size_t)s.batch));
      gpu_must(gpu.synchronize());
      if (split_lens[i])
        gpu_check(lathe_decode_validate(t.plan, &args, t.stream) == LATHE_STATUS_CHECK_FAILED,
                  "round %d: a schedule of other lengths passes", round);
    }
    tried_end(&t);
  }
}

// -------------------------------------------------------------------------------------- fixed cuts

// A run of these requests of the problem, in this order; to[] gets their outputs, then their lses.
static void run_some(tried *t, const int *which, int count, int scheduled, unsigned char *to) {
  const shape *s = &t->p.shape;
  const size_t q_bytes = t->p.q_size / (size_t)s->batch;
  const size_t row_bytes = t->p.tables_size / (size_t)s->batch;
  unsigned char *q = (unsigned char *)ref_alloc(q_bytes * (size_t)count);
  unsigned char *tables = (unsigned char *)ref_alloc(row_bytes * (size_t)count);
  const size_t out = t->p.out_size / (size_t)s->batch * (size_t)count;
  const size_t lse = t->p.lse_size / (size_t)s->batch * (size_t)count;
  lathe_decode_args args = t->device.args;
  int32_t lens[BATCH];
  int i;
  for (i = 0; i < count; i++) {
    memcpy(q + q_bytes * (size_t)i, t->p.q + q_bytes * (size_t)which[i], q_bytes);
    memcpy(tables + row_bytes * (size_t)i, (char *)t->p.tables + row_bytes * (size_t)which[i],
           row_bytes);
    lens[i] = t->p.lens[which[i]];
  }
  gpu_must(gpu.upload(t->device.q.at, q, q_bytes * (size_t)count));
  gpu_must(gpu.upload(t->device.tables.at, tables, row_bytes * (size_t)count));
  gpu_must(gpu.upload(t->device.lens.at, lens, sizeof(int32_t) * (size_t)count));
  device_poison(&t->device, 0xff);
  args.batch = count;
  args.scheduled = scheduled;
  if (scheduled)
    gpu_ok(lathe_decode_schedule(t->plan, &args, t->stream), "lathe_decode_schedule");
  gpu_ok(lathe_decode_run(t->plan, &args, t->stream), "lathe_decode_run of some requests");
  gpu_must(gpu.stream_synchronize(t->stream));
  gpu_must(gpu.download(to, t->device.out.at, out));
  gpu_must(gpu.download(to + out, t->device.lse.at, lse));
  free(q);
  free(tables);
}

static void expect_same(tried *t, const int *which, int count, int scheduled) {
  const size_t out = t->p.out_size / BATCH, lse = t->p.lse_size / BATCH;
  char name[256];
  int i;
  run_some(t, which, count, scheduled, t->got);
  for (i = 0; i < count; i++) {
    const size_t here = (size_t)i, there = (size_t)which[i];
    gpu_check(!memcmp(t->got + out * here, t->want + out * there, out) &&
                  !memcmp(t->got + out * (size_t)count + lse * here,
                          t->want + t->p.out_size + lse * there, lse),
              "%s: request %d of %d rows differs as number %d of %d%s",
              problem_name(&t->p, name, sizeof name), which[i], (int)t->p.lens[which[i]], i, count,
              scheduled ? ", scheduled" : "");
  }
}

static void same_bits(int q_len, int heads, int page, lathe_dtype kv, int split_len) {
  shape s = make_shape(BATCH, q_len, heads, page, kv, gpu_small() ? 700 : 5000);
  ref_random random = {s.seed + 1};
  int order[BATCH], round, rounds = gpu_small() ? 4 : 30, i;
  tried t;
  s.lengths = LENGTHS_EQUAL;
  if (tried_begin(&t, &s, split_len, 1))
    return;
  // Lengths around the cuts, and whole ones.
  for (i = 1; i < BATCH - 1; i++)
    t.p.lens[i] =
        i < 4 && split_len < s.kv_len ? split_len + i - 2 : ref_between(&random, 0, s.kv_len);
  t.p.lens[6] = 0;
  for (i = 0; i < BATCH; i++)
    order[i] = i;
  run_some(&t, order, BATCH, 0, t.want);
  memcpy(t.p.out, t.want, t.p.out_size);
  memcpy(t.p.lse, t.want + t.p.out_size, t.p.lse_size);
  oracle_check(&t.p);
  expect_same(&t, order, BATCH, 1);
  for (i = 0; i < BATCH; i++)
    expect_same(&t, &order[i], 1, i % 2);
  for (round = 0; round < rounds; round++) {
    ref_shuffle(&random, order, BATCH);
    expect_same(&t, order, round < rounds / 2 ? BATCH : ref_between(&random, 2, BATCH), round % 2);
  }
  tried_end(&t);
}

GPU_TEST(schedule, same_bits_of_few_rows) {
  same_bits(1, 16, 64, LATHE_DTYPE_BF16, 256);
}
GPU_TEST(schedule, same_bits_of_few_rows_in_many_parts) {
  same_bits(2, 8, 64, LATHE_DTYPE_BF16, 64);
}
GPU_TEST(schedule, same_bits_of_few_rows_copied_by_threads) {
  same_bits(1, 12, 1, LATHE_DTYPE_BF16, 192);
}
GPU_TEST(schedule, same_bits_of_wide_tiles) {
  same_bits(1, 128, 64, LATHE_DTYPE_BF16, 512);
}
GPU_TEST(schedule, same_bits_of_wide_tiles_in_many_parts) {
  same_bits(2, 128, 16, LATHE_DTYPE_BF16, 64);
}
GPU_TEST(schedule, same_bits_of_portable_tiles_of_16_rows) {
  same_bits(1, 16, 64, LATHE_DTYPE_E4M3, 128);
}
GPU_TEST(schedule, same_bits_of_portable_tiles_of_64_rows) {
  same_bits(2, 64, 64, LATHE_DTYPE_E4M3, 320);
}
GPU_TEST(schedule, same_bits_of_whole_requests) {
  same_bits(1, 16, 64, LATHE_DTYPE_BF16, 8192);
}
