// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// How the CPU backend reads and writes tensors: elements of any dtype and cache rows of any format,
// as doubles.

// `count` elements of a tensor from element `first` on.
LATHEP_FN void lathep_cpu_load(lathe_dtype dtype, const void *tensor, int64_t first, int64_t count,
                               double *out) {
  const uint16_t *halves = (const uint16_t *)tensor + (dtype == LATHE_DTYPE_E4M3 ? 0 : first);
  const uint8_t *bytes = (const uint8_t *)tensor + (dtype == LATHE_DTYPE_E4M3 ? first : 0);
  int64_t d;
  if (dtype == LATHE_DTYPE_BF16)
    for (d = 0; d < count; d++)
      out[d] = (double)lathep_bf16_to_f32(halves[d]);
  else if (dtype == LATHE_DTYPE_F16)
    for (d = 0; d < count; d++)
      out[d] = (double)lathep_f16_to_f32(halves[d]);
  else
    for (d = 0; d < count; d++)
      out[d] = (double)lathep_e4m3_to_f32(bytes[d]);
}

LATHEP_FN void lathep_cpu_store(lathe_dtype dtype, void *tensor, int64_t at, double value) {
  if (dtype == LATHE_DTYPE_E4M3)
    ((uint8_t *)tensor)[at] = lathep_f64_to_e4m3(value);
  else
    ((uint16_t *)tensor)[at] =
        dtype == LATHE_DTYPE_F16 ? lathep_f64_to_f16(value) : lathep_f64_to_bf16(value);
}

// What a ROW656 row has besides codes, which are in `row`.
LATHEP_FN void lathep_cpu_load_row656(const char *from, double *row) {
  float scale;
  int d;
  for (d = 0; d < LATHEP_ROW656_L; d++) {
    memcpy(&scale, from + LATHEP_ROW656_SCALES + d / LATHEP_ROW656_GROUP * (int)sizeof scale,
           sizeof scale);
    row[d] = (double)lathep_bf16_to_f32(lathep_f32_to_bf16((float)row[d] * scale));
  }
  lathep_cpu_load(LATHE_DTYPE_BF16, from + LATHEP_ROW656_ROPE, 0, LATHEP_ROW656_R,
                  row + LATHEP_ROW656_L);
}

// Row j of request i: [L | R]. A page that does not exist is one of zeros. 0: it is an entry of a
// list that names no row.
LATHEP_FN int lathep_cpu_load_kv(const lathe_decode_desc *desc, const lathe_decode_args *args,
                                 int64_t i, int64_t j, double *row) {
  const int32_t *table = args->block_tables + i * args->block_table_stride;
  const int64_t at = desc->sparse_topk ? table[j] : j, l = desc->kv_lora_rank;
  const int64_t page = desc->sparse_topk ? at / desc->page_size : table[j / desc->page_size];
  const int64_t slot = at % desc->page_size, r = desc->qk_rope_head_dim;
  int64_t d;
  if (desc->sparse_topk && (at < 0 || (args->num_pages > 0 && page >= args->num_pages)))
    return 0;
  if (page < 0 || (args->num_pages > 0 && page >= args->num_pages)) {
    for (d = 0; d < l + r; d++)
      row[d] = 0;
    return 1;
  }
  lathep_cpu_load(desc->kv_dtype, args->kv_cache,
                  page * args->kv_page_stride + slot * args->kv_row_stride, l, row);
  if (desc->kv_format == LATHE_KV_FORMAT_ROW656) {
    lathep_cpu_load_row656((const char *)args->kv_cache + page * args->kv_page_stride +
                               slot * args->kv_row_stride,
                           row);
    return 1;
  }
  if (r > 0)
    lathep_cpu_load(desc->kv_dtype, args->kpe_cache,
                    page * args->kpe_page_stride + slot * args->kpe_row_stride, r, row + l);
  return 1;
}
