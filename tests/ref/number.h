// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// 16-bit and 8-bit floats the slow way, from their definitions in terms of powers of two. Shares
// no code and no method with include/lathe/impl/half.h, which is tested against it.
#ifndef LATHE_TESTS_REF_NUMBER_H
#define LATHE_TESTS_REF_NUMBER_H

#include "random.h"

#include <lathe/lathe.h>

#include <string.h>

typedef struct ref_format {
  int mantissa;   /* stored bits */
  int exponent;   /* bits */
  int has_inf;    /* all-ones exponent is infinity and NaN; else only all ones is NaN (e4m3) */
  double largest; /* finite */
} ref_format;

static inline ref_format ref_format_of(lathe_dtype dtype) {
  ref_format format = {23, 8, 1, 0x1.fffffep127};
  if (dtype == LATHE_DTYPE_F16) {
    format.mantissa = 10, format.exponent = 5, format.largest = 65504;
  } else if (dtype == LATHE_DTYPE_BF16) {
    format.mantissa = 7, format.exponent = 8, format.largest = 0x1.fep127;
  } else if (dtype == LATHE_DTYPE_E4M3) {
    format.mantissa = 3, format.exponent = 4, format.has_inf = 0, format.largest = 448;
  }
  return format;
}

static inline size_t ref_dtype_size(lathe_dtype dtype) {
  return dtype == LATHE_DTYPE_E4M3 ? 1 : dtype == LATHE_DTYPE_F32 ? 4 : 2;
}

/* 2^exponent, a normal double, from its bits: every value of a cache goes through here, and ldexp
 * is a call */
static inline double ref_power_of_two(int exponent) {
  uint64_t bits = (uint64_t)(exponent + 1023) << 52;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The value of a code. */
static inline double ref_decode(lathe_dtype dtype, uint32_t code) {
  ref_format format = ref_format_of(dtype);
  int bias = (1 << (format.exponent - 1)) - 1;
  int exponent = (int)(code >> format.mantissa) & ((1 << format.exponent) - 1);
  int fraction = (int)(code & ((1u << format.mantissa) - 1));
  int negative = (int)(code >> (format.mantissa + format.exponent)) & 1;
  double value;
  if (exponent == (1 << format.exponent) - 1 &&
      (format.has_inf || fraction == (1 << format.mantissa) - 1))
    value = format.has_inf && fraction == 0 ? (double)INFINITY : (double)NAN;
  else if (exponent == 0)
    value = fraction * ref_power_of_two(1 - bias - format.mantissa);
  else
    value =
        (fraction + (1 << format.mantissa)) * ref_power_of_two(exponent - bias - format.mantissa);
  return negative ? -value : value;
}

/* The code nearest to a value, ties to even; e4m3 saturates at 448, the others overflow to
 * infinity. */
static inline uint32_t ref_encode(lathe_dtype dtype, double value) {
  ref_format format = ref_format_of(dtype);
  int bias = (1 << (format.exponent - 1)) - 1;
  uint32_t sign = signbit(value) ? 1u << (format.mantissa + format.exponent) : 0;
  uint32_t all_ones = (1u << (format.mantissa + format.exponent)) - 1;
  double magnitude = fabs(value);
  int exponent;
  if (isnan(value))
    return sign | all_ones;
  frexp(magnitude, &exponent); /* magnitude in [2^(exponent - 1), 2^exponent) */
  if (magnitude == 0 || exponent < 2 - bias)
    exponent = 2 - bias; /* subnormals share the spacing of the smallest normal numbers */
  double steps =
      isinf(magnitude)
          ? magnitude
          : nearbyint(ldexp(magnitude, format.mantissa + 1 - exponent)); /* ties to even */
  if (ldexp(steps, exponent - 1 - format.mantissa) > format.largest)
    return sign | (format.has_inf ? all_ones & ~((1u << format.mantissa) - 1) : all_ones - 1);
  /* steps runs from 0 to 2^(mantissa + 1); adding it to the exponent field lets it carry */
  return sign | (((uint32_t)(exponent - 2 + bias) << format.mantissa) + (uint32_t)steps);
}

static inline double ref_load(lathe_dtype dtype, const void *tensor, int64_t index) {
  const unsigned char *at = (const unsigned char *)tensor + index * (int64_t)ref_dtype_size(dtype);
  uint32_t code = at[0];
  uint16_t half;
  if (dtype == LATHE_DTYPE_F32) {
    memcpy(&code, at, 4);
  } else if (dtype != LATHE_DTYPE_E4M3) {
    memcpy(&half, at, 2);
    code = half;
  }
  return ref_decode(dtype, code);
}

static inline void ref_store(lathe_dtype dtype, void *tensor, int64_t index, double value) {
  unsigned char *at = (unsigned char *)tensor + index * (int64_t)ref_dtype_size(dtype);
  uint32_t code = ref_encode(dtype, value);
  uint16_t half = (uint16_t)code;
  uint8_t byte = (uint8_t)code;
  if (dtype == LATHE_DTYPE_F32)
    memcpy(at, &code, 4);
  else if (dtype == LATHE_DTYPE_E4M3)
    memcpy(at, &byte, 1);
  else
    memcpy(at, &half, 2);
}

/* A tensor of normally distributed values is filled from a palette of 4096 of them, which makes
   gigabytes of cache for a benchmark a matter of seconds. */
typedef struct ref_palette {
  lathe_dtype dtype;
  uint16_t codes[4096];
} ref_palette;

static inline ref_palette *ref_palette_make(lathe_dtype dtype, double amplitude, uint64_t seed) {
  ref_palette *palette = (ref_palette *)ref_alloc(sizeof(ref_palette));
  ref_random random = {seed};
  palette->dtype = dtype;
  for (int i = 0; i < 4096; i++)
    palette->codes[i] = (uint16_t)ref_encode(dtype, amplitude * ref_normal(&random));
  return palette;
}

static inline void ref_palette_fill(const ref_palette *palette, ref_random *random, void *tensor,
                                    int64_t first, int64_t count) {
  unsigned char *bytes = (unsigned char *)tensor;
  uint64_t draw = 0;
  for (int64_t i = 0; i < count; i++) {
    draw = i % 4 ? draw >> 16 : ref_next(random);
    uint16_t code = palette->codes[draw & 0xfff];
    if (palette->dtype == LATHE_DTYPE_E4M3)
      bytes[first + i] = (unsigned char)code;
    else
      memcpy(bytes + 2 * (first + i), &code, 2);
  }
}

#endif
