// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Every code of every small float, and every point where rounding changes its mind, against the
// definitions in tests/ref/number.h.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "../ref/number.h"

#include <criterion/criterion.h>

static uint32_t encode(lathe_dtype dtype, double value) {
  return dtype == LATHE_DTYPE_F16    ? lathep_f64_to_f16(value)
         : dtype == LATHE_DTYPE_BF16 ? lathep_f64_to_bf16(value)
                                     : lathep_f64_to_e4m3(value);
}

static double decode(lathe_dtype dtype, uint32_t code) {
  return dtype == LATHE_DTYPE_F16    ? lathep_f16_to_f32((uint16_t)code)
         : dtype == LATHE_DTYPE_BF16 ? lathep_bf16_to_f32((uint16_t)code)
                                     : lathep_e4m3_to_f32((uint8_t)code);
}

static void expect_encodes(lathe_dtype dtype, double value) {
  uint32_t got = encode(dtype, value), want = ref_encode(dtype, value);
  cr_assert(got == want, "%s of %a is 0x%x, wanted 0x%x", lathe_dtype_string(dtype), value, got,
            want);
}

static void every_code(lathe_dtype dtype) {
  uint32_t codes = dtype == LATHE_DTYPE_E4M3 ? 256 : 65536;
  for (uint32_t code = 0; code < codes; code++) {
    double got = decode(dtype, code), want = ref_decode(dtype, code);
    if (isnan(want)) {
      cr_assert(isnan(got), "0x%x decodes to %a, wanted NaN", code, got);
      cr_assert(isnan(decode(dtype, encode(dtype, got))), "NaN does not survive");
      continue;
    }
    cr_assert(got == want && !signbit(got) == !signbit(want), "0x%x decodes to %a, wanted %a", code,
              got, want);
    if (dtype != LATHE_DTYPE_E4M3 || !isinf(want))
      cr_assert(encode(dtype, got) == code, "0x%x decodes and encodes to 0x%x", code,
                encode(dtype, got));
  }
}

Test(half, every_f16_code) {
  every_code(LATHE_DTYPE_F16);
}
Test(half, every_bf16_code) {
  every_code(LATHE_DTYPE_BF16);
}
Test(half, every_e4m3_code) {
  every_code(LATHE_DTYPE_E4M3);
}

/* The midpoint between a code and the next is a tie; the doubles beside it are not. */
static void every_boundary(lathe_dtype dtype) {
  uint32_t last = dtype == LATHE_DTYPE_F16 ? 0x7bff : dtype == LATHE_DTYPE_BF16 ? 0x7f7f : 0x7e;
  for (uint32_t code = 0; code <= last; code++) {
    double low = ref_decode(dtype, code);
    double below = code ? ref_decode(dtype, code - 1) : -ref_decode(dtype, 1);
    double high = code < last ? ref_decode(dtype, code + 1) : 2 * low - below;
    double middle = (low + high) / 2;
    double points[] = {low,    nextafter(low, high),    nextafter(middle, low),
                       middle, nextafter(middle, high), nextafter(high, low)};
    for (int i = 0; i < 6; i++) {
      expect_encodes(dtype, points[i]);
      expect_encodes(dtype, -points[i]);
    }
  }
}

Test(half, every_f16_boundary) {
  every_boundary(LATHE_DTYPE_F16);
}
Test(half, every_bf16_boundary) {
  every_boundary(LATHE_DTYPE_BF16);
}
Test(half, every_e4m3_boundary) {
  every_boundary(LATHE_DTYPE_E4M3);
}

Test(half, overflow_underflow_and_nan) {
  const lathe_dtype dtypes[] = {LATHE_DTYPE_F16, LATHE_DTYPE_BF16, LATHE_DTYPE_E4M3};
  const double values[] = {0.0,     0x1p-1074, 0x1p-1022, 0x1p-600, 0x1p-150, 0x1p-134,
                           0x1p-25, 0x1p-11,   65519.999, 65520,    1e10,     0x1.ffp127,
                           1e300,   464,       464.001,   INFINITY, -0.0,     3e38};
  for (int d = 0; d < 3; d++)
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
      expect_encodes(dtypes[d], values[i]);
      expect_encodes(dtypes[d], -values[i]);
    }
  cr_assert(lathep_f64_to_f16(65519.999) == 0x7bff && lathep_f64_to_f16(65520) == 0x7c00);
  cr_assert(lathep_f64_to_bf16(INFINITY) == 0x7f80 && lathep_f64_to_bf16(-INFINITY) == 0xff80);
  cr_assert(lathep_f64_to_e4m3(1e10) == 0x7e && lathep_f64_to_e4m3(-INFINITY) == 0xfe);
  cr_assert((lathep_f64_to_f16(NAN) & 0x7fff) == 0x7fff);
  cr_assert((lathep_f64_to_bf16(NAN) & 0x7fff) == 0x7fff);
  cr_assert((lathep_f64_to_e4m3(NAN) & 0x7f) == 0x7f);
}

Test(half, a_double_is_rounded_once) {
  /* just above a tie: float would round it onto the tie, and the tie then down to even */
  double above = 1 + 0x1p-8 + 0x1p-40;
  cr_assert(lathep_f64_to_bf16(above) == 0x3f81);
  cr_assert(lathep_f32_to_bf16((float)above) == 0x3f80);
}

Test(half, random_doubles_and_floats) {
  ref_random random = {1};
  for (int i = 0; i < 1000000; i++) {
    double value = ldexp(ref_normal(&random), ref_between(&random, -30, 20));
    expect_encodes(LATHE_DTYPE_F16, value);
    expect_encodes(LATHE_DTYPE_E4M3, value);
    expect_encodes(LATHE_DTYPE_BF16, ldexp(value, ref_between(&random, -110, 110)));
    float narrow = (float)value;
    cr_assert(lathep_f32_to_f16(narrow) == ref_encode(LATHE_DTYPE_F16, (double)narrow));
    cr_assert(lathep_f32_to_bf16(narrow) == ref_encode(LATHE_DTYPE_BF16, (double)narrow));
    cr_assert(lathep_f32_to_e4m3(narrow) == ref_encode(LATHE_DTYPE_E4M3, (double)narrow));
  }
}
