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

static inline lathe_context *real_context(void) {
  lathe_context_desc desc = test_desc();
  return make_context(&desc);
}

static inline int contains(const lathep_image *image, const char *words) {
  return memmem(image->data, image->size, words, strlen(words)) != NULL;
}

// To machine code, or to PTX, for this architecture, through the code that the library runs.
static inline void compile(const lathe_context *context, const lathep_variant *variant, int arch,
                           int ptx) {
  char name[128], symbol[160], *source;
  lathep_jit_target target;
  lathep_image image;
  lathep_variant_name(variant, name, sizeof name);
  snprintf(symbol, sizeof symbol, "lathe_%s", name);
  lathep_jit_target_set(&target, arch, ptx);
  cr_assert_eq(lathep_source_text(&context->allocator, variant, &source), LATHE_STATUS_OK);
  cr_expect_eq(lathep_jit_compile(context, &real_nvrtc, name, source, &target, &image),
               LATHE_STATUS_OK, "%s\n%s", lathe_last_error()->message,
               lathe_last_error()->compile_log);
  if (image.data) {
    cr_expect(contains(&image, symbol), "%s for %s has no symbol", name, target.name);
    cr_expect_eq(memcmp(image.data, "\177ELF", 4) == 0, !ptx, "%s for %s", name, target.name);
    cr_expect_eq(image.data[image.size], 0);
  }
  lathep_image_free(&context->allocator, &image);
  lathep_free(&context->allocator, source);
}

// The same to machine code, if this process has not yet done so.
static int num_compiled;
static inline void compile_once(const lathe_context *context, const lathep_variant *variant,
                                int arch) {
  static char compiled[256][160];
  char name[128], what[160];
  int i;
  lathep_variant_name(variant, name, sizeof name);
  snprintf(what, sizeof what, "%s for %d", name, arch);
  for (i = 0; i < num_compiled; i++)
    if (strcmp(compiled[i], what) == 0)
      return;
  cr_assert_lt(num_compiled, 256);
  strcpy(compiled[num_compiled++], what);
  compile(context, variant, arch, 0);
}

#endif
