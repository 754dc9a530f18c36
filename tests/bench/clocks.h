// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the driver's management library says of clocks, read and never set. It is opened at run
// time; without it the clocks are left out of the report.
#ifndef LATHE_TESTS_BENCH_CLOCKS_H
#define LATHE_TESTS_BENCH_CLOCKS_H

#include "../gpu/driver.h"

typedef struct bench_clocks {
  int (*now)(void *, int, unsigned *);
  void *device;
  unsigned most_sm; // MHz
  char driver[80];  // "580.65.06"; "": not known
} bench_clocks;

enum { BENCH_CLOCK_SM = 1, BENCH_CLOCK_MEMORY = 2 }; // of NVML

static inline void *bench_open(const char *first, const char *const *names) {
  void *library = first && first[0] ? dlopen(first, RTLD_NOW | RTLD_LOCAL) : NULL;
  int i;
  for (i = 0; !library && names[i]; i++)
    library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  return library;
}

// NVML finds the device by its bus number, as its own order is not CUDA's.
static inline void bench_clocks_open(bench_clocks *c) {
  static const char *const names[] = {"libnvidia-ml.so.1", NULL};
  void *library = bench_open(NULL, names);
  int (*init)(void), (*find)(const char *, void **), (*most)(void *, int, unsigned *);
  int (*driver)(char *, unsigned);
  char bus[64];
  memset(c, 0, sizeof *c);
  if (!library || !gpu_driver_symbol(library, "nvmlInit_v2", &init) ||
      !gpu_driver_symbol(library, "nvmlDeviceGetHandleByPciBusId_v2", &find) ||
      !gpu_driver_symbol(library, "nvmlDeviceGetClockInfo", &c->now) || init())
    return;
  gpu_must(gpu.device_pci_bus_id(bus, sizeof bus, 0));
  if (find(bus, &c->device))
    c->device = NULL;
  if (c->device && gpu_driver_symbol(library, "nvmlDeviceGetMaxClockInfo", &most) &&
      most(c->device, BENCH_CLOCK_SM, &c->most_sm))
    c->most_sm = 0;
  if (gpu_driver_symbol(library, "nvmlSystemGetDriverVersion", &driver) &&
      driver(c->driver, sizeof c->driver))
    c->driver[0] = '\0';
}

static inline unsigned bench_clock(const bench_clocks *c, int kind) { // MHz; 0: not known
  unsigned value = 0;
  return c->device && c->now(c->device, kind, &value) == 0 ? value : 0;
}

#endif
