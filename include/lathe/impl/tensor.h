// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Tensors that come with args: their addresses and strides, the defaults of these, and what is
// wrong with them, for every operation alike.

enum { LATHEP_COPY_BYTES = 16 }; // what the kernels copy at once, so what rows are aligned to

// A tensor of args: outer x inner rows (tokens x heads, or pages x rows of a page).
typedef struct lathep_tensor {
  const char *of; // the args, as in messages: "lathe_decode_args"
  const char *pointer_name, *prefix, *outer_name, *inner_name; // fields: <prefix>_<name>_stride
  int64_t outers, inners; // how many of each; outers 0: not known
  int64_t row;            // elements of a row
  int element, align;     // bytes
  int paged;              // packed pages follow the stride of their rows
  const char *hint;       // what a row that does not fit its stride may mean
} lathep_tensor;

// [tokens, heads, one element]; copied in pieces if it is the kernels that read or write it.
LATHEP_FN lathep_tensor lathep_token_tensor(const char *of, const char *name, int64_t tokens,
                                            int64_t heads, int element, int copied) {
  lathep_tensor t;
  t.of = of;
  t.pointer_name = t.prefix = name;
  t.outer_name = "token";
  t.inner_name = "head";
  t.outers = tokens;
  t.inners = heads;
  t.row = 1;
  t.element = element;
  t.align = copied ? LATHEP_COPY_BYTES : element;
  t.paged = 0;
  t.hint = "";
  return t;
}

LATHEP_FN lathe_status lathep_check_pointer(const char *of, const char *field, const void *pointer,
                                            int align, const char *what) {
  if (!pointer)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT, "%s.%s is null; give %s", of, field, what);
  if ((uintptr_t)pointer % (uintptr_t)align)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.%s is at %p; give an address that is a multiple of %d bytes", of, field,
                       pointer, align);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_check_stride(const lathep_tensor *t, const char *name, int64_t stride,
                                           int64_t least) {
  if (stride < least)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.%s_%s_stride is %lld elements; give %lld or more (0: "
                       "packed)%s",
                       t->of, t->prefix, name, (long long)stride, (long long)least, t->hint);
  if (stride % (t->align / t->element))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.%s_%s_stride is %lld elements; give a multiple of %d, "
                       "which keeps rows %d-byte aligned",
                       t->of, t->prefix, name, (long long)stride, t->align / t->element, t->align);
  return LATHE_STATUS_OK;
}

// (count - 1) * stride added to *sum; nonzero on overflow.
LATHEP_FN int lathep_add_extent(int64_t count, int64_t stride, int64_t *sum) {
  int64_t bytes;
  return lathep_mul_overflow(count - 1, stride, &bytes) || lathep_add_overflow(*sum, bytes, sum);
}

// Fills in and checks the two strides. A stride along a dimension of one is not looked at (tensor
// libraries leave anything there) and becomes the row.
LATHEP_FN lathe_status lathep_resolve_strides(const lathep_tensor *t, int64_t packed,
                                              int64_t *outer, int64_t *inner) {
  int64_t extent = t->row, bytes, outers = t->outers ? t->outers : 2;
  lathe_status status;
  if (*outer == 0)
    *outer = packed;
  if (t->inners == 1)
    *inner = t->row;
  if (t->outers == 1)
    *outer = t->row;
  status = lathep_check_stride(t, t->inner_name, *inner, t->row);
  if (!status)
    status = lathep_check_stride(t, t->outer_name, *outer, t->row);
  if (status)
    return status;
  if (lathep_add_extent(outers, *outer, &extent) || lathep_add_extent(t->inners, *inner, &extent) ||
      lathep_mul_overflow(extent, t->element, &bytes))
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "%s.%s spans more than 2^63 bytes (%s_%s_stride %lld, "
                       "%s_%s_stride %lld); give strides in elements, 0 for packed",
                       t->of, t->pointer_name, t->prefix, t->outer_name, (long long)*outer,
                       t->prefix, t->inner_name, (long long)*inner);
  // Rows must not overlap: all of an outer one before the next, or the other way round.
  if (t->inners > 1 && t->outers != 1) {
    int64_t page = (t->inners - 1) * *inner + t->row, across = *outer;
    if (t->outers)
      across = (t->outers - 1) * *outer + t->row;
    if (*outer < page && (*inner <= *outer || *inner < across))
      return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                         "%s.%s_%s_stride is %lld elements, but %lld rows at "
                         "%s_%s_stride %lld take %lld; give that or more (0: packed)",
                         t->of, t->prefix, t->outer_name, (long long)*outer, (long long)t->inners,
                         t->prefix, t->inner_name, (long long)*inner, (long long)page);
  }
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_resolve_tensor(const lathep_tensor *t, const void *data,
                                             int64_t *outer, int64_t *inner) {
  int64_t packed;
  lathe_status status =
      lathep_check_pointer(t->of, t->pointer_name, data, t->align, "the address of the tensor");
  if (status)
    return status;
  if (*inner == 0)
    *inner = t->row;
  if (lathep_mul_overflow(t->inners, t->paged ? *inner : t->row, &packed))
    packed = INT64_MAX / t->align * t->align; // which spans too much
  return lathep_resolve_strides(t, packed, outer, inner);
}

// A tensor that may be left out, and one of its strides.
typedef struct lathep_optional {
  const char *name, *field;
  const void *pointer;
  int64_t stride;
} lathep_optional;

// A stride without its tensor is most likely a forgotten pointer.
LATHEP_FN lathe_status lathep_check_optional(const char *of, const lathep_optional *optional,
                                             size_t count) {
  size_t i;
  for (i = 0; i < count; i++)
    if (!optional[i].pointer && optional[i].stride)
      return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                         "%s.%s is %lld while %s is null; set %s, or leave the stride 0", of,
                         optional[i].field, (long long)optional[i].stride, optional[i].name,
                         optional[i].name);
  return LATHE_STATUS_OK;
}
