// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// lathe_append on the GPU: against the CPU backend over random options, exactly where nothing is
// rotated; and together with decode against decode over a cache that was there from the start.
#include "append_problem.h"
#include "device.h"
#include "oracle.h"

// ------------------------------------------------------------------------------------------- grid

static void grid_case(lathe_context *context, uint64_t seed) {
  append_shape shape = append_draw(seed);
  append_problem p;
  append_difference d;
  lathe_append_plan *plan;
  lathe_append_args args;
  unsigned char *first[APPEND_BUFFERS] = {NULL};
  char name[256];
  int i;
  append_problem_make(&p, &shape);
  append_name(&shape, name, sizeof name);
  plan = append_plan(context, &p.desc);
  args = append_upload(&p);
  if (plan && gpu_ok(lathe_append_run(plan, &args, NULL), name)) {
    append_download(&p);
    for (i = 0; i < p.count; i++)
      if (p.buffers[i].got) {
        first[i] = (unsigned char *)malloc(p.buffers[i].size);
        memcpy(first[i], p.buffers[i].got, p.buffers[i].size);
      }
    args = append_upload(&p);
    gpu_ok(lathe_append_run(plan, &args, NULL), name);
    append_download(&p);
    for (i = 0; i < p.count; i++)
      if (p.buffers[i].got)
        gpu_check(memcmp(first[i], p.buffers[i].got, p.buffers[i].size) == 0,
                  "%s: the second run has other bits", name);
    append_oracle(&p);
    d = append_check(&p);
    gpu_check(d.wrong == 0, "%s: %ld of %ld elements wrong; %s", name, d.wrong, d.compared,
              d.first);
    gpu_check(d.bits * 100 <= d.compared, "%s: %ld of %ld elements are rounded otherwise", name,
              d.bits, d.compared);
  }
  for (i = 0; i < APPEND_BUFFERS; i++)
    free(first[i]);
  lathe_append_plan_destroy(plan);
  append_problem_free(&p);
}

GPU_TEST(append, grid) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  uint64_t seed, cases = gpu_full() ? 4000 : gpu_small() ? 20 : 400;
  for (seed = 0; seed < cases; seed++)
    grid_case(context, seed);
  lathe_context_destroy(context);
}

// ------------------------------------------------------------------------------------------ codes

// Every 16-bit input, as query and as row, at scales with and without a power of two: the oracle's
// codes, of which none is the poison, as a NaN of either sign becomes 0x7f.
GPU_TEST(append, every_input_is_quantised_alike) {
  static const float scales[] = {1, 0.25f, 0.3f, 17.5f};
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  int scale, in, i;
  for (in = LATHE_DTYPE_F16; in <= LATHE_DTYPE_BF16; in++)
    for (scale = 0; scale < 4; scale++) {
      append_shape s = append_draw(1);
      append_problem p;
      append_difference d;
      lathe_append_plan *plan;
      lathe_append_args args;
      s.l = 512;
      s.r = 0;
      s.heads = 1;
      s.in = (lathe_dtype)in;
      s.kv = s.out = LATHE_DTYPE_E4M3;
      s.format = LATHE_KV_FORMAT_PLAIN;
      s.row_scale = LATHE_ROW_SCALE_F32;
      s.page_size = 16;
      s.batch = 128;
      s.q_len = 1;
      s.max_seq_len = 4;
      s.nope = 1;
      s.ragged = s.positions = s.inactive = s.bounded = s.weird = s.parts = s.device_scale = 0;
      s.split_in = s.split_kv = s.split_out = s.slots = s.scales = 0;
      append_problem_make(&p, &s);
      for (i = 0; i < s.batch; i++) { // all are written
        ((int32_t *)(uintptr_t)p.args.seq_lens)[i] = 1;
        ((int32_t *)(uintptr_t)p.args.block_tables)[i] = i;
      }
      for (i = 0; i < 65536; i++) {
        ((uint16_t *)(uintptr_t)p.args.q_nope)[i] = (uint16_t)i;
        ((uint16_t *)(uintptr_t)p.args.latent_cache)[i] = (uint16_t)i;
      }
      p.args.q_scale = p.args.kv_scale = scales[scale];
      plan = append_plan(context, &p.desc);
      args = append_upload(&p);
      gpu_ok(lathe_append_run(plan, &args, NULL), "lathe_append_run");
      append_download(&p);
      append_oracle(&p);
      d = append_check(&p);
      gpu_check(d.wrong == 0 && d.compared >= 2 * 65536, "%s by %g: %ld wrong, %s",
                lathe_dtype_string(s.in), (double)scales[scale], d.wrong, d.first);
      for (i = 0; i < 65536; i++) { // and nothing was left out
        const unsigned char *row = (const unsigned char *)p.args.kv_cache + i / 512 * (16 * 512);
        gpu_check(((const unsigned char *)p.args.q_out)[i] != 0xff && row[i % 512] != 0xff,
                  "0x%x was not written", (unsigned)i);
      }
      lathe_append_plan_destroy(plan);
      append_problem_free(&p);
    }
  lathe_context_destroy(context);
}

