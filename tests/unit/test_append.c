// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// lathe_append on the CPU backend, on cases worked out by hand: rotations by quarters of a circle,
// places in the cache, quantisation, the 656-byte row.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "append_case.h"

// ---------------------------------------------------------------------------------------- rotation

static void expect_query(const append_case *c, int token, int head, const double *want) {
  int d;
  for (d = 0; d < APPEND_D; d++)
    cr_expect_eq(ref_load(LATHE_DTYPE_BF16, c->q_out, (token * 2 + head) * APPEND_D + d), want[d],
                 "token %d head %d element %d", token, head, d);
}

// Token 0 is at position 3, token 1 at 4, tokens 2 and 3 at 0 and 1.
Test(append, interleaved) {
  static const double third[] = {1, 2, 3, 4, -2, 1, -4, 3}; // (-1, -2) by three quarters
  static const double fourth[] = {9, 10, 11, 12, -9, -10, -11, -12};
  static const double first[] = {29, 30, 31, 32, 30, -29, 32, -31}; // (-29, -30) by one
  append_case c;
  append_make(&c);
  append_run(&c);
  expect_query(&c, 0, 0, third);
  expect_query(&c, 1, 0, fourth);
  expect_query(&c, 3, 1, first);
  append_expect_row(&c, 4, 1, 0, 3);
  append_expect_row(&c, 1, 0, 1, 0);
  append_expect_row(&c, 3, 0, 2, 0);
  append_expect_row(&c, 3, 1, 3, 1);
  append_expect_only(&c, 1u << 9 | 1u << 2 | 1u << 6 | 1u << 7);
}

Test(append, half_split) {
  static const double third[] = {1, 2, 3, 4, -3, -4, 1, 2}; // (-1, -3) and (-2, -4)
  append_case c;
  append_make(&c);
  c.desc.rope = LATHE_ROPE_HALF_SPLIT;
  append_run(&c);
  expect_query(&c, 0, 0, third);
  append_expect_row(&c, 4, 1, 0, 3);
  append_expect_row(&c, 3, 1, 3, 1);
}

// An identity to the bit, NaN included; the table is not read.
Test(append, none) {
  static const double same[] = {1, 2, 3, 4, -1, -2, -3, -4};
  append_case c;
  append_make(&c);
  c.desc.rope = LATHE_ROPE_NONE;
  c.args.cos_sin = NULL;
  c.q_pe[12] = 0x7fa5;
  append_run(&c);
  expect_query(&c, 0, 0, same);
  append_expect_row(&c, 4, 1, 0, 3);
  cr_expect_eq(c.q_out[3 * APPEND_D + APPEND_L], 0x7fa5);
}

// The product of a rotated query and a rotated row depends on how far they are apart alone.
Test(append, only_distance_counts) {
  double products[2];
  int shift, i;
  for (shift = 0; shift < 2; shift++) {
    append_case c;
    append_make(&c);
    c.desc.q_dtype = c.desc.kv_dtype = LATHE_DTYPE_F16;
    for (i = 0; i < APPEND_TOKENS * APPEND_D; i++) {
      ref_store(LATHE_DTYPE_F16, c.latent, i, 0.25 * (i % 5) - 0.5);
      ref_store(LATHE_DTYPE_F16, c.q_pe, i, 0.125 * (i % 7) - 0.25);
    }
    for (i = 0; i < APPEND_POSITIONS; i++) {
      const double angles[] = {0.7, 0.11};
      int pair;
      for (pair = 0; pair < 2; pair++) {
        c.cos_sin[4 * i + pair] = (float)cos(i * angles[pair]);
        c.cos_sin[4 * i + 2 + pair] = (float)sin(i * angles[pair]);
      }
    }
    c.args.positions = c.positions;
    c.positions[0] = 1 + 3 * shift; // the row
    c.positions[1] = 3 + 3 * shift; // the query
    c.tables[3] = 5;
    c.tables[0] = 0;
    append_run(&c);
    products[shift] = 0;
    for (i = 0; i < APPEND_R; i++)
      products[shift] +=
          ref_load(LATHE_DTYPE_F16, c.q_out, 2 * APPEND_D + APPEND_L + i) *
          ref_load(LATHE_DTYPE_F16, c.cache,
                   (c.tables[c.positions[0] / 2] * 2 + c.positions[0] % 2) * APPEND_D + APPEND_L +
                       i);
  }
  cr_expect(fabs(products[0]) > 0.02 && fabs(products[0] - products[1]) < 5e-4, "%g and %g",
            products[0], products[1]);
}

