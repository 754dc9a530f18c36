// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Hopper's kernels without a GPU: names and tiles, which plans get them and why others do not,
// LATHE_KERNEL, and the tensor maps of every run.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "recording_driver.h"

#define BF16 LATHE_DTYPE_BF16
#define F16  LATHE_DTYPE_F16

enum { SM90 = 232448 };

static lathe_decode_desc hopper_desc(int l, int r, int heads, int page_size) {
  lathe_decode_desc desc = good_desc();
  desc.num_heads = heads;
  desc.kv_lora_rank = l;
  desc.qk_rope_head_dim = r;
  desc.page_size = page_size;
  desc.max_q_len = 1;
  desc.max_batch = 1 << 14; // so many cache rows that the few-rows kernel is not taken for them
  desc.max_seq_len = 5 * page_size;
  return desc;
}

// The variant for bf16 and 228 KB; its name, or why there is none.
static const char *fitted(lathep_arch arch, const lathe_decode_desc *desc, int limit,
                          lathep_variant *v) {
  static char text[256];
  lathe_decode_desc filled;
  lathep_decode_desc_defaults(desc, &filled);
  if (!lathep_hopper_fit(arch, &filled, limit, v, text, sizeof text))
    lathep_variant_name(v, text, sizeof text);
  return text;
}

static void expect_tile(lathep_arch arch, int l, int r, int limit, const char *want) {
  lathe_decode_desc desc = hopper_desc(l, r, 16, 64);
  lathep_variant v;
  cr_expect_str_eq(fitted(arch, &desc, limit, &v), want);
}

// ------------------------------------------------------------------------------------------ tiles

Test(hopper, tiles_by_hand) {
  // rows of 576: 1152 bytes; 16 * 9 of them and 9216 bytes, 64 * 3 and 4096
  expect_tile(LATHEP_ARCH_SM90, 512, 64, SM90, "decode_sm90_bf16_bf16_l512r64_m16t64s8p16");
  expect_tile(LATHEP_ARCH_SM90A, 512, 64, SM90, "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
  expect_tile(LATHEP_ARCH_SM90, 512, 0, SM90, "decode_sm90_bf16_bf16_l512r0_m16t64s9p16");
  expect_tile(LATHEP_ARCH_SM90, 512, 128, SM90, "decode_sm90_bf16_bf16_l512r128_m16t64s8p16");
  expect_tile(LATHEP_ARCH_SM90, 64, 16, SM90, "decode_sm90_bf16_bf16_l64r16_m16t64s16p16");
  expect_tile(LATHEP_ARCH_SM90A, 256, 32, SM90, "decode_sm90a_bf16_bf16_l256r32_m64t64s4p64");
  expect_tile(LATHEP_ARCH_SM90A, 320, 64, SM90, "decode_sm90a_bf16_bf16_l320r64_m64t64s3p64");
  expect_tile(LATHEP_ARCH_SM90, 64, 64, 101376, "decode_sm90_bf16_bf16_l64r64_m16t64s16p16");
}

Test(hopper, tiles_that_do_not_exist) {
  expect_tile(LATHEP_ARCH_SM90A, 512, 128, SM90, "needs 249856 of 231424 bytes of shared memory");
  expect_tile(LATHEP_ARCH_SM90, 512, 64, 101376, "needs 175104 of 100352 bytes of shared memory");
  expect_tile(LATHEP_ARCH_SM90, 512, 64, 0, "needs 175104 of 0 bytes of shared memory");
  expect_tile(LATHEP_ARCH_SM90, 528, 64, SM90,
              "kv_lora_rank is 528, and it takes multiples of 64, 64 to 512");
  expect_tile(LATHEP_ARCH_SM90, 576, 64, SM90,
              "kv_lora_rank is 576, and it takes multiples of 64, 64 to 512");
  expect_tile(LATHEP_ARCH_SM90A, 64, 64, SM90,
              "kv_lora_rank is 64, and it takes multiples of 64, 128 to 512");
  expect_tile(LATHEP_ARCH_SM90, 512, 80, SM90,
              "qk_rope_head_dim is 80, and it takes 0, 16, 32, 48, 64 and 128");
  expect_tile(LATHEP_ARCH_SM90, 512, 192, SM90,
              "qk_rope_head_dim is 192, and it takes 0, 16, 32, 48, 64 and 128");
}

// The largest piece of a page that the kernel copies and that divides it.
Test(hopper, pages_in_pieces) {
  static const struct {
    int page_size, page;
  } cases[] = {{8, 8},   {16, 16},  {24, 8},  {32, 32},    {40, 8},   {48, 16}, {64, 64},
               {96, 32}, {128, 64}, {136, 8}, {65536, 64}, {192, 64}, {4, 4},   {12, 4},
               {100, 4}, {1, 1},    {2, 1},   {3, 1},      {6, 1},    {63, 1}};
  size_t i;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    lathe_decode_desc desc = hopper_desc(512, 64, 128, cases[i].page_size);
    char want[64];
    lathep_variant v;
    snprintf(want, sizeof want, "decode_sm90a_bf16_bf16_l512r64_m64t64s2p%d", cases[i].page);
    cr_expect_str_eq(fitted(LATHEP_ARCH_SM90A, &desc, SM90, &v), want);
    cr_expect_eq(v.shared_bytes, 225280);
    cr_expect_eq(v.threads, 512);
  }
}

