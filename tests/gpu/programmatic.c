// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Programmatic launches: a chain of layers that share one workspace and whose lengths are written
// on the device between them, against the same chain launched ordinarily, bit for bit. A run that
// reads before the kernel before it is done sees the lengths of an earlier layer.
#include "device.h"

enum { LAYERS = 60, PAUSE_CYCLES = 20000 };

// Lets its dependents start at once, waits for its predecessors, takes its time, then copies
// `count` words. PTX, so that the driver alone builds it.
static const char writer_ptx[] = //
    ".version 7.8\n"
    ".target sm_90\n"
    ".address_size 64\n"
    ".visible .entry write_lengths(.param .u64 to, .param .u64 from, .param .u32 count,\n"
    "                              .param .u64 cycles) {\n"
    "  .reg .pred %p;\n"
    "  .reg .b32 %i, %n, %word;\n"
    "  .reg .b64 %to, %from, %offset, %cycles, %begin, %now;\n"
    "  griddepcontrol.launch_dependents;\n"
    "  griddepcontrol.wait;\n"
    "  ld.param.u64 %to, [to];\n"
    "  ld.param.u64 %from, [from];\n"
    "  ld.param.u32 %n, [count];\n"
    "  ld.param.u64 %cycles, [cycles];\n"
    "  mov.u64 %begin, %clock64;\n"
    "pause:\n"
    "  mov.u64 %now, %clock64;\n"
    "  sub.u64 %now, %now, %begin;\n"
    "  setp.lt.u64 %p, %now, %cycles;\n"
    "  @%p bra pause;\n"
    "  mov.u32 %i, %tid.x;\n"
    "  setp.ge.u32 %p, %i, %n;\n"
    "  @%p bra done;\n"
    "  mul.wide.u32 %offset, %i, 4;\n"
    "  add.u64 %to, %to, %offset;\n"
    "  add.u64 %from, %from, %offset;\n"
    "  ld.u32 %word, [%from];\n"
    "  st.u32 [%to], %word;\n"
    "done:\n"
    "  ret;\n"
    "}\n";

typedef struct chain {
  lathe_context *context;
  lathe_decode_plan *plan;
  problem p;
  device_problem device;
  gpu_buffer lengths, out, lse; // of each layer
  gpu_stream stream;
  lathep_kernel writer;
  unsigned char *want, *got; // outputs, then lse, of all layers
} chain;

static void chain_write_lengths(chain *c, gpu_pointer from, int programmatic) {
  unsigned long long to = c->device.lens.at, source = from, cycles = PAUSE_CYCLES;
  unsigned count = (unsigned)c->p.shape.batch;
  void *arguments[] = {&to, &source, &count, &cycles};
  gpu_ok(lathep_launch(c->context, &c->writer, 1, 64, 0, c->stream, arguments, programmatic),
         "the kernel that writes lengths");
}

// scheduled: each layer has its schedule made just before it. Of each three layers one has its
// lengths from a kernel, one follows the layer before it directly, with another scale so that its
// partials differ, and one has its lengths from a copy.
static void chain_enqueue(chain *c, int programmatic, int scheduled) {
  const size_t bytes = sizeof(int32_t) * (size_t)c->p.shape.batch;
  int layer;
  for (layer = 0; layer < LAYERS; layer++) {
    const gpu_pointer lengths = c->lengths.at + bytes * (size_t)layer;
    lathe_decode_args args = c->device.args;
    args.out = gpu_address(c->out.at + c->p.out_size * (size_t)layer);
    args.lse = (float *)gpu_address(c->lse.at + c->p.lse_size * (size_t)layer);
    args.programmatic_launch = programmatic;
    if (layer % 3 == 0)
      chain_write_lengths(c, lengths, programmatic);
    else if (layer % 3 == 1)
      args.softmax_scale *= 0.5f;
    else
      gpu_must(gpu.copy_async(c->device.lens.at, lengths, bytes, c->stream));
    if (scheduled)
      gpu_ok(lathe_decode_schedule(c->plan, &args, c->stream), "lathe_decode_schedule of a chain");
    args.scheduled = scheduled;
    gpu_ok(lathe_decode_run(c->plan, &args, c->stream), "lathe_decode_run of a chain");
  }
}

static void chain_poison(chain *c, int workspace) {
  gpu_buffer_fill(&c->out, 0xff);
  gpu_buffer_fill(&c->lse, 0xff);
  device_poison(&c->device, workspace);
}

static void chain_collect(chain *c, unsigned char *to) {
  gpu_must(gpu.stream_synchronize(c->stream));
  gpu_must(gpu.download(to, c->out.at, c->out.size));
  gpu_must(gpu.download(to + c->out.size, c->lse.at, c->lse.size));
}

static void chain_compare(chain *c, const char *how, int round) {
  char name[256];
  int layer, differ = 0, first = -1;
  chain_collect(c, c->got);
  for (layer = LAYERS - 1; layer >= 0; layer--) {
    const size_t out = c->p.out_size * (size_t)layer;
    const size_t lse = c->out.size + c->p.lse_size * (size_t)layer;
    if (memcmp(c->got + out, c->want + out, c->p.out_size) ||
        memcmp(c->got + lse, c->want + lse, c->p.lse_size)) {
      differ++;
      first = layer;
    }
  }
  gpu_check(differ == 0, "%s: %s, round %d: %d layers differ, the first is %d",
            problem_name(&c->p, name, sizeof name), how, round, differ, first);
}

