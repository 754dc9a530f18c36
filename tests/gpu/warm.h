// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Compiling ahead: most of the time of a cold run would be compiling, and NVRTC does one kernel at
// a time in a process. So other processes fill the disk cache first. A program that wants this
// defines GPU_CHILD(name) as a function that compiles share atoi(name): WARM_PROCESSES shares from
// `first` on.
#ifndef LATHE_TESTS_GPU_WARM_H
#define LATHE_TESTS_GPU_WARM_H

#include "harness.h"

enum { WARM_PROCESSES = 16 };

static inline void warm_cache(int first) {
  pid_t children[WARM_PROCESSES];
  char names[WARM_PROCESSES][12], cache[128];
  char *variables[] = {cache, NULL};
  double start = gpu_now();
  int i, status;
  // an empty setting would be taken as none: where LATHE_CACHE_DIR is set, the children have it,
  // too
  const char *folder = gpu_cache_dir();
  if (gpu_on_cpu)
    return;
  snprintf(cache, sizeof cache, "LATHE_CACHE_DIR=%s", folder ? folder : getenv("LATHE_CACHE_DIR"));
  for (i = 0; i < WARM_PROCESSES; i++) {
    snprintf(names[i], sizeof names[i], "%d", first + i);
    children[i] = gpu_start_child(names[i], variables);
  }
  for (i = 0; i < WARM_PROCESSES; i++) {
    status = gpu_wait_child(children[i]);
    gpu_check(status == 0, "process %d that compiles kernels exits %d", i, status);
  }
  fprintf(stderr, "# kernels compiled by %d processes in %.1f s\n", (int)WARM_PROCESSES,
          gpu_now() - start);
}

#endif
