// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A shape that no table holds (MiniCPM3: 40 heads, latent 256, roped 32): how long a cold compile
// takes, and how long the disk cache. Each in a process of its own, as a user meets them.
static int child(const char *name);
#define GPU_CHILD(name) child(name)

#include "device.h"
#include "oracle.h"

static int child(const char *name) {
  lathe_context *context;
  lathe_decode_plan *plan = NULL;
  lathe_decode_plan_info info;
  device_problem device;
  problem p;
  shape s;
  int cold = strcmp(name, "cold") == 0;
  double start, taken, limit = cold ? 1.0 : 0.050;
  if (gpu_missing())
    return 3;
  memset(&s, 0, sizeof s);
  memset(&device, 0, sizeof device);
  s.batch = 4;
  s.q_len = 1;
  s.num_heads = 40;
  s.kv_len = 1500;
  s.page_size = 64;
  s.l = 256;
  s.r = 32;
  s.q = s.kv = s.out = LATHE_DTYPE_BF16;
  s.lengths = LENGTHS_UNEVEN;
  s.lse = 1;
  context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  problem_make(&p, &s);
  start = gpu_now();
  if (!gpu_ok(lathe_decode_plan_create(context, &p.desc, &plan), "lathe_decode_plan_create"))
    return 1;
  taken = gpu_now() - start;
  gpu_ok(lathe_decode_plan_get_info(plan, &info), "lathe_decode_plan_get_info");
  fprintf(stderr, "# MiniCPM3, %s: %s and %s in %.1f ms (limit %.0f ms)\n",
          cold ? "compiled by NVRTC" : "from the disk cache", info.kernel, info.merge_kernel,
          1e3 * taken, 1e3 * limit);
  gpu_check(info.source == (cold ? LATHE_KERNEL_SOURCE_NVRTC : LATHE_KERNEL_SOURCE_CACHE),
            "kernel source %d", (int)info.source);
  gpu_check(taken < limit, "the plan took %.3f s, more than %.3f s", taken, limit);
  device_upload(&device, &p, lathe_decode_workspace_size(plan));
  if (device_run(&device, &p, plan, 0xff) == 0)
    oracle_check(&p);
  return gpu_failures ? 1 : 0;
}

GPU_TEST(minicpm3, cold_and_cached) {
  char cache[] = "LATHE_CACHE_DIR=/tmp/lathe-gpu-mini-XXXXXX";
  char *variables[] = {cache, NULL}, *folder = strchr(cache, '=') + 1;
  int status;
  if (!gpu_check(mkdtemp(folder) != NULL, "no temporary folder"))
    return;
  status = gpu_run_child("cold", variables);
  gpu_check(status == 0, "the process that compiles exits %d", status);
  status = gpu_run_child("warm", variables);
  gpu_check(status == 0, "the process that finds the cache exits %d", status);
  gpu_remove_folder(folder);
}