// Pages of an odd number of rows, or twice that, come row by row and without tensor maps.
Test(hopper, maps_of_wide_pages_alone) {
  static const int sizes[] = {64, 8, 4, 2, 1, 63};
  size_t i;
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    lathe_decode_desc desc = hopper_desc(512, 64, 128, sizes[i]);
    lathep_variant v;
    fitted(LATHEP_ARCH_SM90A, &desc, SM90, &v);
    cr_expect_eq(lathep_uses_tensor_maps(&v), i < 3, "page_size %d", sizes[i]);
  }
}

// The kernel for few rows copies what is no multiple of 16 row by row, with three warps more.
Test(hopper, pages_row_by_row) {
  static const int sizes[] = {1, 2, 8, 12, 15, 17, 24, 40, 100};
  size_t i;
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    lathe_decode_desc desc = hopper_desc(512, 64, 16, sizes[i]);
    lathep_variant v;
    cr_expect_str_eq(fitted(LATHEP_ARCH_SM90, &desc, SM90, &v),
                     "decode_sm90_bf16_bf16_l512r64_m16t64s8p1");
    cr_expect_eq(v.threads, 384);
    desc.page_size = 48;
    cr_expect_str_eq(fitted(LATHEP_ARCH_SM90, &desc, SM90, &v),
                     "decode_sm90_bf16_bf16_l512r64_m16t64s8p16");
    cr_expect_eq(v.threads, 288);
  }
}

Test(hopper, caches_that_cannot_be_copied) {
  lathe_decode_desc desc = hopper_desc(512, 64, 16, 64);
  lathep_variant v;
  desc.kv_dtype = LATHE_DTYPE_E4M3;
  cr_expect_str_eq(fitted(LATHEP_ARCH_SM90, &desc, SM90, &v),
                   "kv_dtype is e4m3, and it takes the query's, bf16");
}

// Every shape that is not refused obeys the rules, and what is refused has a reason to be.
Test(hopper, every_shape) {
  static const lathep_arch archs[] = {LATHEP_ARCH_SM90, LATHEP_ARCH_SM90A};
  int a, l, r, limit, legal = 0;
  for (a = 0; a < 2; a++)
    for (l = 16; l <= 640; l += 16)
      for (r = 0; r <= 144; r += 16)
        for (limit = 65536; limit <= SM90; limit += 4096 * 4) {
          const int few = a ? 2 : 8, most = a ? 4 : 16, rows = a ? 64 : 16;
          const int padded = l + (r + 63) / 64 * 64, other = a ? 4096 : 9216;
          const int stage = 2 * padded * rows + (a && r == 0 ? 8192 : 0);
          const int bytes = limit - 1024, enough = a || bytes < 180224 ? bytes : 180224;
          const int dims = l % 64 == 0 && l >= (a ? 128 : 64) && l <= 512 && (r <= 64 || r == 128);
          lathe_decode_desc desc = hopper_desc(l, r, 16, 64);
          lathep_variant v;
          const char *name = fitted(archs[a], &desc, limit, &v);
          if (strncmp(name, "decode_", 7)) {
            cr_assert(!dims || 2 * padded * rows + few * stage + other > bytes, "%s", name);
            continue;
          }
          legal++;
          cr_assert(dims, "%s", name);
          cr_assert(v.stages >= few && v.stages <= most, "%s", name);
          cr_assert(v.rows == rows && v.tokens == 64 && v.page == rows && v.ctas == 1, "%s", name);
          cr_assert_eq(v.threads, a ? 512 : 288);
          cr_assert_eq(v.shared_bytes, 2 * padded * rows + v.stages * stage + other, "%s", name);
          cr_assert_leq(v.shared_bytes, bytes, "%s", name);
          cr_assert(v.stages == most || v.shared_bytes + stage > enough, "%s", name);
          cr_assert(v.stages == few || v.shared_bytes <= enough, "%s", name);
        }
  cr_expect_gt(legal, 500);
}

Test(hopper, parameter_block) {
  lathe_decode_desc desc = hopper_desc(512, 64, 16, 64);
  lathep_variant v;
  char text[512];
  desc.q_dtype = desc.kv_dtype = F16;
  desc.out_dtype = BF16;
  fitted(LATHEP_ARCH_SM90A, &desc, SM90, &v);
  lathep_variant_params(&v, text, sizeof text);
  cr_expect_str_eq(text,
                   "#define LATHE_P_KERNEL lathe_decode_sm90a_f16_f16_obf16_l512r64_m64t64s2p64\n"
                   "#define LATHE_P_L 512\n"
                   "#define LATHE_P_R 64\n"
                   "#define LATHE_P_ROWS 64\n"
                   "#define LATHE_P_TOKENS 64\n"
                   "#define LATHE_P_STAGES 2\n"
                   "#define LATHE_P_PAGE 64\n"
                   "#define LATHE_P_SHARED_BYTES 225280\n"
                   "#define LATHE_P_OPTIONS 0\n");
}

// --------------------------------------------------------------------------------------- dispatch

// What a device gives for a desc, and the lines that lead there.
static lathep_candidates lines;

