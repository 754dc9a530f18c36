// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What NVRTC makes of the kernels, through the code that the library runs: every family to machine
// code, errors that point into templates/, plans of a fake device from cold and from the cache.
#define _GNU_SOURCE
#include "real_nvrtc.h"

#include <criterion/parameterized.h>

#define BF16 LATHE_DTYPE_BF16
#define F16  LATHE_DTYPE_F16
#define E4M3 LATHE_DTYPE_E4M3

// --------------------------------------------------------------------------------- every family

typedef struct architecture {
  int arch, shared_optin;
} architecture;

static const architecture architectures[] = {{80, 166912},  {90, 232448},  {86, 101376},
                                             {89, 101376},  {100, 232448}, {103, 232448},
                                             {110, 232448}, {120, 101376}};
enum { ARCHITECTURES = sizeof architectures / sizeof architectures[0] };

static int known(int arch) {
  int archs[64], count = 0, i;
  if (real_nvrtc.nvrtcGetNumSupportedArchs(&count) || count > 64 ||
      real_nvrtc.nvrtcGetSupportedArchs(archs))
    return 0;
  for (i = 0; i < count; i++)
    if (archs[i] == arch)
      return 1;
  return 0;
}

// One of `of` by turns; all with -Dthorough=true. What a change of a template does to kernels that
// are not compiled here shows in tests/budget, which compiles all that have changed.
static int sampled(size_t turn, size_t of) {
  return getenv("LATHE_TEST_THOROUGH") != NULL || turn % of == 0;
}

typedef struct family_case {
  lathe_dtype q, kv, out;
} family_case;

static family_case families[] = {
    {BF16, BF16, BF16}, {BF16, BF16, F16},  {BF16, E4M3, BF16}, {BF16, E4M3, F16},
    {F16, F16, F16},    {F16, F16, BF16},   {F16, E4M3, F16},   {F16, E4M3, BF16},
    {BF16, BF16, E4M3}, {BF16, E4M3, E4M3}, {F16, F16, E4M3},   {F16, E4M3, E4M3},
    {E4M3, E4M3, BF16}, {E4M3, E4M3, F16},  {E4M3, E4M3, E4M3},
};

ParameterizedTestParameters(jit, every_family) {
  return cr_make_param_array(family_case, families, sizeof families / sizeof families[0]);
}

TestSuite(jit, .timeout = 600); // a compilation or more each, and the machine may be busy

// (512, 64) for the oldest architecture, some as PTX too, and by turns for another or, with other
// sizes, for Hopper; both if all are wanted. tests/budget compiles every family at every size for
// each architecture.
ParameterizedTest(family_case *f, jit, every_family, .timeout = 600) {
  static const int dims[][3] = {// L, R, heads: each of the row tiles comes
                                {512, 64, 128}, {512, 0, 16}, {256, 64, 32},
                                {256, 32, 40},  {128, 32, 8}, {320, 64, 20}};
  lathe_context *context;
  size_t a, d, turn = 0;
  test_begin_real();
  context = real_context();
  while (memcmp(f, &families[turn], sizeof *f)) // a parameter is a copy
    turn++;
  for (a = 0; a < ARCHITECTURES; a++)
    for (d = 0; d < sizeof dims / sizeof dims[0]; d++) {
      lathe_decode_desc desc = real_desc(f->q, f->kv, f->out, dims[d][0], dims[d][1], dims[d][2]);
      lathep_variant variant;
      char reason[256];
      if (!known(architectures[a].arch) ||
          (a == 1 ? d != 1 + turn % 5
                  : d > 0 || (a > 1 && a != 2 + turn / 2 % (ARCHITECTURES - 2))) ||
          (a > 0 && !sampled(turn + (a > 1), 2)))
        continue;
      cr_assert_eq(lathep_tile_choose(&desc, dims[d][2], architectures[a].shared_optin, &variant,
                                      reason, sizeof reason),
                   LATHE_STATUS_OK, "%s", reason);
      compile(context, &variant, architectures[a].arch, 0);
      if (a == 0 && turn % 5 == 0)
        compile(context, &variant, architectures[a].arch, 1);
    }
  lathe_context_destroy(context);
  test_end();
}

