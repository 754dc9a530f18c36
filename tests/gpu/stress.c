// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Thousands of replays of random lengths while another stream disturbs the timing: every result
// must be the bits that the same lengths gave before. A missing wait or barrier shows here, sooner
// or later.
#include "device.h"
#include "oracle.h"

enum { SETS = 12 }; // of lengths

typedef struct stressed {
  problem p;
  device_problem device;
  lathe_decode_plan *plan;
  gpu_graph_exec exec;
  int32_t lens[SETS][64];
  unsigned char *out[SETS];
  float *lse[SETS];
} stressed;

static shape stress_shape(int batch, int q_len, int heads, int kv_len, int page, lathe_dtype kv) {
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
  s.seed = (unsigned long long)heads;
  return s;
}

static int stress_begin(stressed *t, lathe_context *context, const shape *s, gpu_stream stream) {
  gpu_graph graph;
  memset(t, 0, sizeof *t);
  problem_make(&t->p, s);
  t->plan = make_plan(context, &t->p.desc);
  if (!t->plan)
    return -1;
  device_upload(&t->device, &t->p, lathe_decode_workspace_size(t->plan));
  device_poison(&t->device, 0xff);
  gpu_must(gpu.begin_capture(stream, 0));
  gpu_ok(lathe_decode_run(t->plan, &t->device.args, stream), "lathe_decode_run in a capture");
  gpu_must(gpu.end_capture(stream, &graph));
  gpu_must(gpu.graph_instantiate(&t->exec, graph, 0));
  gpu_must(gpu.graph_destroy(graph));
  return 0;
}

static void stress_end(stressed *t) {
  int set;
  gpu_must(gpu.graph_exec_destroy(t->exec));
  lathe_decode_plan_destroy(t->plan);
  for (set = 0; set < SETS; set++) {
    free(t->out[set]);
    free(t->lse[set]);
  }
  device_free(&t->device);
  problem_free(&t->p);
}

static void stress(const shape *s, double seconds) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  gpu_stream stream, other;
  stressed t, noise;
  shape noisy = stress_shape(5, 1, 8, 3000, 16, LATHE_DTYPE_BF16);
  ref_random random = {s->seed};
  char name[256];
  int set, i, round = 0, differ = 0, rounds = gpu_small() ? SETS * 2 : 1 << 20;
  double end = gpu_now() + seconds;
  gpu_must(gpu.stream_create(&stream, GPU_STREAM_NON_BLOCKING));
  gpu_must(gpu.stream_create(&other, GPU_STREAM_NON_BLOCKING));
  if (stress_begin(&t, context, s, stream) || stress_begin(&noise, context, &noisy, other))
    return;
  problem_name(&t.p, name, sizeof name);
  for (set = 0; set < SETS; set++)
    for (i = 0; i < s->batch; i++)
      t.lens[set][i] = ref_between(&random, 0, s->kv_len);
  // At least twice through the sets, then for as long as there is time.
  for (round = 0; round < 2 * SETS || (round < rounds && gpu_now() < end); round++) {
    set = round < SETS ? round : (int)ref_below(&random, SETS);
    memcpy(t.p.lens, t.lens[set], sizeof(int32_t) * (size_t)s->batch);
    gpu_must(gpu.upload(t.device.lens.at, t.lens[set], sizeof(int32_t) * (size_t)s->batch));
    gpu_must(gpu.fill8_async(t.device.out.at, 0xff, t.p.out_size, stream));
    gpu_must(gpu.fill8_async(t.device.workspace.at, (unsigned char)(round * 37),
                             t.device.workspace.size, stream));
    if (round % 3)
      gpu_must(gpu.graph_launch(noise.exec, other));
    gpu_must(gpu.graph_launch(t.exec, stream));
    gpu_must(gpu.stream_synchronize(stream));
    gpu_must(gpu.download(t.p.out, t.device.out.at, t.p.out_size));
    gpu_must(gpu.download(t.p.lse, t.device.lse.at, t.p.lse_size));
    if (!t.out[set]) {
      t.out[set] = (unsigned char *)ref_alloc(t.p.out_size);
      t.lse[set] = (float *)ref_alloc(t.p.lse_size);
      memcpy(t.out[set], t.p.out, t.p.out_size);
      memcpy(t.lse[set], t.p.lse, t.p.lse_size);
      if (set < 3)
        oracle_check(&t.p);
    } else {
      differ += memcmp(t.out[set], t.p.out, t.p.out_size) != 0 ||
                memcmp(t.lse[set], t.p.lse, t.p.lse_size) != 0;
    }
  }
  fprintf(stderr, "# %s: %d replays\n", name, round);
  gpu_check(differ == 0, "%s: %d of %d replays differ from the first of their lengths", name,
            differ, round);
  gpu_must(gpu.synchronize());
  stress_end(&t);
  stress_end(&noise);
  gpu_must(gpu.stream_destroy(stream));
  gpu_must(gpu.stream_destroy(other));
  lathe_context_destroy(context);
}

static double stress_seconds(void) {
  return gpu_full() ? 30.0 : gpu_small() ? 0.0 : 1.5;
}

GPU_TEST(stress, tile_of_16_rows) {
  shape s = stress_shape(7, 1, 16, gpu_small() ? 300 : 2500, 64, LATHE_DTYPE_BF16);
  stress(&s, stress_seconds());
}
GPU_TEST(stress, tile_of_32_rows) {
  shape s = stress_shape(5, 2, 16, gpu_small() ? 300 : 1500, 32, LATHE_DTYPE_BF16);
  stress(&s, stress_seconds());
}
GPU_TEST(stress, tile_of_64_rows) {
  shape s = stress_shape(9, 1, 128, gpu_small() ? 300 : 900, 64, LATHE_DTYPE_BF16);
  stress(&s, stress_seconds());
}
GPU_TEST(stress, e4m3_cache) {
  shape s = stress_shape(6, 1, 64, gpu_small() ? 300 : 1200, 64, LATHE_DTYPE_E4M3);
  stress(&s, stress_seconds());
}
GPU_TEST(stress, page_of_one_row) {
  shape s = stress_shape(6, 1, 20, gpu_small() ? 200 : 800, 1, LATHE_DTYPE_BF16);
  stress(&s, stress_seconds());
}
