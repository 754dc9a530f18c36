// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// 16- and 8-bit floats, as the library converts them.
#define LATHE_STATIC
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "machine.h"

float emulator_bf16[65536], emulator_f16[65536], emulator_e4m3[256];

__attribute__((constructor)) static void fill_tables(void) {
  unsigned i;
  for (i = 0; i < 65536; i++) {
    emulator_bf16[i] = lathep_bf16_to_f32((uint16_t)i);
    emulator_f16[i] = lathep_f16_to_f32((uint16_t)i);
  }
  for (i = 0; i < 256; i++)
    emulator_e4m3[i] = lathep_e4m3_to_f32((uint8_t)i);
}

unsigned emulator_to_bf16(float x) {
  return lathep_f32_to_bf16(x);
}
unsigned emulator_to_f16(float x) {
  return lathep_f32_to_f16(x);
}
unsigned emulator_to_e4m3(float x) {
  return x != x ? 0x7f : lathep_f32_to_e4m3(x);
}