Test(append, in_place_and_apart) {
  append_case whole, c;
  int i;
  append_make(&whole);
  append_run(&whole);
  append_make(&c);
  c.args.q_nope = NULL;
  c.args.q_out = NULL;
  c.args.q_pe_out = c.q_pe;
  append_run(&c);
  for (i = 0; i < APPEND_TOKENS * APPEND_HEADS * APPEND_R; i++)
    cr_expect_eq(c.q_pe[i], whole.q_out[i / 4 * APPEND_D + APPEND_L + i % 4]);
  append_make(&c); // q_nope is in place: its columns stay
  c.args.q_nope = NULL;
  append_run(&c);
  for (i = 0; i < APPEND_TOKENS * APPEND_HEADS * APPEND_D; i++)
    cr_expect_eq(c.q_out[i], i % APPEND_D < APPEND_L ? 0xffff : whole.q_out[i]);
  append_make(&c);
  c.args.q_nope = c.args.q_pe = c.args.q_out = NULL; // rows alone
  append_run(&c);
  cr_expect(memcmp(c.cache, whole.cache, sizeof c.cache) == 0 && c.q_out[0] == 0xffff);
  append_make(&c);
  c.args.latent_cache = c.args.kv_cache = NULL; // the query alone
  c.args.block_tables = NULL;
  append_run(&c);
  cr_expect(memcmp(c.q_out, whole.q_out, sizeof c.q_out) == 0 && c.cache[0] == 0xffff);
}

// ------------------------------------------------------------------------------------------ places

Test(append, uneven_requests) {
  append_case c;
  append_make(&c);
  c.args.cu_q_lens = c.cu;
  c.cu[1] = 1; // one token, at position 4, and one, at 1; tokens 2 and 3 are of none
  c.cu[2] = 2;
  append_run(&c);
  append_expect_row(&c, 1, 0, 0, 0);
  append_expect_row(&c, 3, 1, 1, 1);
  append_expect_only(&c, 1u << 2 | 1u << 7);
  cr_expect_eq(c.q_out[4 * APPEND_D], 0xffff);
}

Test(append, request_without_tokens) {
  append_case c;
  append_make(&c);
  c.args.cu_q_lens = c.cu;
  c.cu[1] = 0;
  c.cu[2] = 2;
  append_run(&c);
  append_expect_row(&c, 3, 0, 0, 0);
  append_expect_row(&c, 3, 1, 1, 1);
  append_expect_only(&c, 1u << 6 | 1u << 7);
}

Test(append, inactive_request_has_a_query_and_no_row) {
  append_case whole, c;
  append_make(&whole);
  append_run(&whole);
  append_make(&c);
  c.args.inactive = c.inactive;
  c.inactive[0] = 7;
  c.tables[1] = c.tables[2] = INT32_MAX;
  append_run(&c);
  append_expect_only(&c, 1u << 6 | 1u << 7);
  cr_expect(memcmp(c.q_out, whole.q_out, sizeof c.q_out) == 0);
}

// A padded request of a graph: no length. Its query is turned as at position 0, nothing else is
// touched.
Test(append, length_zero_writes_no_row) {
  static const double as_it_is[] = {1, 2, 3, 4, -1, -2, -3, -4};
  append_case c;
  append_make(&c);
  c.lens[0] = 0;
  c.tables[1] = c.tables[2] = INT32_MAX;
  append_run(&c);
  append_expect_only(&c, 1u << 6 | 1u << 7);
  expect_query(&c, 0, 0, as_it_is);
}

