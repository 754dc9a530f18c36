// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// f16, bf16 and e4m3 to float and back, in integer arithmetic: right under any floating-point
// environment and option (-ffast-math, flushed denormals). Encoding rounds once, to nearest with
// ties to even, also from double, whose detour over float would round twice.

LATHEP_FN float lathep_bits_to_f32(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// 5 or 4 exponent bits to the 8 of a float. `mantissa`, `bias`: of the source; exponents from `top`
// on are infinity and NaN (e4m3 has neither there: `top` is out of reach).
LATHEP_FN float lathep_widen(uint32_t code, int mantissa, int exponent_bits, int bias, int top) {
  const uint32_t sign = code >> (mantissa + exponent_bits) << 31;
  const int exponent = (int)(code >> mantissa) & ((1 << exponent_bits) - 1);
  uint32_t fraction = code & ((1u << mantissa) - 1);
  int shifted = exponent;
  if (exponent >= top)
    return lathep_bits_to_f32(sign | 0x7f800000u | fraction << (23 - mantissa));
  if (exponent == 0) {
    if (fraction == 0)
      return lathep_bits_to_f32(sign);
    for (shifted = 1; !(fraction >> mantissa); shifted--) // a float can be normal there
      fraction <<= 1;
    fraction &= (1u << mantissa) - 1;
  }
  return lathep_bits_to_f32(sign | (uint32_t)(shifted - bias + 127) << 23 |
                            fraction << (23 - mantissa));
}

LATHEP_FN float lathep_f16_to_f32(uint16_t code) {
  return lathep_widen(code, 10, 5, 15, 31);
}

LATHEP_FN float lathep_bf16_to_f32(uint16_t code) {
  return lathep_bits_to_f32((uint32_t)code << 16);
}

LATHEP_FN float lathep_e4m3_to_f32(uint8_t code) {
  if ((code & 0x7f) == 0x7f) // the only NaN; keeps its sign
    return lathep_bits_to_f32((uint32_t)(code & 0x80) << 24 | 0x7fc00000u);
  return lathep_widen(code, 3, 4, 7, 16);
}

// Rounds a double to `mantissa` bits under an exponent bias. Magnitudes above code `most` become
// it: the code of infinity, or the largest finite one for a format that saturates.
LATHEP_FN uint32_t lathep_narrow(double value, int mantissa, int bias, uint32_t most,
                                 uint32_t nan) {
  uint64_t bits, significand, half, dropped;
  int exponent, shift;
  uint32_t code;
  memcpy(&bits, &value, sizeof bits);
  bits &= INT64_MAX;
  if (bits > (uint64_t)0x7ff << 52)
    return nan;
  exponent = (int)(bits >> 52) - 1023;
  if (exponent < -500) // zero and all that is far below any format's half step
    return 0;
  significand = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
  shift = 52 - mantissa;
  if (exponent < 1 - bias) { // subnormal: the step no longer shrinks with the exponent
    shift += 1 - bias - exponent;
    exponent = 1 - bias;
    if (shift > 54) // below a quarter of a step; and shifts stay in range
      return 0;
  }
  half = (uint64_t)1 << (shift - 1);
  dropped = significand & (2 * half - 1);
  code = (uint32_t)(significand >> shift); // with its leading bit, if it has one
  code += dropped > half || (dropped == half && (code & 1));
  // The leading bit, or a carry into one, counts as one step of the exponent field.
  code += (uint32_t)(exponent + bias - 1) << mantissa;
  return code < most ? code : most;
}

LATHEP_FN uint32_t lathep_sign_bit(double value, int position) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint32_t)(bits >> 63) << position;
}

LATHEP_FN uint16_t lathep_f64_to_f16(double value) {
  return (uint16_t)(lathep_sign_bit(value, 15) | lathep_narrow(value, 10, 15, 0x7c00, 0x7fff));
}

LATHEP_FN uint16_t lathep_f64_to_bf16(double value) {
  return (uint16_t)(lathep_sign_bit(value, 15) | lathep_narrow(value, 7, 127, 0x7f80, 0x7fff));
}

// Saturates at 448, as CUDA's satfinite conversions do, infinities too.
LATHEP_FN uint8_t lathep_f64_to_e4m3(double value) {
  return (uint8_t)(lathep_sign_bit(value, 7) | lathep_narrow(value, 3, 7, 0x7e, 0x7f));
}

LATHEP_FN uint16_t lathep_f32_to_f16(float value) {
  return lathep_f64_to_f16((double)value);
}
LATHEP_FN uint16_t lathep_f32_to_bf16(float value) {
  return lathep_f64_to_bf16((double)value);
}
LATHEP_FN uint8_t lathep_f32_to_e4m3(float value) {
  return lathep_f64_to_e4m3((double)value);
}
