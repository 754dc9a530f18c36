// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The ways in which the kernel is written, each of them asked for by name: a plan of a context made
// here is that family's or refused, whatever dispatch would rather take.
#ifndef LATHE_TESTS_GPU_FAMILIES_H
#define LATHE_TESTS_GPU_FAMILIES_H

#include "device.h"

typedef struct family {
  const char *word; // for LATHE_KERNEL
  int from, to;     // compute capabilities that it runs on, 10 * major + minor
  int heads;        // a number that suits its row tile
} family;

static const family families[] = {
    {"sm80", 80, 1000, 16},
    {"sm90", 90, 1000, 16},
    {"sm90a", 90, 90, 40},
};
enum { FAMILIES = sizeof families / sizeof families[0] };

// What stands in for a device is of one family.
static inline int family_runs(const family *f) {
  int compute;
  if (gpu_on_cpu)
    return f == families;
  compute = 10 * gpu_attribute(GPU_ATTRIBUTE_MAJOR) + gpu_attribute(GPU_ATTRIBUTE_MINOR);
  return compute >= f->from && compute <= f->to;
}

// Null: dispatch as it is. An older setting of the variable comes back.
static inline lathe_context *family_context(const family *f) {
  const char *before = getenv("LATHE_KERNEL");
  char *kept = before ? strdup(before) : NULL;
  lathe_context *context;
  if (f)
    setenv("LATHE_KERNEL", f->word, 1);
  context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  if (kept)
    setenv("LATHE_KERNEL", kept, 1);
  else
    unsetenv("LATHE_KERNEL");
  free(kept);
  return context;
}

// A plan that really is the family's; null if not, which is a failure.
static inline lathe_decode_plan *family_plan(lathe_context *context, const family *f,
                                             const lathe_decode_desc *desc) {
  lathe_decode_plan *plan = make_plan(context, desc);
  lathe_decode_plan_info info;
  char begin[32];
  if (!plan || !f || gpu_on_cpu)
    return plan;
  snprintf(begin, sizeof begin, "decode_%s_", f->word);
  gpu_ok(lathe_decode_plan_get_info(plan, &info), "lathe_decode_plan_get_info");
  if (gpu_check(strncmp(info.kernel, begin, strlen(begin)) == 0, "%s was asked for, %s came",
                f->word, info.kernel))
    return plan;
  lathe_decode_plan_destroy(plan);
  return NULL;
}

// Uploads, runs from poison and brings back; 0 on success.
static inline int family_run(device_problem *device, problem *p, lathe_decode_plan *plan) {
  device_upload(device, p, lathe_decode_workspace_size(plan));
  return device_run(device, p, plan, 0xff);
}

#endif