Test(append, length_shorter_than_the_new_tokens) {
  append_case c;
  append_make(&c);
  c.lens[1] = 1; // token 3 at position 0, token 2 at -1
  append_run(&c);
  append_expect_row(&c, 3, 0, 3, 0);
  append_expect_only(&c, 1u << 9 | 1u << 2 | 1u << 6);
}

Test(append, length_past_the_table_is_clamped) {
  append_case c;
  append_make(&c);
  c.args.block_table_stride = 2; // rows of two entries: four positions
  c.lens[0] = c.lens[1] = 1000;
  c.tables[1] = 4; // request 0, positions 2 and 3
  c.tables[3] = 0; // request 1
  append_run(&c);
  append_expect_row(&c, 4, 0, 0, 2);
  append_expect_row(&c, 0, 1, 3, 3);
  append_expect_only(&c, 1u << 8 | 1u << 9 | 1u << 0 | 1u << 1);
}

Test(append, pages_that_do_not_exist) {
  append_case c;
  append_make(&c);
  c.args.num_pages = 4; // 4 is one too many
  c.tables[4] = -1;
  append_run(&c);
  append_expect_only(&c, 1u << 2);
}

Test(append, positions_in_place_of_lengths) {
  append_case c;
  append_make(&c);
  c.args.positions = c.positions;
  c.args.seq_lens = NULL;
  c.positions[0] = 2;
  c.positions[1] = 100; // past the table: no row, and turned as the last one, 7
  c.positions[2] = -5;
  c.positions[3] = 1;
  append_run(&c);
  append_expect_row(&c, 4, 0, 0, 2);
  append_expect_row(&c, 3, 1, 3, 1);
  append_expect_only(&c, 1u << 8 | 1u << 7);
  cr_expect_eq(ref_load(LATHE_DTYPE_BF16, c.q_out, 2 * APPEND_D + APPEND_L), -10); // by 7 quarters
}

Test(append, slots_in_place_of_tables) {
  append_case c;
  append_make(&c);
  c.args.slot_mapping = c.slots;
  c.args.block_tables = NULL;
  c.args.num_pages = 6;
  c.slots[0] = 11;
  c.slots[1] = -1;
  c.slots[2] = 12; // of page 6
  c.slots[3] = 4;
  append_run(&c);
  append_expect_row(&c, 5, 1, 0, 3);
  append_expect_row(&c, 2, 0, 3, 1);
  append_expect_only(&c, 1u << 11 | 1u << 4);
}

Test(append, strides) {
  append_case packed;
  append_case c;
  uint16_t q_nope[4 * 40], q_pe[4 * 40], out[2 * 100], rope[2 * 100], latent[40], k_pe[40];
  uint16_t cache[6 * 20], kpe[6 * 20];
  int token, head, d;
  append_make(&packed);
  append_run(&packed);
  append_make(&c);
  memset(q_nope, 0xff, sizeof q_nope);
  memset(q_pe, 0xff, sizeof q_pe);
  memset(out, 0xff, sizeof out);
  memset(rope, 0xff, sizeof rope);
  memset(cache, 0xff, sizeof cache);
  memset(kpe, 0xff, sizeof kpe);
  for (token = 0; token < 4; token++)
    for (d = 0; d < 4; d++) {
      for (head = 0; head < 2; head++) {
        q_nope[head * 60 + token * 7 + d] = c.q_nope[(token * 2 + head) * 4 + d];
        q_pe[token * 30 + head * 9 + d] = c.q_pe[(token * 2 + head) * 4 + d];
      }
      latent[token * 5 + d] = c.latent[token * 8 + d];
      k_pe[token * 6 + d] = c.latent[token * 8 + 4 + d];
    }
  c.args.q_nope = q_nope;
  c.args.q_nope_token_stride = 7;
  c.args.q_nope_head_stride = 60;
  c.args.q_pe = q_pe;
  c.args.q_pe_token_stride = 30;
  c.args.q_pe_head_stride = 9;
  c.args.q_out = out;
  c.args.q_out_token_stride = 5;
  c.args.q_out_head_stride = 100;
  c.args.q_pe_out = rope;
  c.args.q_pe_out_token_stride = 24;
  c.args.q_pe_out_head_stride = 11;
  c.args.latent_cache = latent;
  c.args.latent_token_stride = 5;
  c.args.k_pe = k_pe;
  c.args.k_pe_token_stride = 6;
  c.args.kv_cache = cache;
  c.args.kv_row_stride = 6;
  c.args.kv_page_stride = 17;
  c.args.kpe_cache = kpe;
  c.args.kpe_row_stride = 9;
  c.args.kpe_page_stride = 19;
  append_run(&c);
  for (d = 0; d < 4; d++) {
    for (token = 0; token < 4; token++)
      for (head = 0; head < 2; head++) {
        cr_expect_eq(out[token * 5 + head * 100 + d], packed.q_out[(token * 2 + head) * 8 + d]);
        cr_expect_eq(rope[token * 24 + head * 11 + d],
                     packed.q_out[(token * 2 + head) * 8 + 4 + d]);
      }
    cr_expect_eq(cache[4 * 17 + 6 + d], packed.cache[9 * 8 + d]); // token 0: page 4, row 1
    cr_expect_eq(kpe[4 * 19 + 9 + d], packed.cache[9 * 8 + 4 + d]);
    cr_expect_eq(cache[3 * 17 + 6 + d], packed.cache[7 * 8 + d]); // token 3: page 3, row 1
    cr_expect_eq(kpe[3 * 19 + 9 + d], packed.cache[7 * 8 + 4 + d]);
  }
  cr_expect_eq(out[4], 0xffff);
  cr_expect_eq(cache[4 * 17 + 5], 0xffff);
}

