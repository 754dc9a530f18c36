// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// An NVRTC that compiles nothing: its cubins are the text "FAKE", the architecture and the name of
// the kernel. fake_nvrtc.c is built twice: whole, and as one of before CUDA 11.1, which has no
// cubins (FAKE_OLD).
#ifndef LATHE_TESTS_FAKE_NVRTC_H
#define LATHE_TESTS_FAKE_NVRTC_H

typedef struct fake_nvrtc_state {
  int major, minor;
  int archs[8], num_archs;
  int compile_code; // of the next `compile_fails` compilations; -1: of all
  int compile_fails;
  const char *log;
  int milliseconds; // that a compilation takes
  int spoil_locale; // leaves the thread in another locale, as NVRTC 12.6.1 does
  int compiles;
  int num_options; // of the last compilation
  char options[4][64];
} fake_nvrtc_state;

#define FAKE_NVRTC_STATE "fake_nvrtc"

#endif
