// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A CUDA driver for machines without one: it takes every image that looks like one, launches
// nothing, and does as its state says. fake_cuda.c is built three times: whole, without the
// functions that Lathe can do without (FAKE_BARE), and without one that it needs (FAKE_OLD).
#ifndef LATHE_TESTS_FAKE_CUDA_H
#define LATHE_TESTS_FAKE_CUDA_H

enum { FAKE_MAX_DEVICES = 4 };

typedef struct fake_cuda_state {
  // what calls return and report
  int version, count, major, minor, num_sms, shared_optin;
  int init_code, count_code, retain_code, push_code;
  int load_code; // of the next `load_fails` images; -1: of all
  int load_fails;
  int static_shared; // of every function; 0: an empty kernel
  int set_code;      // of setting an attribute

  // what was called
  int retains, releases, pushes, pops, loads, unloads, functions_loaded, queries;
  int dynamic_shared, carveout; // last set
  char symbol[256];             // last asked for
  char image[16];               // how the last image begins
} fake_cuda_state;

// The symbol by which a test gets at the state.
#define FAKE_CUDA_STATE "fake_cuda"

#endif