// ---------------------------------------------------------------------------------------- e4m3

// Every number of e4m3, as f16 and bf16 hold it times a power of two, comes back as its code.
Test(append, every_code_comes_back) {
  lathe_dtype in;
  for (in = LATHE_DTYPE_F16; in <= LATHE_DTYPE_BF16; in++) {
    static uint16_t latent[256];
    uint8_t cache[256];
    float scale = 0.25f;
    append_case c;
    int code;
    append_make(&c);
    for (code = 0; code < 256; code++)
      ref_store(in, latent, code, ref_decode(LATHE_DTYPE_E4M3, (uint32_t)code) * 0.25);
    c.desc.q_dtype = in;
    c.desc.kv_dtype = LATHE_DTYPE_E4M3;
    c.desc.kv_lora_rank = 256;
    c.desc.qk_rope_head_dim = 0;
    c.desc.page_size = 1;
    c.desc.max_batch = c.desc.max_q_len = c.desc.max_seq_len = 1;
    c.args.batch = 1;
    c.args.q_nope = c.args.q_pe = c.args.q_out = NULL;
    c.args.latent_cache = latent;
    c.args.kv_cache = cache;
    c.args.kv_scale_device = &scale;
    c.lens[0] = 1;
    c.tables[0] = 0;
    append_run(&c);
    for (code = 0; code < 256; code++) // a NaN without its sign
      cr_expect_eq(cache[code], code == 0xff ? 0x7f : code, "code %d became %d", code, cache[code]);
  }
}

// Every bf16, at a scale that is no power of two: the two fp32 steps of lathe.h, then one rounding.
Test(append, every_value_is_rounded_once) {
  enum { ALL = 65536 };
  static uint16_t in[ALL];
  static uint8_t out[ALL];
  const float scale = 0.3f, inverse = 1.0f / scale;
  append_case c;
  int i;
  append_make(&c);
  for (i = 0; i < ALL; i++)
    in[i] = (uint16_t)i;
  c.desc.kv_dtype = c.desc.q_out_dtype = LATHE_DTYPE_E4M3;
  c.desc.kv_lora_rank = ALL;
  c.desc.num_heads = 1;
  c.desc.qk_rope_head_dim = 0;
  c.desc.max_batch = c.desc.max_q_len = 1;
  c.args.batch = 1;
  c.args.q_nope = in;
  c.args.q_pe = NULL;
  c.args.q_out = out;
  c.args.latent_cache = c.args.kv_cache = NULL;
  c.args.q_scale = scale;
  append_run(&c);
  for (i = 0; i < ALL; i++) {
    const float value = (float)ref_decode(LATHE_DTYPE_BF16, (uint32_t)i);
    volatile float scaled = value * inverse;
    cr_assert_eq(out[i], isnan(value) ? 0x7fu : ref_encode(LATHE_DTYPE_E4M3, (double)scaled),
                 "%g became %d", (double)value, out[i]);
  }
}

