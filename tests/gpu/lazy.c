// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A new process under CUDA_MODULE_LOADING=LAZY whose first run ever is inside a capture: loading
// code then would break the capture, so making the plan must have loaded all of it.
static int child(const char *name);
#define GPU_CHILD(name) child(name)

#include "device.h"
#include "oracle.h"

static int child(const char *name) {
  const char *missing = gpu_missing();
  lathe_context *context;
  lathe_decode_plan *plan;
  lathe_decode_plan_info info;
  device_problem device;
  problem p;
  gpu_stream stream;
  gpu_graph graph = NULL;
  gpu_graph_exec exec = NULL;
  shape s;
  int result;
  if (missing)
    return 3;
  memset(&s, 0, sizeof s);
  memset(&device, 0, sizeof device);
  s.batch = 3;
  s.q_len = 1;
  s.num_heads = 16;
  s.kv_len = 900;
  s.page_size = 64;
  s.l = 512;
  s.r = 64;
  s.q = s.kv = s.out = LATHE_DTYPE_BF16;
  s.lengths = LENGTHS_UNEVEN;
  s.lse = 1;
  context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  problem_make(&p, &s);
  plan = make_plan(context, &p.desc);
  if (!plan)
    return 4;
  gpu_ok(lathe_decode_plan_get_info(plan, &info), "lathe_decode_plan_get_info");
  gpu_check(info.source ==
                (strcmp(name, "cold") == 0 ? LATHE_KERNEL_SOURCE_NVRTC : LATHE_KERNEL_SOURCE_CACHE),
            "kernel source %d in a %s process", (int)info.source, name);
  device_upload(&device, &p, lathe_decode_workspace_size(plan));
  device_poison(&device, 0xff);
  gpu_must(gpu.stream_create(&stream, GPU_STREAM_NON_BLOCKING));
  gpu_must(gpu.begin_capture(stream, 0)); // CU_STREAM_CAPTURE_MODE_GLOBAL, the strictest
  gpu_ok(lathe_decode_run(plan, &device.args, stream), "the first run, in a capture");
  result = gpu.end_capture(stream, &graph);
  gpu_check(result == 0, "cuStreamEndCapture returns %d", result);
  if (result == 0) {
    gpu_must(gpu.graph_instantiate(&exec, graph, 0));
    gpu_must(gpu.graph_launch(exec, stream));
    gpu_must(gpu.stream_synchronize(stream));
    device_download(&device, &p);
    oracle_check(&p);
  }
  return gpu_failures ? 1 : 0;
}

GPU_TEST(lazy, first_run_in_a_capture) {
  char cache[] = "LATHE_CACHE_DIR=/tmp/lathe-gpu-lazy-XXXXXX", lazy[] = "CUDA_MODULE_LOADING=LAZY";
  char *variables[] = {lazy, cache, NULL};
  char *folder = strchr(cache, '=') + 1;
  int status;
  if (!gpu_check(mkdtemp(folder) != NULL, "no temporary folder"))
    return;
  status = gpu_run_child("cold", variables);
  gpu_check(status == 0, "the process that compiles its kernels exits %d", status);
  status = gpu_run_child("warm", variables);
  gpu_check(status == 0, "the process that finds them in the cache exits %d", status);
  gpu_remove_folder(folder);
}
