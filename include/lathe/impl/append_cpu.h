// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The CPU backend of append: token by token, element by element, as lathe.h says it. Rotations are
// in double and rounded once. Quantisation takes the fp32 steps that the formula names, which is
// what makes its codes the same on every backend.

// Where a token is, and where its row goes.
typedef struct lathep_append_place {
  int64_t request;   // -1: of none, nothing is written for it
  int64_t position;  // for the rotation, not yet clamped
  int64_t page, row; // page -1: its row is not written
} lathep_append_place;

// The request that has the token: of ascending cu_q_lens the last one that begins at it or before.
LATHEP_FN int64_t lathep_append_request_of(const lathe_append_args *args, int64_t token) {
  int64_t i, found = -1;
  if (!args->cu_q_lens)
    return token / args->q_len < args->batch ? token / args->q_len : -1;
  for (i = 0; i < args->batch && args->cu_q_lens[i] <= token; i++)
    found = i;
  return found;
}

// Lengths are at most this, positions of rows are below it.
LATHEP_FN int32_t lathep_append_limit(const lathe_append_desc *desc,
                                      const lathe_append_args *args) {
  lathe_decode_desc d;
  lathe_decode_args a;
  lathep_append_as_decode(desc, args, &d, &a);
  return lathep_seq_limit(&d, &a);
}

LATHEP_FN lathep_append_place lathep_append_place_of(const lathe_append_desc *desc,
                                                     const lathe_append_args *args, int64_t token) {
  lathep_append_place place = {lathep_append_request_of(args, token), -1, -1, 0};
  const int64_t page_size = desc->page_size, limit = lathep_append_limit(desc, args);
  int64_t page, t, length = 0;
  lathe_decode_desc d;
  lathe_decode_args a;
  lathep_cpu_request request;
  if (place.request < 0)
    return place;
  lathep_append_as_decode(desc, args, &d, &a);
  request = lathep_cpu_tokens_of(&d, &a, place.request);
  t = token - request.first_token;
  if (t >= request.q_len) {
    place.request = -1;
    return place;
  }
  if (!args->positions)
    length = lathep_clamp(args->seq_lens[place.request], 0, limit);
  place.position = args->positions ? args->positions[token] : length - request.q_len + t;
  if (!args->latent_cache || (args->inactive && args->inactive[place.request]))
    return place;
  if (args->slot_mapping) {
    const int64_t slot = args->slot_mapping[token];
    page = slot < 0 ? -1 : slot / page_size;
    place.row = slot < 0 ? 0 : slot % page_size;
  } else {
    if (place.position < 0 || place.position >= limit)
      return place;
    page =
        args->block_tables[place.request * args->block_table_stride + place.position / page_size];
    place.row = place.position % page_size;
  }
  if (page >= 0 && (args->num_pages == 0 || page < args->num_pages))
    place.page = page;
  return place;
}

// --------------------------------------------------------------------------------------- elements

// Rows of elements: where from, and what they become.
typedef struct lathep_append_row {
  lathe_dtype in, out;
  const void *from;
  void *to;
  int64_t from_first, to_first; // elements
  float inverse;                // e4m3: what values are multiplied by
} lathep_append_row;

LATHEP_FN float lathep_append_inverse(float scale) {
  return (float)(1.0 / (double)scale);
}

// A product of a NaN is a NaN without a sign on the device.
LATHEP_FN uint8_t lathep_append_code(double value, float inverse) {
  return isnan(value) ? 0x7f : lathep_f32_to_e4m3((float)((double)(float)value * (double)inverse));
}

LATHEP_FN void lathep_append_store(const lathep_append_row *row, int64_t d, double value) {
  const int64_t at = row->to_first + d;
  if (row->out == LATHE_DTYPE_E4M3)
    ((uint8_t *)row->to)[at] = lathep_append_code(value, row->inverse);
  else
    ((uint16_t *)row->to)[at] =
        row->out == LATHE_DTYPE_F16 ? lathep_f64_to_f16(value) : lathep_f64_to_bf16(value);
}

LATHEP_FN double lathep_append_load(const lathep_append_row *row, int64_t d) {
  double value;
  lathep_cpu_load(row->in, row->from, row->from_first + d, 1, &value);
  return value;
}

// Elements that stay as they are: of the same type bit by bit.
LATHEP_FN void lathep_append_copy(const lathep_append_row *row, int64_t count) {
  int64_t d;
  if (row->in == row->out)
    memmove((uint16_t *)row->to + row->to_first, (const uint16_t *)row->from + row->from_first,
            (size_t)count * sizeof(uint16_t));
  else
    for (d = 0; d < count; d++)
      lathep_append_store(row, d, lathep_append_load(row, d));
}

LATHEP_FN void lathep_append_rotate(const lathe_append_desc *desc, const lathe_append_args *args,
                                    const lathep_append_row *row, int64_t position) {
  const int64_t r = desc->qk_rope_head_dim;
  const float *cos_sin;
  int64_t i;
  if (desc->rope == LATHE_ROPE_NONE) {
    lathep_append_copy(row, r);
    return;
  }
  cos_sin =
      args->cos_sin + lathep_clamp(position, 0, desc->max_positions - 1) * args->cos_sin_row_stride;
  for (i = 0; i < r / 2; i++) {
    const int interleaved = desc->rope == LATHE_ROPE_INTERLEAVED;
    const int64_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + r / 2;
    const double a = lathep_append_load(row, first), b = lathep_append_load(row, second);
    const double c = (double)cos_sin[i], s = (double)cos_sin[r / 2 + i];
    lathep_append_store(row, first, a * c - b * s);
    lathep_append_store(row, second, b * c + a * s);
  }
}