Test(append, rotated_and_quantised) {
  append_case c;
  uint8_t query[APPEND_TOKENS * APPEND_HEADS * APPEND_D], cache[APPEND_PAGES * 2 * APPEND_D];
  append_make(&c);
  c.desc.kv_dtype = c.desc.q_out_dtype = LATHE_DTYPE_E4M3;
  c.args.q_out = query;
  c.args.kv_cache = cache;
  c.args.q_scale = 0.5f;
  c.args.kv_scale = 8;
  c.args.softmax_scale = 0.125f;
  c.args.scales_out = c.scales;
  append_run(&c);
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, query[1]), 4);         // 2
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, query[APPEND_L]), -4); // -1 after three quarters: -2
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, cache[9 * APPEND_D]), 12);     // 100 / 8, a tie to even
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, cache[9 * APPEND_D + 4]), 13); // 105 / 8
  cr_expect_eq(c.scales[0], 0.5f);
  cr_expect_eq(c.scales[1], 0.5f * 1.44269504f);
  cr_expect_eq(c.scales[2], 8);
}

// Scales that are on the device alone: decode takes the first of scales_out for its softmax scale,
// and its out, in units of stored values, is to be multiplied by the third. Powers of two: the same
// bits as with scales of the host.
Test(append, scales_for_decode) {
  const float q_scale = 0.5f, kv_scale = 8;
  _Alignas(16) uint8_t query[APPEND_TOKENS * APPEND_HEADS * APPEND_D];
  _Alignas(16) uint8_t cache[APPEND_PAGES * 2 * APPEND_D];
  uint16_t out[2][APPEND_TOKENS * APPEND_HEADS * APPEND_L];
  float lse[2][APPEND_TOKENS * APPEND_HEADS];
  lathe_context *context = cpu_context();
  lathe_decode_plan *plan;
  lathe_decode_desc desc;
  lathe_decode_args args;
  append_case c;
  int i, on_device;
  append_make(&c);
  c.desc.kv_dtype = c.desc.q_out_dtype = LATHE_DTYPE_E4M3;
  c.args.q_out = query;
  c.args.kv_cache = cache;
  c.args.q_scale_device = &q_scale;
  c.args.kv_scale_device = &kv_scale;
  c.args.softmax_scale = 0x1p-12f;
  c.args.scales_out = c.scales;
  c.lens[0] = 2; // all rows are new
  c.tables[0] = 1;
  append_run(&c);
  for (on_device = 0; on_device < 2; on_device++) {
    memset(&desc, 0, sizeof desc);
    desc.num_heads = APPEND_HEADS;
    desc.kv_lora_rank = APPEND_L;
    desc.qk_rope_head_dim = APPEND_R;
    desc.q_dtype = desc.kv_dtype = LATHE_DTYPE_E4M3;
    desc.page_size = c.desc.page_size;
    desc.max_batch = desc.max_q_len = 2;
    desc.max_seq_len = APPEND_POSITIONS;
    desc.softmax_scale_on_device = on_device;
    memset(&args, 0, sizeof args);
    args.batch = 2;
    args.q = query;
    args.kv_cache = cache;
    args.block_tables = c.tables;
    args.seq_lens = c.lens;
    args.out = out[on_device];
    args.lse = lse[on_device];
    args.softmax_scale = on_device ? 0 : c.args.softmax_scale;
    args.softmax_scale_at = on_device ? c.scales : NULL;
    args.q_scale = on_device ? 0 : q_scale;
    args.kv_scale = on_device ? 0 : kv_scale;
    plan = plan_of(context, &desc);
    cr_assert_eq(lathe_decode_validate(plan, &args, NULL), LATHE_STATUS_OK, "%s",
                 lathe_last_error()->message);
    cr_assert_eq(lathe_decode_run(plan, &args, NULL), LATHE_STATUS_OK, "%s",
                 lathe_last_error()->message);
    lathe_decode_plan_destroy(plan);
  }
  for (i = 0; i < APPEND_TOKENS * APPEND_HEADS; i++)
    cr_expect(lse[0][i] == lse[1][i] && isfinite(lse[0][i]), "lse %d is %g, not %g", i,
              (double)lse[1][i], (double)lse[0][i]);
  for (i = 0; i < APPEND_TOKENS * APPEND_HEADS * APPEND_L; i++)
    cr_expect_eq(ref_load(LATHE_DTYPE_BF16, out[1], i) * (double)c.scales[2],
                 ref_load(LATHE_DTYPE_BF16, out[0], i), "element %d", i);
  lathe_context_destroy(context);
}

