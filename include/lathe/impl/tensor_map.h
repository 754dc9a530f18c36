// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Tensor maps: what the copy engine of sm_90 and later (TMA) is told of a cache. A cache is a
// tensor of 16-bit elements in four dimensions: column within a chunk of 64, row of a page, chunk,
// page. What is outside reads as zeros, which is what page numbers outside the cache are to give,
// and what columns past R are to hold.

LATHEP_FN int lathep_uses_tensor_maps(const lathep_variant *v) {
  return v->page > 1;
}

enum { LATHEP_TENSOR_MAP_RANK = 4 };
#define LATHEP_TENSOR_MAP_STRIDE_LIMIT (INT64_C(1) << 40) // bytes; strides are below

// Chunks that one copy brings. A copy lays its chunks one after the other, so the wide kernel,
// whose chunks have 64 rows, gets pieces of them one by one.
LATHEP_FN int lathep_box_chunks(const lathep_variant *v, int rope) {
  if (v->arch == LATHEP_ARCH_SM90A && v->page < v->tokens)
    return 1;
  if (rope)
    return lathep_chunks(v->r);
  if (v->arch == LATHEP_ARCH_SM90)
    return lathep_chunks(v->l);
  return v->l % (4 * LATHEP_CHUNK) == 0 ? 2 : 1;
}

LATHEP_FN lathe_status lathep_check_map_stride(const lathep_variant *v, const char *field,
                                               int64_t elements) {
  const int64_t limit = LATHEP_TENSOR_MAP_STRIDE_LIMIT / lathep_dtype_size(v->kv);
  char name[128];
  if (elements < limit)
    return LATHE_STATUS_OK;
  lathep_variant_name(v, name, sizeof name);
  return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                     "lathe_decode_args.%s is %lld elements, and kernel %s reaches less than %lld; "
                     "give less, or set LATHE_KERNEL=sm80 before the context is made",
                     field, (long long)elements, name, (long long)limit);
}

// Resolves the args of a run, as args.h does, and checks what the plan's kernel asks besides.
LATHEP_FN lathe_status lathep_plan_args(const lathe_decode_plan *plan,
                                        const lathe_decode_args *args, lathe_decode_args *filled) {
  const lathep_variant *v = &plan->choice.decode;
  lathe_status status = lathep_decode_args_resolve(&plan->asked, plan->context->backend,
                                                   plan->choice.workspace_size, args, filled);
  if (!status && plan->context->backend == LATHE_BACKEND_CUDA)
    status = lathep_plan_programmatic(plan, filled->programmatic_launch);
  if (status || !lathep_uses_tensor_maps(v))
    return status;
  status = lathep_check_map_stride(v, "kv_row_stride", filled->kv_row_stride);
  if (!status)
    status = lathep_check_map_stride(v, "kv_page_stride", filled->kv_page_stride);
  if (!status && args->kpe_cache && v->r > 0)
    status = lathep_check_map_stride(v, "kpe_row_stride", filled->kpe_row_stride);
  if (!status && args->kpe_cache && v->r > 0)
    status = lathep_check_map_stride(v, "kpe_page_stride", filled->kpe_page_stride);
  return status;
}

// `columns` of a row, in boxes of `box_chunks` chunks of `v->page` rows. Strides in bytes.
LATHEP_FN lathe_status lathep_tensor_map_make(const lathe_context *context, const lathep_variant *v,
                                              const struct lathep_decode_params *p,
                                              const void *base, int columns, int64_t row_stride,
                                              int64_t page_stride, int box_chunks,
                                              lathep_tensor_map *map) {
  const int type = v->kv == LATHE_DTYPE_BF16 ? LATHEP_TENSOR_MAP_BF16 : LATHEP_TENSOR_MAP_F16;
  const unsigned steps[LATHEP_TENSOR_MAP_RANK] = {1, 1, 1, 1};
  uint64_t dims[LATHEP_TENSOR_MAP_RANK], strides[LATHEP_TENSOR_MAP_RANK - 1];
  unsigned box[LATHEP_TENSOR_MAP_RANK];
  int code;
  dims[0] = (uint64_t)(columns < LATHEP_CHUNK ? columns : LATHEP_CHUNK);
  dims[1] = (uint64_t)p->page_size;
  dims[2] = (uint64_t)lathep_chunks(columns);
  // Page numbers are 32 bits with a sign.
  dims[3] = (uint64_t)(p->num_pages <= INT32_MAX ? p->num_pages : (int64_t)INT32_MAX + 1);
  strides[0] = (uint64_t)row_stride;
  strides[1] = LATHEP_CHUNK * 2;
  strides[2] = (uint64_t)page_stride;
  box[0] = LATHEP_CHUNK;
  box[1] = (unsigned)v->page;
  box[2] = (unsigned)box_chunks;
  box[3] = 1;
  code = context->cuda.cuTensorMapEncodeTiled(map, type, LATHEP_TENSOR_MAP_RANK,
                                              (void *)(uintptr_t)base, dims, strides, box, steps,
                                              LATHEP_TENSOR_MAP_PLAIN, LATHEP_TENSOR_MAP_SWIZZLE128,
                                              LATHEP_TENSOR_MAP_L2_256, LATHEP_TENSOR_MAP_ZEROS);
  if (code)
    return lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, code,
                              "cuTensorMapEncodeTiled failed for a cache at %p of %llu pages, "
                              "strides of %lld bytes a row and %lld a page; see that these are the "
                              "cache's, or set LATHE_KERNEL=sm80 before the context is made",
                              base, (unsigned long long)dims[3], (long long)row_stride,
                              (long long)page_stride);
  return LATHE_STATUS_OK;
}

// The two maps of a run; without rope the second is the first.
LATHEP_FN lathe_status lathep_tensor_maps(const lathe_context *context, const lathep_variant *v,
                                          const struct lathep_decode_params *p,
                                          lathep_tensor_map *latent, lathep_tensor_map *rope) {
  lathe_status status = lathep_tensor_map_make(context, v, p, p->ckv, v->l, p->ckv_row_stride,
                                               p->ckv_page_stride, lathep_box_chunks(v, 0), latent);
  if (status)
    return status;
  if (v->r > 0)
    return lathep_tensor_map_make(context, v, p, p->kpe, v->r, p->kpe_row_stride,
                                  p->kpe_page_stride, lathep_box_chunks(v, 1), rope);
  *rope = *latent;
  return LATHE_STATUS_OK;
}
