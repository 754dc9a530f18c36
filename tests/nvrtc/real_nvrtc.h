// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The NVRTC of this machine, under a driver that is a fake: everything but the GPU is real.
#ifndef LATHE_TESTS_REAL_NVRTC_H
#define LATHE_TESTS_REAL_NVRTC_H

#include "../fakes/fakes.h"

static lathep_nvrtc real_nvrtc;

// In place of test_begin(); skips the test where there is no NVRTC. $LATHE_NVRTC_LIB says which one
// to take, as it does for users.
static inline void test_begin_real(void) {
  static char path[LATHEP_PATH_MAX];
  const char *named = getenv("LATHE_NVRTC_LIB");
  library_dir[0] = '\0';
  if (lathep_nvrtc_load(&real_nvrtc, named && *named ? named : NULL, 0))
    cr_skip_test("%s", lathe_last_error()->message);
  snprintf(path, sizeof path, "%s", real_nvrtc.name);
  test_begin();
  install_cuda("fake_cuda");
  setenv("LATHE_NVRTC_LIB", path, 1);
}

static inline lathe_decode_desc real_desc(lathe_dtype q, lathe_dtype kv, lathe_dtype out, int l,
                                          int r, int heads) {
  lathe_decode_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.num_heads = heads;
  desc.kv_lora_rank = l;
  desc.qk_rope_head_dim = r;
  desc.q_dtype = q;
  desc.kv_dtype = kv;
  desc.out_dtype = out;
  desc.page_size = 64;
  desc.max_batch = 4;
  desc.max_q_len = 1;
  desc.max_seq_len = 4096;
  return desc;
}

#endif