// ----------------------------------------------------------------------------------- 656-byte rows

typedef struct row656_case {
  append_case c;
  uint16_t latent[576];
  _Alignas(16) uint8_t cache[2 * 656];
} row656_case;

static void row656_make(row656_case *r) {
  memset(r, 0, sizeof *r);
  append_make(&r->c);
  r->c.desc.kv_dtype = LATHE_DTYPE_E4M3;
  r->c.desc.kv_format = LATHE_KV_FORMAT_ROW656;
  r->c.desc.kv_lora_rank = 512;
  r->c.desc.qk_rope_head_dim = 64;
  r->c.desc.rope = LATHE_ROPE_NONE;
  r->c.desc.max_batch = r->c.desc.max_q_len = 1;
  r->c.args.batch = 1;
  r->c.args.q_nope = r->c.args.q_pe = r->c.args.q_out = NULL;
  r->c.args.latent_cache = r->latent;
  r->c.args.kv_cache = r->cache;
  r->c.lens[0] = 2;
  r->c.tables[0] = 0;
  memset(r->cache, 0xff, sizeof r->cache);
}

static float row656_scale(const row656_case *r, int group) {
  float scale;
  memcpy(&scale, r->cache + 656 + 512 + 4 * group, sizeof scale);
  return scale;
}

Test(append, row656) {
  row656_case r;
  int i;
  row656_make(&r);
  ref_store(LATHE_DTYPE_BF16, r.latent, 3, -224);  // group 0: scale 0.5
  ref_store(LATHE_DTYPE_BF16, r.latent, 4, 1);     // 2
  ref_store(LATHE_DTYPE_BF16, r.latent, 128, 448); // group 1: scale 1
  ref_store(LATHE_DTYPE_BF16, r.latent, 255, 3);
  ref_store(LATHE_DTYPE_BF16, r.latent, 300, 3); // group 2: no power of two
  ref_store(LATHE_DTYPE_BF16, r.latent, 576 - 64, 7);
  ref_store(LATHE_DTYPE_BF16, r.latent, 575, -9);
  append_run(&r.c);
  for (i = 0; i < 656; i++)
    cr_expect_eq(r.cache[i], 0xff, "row 0 was written");
  cr_expect_eq(row656_scale(&r, 0), 0.5f);
  cr_expect_eq(row656_scale(&r, 1), 1.0f);
  cr_expect_eq(row656_scale(&r, 2), 3.0f / 448.0f);
  cr_expect_eq(row656_scale(&r, 3), 0x1p-126f); // nothing but zeros
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, r.cache[656 + 3]), -448);
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, r.cache[656 + 4]), 2);
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, r.cache[656 + 128]), 448);
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, r.cache[656 + 255]), 3);
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, r.cache[656 + 300]), 448);
  cr_expect_eq(r.cache[656 + 400], 0);
  cr_expect_eq(ref_load(LATHE_DTYPE_BF16, r.cache + 656 + 528, 0), 7);
  cr_expect_eq(ref_load(LATHE_DTYPE_BF16, r.cache + 656 + 528, 63), -9);
}