// 0 on success.
static int chain_begin(chain *c, lathe_context *context, const shape *s) {
  const size_t count = (size_t)LAYERS * (size_t)s->batch;
  int32_t *lengths = (int32_t *)ref_alloc(sizeof(int32_t) * count);
  ref_random random = {s->seed};
  gpu_module module;
  size_t i;
  memset(c, 0, sizeof *c);
  c->context = context;
  problem_make(&c->p, s);
  c->plan = make_plan(context, &c->p.desc);
  if (!c->plan)
    return -1;
  device_upload(&c->device, &c->p, lathe_decode_workspace_size(c->plan));
  for (i = 0; i < count; i++)
    lengths[i] = ref_between(&random, 0, s->kv_len); // all of them are backed by rows
  gpu_buffer_upload(&c->lengths, lengths, sizeof(int32_t) * count);
  free(lengths);
  gpu_buffer_reserve(&c->out, c->p.out_size * LAYERS);
  gpu_buffer_reserve(&c->lse, c->p.lse_size * LAYERS);
  c->want = (unsigned char *)ref_alloc(c->out.size + c->lse.size);
  c->got = (unsigned char *)ref_alloc(c->out.size + c->lse.size);
  gpu_must(gpu.stream_create(&c->stream, GPU_STREAM_NON_BLOCKING));
  snprintf(c->writer.name, sizeof c->writer.name, "write_lengths");
  gpu_must(gpu.module_load(&module, writer_ptx));
  gpu_must(gpu.module_function(&c->writer.function, module, c->writer.name));
  return 0;
}

static void chain_end(chain *c) {
  gpu_must(gpu.stream_destroy(c->stream));
  lathe_decode_plan_destroy(c->plan);
  device_free(&c->device);
  problem_free(&c->p);
  gpu_free(c->lengths.at);
  gpu_free(c->out.at);
  gpu_free(c->lse.at);
  free(c->want);
  free(c->got);
}

static void chain_run(int batch, int q_len, int heads, int page, lathe_dtype kv) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  gpu_graph graph;
  gpu_graph_exec exec;
  shape s;
  chain c;
  int round, rounds = gpu_small() ? 2 : 5, scheduled;
  memset(&s, 0, sizeof s);
  s.batch = batch;
  s.q_len = q_len;
  s.num_heads = heads;
  s.kv_len = gpu_small() ? 700 : 3000;
  s.page_size = page;
  s.l = 512;
  s.r = 64;
  s.q = s.out = LATHE_DTYPE_BF16;
  s.kv = kv;
  s.lse = 1;
  s.seed = (unsigned long long)(heads + page);
  if (chain_begin(&c, context, &s))
    return;
  if (context->device.major < 9) {
    lathe_decode_args args = c.device.args;
    args.programmatic_launch = 1;
    gpu_check(lathe_decode_run(c.plan, &args, c.stream) == LATHE_STATUS_UNSUPPORTED,
              "a programmatic launch below compute capability 9.0 is not refused");
    gpu_skip("the device has no programmatic launch: compute capability below 9.0");
  } else {
    chain_poison(&c, 0xff);
    chain_enqueue(&c, 0, 0);
    chain_collect(&c, c.want);
    for (round = 0; round < rounds; round++) {
      chain_poison(&c, round * 37);
      chain_enqueue(&c, 1, 0);
      chain_compare(&c, "programmatic launches", round);
      chain_poison(&c, round * 37);
      chain_enqueue(&c, 1, 1);
      chain_compare(&c, "programmatic launches of schedules", round);
    }
    for (scheduled = 0; scheduled < 2; scheduled++) {
      gpu_must(gpu.begin_capture(c.stream, 0));
      chain_enqueue(&c, 1, scheduled);
      gpu_must(gpu.end_capture(c.stream, &graph));
      gpu_must(gpu.graph_instantiate(&exec, graph, 0));
      for (round = 0; round < rounds; round++) {
        chain_poison(&c, round * 41);
        gpu_must(gpu.graph_launch(exec, c.stream));
        chain_compare(&c,
                      scheduled ? "programmatic launches of schedules in a graph"
                                : "programmatic launches in a graph",
                      round);
      }
      gpu_must(gpu.graph_exec_destroy(exec));
      gpu_must(gpu.graph_destroy(graph));
    }
  }
  chain_end(&c);
  lathe_context_destroy(context);
}

// On compute capability 9.0 each of these is another kernel.
GPU_TEST(programmatic, few_rows) {
  chain_run(6, 1, 16, 64, LATHE_DTYPE_BF16);
}
GPU_TEST(programmatic, wide) {
  chain_run(5, 1, 128, 64, LATHE_DTYPE_BF16);
}
GPU_TEST(programmatic, portable_16_rows) {
  chain_run(7, 1, 16, 1, LATHE_DTYPE_BF16);
}
GPU_TEST(programmatic, portable_64_rows) {
  chain_run(4, 2, 40, 32, LATHE_DTYPE_E4M3);
}
// More tiles than half the multiprocessors of an H100: nothing is split, and each run is one
// kernel.
GPU_TEST(programmatic, no_merge) {
  chain_run(1, 4, 1100, 64, LATHE_DTYPE_BF16);
}
