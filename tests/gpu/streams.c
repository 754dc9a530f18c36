// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Two plans at once: on two streams of one thread, and from two threads that share a context. Each
// has its own workspace; the results are those of running alone, bit for bit.
#include "device.h"
#include "oracle.h"

typedef struct lane {
  problem p;
  device_problem device;
  lathe_decode_plan *plan;
  gpu_stream stream;
  unsigned char *alone;
  int failed;
} lane;

static int lane_begin(lane *l, lathe_context *context, int heads, int kv_len, int page) {
  shape s;
  memset(l, 0, sizeof *l);
  memset(&s, 0, sizeof s);
  s.batch = 4;
  s.q_len = 1;
  s.num_heads = heads;
  s.kv_len = gpu_small() ? kv_len / 10 : kv_len;
  s.page_size = page;
  s.l = 512;
  s.r = 64;
  s.q = s.kv = s.out = LATHE_DTYPE_BF16;
  s.lengths = LENGTHS_UNEVEN;
  s.seed = (unsigned long long)heads;
  problem_make(&l->p, &s);
  l->plan = make_plan(context, &l->p.desc);
  if (!l->plan)
    return -1;
  gpu_must(gpu.stream_create(&l->stream, GPU_STREAM_NON_BLOCKING));
  device_upload(&l->device, &l->p, lathe_decode_workspace_size(l->plan));
  if (device_run(&l->device, &l->p, l->plan, 0xff))
    return -1;
  oracle_check(&l->p);
  l->alone = (unsigned char *)ref_alloc(l->p.out_size);
  memcpy(l->alone, l->p.out, l->p.out_size);
  return 0;
}

static void lane_end(lane *l) {
  gpu_must(gpu.stream_destroy(l->stream));
  lathe_decode_plan_destroy(l->plan);
  device_free(&l->device);
  problem_free(&l->p);
  free(l->alone);
}

static int lane_same(lane *l) {
  gpu_must(gpu.download(l->p.out, l->device.out.at, l->p.out_size));
  return memcmp(l->alone, l->p.out, l->p.out_size) == 0;
}

GPU_TEST(streams, two_plans_on_two_streams) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  lane a, b;
  int round, run, rounds = gpu_small() ? 2 : 50;
  if (lane_begin(&a, context, 16, 3000, 64) || lane_begin(&b, context, 128, 1500, 32))
    return;
  for (round = 0; round < rounds; round++) {
    device_poison(&a.device, round);
    device_poison(&b.device, round + 1);
    for (run = 0; run < 4; run++) {
      gpu_ok(lathe_decode_run(a.plan, &a.device.args, a.stream), "run on the first stream");
      gpu_ok(lathe_decode_run(b.plan, &b.device.args, b.stream), "run on the second stream");
    }
    gpu_must(gpu.stream_synchronize(a.stream));
    gpu_must(gpu.stream_synchronize(b.stream));
    gpu_check(lane_same(&a) && lane_same(&b), "round %d differs from running alone", round);
  }
  lane_end(&a);
  lane_end(&b);
  lathe_context_destroy(context);
}

static gpu_context primary;

static void *lane_thread(void *user) {
  lane *l = (lane *)user;
  int i, runs = gpu_small() ? 4 : 200;
  l->failed = gpu.set_current(primary) != 0;
  for (i = 0; i < runs && !l->failed; i++)
    l->failed = lathe_decode_run(l->plan, &l->device.args, l->stream) != LATHE_STATUS_OK;
  l->failed |= gpu.stream_synchronize(l->stream) != 0;
  return NULL;
}

GPU_TEST(streams, two_threads_share_a_context) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  lane lanes[2];
  pthread_t thread;
  if (lane_begin(&lanes[0], context, 40, 2000, 16) || lane_begin(&lanes[1], context, 64, 1800, 64))
    return;
  gpu_must(gpu.get_current(&primary));
  device_poison(&lanes[0].device, 0xff);
  device_poison(&lanes[1].device, 0xff);
  if (!gpu_check(pthread_create(&thread, NULL, lane_thread, &lanes[1]) == 0, "no thread"))
    return;
  lane_thread(&lanes[0]);
  pthread_join(thread, NULL);
  gpu_check(!lanes[0].failed && !lanes[1].failed, "a run failed in a thread");
  gpu_check(lane_same(&lanes[0]) && lane_same(&lanes[1]), "two threads at once differ from one");
  lane_end(&lanes[0]);
  lane_end(&lanes[1]);
  lathe_context_destroy(context);
}