Test(append, row656_powers_of_two) {
  row656_case r;
  row656_make(&r);
  r.c.desc.row_scale = LATHE_ROW_SCALE_POW2;
  ref_store(LATHE_DTYPE_BF16, r.latent, 0, 448);   // 1 stays 1
  ref_store(LATHE_DTYPE_BF16, r.latent, 128, 450); // above: 2
  ref_store(LATHE_DTYPE_BF16, r.latent, 256, 3);   // 3 / 448: 2^-7
  append_run(&r.c);
  cr_expect_eq(row656_scale(&r, 0), 1.0f);
  cr_expect_eq(row656_scale(&r, 1), 2.0f);
  cr_expect_eq(row656_scale(&r, 2), 0x1p-7f);
  cr_expect_eq(ref_decode(LATHE_DTYPE_E4M3, r.cache[656 + 256]), 384);
}

Test(append, row656_of_infinity_and_nan) {
  row656_case r;
  row656_make(&r);
  r.latent[0] = 0x7f80;
  r.latent[1] = 0x7fc0;
  r.latent[3] = 0xffc0;
  ref_store(LATHE_DTYPE_BF16, r.latent, 2, 1);
  append_run(&r.c);
  cr_expect_eq(row656_scale(&r, 0), 0x1.fffffep127f / 448.0f);
  cr_expect_eq(r.cache[656], 0x7e);
  cr_expect_eq(r.cache[657], 0x7f);
  cr_expect_eq(r.cache[658], 0);
  cr_expect_eq(r.cache[659], 0x7f);
}

// -------------------------------------------------------------------------------- un-absorbed
// attention