// Each option alone, for the oldest architecture, caches by turns; and those that go together, for
// every amount of shared memory. Both with every row tile, alone by turns, and in Hopper's families
// where these have them; every cache if all are wanted.
static void with_options(lathe_decode_desc *desc, unsigned set) {
  if (set & LATHEP_OPTION_WINDOW)
    desc->sliding_window = 100;
  if (set & LATHEP_OPTION_SOFTCAP)
    desc->logit_softcap = 30;
  if (set & LATHEP_OPTION_SINKS)
    desc->attention_sinks = 1;
  if (set & LATHEP_OPTION_SCALE)
    desc->softmax_scale_on_device = 1;
  if (set & LATHEP_OPTION_TREE)
    desc->mask = LATHE_MASK_TREE;
  if (set & LATHEP_OPTION_RANKS)
    desc->cp_world = 2;
  if (set & LATHEP_OPTION_SPARSE)
    desc->sparse_topk = 2048;
  cr_assert_eq(lathep_desc_options(desc), set);
}

enum { // as many as go together
  HOPPERS =
      LATHEP_OPTION_WINDOW | LATHEP_OPTION_SOFTCAP | LATHEP_OPTION_SINKS | LATHEP_OPTION_SCALE,
  DENSE = HOPPERS | LATHEP_OPTION_TREE | LATHEP_OPTION_RANKS,
  LISTED = LATHEP_OPTION_SPARSE | LATHEP_OPTION_SOFTCAP | LATHEP_OPTION_SINKS |
           LATHEP_OPTION_SCALE | LATHEP_OPTION_RANKS
};

ParameterizedTestParameters(jit, every_option) {
  static unsigned sets[sizeof lathep_option_letters + 2];
  size_t count = sizeof lathep_option_letters - 1, i;
  for (i = 0; i < count; i++)
    sets[i] = 1u << i;
  sets[count++] = HOPPERS;
  sets[count++] = DENSE;
  sets[count++] = LISTED;
  return cr_make_param_array(unsigned, sets, count);
}

ParameterizedTest(unsigned *set, jit, every_option, .timeout = 600) {
  static const int heads[] = {16, 32, 128};
  const int alone = (*set & (*set - 1)) == 0;
  lathe_context *context;
  size_t a, h, kv;
  test_begin_real();
  context = real_context();
  for (a = 0; a < (alone ? 1 : 3); a++)
    for (h = 0; h < 3; h++)
      for (kv = 0; kv < 2; kv++) {
        lathe_decode_desc desc = real_desc(BF16, kv ? E4M3 : BF16, BF16, 512, 64, heads[h]);
        lathep_variant variant, other;
        char reason[256];
        if (!known(architectures[a].arch) ||
            ((alone || a > 0) && kv != (h + (unsigned)__builtin_popcount(*set - 1)) % 2) ||
            !sampled(alone   ? h + (unsigned)__builtin_popcount(*set - 1)
                     : a > 0 ? h + a
                             : kv + h,
                     alone || a > 0 ? 3 : 2))
          continue;
        with_options(&desc, *set);
        cr_assert_eq(lathep_tile_choose(&desc, heads[h], architectures[a].shared_optin, &variant,
                                        reason, sizeof reason),
                     LATHE_STATUS_OK, "%s", reason);
        compile(context, &variant, architectures[a].arch, 0);
        lathep_variant_schedule(variant.tokens, variant.options, &other);
        compile_once(context, &other, architectures[a].arch);
        lathep_variant_merge(desc.out_dtype, 512, variant.options, &other);
        compile_once(context, &other, architectures[a].arch);
      }
  for (h = 0; h < 2 && known(90) && (*set & ~(unsigned)HOPPERS) == 0; h++) {
    lathe_decode_desc desc = real_desc(BF16, BF16, BF16, 512, 64, heads[h]);
    lathep_variant variant;
    char reason[256];
    if (alone && !sampled(h + (unsigned)__builtin_popcount(*set - 1), 2))
      continue;
    with_options(&desc, *set);
    cr_assert_eq(lathep_hopper_fit(h == 0 ? LATHEP_ARCH_SM90 : LATHEP_ARCH_SM90A, &desc, 232448,
                                   &variant, reason, sizeof reason),
                 LATHE_STATUS_OK, "%s", reason);
    compile(context, &variant, 90, 0);
  }
  lathe_context_destroy(context);
  test_end();
}

typedef struct hopper_case {
  lathep_arch arch;
  lathe_dtype q, out;
} hopper_case;

