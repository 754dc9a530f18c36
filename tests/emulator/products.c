// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Matrix products. A warp's last lane to come computes for all of them, for operands are shared.
#include "block.h"

#include <string.h>

// --------------------------------------------------------------------------------------------- mma

void emulator_mma(float *c, const unsigned *a, unsigned b0, unsigned b1, const float *to_float) {
  struct operands *all = emulator_machine->operands[emulator_machine->current / 32],
                  *own = &all[emulator_machine->current % 32];
  own->c = c;
  memcpy(own->a, a, sizeof own->a);
  own->b[0] = b0;
  own->b[1] = b1;
  if (emulator_own_warp()->come == 31) { // the last to come does it for all
    float rows[16][16], columns[16][8];
    unsigned l, i, j, k, n;
    for (l = 0; l < 32; l++)
      for (j = 0; j < 2; j++) {
        const unsigned at = l % 4 * 2 + j;
        for (i = 0; i < 4; i++)
          rows[l / 4 + i % 2 * 8][at + i / 2 * 8] = to_float[all[l].a[i] >> 16 * j & 0xffff];
        for (i = 0; i < 2; i++)
          columns[at + i * 8][l / 4] = to_float[all[l].b[i] >> 16 * j & 0xffff];
      }
    for (i = 0; i < 16; i++) {
      float sums[8] = {0};
      for (k = 0; k < 16; k++)
        for (n = 0; n < 8; n++)
          sums[n] += rows[i][k] * columns[k][n];
      for (n = 0; n < 8; n++)
        all[i % 8 * 4 + n / 2].c[i / 8 * 2 + n % 2] += sums[n];
    }
  }
  emulator_warp();
}
// ------------------------------------------------------------------------------------------- wgmma

void emulator_wgmma(float *c, int columns, const unsigned *own, uint64_t a, uint64_t b, bool add,
                    bool values, const float *to_float) {
  fiber *f = emulator_self();
  const product p = {c, columns, own, a, b, add, values, to_float};
  if (f->num_products == sizeof f->products / sizeof f->products[0])
    emulator_die("too many wgmma at once");
  f->products[f->num_products++] = p;
}

// Element (row, k) of a tile with rows of k, or (k, column) of one with rows of columns.
static float element(uint64_t descriptor, unsigned row, unsigned column, const float *to_float) {
  const unsigned start = (unsigned)(descriptor & 0x3fff) << 4,
                 chunk = (unsigned)(descriptor >> 16 & 0x3fff) << 4,
                 eight = (unsigned)(descriptor >> 32 & 0x3fff) << 4;
  const unsigned at =
      start + column / 64 * chunk + row / 8 * eight + row % 8 * 128 + column % 64 * 2;
  uint16_t bits;
  memcpy(&bits, emulator_shared(emulator_swizzled(at), 2, 2), sizeof bits);
  return to_float[bits];
}

// Element (row, k) of the 16 x 16 that a warp's lanes have in registers, of their product i.
static float own_element(const fiber *lanes, unsigned i, unsigned row, unsigned k) {
  const product *p = &lanes[row % 8 * 4 + k % 8 / 2].products[i];
  return p->to_float[p->own[row / 8 + k / 8 * 2] >> 16 * (k % 2) & 0xffff];
}

// The warp's 16 rows of product i of its lanes. c of lane l: of each 8 columns rows l / 4 and 8
// below, columns l % 4 * 2 and the next.
static void multiply_tiles(unsigned i) {
  const fiber *lanes = &emulator_machine->fibers[emulator_machine->current / 32 * 32];
  const product *p = &lanes[0].products[i];
  const unsigned row = emulator_machine->current % 128 / 32 * 16, columns = (unsigned)p->columns;
  float b[16][256];
  unsigned k, n, r;
  for (k = 0; k < 16; k++)
    for (n = 0; n < columns; n++)
      b[k][n] = p->values ? element(p->b, k, n, p->to_float) : element(p->b, n, k, p->to_float);
  for (r = 0; r < 16; r++) {
    float sums[256] = {0};
    for (k = 0; k < 16; k++) {
      const float a = p->own ? own_element(lanes, i, r, k) : element(p->a, row + r, k, p->to_float);
      for (n = 0; n < columns; n++)
        sums[n] += a * b[k][n];
    }
    for (n = 0; n < columns; n++) {
      float *c = &lanes[r % 8 * 4 + n % 8 / 2].products[i].c[n / 8 * 4 + r / 8 * 2 + n % 2];
      *c = (p->add ? *c : 0) + sums[n];
    }
  }
}

void emulator_wgmma_commit(void) {
  fiber *f = emulator_self();
  f->product_groups[f->num_product_groups++] = f->num_products;
}

void emulator_wgmma_wait(unsigned pending) {
  fiber *f = emulator_self();
  unsigned i, done, groups;
  if (f->num_product_groups <= pending)
    return;
  groups = f->num_product_groups - pending;
  done = f->product_groups[groups - 1];
  if (emulator_own_warp()->come == 31) // the last to come does it for all
    for (i = 0; i < done; i++)
      multiply_tiles(i);
  emulator_warp();
  f->num_products -= done;
  memmove(f->products, f->products + done, f->num_products * sizeof f->products[0]);
  for (i = 0; i < pending; i++)
    f->product_groups[i] = f->product_groups[groups + i] - done;
  f->num_product_groups = pending;
}