// Tokens are appended one by one and attended to by the last of them; the same attention with
// per-head keys, W_UK applied to the latents and rotations as complex products, in double.
Test(append, then_decode_is_attention_with_heads_of_their_own) {
  enum { HEADS = 2, N = 3, LATENT = 8, ROPE = 4, LENGTH = 5, PAGE = 2 };
  static const double angles[ROPE / 2] = {0.9, 0.13};
  ref_random random = {77};
  double w_uk[HEADS][N][LATENT], q_raw[HEADS][N], z[LENGTH];
  uint16_t latent[LENGTH][LATENT + ROPE], q_nope[HEADS][LATENT], q_pe[HEADS][ROPE];
  uint16_t joined[HEADS][LATENT + ROPE], cache[4 * PAGE * (LATENT + ROPE)], out[HEADS][LATENT];
  float cos_sin[LENGTH][ROPE], lse[HEADS];
  int32_t table[3] = {2, 0, 3}, length;
  lathe_context *context = cpu_context();
  lathe_append_desc desc;
  lathe_append_args args;
  lathe_append_plan *append;
  lathe_decode_desc decode_desc;
  lathe_decode_args decode_args;
  lathe_decode_plan *decode;
  int h, i, j, k;
  for (h = 0; h < HEADS; h++)
    for (i = 0; i < N; i++) {
      q_raw[h][i] = ref_normal(&random);
      for (k = 0; k < LATENT; k++)
        w_uk[h][i][k] = 0.5 * ref_normal(&random);
    }
  for (h = 0; h < HEADS; h++) {
    for (k = 0; k < LATENT; k++) {
      double absorbed = 0;
      for (i = 0; i < N; i++)
        absorbed += q_raw[h][i] * w_uk[h][i][k];
      ref_store(LATHE_DTYPE_F16, q_nope[h], k, absorbed);
    }
    for (k = 0; k < ROPE; k++)
      ref_store(LATHE_DTYPE_F16, q_pe[h], k, ref_normal(&random));
  }
  for (j = 0; j < LENGTH; j++) {
    for (k = 0; k < LATENT + ROPE; k++)
      ref_store(LATHE_DTYPE_F16, latent[j], k, ref_normal(&random));
    for (k = 0; k < ROPE / 2; k++) {
      cos_sin[j][k] = (float)cos(j * angles[k]);
      cos_sin[j][ROPE / 2 + k] = (float)sin(j * angles[k]);
    }
  }
  memset(&desc, 0, sizeof desc);
  desc.num_heads = HEADS;
  desc.kv_lora_rank = LATENT;
  desc.qk_rope_head_dim = ROPE;
  desc.q_dtype = desc.kv_dtype = LATHE_DTYPE_F16;
  desc.rope = LATHE_ROPE_INTERLEAVED;
  desc.page_size = PAGE;
  desc.max_batch = 1;
  desc.max_seq_len = LENGTH;
  cr_assert_eq(lathe_append_plan_create(context, &desc, &append), LATHE_STATUS_OK);
  memset(&args, 0, sizeof args);
  args.batch = 1;
  args.q_nope = q_nope;
  args.q_pe = q_pe;
  args.q_out = joined;
  args.kv_cache = cache;
  args.block_tables = table;
  args.seq_lens = &length;
  args.cos_sin = &cos_sin[0][0];
  for (length = 1; length <= LENGTH; length++) { // the query is that of the last token
    args.latent_cache = latent[length - 1];
    cr_assert_eq(lathe_append_run(append, &args, NULL), LATHE_STATUS_OK);
  }
  length = LENGTH;
  memset(&decode_desc, 0, sizeof decode_desc);
  decode_desc.num_heads = HEADS;
  decode_desc.kv_lora_rank = LATENT;
  decode_desc.qk_rope_head_dim = ROPE;
  decode_desc.q_dtype = decode_desc.kv_dtype = LATHE_DTYPE_F16;
  decode_desc.page_size = PAGE;
  decode_desc.max_batch = 1;
  decode_desc.max_seq_len = LENGTH;
  decode = plan_of(context, &decode_desc);
  memset(&decode_args, 0, sizeof decode_args);
  decode_args.batch = 1;
  decode_args.q = joined;
  decode_args.kv_cache = cache;
  decode_args.block_tables = table;
  decode_args.seq_lens = &length;
  decode_args.softmax_scale = lathe_softmax_scale(N, ROPE, 1);
  decode_args.out = out;
  decode_args.lse = lse;
  cr_assert_eq(lathe_decode_run(decode, &decode_args, NULL), LATHE_STATUS_OK);
  for (h = 0; h < HEADS; h++) {
    double sum = 0;
    for (j = 0; j < LENGTH; j++) {
      z[j] = 0;
      for (i = 0; i < N; i++)
        for (k = 0; k < LATENT; k++)
          z[j] += q_raw[h][i] * w_uk[h][i][k] * ref_load(LATHE_DTYPE_F16, latent[j], k);
      for (k = 0; k < ROPE / 2; k++) { // Re(q conj(k) exp(i (position of q - position of k) angle))
        const double a = ref_load(LATHE_DTYPE_F16, q_pe[h], 2 * k);
        const double b = ref_load(LATHE_DTYPE_F16, q_pe[h], 2 * k + 1);
        const double c = ref_load(LATHE_DTYPE_F16, latent[j], LATENT + 2 * k);
        const double d = ref_load(LATHE_DTYPE_F16, latent[j], LATENT + 2 * k + 1);
        const double angle = (LENGTH - 1 - j) * angles[k];
        z[j] += (a * c + b * d) * cos(angle) - (b * c - a * d) * sin(angle);
      }
      z[j] /= sqrt(N + ROPE);
      sum += exp(z[j]);
    }
    cr_expect(fabs((double)lse[h] - log(sum)) < 4e-3, "head %d: lse %g, wanted %g", h,
              (double)lse[h], log(sum));
    for (k = 0; k < LATENT; k++) {
      double want = 0;
      for (j = 0; j < LENGTH; j++)
        want += exp(z[j]) / sum * ref_load(LATHE_DTYPE_F16, latent[j], k);
      cr_expect(fabs(ref_load(LATHE_DTYPE_F16, out[h], k) - want) < 6e-3,
                "head %d element %d is %g, wanted %g", h, k, ref_load(LATHE_DTYPE_F16, out[h], k),
                want);
    }
  }
  lathe_append_plan_destroy(append);
  lathe_decode_plan_destroy(decode);
  lathe_context_destroy(context);
}