static hopper_case hopper[] = {
    {LATHEP_ARCH_SM90, BF16, BF16}, {LATHEP_ARCH_SM90, BF16, F16},   {LATHEP_ARCH_SM90, F16, F16},
    {LATHEP_ARCH_SM90, F16, BF16},  {LATHEP_ARCH_SM90A, BF16, BF16}, {LATHEP_ARCH_SM90A, BF16, F16},
    {LATHEP_ARCH_SM90A, F16, F16},  {LATHEP_ARCH_SM90A, F16, BF16},
};

ParameterizedTestParameters(jit, every_hopper_family) {
  return cr_make_param_array(hopper_case, hopper, sizeof hopper / sizeof hopper[0]);
}

// Every R, and L that the kernels cut differently, for Hopper; sm90 for what came after, too, where
// its ring fits.
ParameterizedTest(hopper_case *f, jit, every_hopper_family, .timeout = 600) {
  static const int dims[][2] = {{512, 64}, {512, 0},  {256, 64},  {256, 32}, {320, 16},
                                {192, 48}, {128, 64}, {384, 128}, {64, 64},  {512, 128}};
  lathe_context *context;
  int compiled = 0;
  size_t a, d;
  test_begin_real();
  context = real_context();
  for (a = 0; a < ARCHITECTURES; a++)
    for (d = 0; d < (f->q == BF16 && f->q == f->out ? sizeof dims / sizeof dims[0] : 1); d++) {
      lathe_decode_desc desc = real_desc(f->q, f->q, f->out, dims[d][0], dims[d][1], 64);
      const int arch = architectures[a].arch;
      lathep_variant variant;
      char why[256];
      if (!known(arch) || (arch != 90 && (arch < 90 || f->arch == LATHEP_ARCH_SM90A || d > 0)))
        continue;
      if (lathep_hopper_fit(f->arch, &desc, architectures[a].shared_optin, &variant, why,
                            sizeof why)) {
        cr_expect(arch == 120 || f->arch == LATHEP_ARCH_SM90A, "%s", why);
        continue;
      }
      compile(context, &variant, arch, 0);
      compiled++;
    }
  cr_expect(compiled > 0 || !known(90));
  lathe_context_destroy(context);
  test_end();
}

Test(jit, every_merge) {
  static const int ranks[] = {512, 256, 128, 320, 16};
  lathep_variant variant;
  lathe_context *context;
  size_t a, i;
  test_begin_real();
  context = real_context();
  for (i = 0; i < sizeof ranks / sizeof ranks[0]; i++)
    for (a = 0; a < sizeof architectures / sizeof architectures[0]; a++) {
      lathep_variant_merge(i % 3 == 2 ? E4M3 : i % 2 ? F16 : BF16, ranks[i], 0, &variant);
      if (known(architectures[a].arch) && (a == i % 2 || i == 0))
        compile(context, &variant, architectures[a].arch, 0);
    }
  lathe_context_destroy(context);
  test_end();
}

Test(jit, every_schedule) {
  lathep_variant variant;
  lathe_context *context;
  size_t a;
  int tokens;
  test_begin_real();
  context = real_context();
  for (tokens = 16; tokens <= 64; tokens *= 2)
    for (a = 0; a < sizeof architectures / sizeof architectures[0]; a++) {
      lathep_variant_schedule(tokens, 0, &variant);
      if (known(architectures[a].arch))
        compile(context, &variant, architectures[a].arch, 0);
    }
  lathe_context_destroy(context);
  test_end();
}