static const char *taken(lathe_context *context, const lathe_decode_desc *desc) {
  static char name[128];
  lathe_decode_desc filled;
  lathep_choice choice;
  lathe_status status = lathep_decode_prepare(context, desc, &filled, &lines, &choice);
  if (status)
    return lathe_last_error()->message;
  lathep_variant_name(&choice.decode, name, sizeof name);
  return name;
}

static void expect_taken(const lathe_decode_desc *desc, const char *want) {
  lathe_context *context = recording_context(9, 0);
  const char *got = taken(context, desc);
  cr_expect_eq(strncmp(got, want, strlen(want)), 0, "%s, not %s\n%s", got, want, lines.text);
  lathe_context_destroy(context);
}

static void expect_line(const char *line) {
  cr_expect(strstr(lines.text, line), "\"%s\" is not in\n%s", line, lines.text);
}

Test(dispatch, rows_decide) {
  static const struct {
    int heads, q_len;
    const char *family;
  } cases[] = {{1, 1, "decode_sm90_"},    {16, 1, "decode_sm90_"},   {8, 2, "decode_sm90_"},
               {17, 1, "decode_sm90a_"},  {9, 2, "decode_sm90a_"},   {64, 1, "decode_sm90a_"},
               {128, 1, "decode_sm90a_"}, {128, 8, "decode_sm90a_"}, {1, 4000, "decode_sm90a_"}};
  size_t i;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    lathe_decode_desc desc = hopper_desc(512, 64, cases[i].heads, 64);
    desc.max_q_len = cases[i].q_len;
    expect_taken(&desc, cases[i].family);
  }
}

Test(dispatch, few_cache_rows_go_to_small_tiles) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  desc.max_batch = 2;
  desc.max_seq_len = 4096;
  expect_taken(&desc, "decode_sm90_");
  desc.max_seq_len = 4097;
  expect_taken(&desc, "decode_sm90a_");
  expect_line("decode_sm90_bf16_bf16: passed over: max_batch x max_seq_len is 8194, and for that "
              "many rows it is taken for up to 8192\n");
  desc.max_seq_len = 4096;
  desc.max_q_len = 2;
  expect_taken(&desc, "decode_sm90a_");
}

Test(dispatch, a_window_reads_few_cache_rows) {
  lathe_decode_desc desc = hopper_desc(512, 64, 64, 64);
  desc.mask = LATHE_MASK_CAUSAL;
  desc.max_batch = 2;
  desc.max_q_len = 2;
  desc.max_seq_len = 131072;
  desc.sliding_window = 4095;
  expect_taken(&desc, "decode_sm90_");
  desc.sliding_window = 4096;
  expect_taken(&desc, "decode_sm90a_");
  expect_line("decode_sm90_bf16_bf16: passed over: max_batch x (sliding_window + max_q_len - 1) "
              "is 8194, and for that many rows it is taken for up to 8192\n");
  desc.max_seq_len = 4096;
  expect_taken(&desc, "decode_sm90_");
}

// Of lists, in words of the caller's desc, of which a run's is made.
Test(dispatch, what_hopper_says_of_lists) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  desc.max_batch = 1;
  desc.max_q_len = 3;
  desc.sparse_topk = 4096;
  expect_taken(&desc, "decode_sm80_bf16_bf16_i_l512r64_m64t");
  expect_line("decode_sm90_bf16_bf16: passed over: num_heads is 128, and it is taken for up to "
              "16\n");
  expect_line("decode_sm90_bf16_bf16: passed over: max_batch x max_q_len x sparse_topk is 12288, "
              "and for that many rows it is taken for up to 8192\n");
}

Test(dispatch, what_hopper_leaves_to_the_portable_kernel) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 16);
  expect_taken(&desc, "decode_sm90a_bf16_bf16_l512r64_m64t64s2p16");
  desc = hopper_desc(512, 64, 128, 1);
  expect_taken(&desc, "decode_sm90a_bf16_bf16_l512r64_m64t64s2p1");
  desc = hopper_desc(528, 64, 128, 16);
  expect_taken(&desc, "decode_sm80_bf16_bf16_l528r64_m");
  expect_line("decode_sm90_bf16_bf16: passed over: num_heads x max_q_len is 128, and it is taken "
              "for up to 16\n");
  expect_line("decode_sm90a_bf16_bf16: passed over: kv_lora_rank is 528, and it takes multiples of "
              "64, 128 to 512\n");
  desc = hopper_desc(512, 64, 16, 16);
  expect_taken(&desc, "decode_sm90_bf16_bf16_l512r64_m16");
  desc = hopper_desc(512, 64, 16, 1);
  expect_taken(&desc, "decode_sm90_bf16_bf16_l512r64_m16t64s8p1");
  desc = hopper_desc(512, 64, 16, 64);
  desc.kv_dtype = LATHE_DTYPE_E4M3;
  expect_taken(&desc, "decode_sm80_bf16_e4m3_l512r64_m16");
  expect_line("decode_sm90a_bf16_e4m3: passed over: kv_dtype is e4m3, and it takes the query's, "
              "bf16\n");
  desc = hopper_desc(512, 128, 128, 64);
  expect_taken(&desc, "decode_sm80_bf16_bf16_l512r128_m64");
  expect_line("decode_sm90a_bf16_bf16_l512r128_m64t64s2p64: passed over: needs 249856 of 231424 "
              "bytes of shared memory\n");
  desc = hopper_desc(528, 64, 16, 64);
  expect_taken(&desc, "decode_sm80_bf16_bf16_l528r64_m");
}