// ---------------------------------------------------------------------------------- with decode

// Decode with the scales that append reads and writes on the device: the logits are right as they
// come, and out has to be multiplied by the third.
static void decode_by_scales(lathe_context *context, problem *p, device_problem *device,
                             lathe_append_plan *append, lathe_append_args args) {
  const shape *s = &p->shape;
  const float scale = E4M3_SCALE;
  float written[3];
  lathe_decode_desc desc = p->desc;
  lathe_decode_plan *decode;
  gpu_buffer kv_scale = {0, 0, 0}, scales = {0, 0, 0};
  int token, head, d;
  gpu_buffer_upload(&kv_scale, &scale, sizeof scale);
  gpu_buffer_reserve(&scales, sizeof written);
  gpu_buffer_fill(&scales, 0xff);
  args.kv_scale = 0;
  args.kv_scale_device = (const float *)gpu_address(kv_scale.at);
  args.softmax_scale = device->args.softmax_scale;
  args.scales_out = (float *)gpu_address(scales.at);
  gpu_ok(lathe_append_validate(append, &args, NULL), "lathe_append_validate");
  gpu_ok(lathe_append_run(append, &args, NULL), "lathe_append_run");
  desc.softmax_scale_on_device = 1;
  decode = make_plan(context, &desc);
  device->args.softmax_scale = 0;
  device->args.softmax_scale_at = (const float *)gpu_address(scales.at);
  device->args.kv_scale = 0;
  device->args.workspace_size = lathe_decode_workspace_size(decode);
  gpu_buffer_reserve(&device->workspace, device->args.workspace_size);
  device->args.workspace = gpu_address(device->workspace.at);
  gpu_ok(lathe_decode_validate(decode, &device->args, NULL), "lathe_decode_validate");
  if (device_run(device, p, decode, 0xff) == 0) {
    gpu_must(gpu.download(written, scales.at, sizeof written));
    gpu_check(written[2] == scale, "the scale of the output is %g", (double)written[2]);
    for (token = 0; token < p->tokens; token++)
      for (head = 0; head < s->num_heads; head++)
        for (d = 0; d < s->l; d++) {
          unsigned char *at = p->out + out_offset(p, token, head) + d * 2;
          ref_store(s->out, at, 0, ref_load(s->out, at, 0) * (double)written[2]); // exact
        }
    oracle_check(p);
  }
  lathe_decode_plan_destroy(decode);
  gpu_free(kv_scale.at);
  gpu_free(scales.at);
}