// The first family for every architecture, the others for one by turns; other sizes by turns.
Test(jit, every_append, .timeout = 300) {
  static const int dims[][2] = {{512, 64}, {512, 0}, {16, 16}, {320, 128}};
  static const struct {
    lathe_dtype in, kv, out;
    lathe_kv_format format;
  } families[] = {
      {BF16, BF16, BF16, LATHE_KV_FORMAT_PLAIN}, {BF16, E4M3, BF16, LATHE_KV_FORMAT_PLAIN},
      {BF16, E4M3, E4M3, LATHE_KV_FORMAT_PLAIN}, {BF16, E4M3, BF16, LATHE_KV_FORMAT_ROW656},
      {F16, F16, F16, LATHE_KV_FORMAT_PLAIN},    {F16, E4M3, F16, LATHE_KV_FORMAT_PLAIN},
      {F16, E4M3, E4M3, LATHE_KV_FORMAT_PLAIN},
  };
  lathep_variant variant;
  lathe_context *context;
  size_t a, f, d;
  test_begin_real();
  context = real_context();
  for (f = 0; f < sizeof families / sizeof families[0]; f++)
    for (d = 0; d < sizeof dims / sizeof dims[0]; d++)
      for (a = 0; a < sizeof architectures / sizeof architectures[0]; a++) {
        lathe_append_desc desc;
        memset(&desc, 0, sizeof desc);
        desc.q_dtype = families[f].in;
        desc.kv_dtype = families[f].kv;
        desc.q_out_dtype = families[f].out;
        desc.kv_format = families[f].format;
        desc.kv_lora_rank = dims[d][0];
        desc.qk_rope_head_dim = dims[d][1];
        lathep_variant_append(&desc, &variant);
        if (known(architectures[a].arch) &&
            (d == 0 ? f == 0 || a == f % ARCHITECTURES
                    : a == 0 && desc.kv_format == LATHE_KV_FORMAT_PLAIN && sampled(f + d, 3)))
          compile(context, &variant, architectures[a].arch, 0);
      }
  lathe_context_destroy(context);
  test_end();
}

// The first pair of types for every architecture, the others for one by turns.
Test(jit, every_join, .timeout = 300) {
  static const lathe_dtype types[] = {F16, BF16, LATHE_DTYPE_F32};
  static const int ranks[] = {512, 256, 16};
  lathep_variant variant;
  lathe_context *context;
  size_t a, in, out;
  test_begin_real();
  context = real_context();
  for (in = 0; in < 3; in++)
    for (out = 0; out < 3; out++)
      for (a = 0; a < sizeof architectures / sizeof architectures[0]; a++) {
        lathe_merge_desc desc;
        memset(&desc, 0, sizeof desc);
        desc.in_dtype = types[in];
        desc.out_dtype = types[out];
        desc.kv_lora_rank = ranks[(in + out) % 3];
        lathep_variant_join(&desc, &variant);
        if (known(architectures[a].arch) &&
            (in + out == 0 || sampled(a + 3 * in + out, ARCHITECTURES)))
          compile(context, &variant, architectures[a].arch, 0);
      }
  lathe_context_destroy(context);
  test_end();
}

// ----------------------------------------------------------------------------------------- errors

// Puts `with` in the place of `what`, which is as long, in a family's source, and compiles it.
static void expect_error(const char *what, const char *with, const char *place, const char *words) {
  lathep_variant variant = test_variant(512);
  lathe_context *context = real_context();
  lathep_jit_target target;
  lathep_image image;
  char *source, *found;
  cr_assert_eq(strlen(what), strlen(with));
  cr_assert_eq(lathep_source_text(&context->allocator, &variant, &source), LATHE_STATUS_OK);
  found = strstr(source, what);
  cr_assert_not_null(found, "no \"%s\" in the source", what);
  memcpy(found, with, strlen(with));
  lathep_jit_target_set(&target, 90, 0);
  log_text[0] = '\0';
  expect_failed(lathep_jit_compile(context, &real_nvrtc, "spoilt", source, &target, &image),
                LATHE_STATUS_COMPILE_FAILED, place);
  cr_expect_null(image.data);
  cr_expect_eq(lathe_last_error()->nvrtc_code, 6, "NVRTC_ERROR_COMPILATION");
  cr_expect(strstr(lathe_last_error()->compile_log, place), "%s", lathe_last_error()->compile_log);
  cr_expect(strstr(lathe_last_error()->compile_log, words), "%s", lathe_last_error()->compile_log);
  expect_logged(place);
  lathep_free(&context->allocator, source);
  lathe_context_destroy(context);
}

Test(jit, errors_point_into_the_templates) {
  test_begin_real();
  expect_error("extern \"C\" __global__ void", "extern \"C\" __glubal__ void",
               "templates/decode_sm80.cuh.j2(", "__glubal__");
  test_end();
}

Test(jit, sizes_that_the_kernel_refuses) {
  test_begin_real();
  expect_error("#define LATHE_P_L 512", "#define LATHE_P_L 520", "templates/", "static assertion");
  test_end();
}

// ------------------------------------------------------------------------------------------ plans

