// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Which CUDA context a Lathe context belongs to: the primary one of a device, or the one that was
// current; run refuses another, and nobody's current context changes. And the kernels that a
// context is made without.
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

// `kernel`: how the name of the plan's kernel has to begin; null: any.
static void run_and_judge(lathe_context *context, const char *kernel) {
  shape s = context_shape();
  problem p;
  device_problem device;
  lathe_decode_plan *plan;
  lathe_decode_plan_info info;
  memset(&device, 0, sizeof device);
  problem_make(&p, &s);
  plan = make_plan(context, &p.desc);
  if (plan) {
    gpu_ok(lathe_decode_plan_get_info(plan, &info), "lathe_decode_plan_get_info");
    gpu_check(!kernel || strncmp(info.kernel, kernel, strlen(kernel)) == 0, "%s, not %s\n%s",
              info.kernel, kernel, info.candidates);
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
  run_and_judge(context, NULL);
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
    run_and_judge(own, NULL);
    lathe_context_destroy(own);
  }
  gpu_must(gpu.context_destroy(mine));
  gpu_must(gpu.set_current(primary));
  lathe_decode_plan_destroy(plan);
  device_free(&device);
  problem_free(&p);
  lathe_context_destroy(context);
}

// With LATHE_DISABLE as given, and as it was again afterwards.
static void run_without(const char *disabled, const char *kernel) {
  const char *before = getenv("LATHE_DISABLE");
  char *kept = before ? strdup(before) : NULL;
  lathe_context *context;
  setenv("LATHE_DISABLE", disabled, 1);
  context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  if (kept)
    setenv("LATHE_DISABLE", kept, 1);
  else
    unsetenv("LATHE_DISABLE");
  free(kept);
  run_and_judge(context, kernel);
  lathe_context_destroy(context);
}

GPU_TEST(context, kernels_switched_off) {
  if (getenv("LATHE_KERNEL")) {
    gpu_skip("LATHE_KERNEL names the kernel");
    return;
  }
  run_without("sm90,sm90a", "decode_sm80_");
  if (gpu_attribute(GPU_ATTRIBUTE_MAJOR) == 9) {
    run_without("decode_sm90_bf16_bf16", "decode_sm90a_");
    run_without("sm80,sm90a", "decode_sm90_");
  }
}