// The new tokens' rows are taken out of the cache of a decode problem, and poison is put in their
// place; append puts them back, and joins the query. Decode must then give the bits that it gives
// over the cache as it was.
static void with_decode(lathe_context *context, const shape *s) {
  const int width = s->l + s->r, size = (int)ref_dtype_size(s->kv);
  problem p;
  device_problem device;
  lathe_decode_plan *decode;
  lathe_append_desc desc;
  lathe_append_args args;
  lathe_append_plan *append;
  gpu_buffer latent = {0, 0, 0}, joined = {0, 0, 0};
  unsigned char *want, *cache;
  uint16_t *rows;
  char name[256];
  int i, t, d;
  problem_make(&p, s);
  problem_name(&p, name, sizeof name);
  memset(&device, 0, sizeof device);
  decode = make_plan(context, &p.desc);
  device_upload(&device, &p, lathe_decode_workspace_size(decode));
  device_run(&device, &p, decode, 0xff);
  want = (unsigned char *)malloc(p.out_size);
  memcpy(want, p.out, p.out_size);

  rows = (uint16_t *)calloc((size_t)(p.tokens * width), 2);
  cache = (unsigned char *)malloc(p.kv_size);
  memcpy(cache, p.kv, p.kv_size);
  for (i = 0; i < s->batch; i++)
    for (t = p.cu[i]; t < p.cu[i + 1]; t++) {
      const int position = p.lens[i] - p.cu[i + 1] + t;
      const int entries = (p.desc.max_seq_len + s->page_size - 1) / s->page_size;
      long long at;
      if (position < 0)
        continue;
      at = ((long long)p.tables[i * entries + position / s->page_size] * s->page_size +
            position % s->page_size) *
           width;
      for (d = 0; d < width; d++)
        ref_store(s->q, rows, t * width + d,
                  ref_load(s->kv, p.kv, at + d) *
                      (s->kv == LATHE_DTYPE_E4M3 ? (double)E4M3_SCALE : 1));
      memset(cache + at * size, 0xff, (size_t)(width * size));
    }
  gpu_buffer_upload(&device.kv, cache, p.kv_size);
  gpu_buffer_upload(&latent, rows, (size_t)(p.tokens * width) * 2);
  gpu_buffer_reserve(&joined, (size_t)(p.tokens * s->num_heads * width) * 2);
  gpu_buffer_fill(&joined, 0xff);

  memset(&desc, 0, sizeof desc);
  desc.num_heads = s->num_heads;
  desc.kv_lora_rank = s->l;
  desc.qk_rope_head_dim = s->r;
  desc.q_dtype = s->q;
  desc.kv_dtype = s->kv;
  desc.rope = LATHE_ROPE_NONE;
  desc.page_size = s->page_size;
  desc.max_batch = p.desc.max_batch;
  desc.max_q_len = p.desc.max_q_len;
  desc.max_seq_len = p.desc.max_seq_len;
  memset(&args, 0, sizeof args);
  args.batch = device.args.batch;
  args.q_len = device.args.q_len;
  args.cu_q_lens = device.args.cu_q_lens;
  args.num_tokens = p.tokens;
  args.q_nope = device.args.q;
  args.q_pe = device.args.q_pe;
  args.q_out = gpu_address(joined.at);
  args.latent_cache = gpu_address(latent.at);
  args.kv_cache = gpu_address(device.kv.at);
  args.num_pages = device.args.num_pages;
  args.block_tables = device.args.block_tables;
  args.seq_lens = device.args.seq_lens;
  args.kv_scale = device.args.kv_scale;
  append = append_plan(context, &desc);
  gpu_ok(lathe_append_run(append, &args, NULL), name);
  gpu_must(gpu.synchronize());
  gpu_must(gpu.download(cache, device.kv.at, p.kv_size));
  gpu_check(memcmp(cache, p.kv, p.kv_size) == 0, "%s: the cache is not as it was", name);
  device.args.q = gpu_address(joined.at);
  device.args.q_pe = NULL;
  device.args.q_token_stride = device.args.q_head_stride = 0;
  device.args.q_pe_token_stride = device.args.q_pe_head_stride = 0;
  device.args.num_tokens = p.tokens;
  device_run(&device, &p, decode, 0xff);
  gpu_check(memcmp(want, p.out, p.out_size) == 0, "%s: append and decode give other bits", name);
  if (s->kv == LATHE_DTYPE_E4M3)
    decode_by_scales(context, &p, &device, append, args);
  lathe_append_plan_destroy(append);
  lathe_decode_plan_destroy(decode);
  gpu_free(latent.at);
  gpu_free(joined.at);
  device_free(&device);
  problem_free(&p);
  free(want);
  free(cache);
  free(rows);
}

GPU_TEST(append, then_decode) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  static const int cases[][5] = {// batch, q_len, heads, length, page
                                 {1, 1, 16, 300, 64},
                                 {6, 2, 16, 140, 64},
                                 {3, 4, 64, 200, 16},
                                 {5, 1, 9, 33, 1},
                                 {2, 3, 128, 65, 64}};
  int i, kv, ragged;
  for (i = 0; i < (gpu_small() ? 2 : 5); i++)
    for (kv = 0; kv < 2; kv++)
      for (ragged = 0; ragged < 2; ragged++) {
        shape s;
        memset(&s, 0, sizeof s);
        s.batch = cases[i][0];
        s.q_len = cases[i][1];
        s.num_heads = cases[i][2];
        s.kv_len = cases[i][3];
        s.page_size = cases[i][4];
        s.l = 512;
        s.r = 64;
        s.q = s.out = LATHE_DTYPE_BF16;
        s.kv = kv ? LATHE_DTYPE_E4M3 : LATHE_DTYPE_BF16;
        s.lengths = LENGTHS_ZEROS;
        s.ragged = ragged;
        s.lse = 1;
        s.split_q = 1;
        s.bounded = 1;
        s.seed = (unsigned long long)(2 * i + 4 + 2 * ragged);
        with_decode(context, &s);
      }
  lathe_context_destroy(context);
}

// ------------------------------------------------------------------------------- graphs, streams