static lathe_decode_plan_info plan_info(lathe_context *context, const lathe_decode_desc *desc) {
  lathe_decode_plan_info info;
  lathe_decode_plan *plan;
  cr_assert_eq(lathe_decode_plan_create(context, desc, &plan), LATHE_STATUS_OK, "%s\n%s",
               lathe_last_error()->message, lathe_last_error()->compile_log);
  cr_assert_eq(lathe_decode_plan_get_info(plan, &info), LATHE_STATUS_OK);
  info.candidates = NULL; // the plan's
  lathe_decode_plan_destroy(plan);
  return info;
}

Test(jit, plan_from_cold_and_from_the_cache) {
  lathe_decode_desc desc = real_desc(BF16, BF16, BF16, 256, 32, 40); // MiniCPM3
  lathe_decode_plan_info info;
  lathe_context *context;
  test_begin_real();
  context = real_context();
  info = plan_info(context, &desc);
  cr_expect_eq(info.source, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect_eq(strncmp(info.kernel, "decode_sm90a_bf16_bf16_l256r32_m64", 34), 0, "%s",
               info.kernel);
  cr_expect_eq(memcmp(cuda->image, "\177ELF", 4), 0);
  cr_expect_eq(cuda->loads, 3);
  cr_expect_eq(plan_info(context, &desc).source, LATHE_KERNEL_SOURCE_MEMORY);
  lathe_context_destroy(context);
  context = real_context();
  cr_expect_eq(plan_info(context, &desc).source, LATHE_KERNEL_SOURCE_CACHE);
  cr_expect_eq(count_of(log_text, "jit: compiled"), 3, "%s", log_text);
  lathe_context_destroy(context);
  test_end();
}

// NVRTC does not know it: PTX that says for which it is.
Test(jit, plan_for_a_device_of_the_future) {
  lathe_decode_desc desc = real_desc(BF16, BF16, BF16, 512, 64, 128);
  lathe_context *context;
  test_begin_real();
  cuda->major = 99;
  context = real_context();
  cr_expect_eq(plan_info(context, &desc).source, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect_eq(memcmp(cuda->image, "//", 2), 0);
  expect_logged("does not know sm_990: PTX for compute_");
  lathe_context_destroy(context);
  context = real_context();
  cr_expect_eq(plan_info(context, &desc).source, LATHE_KERNEL_SOURCE_CACHE);
  lathe_context_destroy(context);
  test_end();
}

Test(jit, compilation_forbidden) {
  lathe_decode_desc desc = real_desc(BF16, E4M3, BF16, 512, 64, 128);
  lathe_decode_plan *plan;
  lathe_context *context;
  test_begin_real();
  setenv("LATHE_JIT", "0", 1);
  context = real_context();
  expect_failed(lathe_decode_plan_create(context, &desc, &plan), LATHE_STATUS_JIT_DISABLED,
                "families = [\"decode_sm80_bf16_e4m3\"], l = 512, r = 64, rows = [64]");
  lathe_context_destroy(context);
  test_end();
}

// What is dumped is what was compiled: compiled again, it gives the dumped bytes.
Test(jit, dump_is_what_was_compiled) {
  lathe_decode_desc desc = real_desc(F16, F16, F16, 128, 32, 8);
  char dump[300], *source = malloc(1 << 20), *cubin = malloc(1 << 20), name[200];
  lathe_decode_plan_info info;
  lathep_jit_target target;
  lathe_context *context;
  lathep_image image;
  size_t size;
  test_begin_real();
  snprintf(dump, sizeof dump, "%s/dump", test_folder);
  setenv("LATHE_DUMP_DIR", dump, 1);
  context = real_context();
  info = plan_info(context, &desc);
  snprintf(name, sizeof name, "%s.cu", info.kernel);
  size = read_file(path_in(dump, name), source, (1 << 20) - 1);
  source[size] = '\0';
  cr_expect_null(strstr(source, "#include"), "what reaches NVRTC includes nothing");
  snprintf(name, sizeof name, "%s.cubin", info.kernel);
  size = read_file(path_in(dump, name), cubin, 1 << 20);
  lathep_jit_target_set(&target, 90, 0);
  cr_assert_eq(lathep_jit_compile(context, &real_nvrtc, info.kernel, source, &target, &image),
               LATHE_STATUS_OK);
  cr_expect_eq(image.size, size);
  cr_expect_arr_eq(image.data, cubin, size);
  lathep_image_free(&context->allocator, &image);
  lathe_context_destroy(context);
  free(source);
  free(cubin);
  test_end();
}