// ------------------------------------------------------------------------------------------- rows

// What the codes of a group are to be multiplied by.
LATHEP_FN float lathep_append_group_scale(const lathe_append_desc *desc, float largest) {
  float scale = (float)((double)largest / 448.0);
  uint32_t bits;
  if (scale < 0x1p-126f)
    scale = 0x1p-126f;
  if (desc->row_scale == LATHE_ROW_SCALE_F32)
    return scale;
  memcpy(&bits, &scale, sizeof bits);
  return lathep_bits_to_f32((bits + 0x7fffff) & 0xff800000u); // a mantissa goes up to the exponent
}

// The latent of a ROW656 row.
LATHEP_FN void lathep_append_groups(const lathe_append_desc *desc, lathep_append_row *row) {
  const lathep_append_row whole = *row;
  int64_t group, d;
  for (group = 0; group < LATHEP_ROW656_L / LATHEP_ROW656_GROUP; group++) {
    float largest = 0, scale;
    row->from_first = whole.from_first + group * LATHEP_ROW656_GROUP;
    row->to_first = whole.to_first + group * LATHEP_ROW656_GROUP;
    for (d = 0; d < LATHEP_ROW656_GROUP; d++) {
      const float magnitude = (float)fabs(lathep_append_load(row, d));
      if (magnitude > largest) // not a NaN
        largest = magnitude < 0x1.fffffep127f ? magnitude : 0x1.fffffep127f;
    }
    scale = lathep_append_group_scale(desc, largest);
    row->inverse = lathep_append_inverse(scale);
    lathep_append_copy(row, LATHEP_ROW656_GROUP);
    memcpy((char *)row->to + whole.to_first + LATHEP_ROW656_SCALES + group * (int64_t)sizeof scale,
           &scale, sizeof scale);
  }
}

LATHEP_FN void lathep_append_cache_row(const lathe_append_desc *desc, const lathe_append_args *args,
                                       int64_t token, const lathep_append_place *place,
                                       float inverse) {
  lathep_append_row row;
  row.in = desc->q_dtype;
  row.out = desc->kv_dtype;
  row.inverse = inverse;
  row.from = args->latent_cache;
  row.from_first = token * args->latent_token_stride;
  row.to = args->kv_cache;
  row.to_first = place->page * args->kv_page_stride + place->row * args->kv_row_stride;
  if (desc->kv_format == LATHE_KV_FORMAT_ROW656)
    lathep_append_groups(desc, &row);
  else
    lathep_append_copy(&row, desc->kv_lora_rank);
  if (desc->qk_rope_head_dim == 0)
    return;
  row.from = args->k_pe;
  row.from_first = token * args->k_pe_token_stride;
  if (desc->kv_format == LATHE_KV_FORMAT_ROW656) {
    row.out = desc->q_dtype;
    row.to = (char *)args->kv_cache + place->page * args->kv_page_stride +
             place->row * args->kv_row_stride + LATHEP_ROW656_ROPE;
    row.to_first = 0;
  } else {
    row.to = args->kpe_cache;
    row.to_first = place->page * args->kpe_page_stride + place->row * args->kpe_row_stride;
  }
  lathep_append_rotate(desc, args, &row, place->position);
}

LATHEP_FN void lathep_append_query_row(const lathe_append_desc *desc, const lathe_append_args *args,
                                       int64_t token, int64_t head, int64_t position,
                                       float inverse) {
  lathep_append_row row;
  row.in = desc->q_dtype;
  row.out = desc->q_out_dtype;
  row.inverse = inverse;
  if (args->q_nope) {
    row.from = args->q_nope;
    row.from_first = token * args->q_nope_token_stride + head * args->q_nope_head_stride;
    row.to = args->q_out;
    row.to_first = token * args->q_out_token_stride + head * args->q_out_head_stride;
    lathep_append_copy(&row, desc->kv_lora_rank);
  }
  if (!args->q_pe)
    return;
  row.from = args->q_pe;
  row.from_first = token * args->q_pe_token_stride + head * args->q_pe_head_stride;
  row.to = args->q_pe_out;
  row.to_first = token * args->q_pe_out_token_stride + head * args->q_pe_out_head_stride;
  lathep_append_rotate(desc, args, &row, position);
}

// Takes a desc and args whose defaults are filled in. Returns when everything is written.
LATHEP_FN void lathep_cpu_append(const lathe_append_desc *desc, const lathe_append_args *args) {
  const float q_scale = args->q_scale_device ? *args->q_scale_device : args->q_scale;
  const float kv_scale = args->kv_scale_device ? *args->kv_scale_device : args->kv_scale;
  const float q_inverse = lathep_append_inverse(q_scale);
  const float kv_inverse = lathep_append_inverse(kv_scale);
  int64_t token, head;
  for (token = 0; token < args->num_tokens; token++) {
    const lathep_append_place place = lathep_append_place_of(desc, args, token);
    if (place.request < 0)
      continue;
    for (head = 0; lathep_append_has_query(args) && head < desc->num_heads; head++)
      lathep_append_query_row(desc, args, token, head, place.position, q_inverse);
    if (place.page >= 0)
      lathep_append_cache_row(desc, args, token, &place, kv_inverse);
  }
  if (args->scales_out) {
    const float scale = (float)((double)args->softmax_scale * (double)q_scale);
    args->scales_out[0] = (float)((double)scale * (double)kv_scale);
    args->scales_out[1] = (float)((double)args->scales_out[0] * (double)1.44269504f);
    args->scales_out[2] = kv_scale;
  }
}
