// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Every model of the list at TP 1, 2, 4 and 8, as far as its heads divide, as dispatched: with the
// model's softmax scale, one new token and two, against the CPU backend. An option that a model
// needs and Lathe does not have is left out.
#include "device.h"
#include "lists.h"
#include "oracle.h"

#include "../ref/models.h"

// The context's device as its info tells of it; null: the CPU backend.
static const lathe_device_desc *device_told_of(const lathe_context *context,
                                               lathe_device_desc *told) {
  lathe_context_info info;
  gpu_ok(lathe_context_get_info(context, &info), "lathe_context_get_info");
  told->compute_major = info.compute_major;
  told->compute_minor = info.compute_minor;
  told->shared_memory_per_block = info.shared_memory_per_block;
  return info.backend == LATHE_BACKEND_CPU ? NULL : told;
}

// The rows that the problem's tokens see, by lists.
static void run_picked(lathe_context *context, device_problem *device, problem *p) {
  lists l;
  lathe_decode_plan *plan;
  lists_make(&l, p, 1);
  plan = make_plan(context, &l.desc);
  if (plan) {
    device_upload(device, p, lathe_decode_workspace_size(plan));
    lists_args(&l, p, &device->args);
    if (device_run(device, p, plan, 0xff) == 0)
      oracle_check(p);
  }
  lathe_decode_plan_destroy(plan);
  lists_free(&l);
}

static void run_model(lathe_context *context, device_problem *device, const lathe_model *model,
                      int ranks, int tokens) {
  lathe_decode_desc desc = model_desc(model, ranks);
  lathe_decode_plan *plan;
  lathe_device_desc told;
  problem p;
  shape s;
  int failures = gpu_failures;
  memset(&s, 0, sizeof s);
  s.batch = 4;
  s.q_len = tokens;
  s.num_heads = desc.num_heads;
  s.kv_len = gpu_small() ? 70 : 700;
  s.page_size = 64;
  s.l = desc.kv_lora_rank;
  s.r = desc.qk_rope_head_dim;
  s.q = desc.q_dtype;
  s.kv = desc.kv_dtype;
  s.out = desc.q_dtype;
  s.window = model->sliding_window;
  s.softcap = desc.logit_softcap;
  s.sinks = desc.attention_sinks;
  s.lengths = LENGTHS_UNEVEN;
  s.lse = 1;
  s.bounded = 1;
  s.seed = (unsigned long long)(100 * ranks + tokens);
  problem_make(&p, &s);
  p.args.softmax_scale = model_softmax_scale(model);
  gpu_ok(lathe_decode_check_device(device_told_of(context, &told), &p.desc),
         "lathe_decode_check_device");
  plan = make_plan(context, &p.desc);
  if (plan) {
    device_upload(device, &p, lathe_decode_workspace_size(plan));
    if (device_run(device, &p, plan, 0xff) == 0)
      oracle_check(&p);
  }
  if (model->sparse_topk)
    run_picked(context, device, &p);
  if (gpu_failures > failures)
    fprintf(stderr, "# that was %s over %d ranks\n", model->name, ranks);
  lathe_decode_plan_destroy(plan);
  problem_free(&p);
}

GPU_TEST(models, every_rank_of_each) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  device_problem device;
  int i, ranks, tokens, runs = 0;
  memset(&device, 0, sizeof device);
  for (i = 0; i < LATHE_NUM_MODELS; i++)
    for (ranks = gpu_small() ? 8 : 1; ranks <= 8; ranks *= 2)
      for (tokens = 1; tokens <= 2 && model_heads(&lathe_models[i], ranks); tokens++) {
        run_model(context, &device, &lathe_models[i], ranks, tokens);
        runs++;
      }
  fprintf(stderr, "# %d models, %d runs\n", (int)LATHE_NUM_MODELS, runs);
  device_free(&device);
  lathe_context_destroy(context);
}