// Captured once; replayed over other lengths and tables, which the replay reads on the device.
GPU_TEST(append, replay_with_other_lengths) {
  lathe_context *context;
  append_shape s = append_draw(4);
  append_problem p;
  lathe_append_plan *plan;
  lathe_append_args args;
  gpu_stream stream;
  gpu_graph graph;
  gpu_graph_exec exec;
  int round, i, k;
  if (gpu_on_cpu) {
    gpu_skip("graphs need a device");
    return;
  }
  context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  s.l = 512;
  s.r = 64;
  s.in = s.kv = s.out = LATHE_DTYPE_BF16;
  s.format = LATHE_KV_FORMAT_PLAIN;
  s.row_scale = LATHE_ROW_SCALE_F32;
  s.rope = LATHE_ROPE_HALF_SPLIT;
  s.heads = 16;
  s.positions = s.slots = s.bounded = s.parts = s.ragged = 0;
  s.nope = 1;
  append_problem_make(&p, &s);
  plan = append_plan(context, &p.desc);
  gpu_must(gpu.stream_create(&stream, GPU_STREAM_NON_BLOCKING));
  args = append_upload(&p);
  gpu_must(gpu.begin_capture(stream, 2));
  gpu_ok(lathe_append_run(plan, &args, stream), "lathe_append_run inside a capture");
  gpu_must(gpu.end_capture(stream, &graph));
  gpu_must(gpu.graph_instantiate(&exec, graph, 0));
  for (round = 0; round < 4; round++) {
    const int most = append_entry_pages(&s);
    append_difference d;
    for (i = 0; i < s.batch; i++) {
      ((int32_t *)(uintptr_t)p.args.seq_lens)[i] = (i * 17 + round * 29) % (s.max_seq_len + 1);
      for (k = 0; k < most; k++)
        ((int32_t *)(uintptr_t)p.args.block_tables)[i * most + k] =
            (i * most + k + round) % (s.batch * most);
    }
    append_upload(&p); // into the same device memory
    gpu_must(gpu.synchronize());
    gpu_must(gpu.graph_launch(exec, stream));
    gpu_must(gpu.stream_synchronize(stream));
    append_download(&p);
    append_oracle(&p);
    d = append_check(&p);
    gpu_check(d.wrong == 0, "round %d: %ld of %ld wrong, %s", round, d.wrong, d.compared, d.first);
  }
  gpu_must(gpu.graph_exec_destroy(exec));
  gpu_must(gpu.graph_destroy(graph));
  gpu_must(gpu.stream_destroy(stream));
  lathe_append_plan_destroy(plan);
  append_problem_free(&p);
  lathe_context_destroy(context);
}

// A chain of programmatic launches in which each run rotates what the one before it rotated, in
// place: one that begins too early turns another vector.
GPU_TEST(append, programmatic_chain) {
  enum { TURNS = 64 };
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  append_shape s = append_draw(3);
  append_problem p;
  lathe_append_plan *plan;
  lathe_append_args args;
  lathe_context_info info;
  unsigned char *want;
  gpu_stream stream;
  size_t size;
  int programmatic, i;
  gpu_ok(lathe_context_get_info(context, &info), "lathe_context_get_info");
  if (info.compute_major < 9) {
    gpu_skip("programmatic launches need compute capability 9.0");
    lathe_context_destroy(context);
    return;
  }
  s.l = 512;
  s.r = 64;
  s.in = s.kv = s.out = LATHE_DTYPE_F16;
  s.format = LATHE_KV_FORMAT_PLAIN;
  s.row_scale = LATHE_ROW_SCALE_F32;
  s.rope = LATHE_ROPE_INTERLEAVED;
  s.heads = 128;
  s.parts = 2;
  s.weird = s.positions = s.slots = s.ragged = s.nope = s.scales = 0;
  s.split_out = 1;
  append_problem_make(&p, &s);
  size = (size_t)(p.tokens * s.heads * s.r) * 2;
  want = (unsigned char *)malloc(2 * size);
  plan = append_plan(context, &p.desc);
  gpu_must(gpu.stream_create(&stream, GPU_STREAM_NON_BLOCKING));
  for (programmatic = 0; programmatic < 2; programmatic++) {
    args = append_upload(&p);
    args.q_pe_out = (void *)(uintptr_t)args.q_pe;
    args.programmatic_launch = programmatic;
    gpu_must(gpu.synchronize());
    for (i = 0; i < TURNS; i++)
      gpu_ok(lathe_append_run(plan, &args, stream), "lathe_append_run");
    gpu_must(gpu.stream_synchronize(stream));
    gpu_must(gpu.download(want + (size_t)programmatic * size, (gpu_pointer)(uintptr_t)args.q_pe_out,
                          size));
  }
  gpu_check(memcmp(want, want + size, size) == 0, "a programmatic chain gives other bits");
  free(want);
  gpu_must(gpu.stream_destroy(stream));
  lathe_append_plan_destroy(plan);
  append_problem_free(&p);
  lathe_context_destroy(context);
}
