// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Names, parameter blocks and the tile chooser: hand-computed values, then what must hold for every
// shape and every device.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include <criterion/criterion.h>

enum { SM86 = 101376, SM80 = 166912, SM90 = 232448 };

static lathe_decode_desc make_desc(lathe_dtype q, lathe_dtype kv, lathe_dtype out, int l, int r) {
  lathe_decode_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.q_dtype = q;
  desc.kv_dtype = kv;
  desc.out_dtype = out;
  desc.kv_lora_rank = l;
  desc.qk_rope_head_dim = r;
  return desc;
}

static lathep_variant sized(lathep_arch arch, const lathe_decode_desc *desc, int rows, int tokens,
                            int stages, int ctas, int page) {
  lathep_variant v;
  lathep_variant_decode(arch, desc, &v);
  v.rows = rows;
  v.tokens = tokens;
  v.stages = stages;
  v.ctas = ctas;
  v.page = page;
  return v;
}

static lathe_status choose(const lathe_decode_desc *desc, int64_t rows, int limit,
                           lathep_variant *v) {
  char reason[128];
  return lathep_tile_choose(desc, rows, limit, v, reason, sizeof reason);
}

// The name of what is chosen for a bf16 query, or the reason why nothing is.
static const char *chosen(lathe_dtype kv, int l, int r, int64_t rows, int limit) {
  static char text[128];
  lathe_decode_desc desc = make_desc(LATHE_DTYPE_BF16, kv, LATHE_DTYPE_BF16, l, r);
  lathep_variant v;
  if (!lathep_tile_choose(&desc, rows, limit, &v, text, sizeof text))
    lathep_variant_name(&v, text, sizeof text);
  return text;
}