Test(dispatch, options) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  desc.sliding_window = 100;
  expect_taken(&desc, "decode_sm90a_bf16_bf16_w_l512r64_m64t64s2p64");
  desc.num_heads = 16;
  expect_taken(&desc, "decode_sm90_bf16_bf16_w_l512r64_m16t64s8p16");
  desc.logit_softcap = 30;
  expect_taken(&desc, "decode_sm90_bf16_bf16_wc_l512r64_m16t64s8p16");
  desc.sliding_window = 0;
  desc.attention_sinks = 1;
  expect_taken(&desc, "decode_sm90_bf16_bf16_cs_l512r64_m16t64s8p16");
  desc.logit_softcap = 0;
  desc.softmax_scale_on_device = 1;
  expect_taken(&desc, "decode_sm90_bf16_bf16_sd_l512r64_m16t64s8p16");
  desc.attention_sinks = 0;
  desc.softmax_scale_on_device = 0;
  desc.sparse_topk = 2048;
  expect_taken(&desc, "decode_sm80_bf16_bf16_i_l512r64_m16t32s2x2");
  expect_line("decode_sm90_bf16_bf16: passed over: sparse_topk is 2048, and it reads no lists of "
              "rows\n");
  desc.sparse_topk = 0;
  desc.mask = LATHE_MASK_TREE;
  expect_taken(&desc, "decode_sm80_bf16_bf16_t_l512r64_m16t32s2x2");
  expect_line("decode_sm90_bf16_bf16: passed over: mask is LATHE_MASK_TREE, and it has no tree "
              "mask\n");
  desc.mask = LATHE_MASK_CAUSAL;
  desc.cp_world = 4;
  expect_taken(&desc, "decode_sm80_bf16_bf16_r_l512r64_m16t32s2x2");
  expect_line("decode_sm90_bf16_bf16: passed over: cp_world is 4 with LATHE_CP_LENS_GLOBAL, and it "
              "knows of no other ranks\n");
  desc.attention_sinks = 1;
  expect_taken(&desc, "decode_sm80_bf16_bf16_sr_l512r64_m16t32s2x2");
  desc.cp_rank = 1; // the sinks are rank 0's
  expect_taken(&desc, "decode_sm80_bf16_bf16_r_l512r64_m16t32s2x2");
  desc.cp_lens = LATHE_CP_LENS_LOCAL; // nothing is left to know of ranks
  expect_taken(&desc, "decode_sm90_bf16_bf16_l512r64_");
  desc.cp_rank = 0;
  expect_taken(&desc, "decode_sm80_bf16_bf16_sr_l512r64_m16t32s2x2");
  desc.cp_world = desc.attention_sinks = 0;
  desc.cp_lens = LATHE_CP_LENS_GLOBAL;
  desc.out_dtype = LATHE_DTYPE_E4M3;
  expect_taken(&desc, "decode_sm80_bf16_bf16_oe4m3_l512r64_m16t32s2x2");
  expect_line("decode_sm90_bf16_bf16_oe4m3: passed over: out_dtype is e4m3, and it takes f16 and "
              "bf16\n");
  desc.q_dtype = desc.kv_dtype = LATHE_DTYPE_E4M3;
  desc.out_dtype = LATHE_DTYPE_NONE;
  expect_taken(&desc, "decode_sm80_e4m3_e4m3_obf16_l512r64_m16t32s2x3");
  expect_line("decode_sm90_e4m3_e4m3_obf16: passed over: q_dtype is e4m3, and it takes f16 and "
              "bf16\n");
  desc.q_dtype = desc.kv_dtype = BF16;
  desc.sliding_window = desc.max_seq_len; // hides nothing
  expect_taken(&desc, "decode_sm90_");
}

static void expect_portable_on(int major, int minor, int encode, const char *why) {
  lathe_decode_desc desc = hopper_desc(512, 64, 16, 64);
  lathe_context *context = recording_context(major, minor);
  const char *got;
  context->device.driver_version = 11080;
  if (!encode)
    context->cuda.cuTensorMapEncodeTiled = NULL;
  got = taken(context, &desc);
  cr_expect_eq(strncmp(got, "decode_sm80_", 12), 0, "%s for %d.%d", got, major, minor);
  expect_line(why);
  lathe_context_destroy(context);
}

Test(dispatch, devices_that_are_not_hopper) {
  expect_portable_on(8, 0, 1,
                     "decode_sm90_bf16_bf16: passed over: the device has compute capability 8.0, "
                     "and it needs 9.0 or later\n"
                     "decode_sm90a_bf16_bf16: passed over: the device has compute capability 8.0, "
                     "and it needs 9.0\n");
  expect_portable_on(10, 0, 1,
                     "decode_sm90_bf16_bf16: passed over: the device has compute capability 10.0, "
                     "and it is taken on 9.0\n"
                     "decode_sm90a_bf16_bf16: passed over: the device has compute capability "
                     "10.0, and it needs 9.0\n");
  expect_portable_on(12, 0, 1, "12.0, and it is taken on 9.0\n");
}

