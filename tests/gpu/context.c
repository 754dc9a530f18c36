// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Which CUDA context a Lathe context belongs to: the primary one of a device, or the one that was
// current; run refuses another, and nobody's current context changes.
#include "device.h"
#include "oracle.h"

static shape context_shape(void) {
  shape s;
  memset(&s, 0, sizeof s);
  s.batch = 2;
  s.q_len = 1;
  s.num_heads = 16;
  s.kv_len = 150;
  s.page_size = 64;
  s.l = 512;
  s.r = 64;
  s.q = s.kv = s.out = LATHE_DTYPE_BF16;
  return s;
}

static void run_and_judge(lathe_context *context) {
  shape s = context_shape();
  problem p;
  device_problem device;
  lathe_decode_plan *plan;
  memset(&device, 0, sizeof device);
  problem_make(&p, &s);
  plan = make_plan(context, &p.desc);
  if (plan) {
    device_upload(&device, &p, lathe_decode_workspace_size(plan));
    if (device_run(&device, &p, plan, 0xff) == 0)
      oracle_check(&p);
  }
  lathe_decode_plan_destroy(plan);
  device_free(&device);
  problem_free(&p);
}

GPU_TEST(context, device_info) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  lathe_context_info info;
  char name[128] = "";
  gpu_must(gpu.device_name(name, sizeof name, 0));
  gpu_ok(lathe_context_get_info(context, &info), "lathe_context_get_info");
  gpu_check(info.backend == LATHE_BACKEND_CUDA && info.device == 0, "backend %d, device %d",
            (int)info.backend, info.device);
  gpu_check(strcmp(info.device_name, name) == 0, "device name \"%s\", not \"%s\"", info.device_name,
            name);
  gpu_check(info.num_sms == gpu_attribute(GPU_ATTRIBUTE_NUM_SMS), "%d SMs", info.num_sms);
  gpu_check(info.compute_major == gpu_attribute(GPU_ATTRIBUTE_MAJOR) &&
                info.compute_minor == gpu_attribute(GPU_ATTRIBUTE_MINOR),
            "compute capability %d.%d", info.compute_major, info.compute_minor);
  fprintf(stderr, "# %s, compute capability %d.%d, %d SMs, driver %d\n", info.device_name,
          info.compute_major, info.compute_minor, info.num_sms, info.driver_version);
  lathe_context_destroy(context);
}

GPU_TEST(context, current_context_is_left_alone) {
  lathe_context *context;
  gpu_context before = NULL, after = NULL;
  gpu_must(gpu.get_current(&before));
  context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  gpu_must(gpu.get_current(&after));
  gpu_check(before == after, "lathe_context_create changed the current context");
  gpu_must(gpu.set_current(NULL));
  {
    shape s = context_shape();
    problem p;
    lathe_decode_plan *plan;
    problem_make(&p, &s);
    plan = make_plan(context, &p.desc);
    gpu_must(gpu.get_current(&after));
    gpu_check(after == NULL, "lathe_decode_plan_create left a context current");
    lathe_decode_plan_destroy(plan);
    problem_free(&p);
  }
  gpu_must(gpu.set_current(before));
  run_and_judge(context);
  lathe_context_destroy(context);
}

GPU_TEST(context, another_context_is_refused) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON), *own = NULL;
  lathe_context_desc desc;
  gpu_context primary, mine;
  shape s = context_shape();
  problem p;
  device_problem device;
  lathe_decode_plan *plan;
  lathe_status status;
  memset(&device, 0, sizeof device);
  gpu_must(gpu.get_current(&primary));
  problem_make(&p, &s);
  plan = make_plan(context, &p.desc);
  if (!plan)
    return;
  device_upload(&device, &p, lathe_decode_workspace_size(plan));
  gpu_must(gpu.context_create(&mine, 0, 0)); // and current
  status = lathe_decode_run(plan, &device.args, NULL);
  gpu_check(status == LATHE_STATUS_WRONG_CONTEXT, "a run under another context: %s",
            lathe_status_string(status));

  // A Lathe context made here, with device 0, belongs to this context and works in it.
  memset(&desc, 0, sizeof desc);
  desc.backend = LATHE_BACKEND_CUDA;
  desc.cache_dir = gpu_cache_dir();
  if (gpu_ok(lathe_context_create(&desc, &own), "lathe_context_create in a context of its own")) {
    run_and_judge(own);
    lathe_context_destroy(own);
  }
  gpu_must(gpu.context_destroy(mine));
  gpu_must(gpu.set_current(primary));
  lathe_decode_plan_destroy(plan);
  device_free(&device);
  problem_free(&p);
  lathe_context_destroy(context);
}