#define CHOSEN(kv, l, r, rows, limit, name)                                                        \
  cr_expect_str_eq(chosen(LATHE_DTYPE_##kv, l, r, rows, limit), name)

Test(variant, name_and_family_of_equal_output) {
  char text[128];
  lathe_decode_desc desc = make_desc(LATHE_DTYPE_BF16, LATHE_DTYPE_E4M3, LATHE_DTYPE_BF16, 512, 64);
  lathep_variant v = sized(LATHEP_ARCH_SM80, &desc, 16, 32, 2, 2, 0);
  lathep_variant_name(&v, text, sizeof text);
  cr_expect_str_eq(text, "decode_sm80_bf16_e4m3_l512r64_m16t32s2x2");
  lathep_variant_family(&v, text, sizeof text);
  cr_expect_str_eq(text, "decode_sm80_bf16_e4m3");
}

Test(variant, name_and_family_of_other_output) {
  char text[128];
  lathe_decode_desc desc = make_desc(LATHE_DTYPE_F16, LATHE_DTYPE_F16, LATHE_DTYPE_BF16, 256, 0);
  lathep_variant v = sized(LATHEP_ARCH_SM80, &desc, 64, 64, 4, 1, 0);
  lathep_variant_name(&v, text, sizeof text);
  cr_expect_str_eq(text, "decode_sm80_f16_f16_obf16_l256r0_m64t64s4x1");
  lathep_variant_family(&v, text, sizeof text);
  cr_expect_str_eq(text, "decode_sm80_f16_f16_obf16");
}

Test(variant, merge) {
  char text[128];
  lathep_variant v;
  lathep_variant_merge(LATHE_DTYPE_F16, 320, 0, &v);
  cr_expect_eq(v.threads, 256);
  cr_expect_eq(v.shared_bytes, 0);
  lathep_variant_name(&v, text, sizeof text);
  cr_expect_str_eq(text, "merge_sm80_f16_l320");
  lathep_variant_family(&v, text, sizeof text);
  cr_expect_str_eq(text, "merge_sm80_f16");
  lathep_variant_params(&v, text, sizeof text);
  cr_expect_str_eq(text, "#define LATHE_P_KERNEL lathe_merge_sm80_f16_l320\n"
                         "#define LATHE_P_L 320\n"
                         "#define LATHE_P_OPTIONS 0\n");
}

Test(variant, parameter_block) {
  char text[512], cut[16];
  size_t length;
  lathe_decode_desc desc = make_desc(LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, 512, 64);
  lathep_variant v;
  cr_assert_eq(choose(&desc, 16, SM90, &v), LATHE_STATUS_OK);
  length = lathep_variant_params(&v, text, sizeof text);
  cr_expect_str_eq(text, "#define LATHE_P_KERNEL lathe_decode_sm80_bf16_bf16_l512r64_m16t32s2x2\n"
                         "#define LATHE_P_L 512\n"
                         "#define LATHE_P_R 64\n"
                         "#define LATHE_P_ROWS 16\n"
                         "#define LATHE_P_TOKENS 32\n"
                         "#define LATHE_P_STAGES 2\n"
                         "#define LATHE_P_CTAS 2\n"
                         "#define LATHE_P_SHARED_BYTES 93952\n"
                         "#define LATHE_P_OPTIONS 0\n");
  cr_expect_eq(length, strlen(text));
  cr_expect_eq(lathep_variant_params(&v, cut, sizeof cut), length, "the length of the whole text");
  cr_expect_eq(strlen(cut), sizeof cut - 1);
}

Test(variant, options_are_in_name_and_block) {
  char text[512];
  lathe_decode_desc desc = make_desc(LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, LATHE_DTYPE_F16, 512, 64);
  lathep_variant v, schedule, merge;
  desc.sliding_window = 4096;
  cr_assert_eq(choose(&desc, 16, SM90, &v), LATHE_STATUS_OK);
  lathep_variant_name(&v, text, sizeof text);
  cr_expect_str_eq(text, "decode_sm80_bf16_bf16_of16_w_l512r64_m16t32s2x2");
  lathep_variant_family(&v, text, sizeof text);
  cr_expect_str_eq(text, "decode_sm80_bf16_bf16_of16");
  lathep_variant_params(&v, text, sizeof text);
  cr_expect(strstr(text, "\n#define LATHE_P_OPTIONS 1\n"), "%s", text);
  desc.logit_softcap = 50;
  cr_assert_eq(choose(&desc, 16, SM90, &v), LATHE_STATUS_OK);
  lathep_variant_name(&v, text, sizeof text);
  cr_expect_str_eq(text, "decode_sm80_bf16_bf16_of16_wc_l512r64_m16t32s2x2");
  desc.attention_sinks = 1;
  cr_assert_eq(choose(&desc, 16, SM90, &v), LATHE_STATUS_OK);
  lathep_variant_name(&v, text, sizeof text);
  cr_expect_str_eq(text, "decode_sm80_bf16_bf16_of16_wcs_l512r64_m16t32s2x2");
  lathep_variant_merge(desc.out_dtype, 512, v.options, &merge);
  lathep_variant_name(&merge, text, sizeof text);
  cr_expect_str_eq(text, "merge_sm80_f16_s_l512");
  lathep_variant_schedule(32, v.options, &schedule);
  lathep_variant_name(&schedule, text, sizeof text);
  cr_expect_str_eq(text, "schedule_sm80_w_t32");
  desc.mask = LATHE_MASK_TREE;
  desc.cp_world = 2;
  cr_assert_eq(choose(&desc, 16, SM90, &v), LATHE_STATUS_OK);
  lathep_variant_name(&v, text, sizeof text);
  cr_expect_str_eq(text, "decode_sm80_bf16_bf16_of16_wcstr_l512r64_m16t32s2x2");
  lathep_variant_merge(desc.out_dtype, 512, v.options, &merge);
  lathep_variant_name(&merge, text, sizeof text);
  cr_expect_str_eq(text, "merge_sm80_f16_sr_l512");
  lathep_variant_merge(desc.out_dtype, 512, v.options & ~(unsigned)LATHEP_OPTION_SINKS, &merge);
  lathep_variant_name(&merge, text, sizeof text);
  cr_expect_str_eq(text, "merge_sm80_f16_l512"); // ranks are nothing to it without sinks
  lathep_variant_schedule(32, v.options, &schedule);
  lathep_variant_name(&schedule, text, sizeof text);
  cr_expect_str_eq(text, "schedule_sm80_wr_t32");
}

Test(variant, row_stride_by_hand) {
  cr_expect_eq(lathep_row_stride(576 * 2), 1152); // 72 chunks: swizzled, not padded
  cr_expect_eq(lathep_row_stride(576), 592);      // 36 chunks: padded to 37
  cr_expect_eq(lathep_row_stride(16), 16);
  cr_expect_eq(lathep_row_stride(16 * 2), 48);
  cr_expect_eq(lathep_row_stride(32 * 2), 80);
  cr_expect_eq(lathep_row_stride(64 * 2), 128);
}

static int64_t tile_bytes(lathe_dtype kv, lathe_kv_format format, int rows, int tokens,
                          int stages) {
  lathep_variant v;
  memset(&v, 0, sizeof v);
  v.l = 512;
  v.r = 64;
  v.kv = kv;
  v.format = format;
  v.rows = rows;
  v.tokens = tokens;
  v.stages = stages;
  return lathep_tile_bytes(&v);
}

Test(variant, shared_bytes_by_hand) {
  const lathe_kv_format plain = LATHE_KV_FORMAT_PLAIN, row656 = LATHE_KV_FORMAT_ROW656;
  // q 16 * 1152, kv 2 * 32 * 1152, p 16 * 80, row state 16 * 32
  cr_expect_eq(tile_bytes(LATHE_DTYPE_BF16, plain, 16, 32, 2), 18432 + 73728 + 1280 + 512);
  // rows of 656 bytes are 41 chunks, an odd number, and of bf16 once more
  cr_expect_eq(tile_bytes(LATHE_DTYPE_E4M3, row656, 64, 32, 2),
               64 * 1152 + 2 * 32 * 656 + 32 * 1152 + 64 * 80 + 2048);
  // e4m3 rows are 592 bytes apart
  cr_expect_eq(tile_bytes(LATHE_DTYPE_E4M3, plain, 64, 64, 3),
               64 * 1152 + 3 * 64 * 592 + 8192 + 2048);
}

Test(variant, limits_by_hand) {
  cr_expect_eq(lathep_tile_limit(1, SM90), 231424);
  cr_expect_eq(lathep_tile_limit(2, SM90), 114688);
  cr_expect_eq(lathep_tile_limit(3, SM90), 75776);
  cr_expect_eq(lathep_tile_limit(2, SM80), 81920);
  cr_expect_eq(lathep_tile_limit(1, SM86), 100352);
}

Test(variant, deepseek_v3_on_hopper) {
  CHOSEN(BF16, 512, 64, 1, SM90, "decode_sm80_bf16_bf16_l512r64_m16t32s2x2");
  CHOSEN(BF16, 512, 64, 16, SM90, "decode_sm80_bf16_bf16_l512r64_m16t32s2x2");
  CHOSEN(BF16, 512, 64, 17, SM90, "decode_sm80_bf16_bf16_l512r64_m32t32s2x2");
  CHOSEN(BF16, 512, 64, 32, SM90, "decode_sm80_bf16_bf16_l512r64_m32t32s2x2");
  CHOSEN(BF16, 512, 64, 33, SM90, "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
  CHOSEN(BF16, 512, 64, 128, SM90, "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
  CHOSEN(E4M3, 512, 64, 16, SM90, "decode_sm80_bf16_e4m3_l512r64_m16t32s2x3");
  CHOSEN(E4M3, 512, 64, 128, SM90, "decode_sm80_bf16_e4m3_l512r64_m64t64s3x1");
}

Test(variant, deepseek_v3_on_ampere) {
  CHOSEN(BF16, 512, 64, 16, SM80, "decode_sm80_bf16_bf16_l512r64_m16t32s3x1");
  CHOSEN(BF16, 512, 64, 128, SM80, "decode_sm80_bf16_bf16_l512r64_m64t32s2x1");
}

Test(variant, deepseek_v3_in_100_kilobytes) {
  CHOSEN(BF16, 512, 64, 16, SM86, "decode_sm80_bf16_bf16_l512r64_m16t32s2x1");
  // no tile of 64 rows fits, so 128 heads take one of 32
  CHOSEN(BF16, 512, 64, 128, SM86, "decode_sm80_bf16_bf16_l512r64_m32t16s3x1");
}

Test(variant, latents_past_512_take_smaller_row_tiles) {
  // 64 rows of 1024 columns are 256 accumulators a thread
  CHOSEN(BF16, 1024, 64, 128, SM90, "decode_sm80_bf16_bf16_l1024r64_m16t32s2x1");
  CHOSEN(E4M3, 1024, 64, 128, SM90, "decode_sm80_bf16_e4m3_l1024r64_m16t32s2x2");
}

Test(variant, reason_is_the_limit_that_was_met) {
  CHOSEN(BF16, 1040, 0, 1, SM90, "needs 136 of 128 accumulator registers a thread");
  CHOSEN(BF16, 1024, 64, 1, SM80, "needs 175872 of 165888 bytes of shared memory");
  CHOSEN(BF16, 16, 4096, 1, SM86, "needs 396800 of 100352 bytes of shared memory");
  CHOSEN(BF16, 16, 0, 1, 0, "needs 3584 of 0 bytes of shared memory");
}

Test(variant, huge_dims_do_not_overflow) {
  lathe_decode_desc desc =
      make_desc(LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, 16, 1 << 30);
  lathep_variant v;
  cr_expect_eq(choose(&desc, INT64_C(1) << 40, SM90, &v), LATHE_STATUS_UNSUPPORTED);
  cr_expect_eq(v.shared_bytes, INT32_MAX);
  desc.kv_lora_rank = 1 << 30;
  cr_expect_eq(choose(&desc, 1, SM90, &v), LATHE_STATUS_UNSUPPORTED);
}

// One chosen variant against every rule of the grammar's sizes.
static void check_legal(const lathep_variant *v, const lathe_decode_desc *desc, int64_t rows,
                        int limit) {
  int warps = v->threads / 32;
  char name[128];
  lathep_variant next = *v;
  lathep_variant_name(v, name, sizeof name);
  cr_assert(v->rows == 16 || v->rows == 32 || v->rows == 64, "%s", name);
  cr_assert(v->tokens == 16 || v->tokens == 32 || v->tokens == 64, "%s", name);
  cr_assert(v->stages >= (lathep_converts(v) ? 1 : 2) && v->stages <= 4, "%s", name);
  cr_assert(v->ctas >= 1 && v->ctas <= 3, "%s", name);
  cr_assert(warps * 32 == v->threads && warps >= 1 && warps <= 8, "%s", name);
  // every warp has 8 of the tokens to score, or rows of its own
  cr_assert(v->rows >= 32 || v->tokens >= 8 * warps, "%s", name);
  cr_assert_leq(lathep_tile_accumulators(v->l, v->rows, v->tokens),
                v->ctas == 3 ? LATHEP_ACCUMULATORS / 2 : LATHEP_ACCUMULATORS, "%s", name);
  // what the blocks of a multiprocessor take together, static and reserved bytes included
  cr_assert_leq((int64_t)v->ctas * (v->shared_bytes + LATHEP_SHARED_STATIC + 1024),
                (int64_t)limit + 1024, "%s", name);
  cr_assert_eq(v->shared_bytes, lathep_tile_bytes(v));
  cr_assert_eq(v->shared_bytes % 16, 0, "%s", name);
  next.stages++; // would not have fitted
  if (v->stages < 4)
    cr_assert_gt(lathep_tile_bytes(&next), lathep_tile_limit(v->ctas, limit), "%s", name);
  cr_assert(v->rows == 16 || rows > v->rows / 2, "%s for %lld rows", name, (long long)rows);
  cr_assert(v->l == desc->kv_lora_rank && v->r == desc->qk_rope_head_dim && v->op == next.op);
  cr_assert(v->q == desc->q_dtype && v->kv == desc->kv_dtype && v->out == desc->out_dtype);
  cr_assert_lt(strlen(name), sizeof name - 1);
}

static void check_all(lathe_dtype q, lathe_dtype kv, lathe_dtype out, int limit) {
  static const int heads[] = {1, 2, 3, 8, 9, 15, 16, 17, 20, 32, 33, 40, 63, 64, 96, 127, 128};
  int l, r, s;
  size_t h;
  for (l = 16; l <= 1088; l += 16)
    for (r = 0; r <= 128; r += 16)
      for (h = 0; h < sizeof heads / sizeof heads[0]; h++)
        for (s = 1; s <= 8; s++) {
          lathe_decode_desc desc = make_desc(q, kv, out, l, r);
          int64_t rows = (int64_t)heads[h] * s;
          lathep_variant v, one;
          lathe_status status = choose(&desc, rows, limit, &v);
          // whether a shape is legal does not depend on the rows
          cr_assert_eq(status, choose(&desc, 1, limit, &one));
          if (status == LATHE_STATUS_OK)
            check_legal(&v, &desc, rows, limit);
          else
            cr_assert(l > 512 || r > 64, "l %d r %d refused", l, r);
        }
}

#define EVERY_SHAPE(limit, q, kv, out)                                                             \
  Test(variant, every_shape_##limit##_##q##_##kv##_##out) {                                        \
    check_all(LATHE_DTYPE_##q, LATHE_DTYPE_##kv, LATHE_DTYPE_##out, limit);                        \
  }
EVERY_SHAPE(SM86, BF16, BF16, BF16)
EVERY_SHAPE(SM86, F16, E4M3, BF16)
EVERY_SHAPE(SM80, BF16, BF16, F16)
EVERY_SHAPE(SM80, BF16, E4M3, BF16)
EVERY_SHAPE(SM90, F16, F16, F16)
EVERY_SHAPE(SM90, F16, E4M3, F16)

// More shared memory never turns a legal shape into an illegal one.
Test(variant, legal_shapes_stay_legal_with_more_memory) {
  int l, r, limit;
  for (l = 16; l <= 1088; l += 48)
    for (r = 0; r <= 256; r += 64) {
      lathe_decode_desc desc =
          make_desc(LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, l, r);
      int was_legal = 0;
      for (limit = 16384; limit <= 262144; limit += 4096) {
        lathep_variant v;
        int legal = choose(&desc, 128, limit, &v) == LATHE_STATUS_OK;
        cr_assert(legal || !was_legal, "l %d r %d limit %d", l, r, limit);
        was_legal = legal;
      }
    }
}

typedef struct walked {
  int count, taken;
  char last[128];
} walked;

static void walk(void *user, const lathep_variant *v, const char *why) {
  walked *w = (walked *)user;
  w->count++;
  w->taken += why == NULL;
  lathep_variant_name(v, w->last, sizeof w->last);
  cr_expect(!why || strncmp(why, "needs ", 6) == 0);
}

Test(variant, walk_shows_every_tile_up_to_the_one_taken) {
  lathe_decode_desc desc = make_desc(LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, 512, 64);
  walked w = {0, 0, ""};
  lathep_variant v;
  char reason[128];
  lathep_tile_walk(&desc, 128, SM86, NULL, &v, reason, sizeof reason, walk, &w);
  cr_expect_eq(w.count, 6);
  cr_expect_eq(w.taken, 1);
  cr_expect_str_eq(w.last, "decode_sm80_bf16_bf16_l512r64_m32t16s3x1");
}

Test(variant, dtype_words) {
  cr_expect_str_eq(lathe_dtype_string(LATHE_DTYPE_F16), "f16");
  cr_expect_str_eq(lathe_dtype_string(LATHE_DTYPE_BF16), "bf16");
  cr_expect_str_eq(lathe_dtype_string(LATHE_DTYPE_E4M3), "e4m3");
  cr_expect_str_eq(lathe_dtype_string(LATHE_DTYPE_F32), "f32");
  cr_expect_str_eq(lathe_dtype_string(LATHE_DTYPE_NONE), "none");
  cr_expect_str_eq(lathe_dtype_string((lathe_dtype)77), "none");
}