Test(dispatch, drivers_without_tensor_maps) {
  expect_portable_on(9, 0, 0,
                     "decode_sm90_bf16_bf16_l512r64_m16t64s8p16: passed over: the driver (CUDA "
                     "11.8) has no cuTensorMapEncodeTiled\n");
}

// ----------------------------------------------------------------------------------- LATHE_KERNEL

// On compute capability `major`.0, with LATHE_KERNEL as named.
static const char *named(int major, const char *kernel, const lathe_decode_desc *desc) {
  static char result[1024];
  lathe_context *context = recording_context(major, 0);
  char *value = (char *)lathep_alloc(&context->allocator, strlen(kernel) + 1);
  strcpy(value, kernel);
  context->env.kernel = value;
  snprintf(result, sizeof result, "%s", taken(context, desc));
  lathe_context_destroy(context);
  return result;
}

#define NAMED(major, kernel, want) cr_expect_str_eq(named(major, kernel, &desc), want)

Test(kernel_named, by_policy) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  NAMED(9, "sm80", "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
  expect_line("decode_sm90_bf16_bf16: passed over: LATHE_KERNEL names another\n");
  NAMED(9, "sm90", "decode_sm90_bf16_bf16_l512r64_m16t64s8p16");
  NAMED(9, "sm90a", "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
  NAMED(10, "sm90", "decode_sm90_bf16_bf16_l512r64_m16t64s8p16");
  desc.num_heads = 1;
  NAMED(9, "sm90a", "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
}

Test(kernel_named, by_family_and_by_full_name) {
  lathe_decode_desc desc = hopper_desc(512, 64, 16, 64);
  NAMED(9, "decode_sm90a_bf16_bf16", "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
  NAMED(9, "decode_sm90_bf16_bf16_l512r64_m16t64s8p16",
        "decode_sm90_bf16_bf16_l512r64_m16t64s8p16");
  NAMED(9, "decode_sm80_bf16_bf16_l512r64_m16t32s2x2", "decode_sm80_bf16_bf16_l512r64_m16t32s2x2");
  // a tile that 16 rows would not get
  NAMED(9, "decode_sm80_bf16_bf16_l512r64_m64t64s2x1", "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
  NAMED(9, "decode_sm80_bf16_bf16_l512r64_m32t16s4x1", "decode_sm80_bf16_bf16_l512r64_m32t16s4x1");
}

Test(kernel_named, with_options) {
  lathe_decode_desc desc = hopper_desc(512, 64, 16, 64);
  desc.sliding_window = 100;
  NAMED(9, "decode_sm80_bf16_bf16", "decode_sm80_bf16_bf16_w_l512r64_m16t32s2x2");
  NAMED(9, "decode_sm80_bf16_bf16_w_l512r64_m16t32s2x2",
        "decode_sm80_bf16_bf16_w_l512r64_m16t32s2x2");
  NAMED(9, "sm90a", "decode_sm90a_bf16_bf16_w_l512r64_m64t64s2p64");
}

static void expect_not_named(int major, const char *kernel, const lathe_decode_desc *desc,
                             const char *words) {
  const char *message = named(major, kernel, desc);
  char begin[256];
  snprintf(begin, sizeof begin,
           "LATHE_KERNEL is \"%s\", which does not compute this lathe_decode_desc on recording "
           "device: ",
           kernel);
  cr_expect_eq(lathe_last_error()->status, LATHE_STATUS_UNSUPPORTED);
  cr_expect_eq(strncmp(message, begin, strlen(begin)), 0, "%s", message);
  cr_expect(strstr(message, words), "\"%s\" is not in \"%s\"", words, message);
  cr_expect(strstr(message, "; "), "%s", message);
  cr_expect(strstr(message, "unset LATHE_KERNEL"), "%s", message);
}

Test(kernel_named, what_it_cannot_compute_is_refused) {
  lathe_decode_desc desc = hopper_desc(576, 64, 128, 16);
  expect_not_named(9, "sm90a", &desc,
                   "kv_lora_rank is 576, and it takes multiples of 64, 128 to 512; give");
  desc.kv_lora_rank = 512;
  desc.sliding_window = 24;
  expect_not_named(9, "decode_sm80_bf16_bf16_l512r64_m64t64s2x1", &desc, "no tile of these dims");
  desc.sliding_window = 0;
  expect_not_named(
      9, "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64", &desc,
      "for this desc it is decode_sm90a_bf16_bf16_l512r64_m64t64s2p16; give that name, or");
  expect_not_named(8, "sm90", &desc, "compute capability 8.0, and it needs 9.0 or later; use");
  expect_not_named(10, "sm90a", &desc, "compute capability 10.0, and it needs 9.0; use");
  expect_not_named(9, "decode_sm80_f16_f16", &desc, "a kernel of other types; give sm80");
  expect_not_named(9, "decode_sm80_bf16_bf16_l256r64_m64t64s4x1", &desc,
                   "no tile of these dims has that name; give");
  expect_not_named(
      9, "decode_sm90_bf16_bf16_l512r64_m16t64s11p16", &desc,
      "for this desc it is decode_sm90_bf16_bf16_l512r64_m16t64s8p16; give that name, or");
  desc.kv_dtype = LATHE_DTYPE_E4M3;
  expect_not_named(9, "sm90", &desc, "kv_dtype is e4m3");
  desc = hopper_desc(2048, 64, 128, 64);
  expect_not_named(9, "sm80", &desc, "accumulator registers");
}

Test(kernel_named, the_cpu_backend_has_one) {
  lathe_decode_desc desc = hopper_desc(512, 64, 16, 64);
  lathe_context *context = cpu_context();
  char kernel[] = "sm90a";
  lathe_decode_plan *plan;
  context->env.kernel = kernel;
  plan = plan_of(context, &desc);
  lathe_decode_plan_destroy(plan);
  context->env.kernel = NULL;
  lathe_context_destroy(context);
}

// ---------------------------------------------------------------------------------- LATHE_DISABLE

// On an H100, with LATHE_DISABLE and LATHE_KERNEL as given.
static const char *without(const char *disabled, const char *kernel,
                           const lathe_decode_desc *desc) {
  static char result[1024], list[128], name[128];
  lathe_context *context = recording_context(9, 0);
  snprintf(list, sizeof list, "%s", disabled);
  snprintf(name, sizeof name, "%s", kernel ? kernel : "");
  context->env.disabled = list;
  context->env.kernel = kernel ? name : NULL;
  snprintf(result, sizeof result, "%s", taken(context, desc));
  context->env.disabled = context->env.kernel = NULL;
  lathe_context_destroy(context);
  return result;
}

#define WITHOUT(disabled, want) cr_expect_str_eq(without(disabled, NULL, &desc), want)

Test(disabled, the_next_best_is_taken) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  WITHOUT("sm90", "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
  WITHOUT("sm90a", "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
  expect_line("decode_sm90a_bf16_bf16_l512r64_m64t64s2p64: passed over: LATHE_DISABLE has sm90a\n");
  expect_line("decode_sm80_bf16_bf16_l512r64_m64t64s2x1: taken");
  WITHOUT("decode_sm90_bf16_bf16,decode_sm90a_bf16_bf16",
          "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
  expect_line("passed over: LATHE_DISABLE has decode_sm90a_bf16_bf16\n");
  desc.num_heads = 16;
  WITHOUT("sm90a", "decode_sm90_bf16_bf16_l512r64_m16t64s8p16");
  WITHOUT("sm90", "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
  WITHOUT("sm80", "decode_sm90_bf16_bf16_l512r64_m16t64s8p16");
  WITHOUT("sm90,sm90a", "decode_sm80_bf16_bf16_l512r64_m16t32s2x2");
}

// A family is all of its name: no other types, no other policy, no part of a word.
Test(disabled, families_of_another_name_are_left) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  WITHOUT("decode_sm90a_f16_f16,decode_sm90a_bf16_bf16_of16,decode_sm90_bf16_bf16",
          "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
  WITHOUT("merge_sm80_f16", "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
  desc.out_dtype = F16;
  WITHOUT("decode_sm90a_bf16_bf16", "decode_sm90a_bf16_bf16_of16_l512r64_m64t64s2p64");
  WITHOUT("decode_sm90a_bf16_bf16_of16", "decode_sm80_bf16_bf16_of16_l512r64_m64t64s2x1");
}

// What a kernel could not compute anyway is the reason, not that it is switched off.
Test(disabled, says_what_stands_in_the_way_without_it) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 12);
  desc.kv_dtype = LATHE_DTYPE_E4M3;
  WITHOUT("sm90a", "decode_sm80_bf16_e4m3_l512r64_m64t64s3x1");
  expect_line("decode_sm90a_bf16_e4m3: passed over: kv_dtype is e4m3, and it takes the query's, "
              "bf16\n");
}

Test(disabled, named_and_switched_off) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  const char *message = without("sm90a", "sm90a", &desc);
  cr_expect(strstr(message, "LATHE_KERNEL is \"sm90a\""), "%s", message);
  cr_expect(strstr(message, "LATHE_DISABLE has sm90a; take it out, or unset LATHE_KERNEL"), "%s",
            message);
  cr_expect_str_eq(without("sm90a", "sm80", &desc), "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
}

// Where nothing is split, no merge kernel is missed.
Test(disabled, merges_that_no_run_leaves) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  cr_expect(strstr(without("merge_sm80_bf16", NULL, &desc), "need merge_sm80_bf16_l512 on"));
  expect_line("merge_sm80_bf16_l512: passed over: LATHE_DISABLE has its family\n");
  desc.num_sms = 1;
  WITHOUT("merge_sm80_bf16", "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64");
}

// ----------------------------------------------------------------------------------- tensor maps

// A run of `desc` on Hopper with these args; what was recorded is in `recorded`.
static lathe_status run(const lathe_decode_desc *desc, const lathe_decode_args *args) {
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan = recorded_plan(context, desc);
  lathe_decode_args filled = *args;
  lathe_status status;
  filled.workspace = (void *)((uintptr_t)1 << 40); // never touched
  filled.workspace_size = lathe_decode_workspace_size(plan);
  recorded.current = PLAN_CONTEXT;
  status = lathe_decode_run(plan, &filled, SOME_STREAM);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return status;
}

static void run_ok(const lathe_decode_desc *desc, const lathe_decode_args *args) {
  cr_assert_eq(run(desc, args), LATHE_STATUS_OK, "%s", lathe_last_error()->message);
}

static void expect_map(const recorded_map *map, const void *base, uint64_t columns, uint64_t rows,
                       uint64_t chunks, uint64_t pages, uint64_t row_stride, uint64_t page_stride,
                       unsigned box_rows, unsigned box_chunks) {
  const uint64_t dims[] = {columns, rows, chunks, pages};
  const uint64_t strides[] = {row_stride, 128, page_stride};
  const unsigned box[] = {64, box_rows, box_chunks, 1}, steps[] = {1, 1, 1, 1};
  cr_expect_eq(map->address, base);
  cr_expect_eq(map->rank, 4);
  cr_expect_arr_eq(map->dims, dims, sizeof dims);
  cr_expect_arr_eq(map->strides, strides, sizeof strides);
  cr_expect_arr_eq(map->box, box, sizeof box);
  cr_expect_arr_eq(map->steps, steps, sizeof steps);
  cr_expect_eq(map->interleave, 0);
  cr_expect_eq(map->swizzle, 3, "128 bytes");
  cr_expect_eq(map->promotion, 3, "256 bytes");
  cr_expect_eq(map->fill, 0, "zeros");
}

Test(maps, joined_cache) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  lathe_decode_args args = good_args();
  int i;
  run_ok(&desc, &args);
  cr_assert_eq(recorded.num_maps, 2);
  cr_expect_eq(recorded.maps[0].type, 9, "bf16");
  expect_map(&recorded.maps[0], memory.kv, 64, 64, 8, NUM_PAGES, 1152, 64 * 1152, 64, 2);
  expect_map(&recorded.maps[1], memory.kv + 1024, 64, 64, 1, NUM_PAGES, 1152, 64 * 1152, 64, 1);
  cr_assert_eq(recorded.num_launches, 2);
  for (i = 0; i < 128; i++) { // the first call's map and the second's, in this order
    cr_assert_eq(((unsigned char *)&recorded.launches[0].maps[0])[i], 1);
    cr_assert_eq(((unsigned char *)&recorded.launches[0].maps[1])[i], 2);
  }
  cr_expect_eq(recorded.launches[0].block[0], 512);
  cr_expect_eq(recorded.launches[0].grid[0], 132);
  cr_expect_eq(recorded.launches[0].shared_bytes, 225280);
  cr_expect_eq(recorded.launches[0].params.slot_rows, 128);
  cr_expect_not(recorded.launches[0].programmatic);
  cr_expect(recorded.launches[1].programmatic);
  args.programmatic_launch = 1;
  run_ok(&desc, &args);
  cr_assert_eq(recorded.num_launches, 2);
  cr_expect(recorded.launches[0].programmatic);
  cr_expect(recorded.launches[1].programmatic);
}

Test(maps, few_rows) {
  lathe_decode_desc desc = hopper_desc(512, 64, 16, 32);
  lathe_decode_args args = good_args();
  desc.q_dtype = desc.kv_dtype = F16;
  run_ok(&desc, &args);
  cr_assert_eq(recorded.num_maps, 2);
  cr_expect_eq(recorded.maps[0].type, 6, "f16");
  cr_expect_eq(recorded.maps[1].type, 6, "f16");
  expect_map(&recorded.maps[0], memory.kv, 64, 32, 8, NUM_PAGES, 1152, 32 * 1152, 16, 8);
  expect_map(&recorded.maps[1], memory.kv + 1024, 64, 32, 1, NUM_PAGES, 1152, 32 * 1152, 16, 1);
  cr_expect_eq(recorded.launches[0].block[0], 288);
  args.programmatic_launch = 1;
  run_ok(&desc, &args);
  cr_expect(recorded.launches[0].programmatic);
}

Test(maps, cache_apart) {
  lathe_decode_desc desc = hopper_desc(192, 32, 128, 64);
  lathe_decode_args args = good_args();
  args.kpe_cache = memory.kpe;
  args.kv_row_stride = 256;
  args.kv_page_stride = INT64_C(1) << 38;
  args.kpe_row_stride = 40;
  args.kpe_page_stride = INT64_C(1) << 37;
  run_ok(&desc, &args);
  cr_assert_eq(recorded.num_maps, 2);
  // three chunks come one by one
  expect_map(&recorded.maps[0], memory.kv, 64, 64, 3, NUM_PAGES, 512, UINT64_C(1) << 39, 64, 1);
  expect_map(&recorded.maps[1], memory.kpe, 32, 64, 1, NUM_PAGES, 80, UINT64_C(1) << 38, 64, 1);
}

Test(maps, no_rope_and_trusted_pages) {
  lathe_decode_desc desc = hopper_desc(256, 0, 128, 128);
  lathe_decode_args args = good_args();
  args.num_pages = 0;
  run_ok(&desc, &args);
  cr_assert_eq(recorded.num_maps, 1);
  expect_map(&recorded.maps[0], memory.kv, 64, 128, 4, UINT64_C(1) << 31, 512, 128 * 512, 64, 2);
  cr_expect_eq(memcmp(&recorded.launches[0].maps[0], &recorded.launches[0].maps[1], 128), 0);
  args.num_pages = INT64_C(1) << 33; // more than an entry can name
  run_ok(&desc, &args);
  cr_expect_eq(recorded.maps[0].dims[3], UINT64_C(1) << 31);
}

Test(maps, two_chunks_of_rope) {
  lathe_decode_desc desc = hopper_desc(384, 128, 16, 16);
  lathe_decode_args args = good_args();
  args.num_pages = 1;
  args.kv_page_stride = -5; // of a single page: not looked at
  run_ok(&desc, &args);
  cr_assert_eq(recorded.num_maps, 2);
  expect_map(&recorded.maps[0], memory.kv, 64, 16, 6, 1, 1024, 1024, 16, 6);
  expect_map(&recorded.maps[1], memory.kv + 768, 64, 16, 2, 1, 1024, 1024, 16, 2);
}

// What a block of the wide kernel has of a page comes chunk by chunk.
Test(maps, pages_in_pieces) {
  lathe_decode_desc desc = hopper_desc(256, 128, 128, 24);
  lathe_decode_args args = good_args();
  run_ok(&desc, &args);
  cr_assert_eq(recorded.num_maps, 2);
  expect_map(&recorded.maps[0], memory.kv, 64, 24, 4, NUM_PAGES, 768, 24 * 768, 8, 1);
  expect_map(&recorded.maps[1], memory.kv + 512, 64, 24, 2, NUM_PAGES, 768, 24 * 768, 8, 1);
}

Test(maps, of_no_other_kernel) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 1);
  lathe_decode_args args = good_args();
  run_ok(&desc, &args);
  cr_expect_eq(recorded.num_maps, 0);
  cr_expect_eq(recorded.num_launches, 2);
}

Test(maps, none_where_rows_are_copied_one_by_one) {
  lathe_decode_desc desc = hopper_desc(512, 64, 16, 3);
  lathe_decode_args args = good_args();
  args.kv_page_stride = INT64_C(1) << 39; // out of a map's reach
  run_ok(&desc, &args);
  cr_expect_eq(recorded.num_maps, 0);
  cr_expect_eq(recorded.launches[0].block[0], 384);
}

// `change` spoils args: refused by run and by validate, before anything is enqueued.
static void refuse_args(lathe_decode_args *args, lathe_status want, const char *words) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan = recorded_plan(context, &desc);
  args->workspace = (void *)((uintptr_t)1 << 40);
  args->workspace_size = lathe_decode_workspace_size(plan);
  recorded.current = PLAN_CONTEXT;
  expect_refused(lathe_decode_run(plan, args, SOME_STREAM), want, words);
  expect_refused(lathe_decode_validate(plan, args, SOME_STREAM), want, words);
  cr_expect_eq(recorded.num_launches, 0);
  cr_expect_eq(recorded.num_maps, 0);
  cr_expect_eq(recorded.copies, 0);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}

Test(maps, strides_out_of_reach) {
  lathe_decode_args args = good_args();
  args.kv_page_stride = INT64_C(1) << 39;
  refuse_args(&args, LATHE_STATUS_INVALID_ARGUMENT,
              "lathe_decode_args.kv_page_stride is 549755813888 elements, and kernel "
              "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64 reaches less than 549755813888; give "
              "less, or set LATHE_KERNEL=sm80");
  args = good_args();
  args.kv_row_stride = INT64_C(1) << 40;
  refuse_args(&args, LATHE_STATUS_INVALID_ARGUMENT, "lathe_decode_args.kv_row_stride is");
  args = good_args();
  args.kpe_cache = memory.kpe;
  args.kpe_page_stride = INT64_C(1) << 39;
  refuse_args(&args, LATHE_STATUS_INVALID_ARGUMENT, "lathe_decode_args.kpe_page_stride is");
  args.kpe_page_stride = 0;
  args.kpe_row_stride = INT64_C(1) << 39;
  refuse_args(&args, LATHE_STATUS_INVALID_ARGUMENT, "lathe_decode_args.kpe_row_stride is");
}

Test(maps, strides_just_in_reach) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  lathe_decode_args args = good_args();
  args.kv_page_stride = (INT64_C(1) << 39) - 8;
  run_ok(&desc, &args);
  cr_expect_eq(recorded.maps[0].strides[2], (UINT64_C(1) << 40) - 16);
}

Test(maps, that_the_driver_refuses) {
  lathe_decode_desc desc = hopper_desc(512, 64, 128, 64);
  lathe_decode_args args = good_args();
  lathe_context *context = recording_context(9, 0);
  lathe_decode_plan *plan = recorded_plan(context, &desc);
  args.workspace = (void *)((uintptr_t)1 << 40);
  args.workspace_size = lathe_decode_workspace_size(plan);
  recorded.map_code = 1;
  expect_refused(lathe_decode_run(plan, &args, SOME_STREAM), LATHE_STATUS_CUDA_ERROR,
                 "cuTensorMapEncodeTiled failed for a cache at ");
  cr_expect_eq(lathe_last_error()->driver_code, 1);
  cr_expect_eq(recorded.num_launches, 0);
  cr_expect_eq(recorded.pushes, recorded.pops);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
}
