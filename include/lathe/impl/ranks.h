// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Decode context parallelism: which of a request's positions are cache rows of this rank. Where
// lengths are a rank's own, or there is one rank, positions and rows are the same.
// templates/parts/lengths.cuh.j2 has the same arithmetic.

// Do lengths count rows of other ranks, too?
LATHEP_FN int lathep_shares_rows(const lathe_decode_desc *desc) {
  return desc->cp_world > 1 && desc->cp_lens == LATHE_CP_LENS_GLOBAL;
}

// Sinks are one rank's to add.
LATHEP_FN int lathep_has_sinks(const lathe_decode_desc *desc) {
  return desc->attention_sinks && desc->cp_rank == 0;
}

// How many of the positions before `end` are rows of a rank.
LATHEP_FN int64_t lathep_rank_rows(const lathe_decode_desc *desc, int32_t rank, int64_t end) {
  const int64_t each = desc->cp_interleave, round = each * desc->cp_world;
  if (!lathep_shares_rows(desc))
    return end;
  return end / round * each + lathep_clamp(end % round - rank * each, 0, each);
}

LATHEP_FN int64_t lathep_rows_before(const lathe_decode_desc *desc, int64_t end) {
  return lathep_rank_rows(desc, desc->cp_rank, end);
}

// The most rows that a rank has of a request: rank 0 has, so that all ranks' tables are of a size.
LATHEP_FN int64_t lathep_most_rows(const lathe_decode_desc *desc) {
  return lathep_rank_rows(desc, 0, desc->max_seq_len);
}

// The position of a row.
LATHEP_FN int64_t lathep_position_of(const lathe_decode_desc *desc, int64_t row) {
  const int64_t each = desc->cp_interleave;
  if (!lathep_shares_rows(desc))
    return row;
  return row / each * each * desc->cp_world + desc->cp_rank * each + row % each;
}
