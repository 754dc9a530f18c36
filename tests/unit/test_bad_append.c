// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Everything that append and merge refuse: one row, and so one test, for each refusal, with its
// status and words that its message must have.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "append_fixture.h"

#define INVALID     LATHE_STATUS_INVALID_ARGUMENT
#define UNSUPPORTED LATHE_STATUS_UNSUPPORTED
#define FAILED      LATHE_STATUS_CHECK_FAILED

static lathe_context *context_of(lathe_backend backend) {
  return backend == LATHE_BACKEND_CPU ? cpu_context() : recording_context(9, 0);
}

// ----------------------------------------------------------------------------------------- append

// lathe_append_check and lathe_append_plan_create refuse alike.
static void refuse_desc(lathe_backend backend, const lathe_append_desc *desc, lathe_status status,
                        const char *words) {
  lathe_append_plan *plan = (lathe_append_plan *)&step;
  lathe_context *context = context_of(backend);
  expect_refused(lathe_append_check(context, desc), status, words);
  expect_refused(lathe_append_plan_create(context, desc, &plan), status, words);
  cr_expect_neq(lathe_last_error()->reason, LATHE_REASON_NONE);
  cr_expect_null(plan);
  lathe_context_destroy(context);
}

// lathe_append_run and lathe_append_validate refuse alike, before anything is launched.
static void refuse_args(lathe_backend backend, const lathe_append_desc *desc,
                        const lathe_append_args *args, lathe_status status, const char *words) {
  lathe_context *context = context_of(backend);
  lathe_append_plan *plan = recorded_append(context, desc);
  if (status != FAILED)
    expect_refused(lathe_append_run(plan, args, NULL), status, words);
  expect_refused(lathe_append_validate(plan, args, NULL), status, words);
  context->env.check = 1;
  expect_refused(lathe_append_run(plan, args, NULL), status, words);
  cr_expect_eq(recorded.num_launches, 0);
  lathe_append_plan_destroy(plan);
  lathe_context_destroy(context);
}

// `change` spoils d, or a, and may change d.
#define DESC_ON(suite, backend, name, change, status, words)                                       \
  Test(suite, name) {                                                                              \
    lathe_append_desc d = good_append_desc();                                                      \
    change;                                                                                        \
    refuse_desc(backend, &d, status, words);                                                       \
  }
#define DESC(name, change, status, words)                                                          \
  DESC_ON(bad_append_desc, LATHE_BACKEND_CUDA, name, change, status, words)                        \
  DESC_ON(bad_append_desc_cpu, LATHE_BACKEND_CPU, name, change, status, words)
#define DESC_CUDA(name, change, status, words)                                                     \
  DESC_ON(bad_append_desc, LATHE_BACKEND_CUDA, name, change, status, words)
#define ARGS_ON(suite, backend, name, change, status, words)                                       \
  Test(suite, name) {                                                                              \
    lathe_append_desc d = good_append_desc();                                                      \
    lathe_append_args a = good_append_args();                                                      \
    change;                                                                                        \
    refuse_args(backend, &d, &a, status, words);                                                   \
  }
#define ARGS(name, change, status, words)                                                          \
  ARGS_ON(bad_append, LATHE_BACKEND_CUDA, name, change, status, words)                             \
  ARGS_ON(bad_append_cpu, LATHE_BACKEND_CPU, name, change, status, words)
#define ARGS_CUDA(name, change, status, words)                                                     \
  ARGS_ON(bad_append, LATHE_BACKEND_CUDA, name, change, status, words)

#define E4M3 (d.kv_dtype = LATHE_DTYPE_E4M3)
#define FP8  (E4M3, d.q_out_dtype = LATHE_DTYPE_E4M3)
#define ROW656                                                                                     \
  (E4M3, d.kv_format = LATHE_KV_FORMAT_ROW656, d.kv_lora_rank = 512, d.qk_rope_head_dim = 64)
#define ROWS (a.q_nope = a.q_pe = NULL, a.q_out = NULL)

// clang-format off
DESC(num_heads_zero, d.num_heads = 0, INVALID, "lathe_append_desc.num_heads is 0; give")
DESC(lora_rank_zero, d.kv_lora_rank = 0, INVALID, "kv_lora_rank is 0; give")
DESC(rope_dim_negative, d.qk_rope_head_dim = -2, INVALID, "qk_rope_head_dim is -2; give")
DESC(rope_dim_odd, d.qk_rope_head_dim = 15, INVALID, "qk_rope_head_dim is 15, which has no pairs")
DESC(page_size_zero, d.page_size = 0, INVALID, "page_size is 0; give")
DESC(max_batch_zero, d.max_batch = 0, INVALID, "max_batch is 0; give")
DESC(max_q_len_negative, d.max_q_len = -1, INVALID, "max_q_len is -1; give")
DESC(max_seq_len_huge, d.max_seq_len = INT32_MAX, UNSUPPORTED, "max_seq_len is 2147483647; give")
DESC(max_positions_negative, d.max_positions = -1, INVALID, "max_positions is -1; give")
DESC(q_dtype_unset, d.q_dtype = LATHE_DTYPE_NONE, INVALID, "lathe_append_desc.q_dtype is not set")
DESC(q_dtype_e4m3, d.q_dtype = LATHE_DTYPE_E4M3, UNSUPPORTED, "q_dtype is e4m3; what is appended is f16 or bf16")
DESC(kv_dtype_other_half, d.kv_dtype = LATHE_DTYPE_F16, UNSUPPORTED, "kv_dtype is f16 with q_dtype bf16; give bf16 or e4m3")
DESC(q_out_dtype_unknown, d.q_out_dtype = (lathe_dtype)17, INVALID, "q_out_dtype is 17")
DESC(q_out_dtype_other_half, d.q_out_dtype = LATHE_DTYPE_F16, UNSUPPORTED, "q_out_dtype is f16 with q_dtype bf16 and a plain cache of bf16; give bf16")
DESC(q_out_e4m3_without_cache, d.q_out_dtype = LATHE_DTYPE_E4M3, UNSUPPORTED, "q_out_dtype is e4m3")
DESC(q_out_e4m3_with_rows, (ROW656, d.q_out_dtype = LATHE_DTYPE_E4M3), UNSUPPORTED, "a ROW656 cache of e4m3; give bf16")
DESC(kv_format_unknown, d.kv_format = (lathe_kv_format)2, INVALID, "kv_format is 2")
DESC(row_scale_unknown, d.row_scale = (lathe_row_scale)2, INVALID, "row_scale is 2")
DESC(row_scale_of_plain_rows, d.row_scale = LATHE_ROW_SCALE_POW2, INVALID, "row_scale is LATHE_ROW_SCALE_POW2 with a plain cache; leave it 0")
DESC(row656_of_bf16, (ROW656, d.kv_dtype = LATHE_DTYPE_BF16), UNSUPPORTED, "ROW656 with q_dtype bf16 and kv_dtype bf16; give bf16 and e4m3")
DESC(row656_out_of_f16, (ROW656, d.q_dtype = LATHE_DTYPE_F16), UNSUPPORTED, "ROW656 with q_dtype f16")
DESC(row656_of_other_dims, (ROW656, d.kv_lora_rank = 256), UNSUPPORTED, "kv_lora_rank 256 and qk_rope_head_dim 64; give 512 and 64")
DESC(rope_unset, d.rope = LATHE_ROPE_UNSET, INVALID, "rope is not set (0) with qk_rope_head_dim 16; give LATHE_ROPE_INTERLEAVED")
DESC(rope_unknown, d.rope = (lathe_rope)4, INVALID, "rope is 4, which is no lathe_rope")
DESC_CUDA(lora_rank_not_of_16, d.kv_lora_rank = 500, UNSUPPORTED, "lathe_append_desc.kv_lora_rank is 500; the CUDA kernels take multiples of 16")
DESC_CUDA(rope_dim_not_of_16, d.qk_rope_head_dim = 24, UNSUPPORTED, "qk_rope_head_dim is 24; the CUDA")

ARGS(batch_past_max, a.batch = 4, INVALID, "lathe_append_args.batch is 4; give 1 to 3")
ARGS(q_len_past_max, a.q_len = 3, INVALID, "lathe_append_args.q_len is 3; give 1 to 2")
ARGS(num_tokens_too_few, a.num_tokens = 5, INVALID, "lathe_append_args.num_tokens is 5, fewer than the 6")
ARGS(nothing_to_do, (ROWS, a.latent_cache = NULL), INVALID, "q_nope, q_pe and latent_cache are null; give")
ARGS(q_out_without_query, (ROWS, a.q_out = step.q_out), INVALID, "while q_nope and q_pe are null; set these")
ARGS(q_pe_null, a.q_pe = NULL, INVALID, "q_pe is null while q_nope is set and qk_rope_head_dim is 16; give both")
ARGS(q_nope_null_to_be_quantised, (FP8, a.q_nope = NULL), INVALID, "q_nope is null while q_out_dtype is e4m3; give q_nope")
ARGS(q_out_not_written, (a.q_nope = NULL, a.q_pe_out = step.q_pe_out), INVALID, "while q_nope is null and q_pe_out is set; leave q_out null")
ARGS(q_out_null, a.q_out = NULL, INVALID, "lathe_append_args.q_out is null; give")
ARGS(cache_without_rows, a.latent_cache = NULL, INVALID, "latent_cache is null while kv_cache is set; set it")
ARGS(k_pe_without_rows, (a.latent_cache = NULL, a.k_pe = step.k_pe), INVALID, "latent_cache is null while k_pe is set")
ARGS(kpe_cache_with_rows, (ROW656, a.kpe_cache = step.kpe), INVALID, "with rows of ROW656; leave it null")
ARGS(kv_cache_null, a.kv_cache = NULL, INVALID, "lathe_append_args.kv_cache is null; give")
ARGS(block_tables_null, a.block_tables = NULL, INVALID, "block_tables is null; give int32 [batch, block_table_stride], or slot_mapping")
ARGS(seq_lens_null, a.seq_lens = NULL, INVALID, "seq_lens is null; give int32 [batch], or positions")
ARGS(cos_sin_null, a.cos_sin = NULL, INVALID, "lathe_append_args.cos_sin is null; give")
ARGS(cos_sin_too_short, d.max_positions = 19, INVALID, "positions is null while max_positions is 19 and max_seq_len 20; make")
ARGS(stride_without_tensor, a.q_pe_out_head_stride = 16, INVALID, "q_pe_out_head_stride is 16 while q_pe_out is null; set q_pe_out")
ARGS(kpe_stride_without_cache, a.kpe_row_stride = 16, INVALID, "kpe_row_stride is 16 while kpe_cache is null")
ARGS(q_nope_stride_small, a.q_nope_head_stride = 16, INVALID, "q_nope_head_stride is 16 elements; give 32 or more")
ARGS(q_out_stride_of_two_tensors, a.q_out_head_stride = 32, INVALID, "q_out_head_stride is 32 elements; give 48 or more (0: packed), or set q_pe_out")
ARGS(latent_stride_of_two_tensors, a.latent_token_stride = 32, INVALID, "latent_token_stride is 32 elements; give 48 or more (0: packed), or set k_pe")
ARGS(kv_row_stride_small, a.kv_row_stride = 32, INVALID, "lathe_append_args.kv_row_stride is 32 elements; give 48 or more")
ARGS(row656_stride_small, (ROW656, a.kv_row_stride = 576), INVALID, "kv_row_stride is 576 elements; give 656 or more")
ARGS(row656_stride_odd, (ROW656, a.kv_row_stride = 660), INVALID, "kv_row_stride is 660 elements; give a multiple of 16")
ARGS(cos_sin_stride_small, a.cos_sin_row_stride = 8, INVALID, "cos_sin_row_stride is 8 elements; give 16 or more")
ARGS(num_pages_negative, a.num_pages = -1, INVALID, "lathe_append_args.num_pages is -1; give")
ARGS(block_table_stride_negative, a.block_table_stride = -1, INVALID, "lathe_append_args.block_table_stride is -1; give")
ARGS(positions_odd, a.positions = (int32_t *)(void *)((char *)step.positions + 2), INVALID, "positions is at")
ARGS(slots_odd, a.slot_mapping = (int64_t *)(void *)((char *)step.slots + 4), INVALID, "give an address that is a multiple of 8")
ARGS(inactive_odd, a.inactive = (int32_t *)(void *)((char *)step.inactive + 1), INVALID, "inactive is at")
ARGS_CUDA(q_pe_unaligned, a.q_pe = step.q_pe + 2, INVALID, "lathe_append_args.q_pe is at")
ARGS_CUDA(cos_sin_unaligned, a.cos_sin = step.cos_sin + 1, INVALID, "cos_sin is at")
ARGS_CUDA(q_out_stride_not_of_16_bytes, a.q_out_token_stride = 196, INVALID, "q_out_token_stride is 196 elements; give a multiple of 8")
ARGS(q_scale_of_bf16, a.q_scale = 2, INVALID, "q_scale is set while q_out_dtype is not e4m3; leave it 0")
ARGS(kv_scale_of_bf16, a.kv_scale_device = step.scale, INVALID, "kv_scale_device is set while the cache is no plain one of e4m3; leave")
ARGS(kv_scale_of_row656, (ROW656, a.kv_scale = 1), INVALID, "kv_scale is set while")
ARGS(kv_scale_negative, (E4M3, a.kv_scale = -1), INVALID, "kv_scale is -1; give")
ARGS(kv_scale_without_reciprocal, (E4M3, a.kv_scale = 1e-39f), INVALID, "kv_scale is 1e-39; give")
ARGS(kv_scale_twice, (E4M3, a.kv_scale = 1, a.kv_scale_device = step.scale), INVALID, "kv_scale is 1 and kv_scale_device is set; leave one")
ARGS(scale_odd, (E4M3, a.kv_scale_device = (float *)(void *)((char *)step.scale + 2)), INVALID, "kv_scale_device is at")
ARGS(softmax_scale_zero, a.scales_out = step.scales, INVALID, "softmax_scale is 0 with scales_out; give")
ARGS(scales_too_small, (E4M3, a.scales_out = step.scales, a.softmax_scale = 1e-30f, a.kv_scale = 1e-20f), INVALID, "is 1e-30 x 1 x 1e-20, too small for a float; give the scales of the stored values")
ARGS(scales_too_large, (E4M3, a.scales_out = step.scales, a.softmax_scale = 1e30f, a.kv_scale = 1e30f), INVALID, "too large for a float; give")
ARGS(in_place_with_other_strides, (a.q_nope = NULL, a.q_out = NULL, a.q_pe_out = step.q_pe, a.q_pe_token_stride = 128, a.q_pe_out_head_stride = 32, a.q_pe_out_token_stride = 128), INVALID, "q_pe_out is at")
ARGS(in_place_and_quantised, (FP8, a.q_pe_out = step.q_pe), INVALID, "where q_pe is; give outputs memory of their own")
ARGS(q_out_is_q_nope, (a.q_out = step.q_nope, a.q_pe_out = step.q_pe_out), INVALID, "q_out is at")
ARGS(cache_is_latent, a.kv_cache = step.latent, INVALID, "kv_cache is at")

ARGS(length_past_max, step.lens[1] = 21, FAILED, "seq_lens[1] is 21; request 1 may have 0 to 20")
ARGS(length_negative, step.lens[2] = -1, FAILED, "seq_lens[2] is -1")
ARGS(tokens_past_the_end, (a.cu_q_lens = step.cu, step.cu[3] = 7), FAILED, "cu_q_lens[2] to cu_q_lens[3] is 3 to 7; request 2 may have 0 to 2")
ARGS(entry_past_the_cache, step.tables[4] = NUM_PAGES, FAILED, "block_tables[0][4] is 16; token 0 of request 0 is at position 18")
ARGS(entry_negative, step.tables[TABLE_STRIDE + 2] = -1, FAILED, "block_tables[1][2] is -1; token 2 of request 1 is at position 9")
ARGS(position_past_the_rows, (a.positions = step.positions, step.positions[1] = 20), FAILED, "positions[1] is 20, of request 0; cos_sin has rows 0 to 19")
ARGS(position_past_the_table, (a.positions = step.positions, d.rope = LATHE_ROPE_NONE, step.positions[1] = 20), FAILED, "positions[1] is 20, of request 0; its block table has positions 0 to 19")
ARGS(slot_past_the_cache, (a.slot_mapping = step.slots, step.slots[5] = 64), FAILED, "slot_mapping[5] is 64, of request 2; the cache has slots 0 to 63")
ARGS(q_scale_device_zero, (FP8, a.q_scale_device = step.scale, step.scale[0] = 0), FAILED, "the float at lathe_append_args.q_scale_device is 0; write a finite value above 0 there")
ARGS(kv_scale_device_nan, (E4M3, a.kv_scale_device = step.scale, step.scale[0] = NAN), FAILED, "the float at lathe_append_args.kv_scale_device is ")
ARGS(kv_scale_device_negative, (E4M3, a.kv_scale_device = step.scale + 1, step.scale[1] = -2), FAILED, "kv_scale_device is -2; write")
ARGS(kv_scale_device_without_a_reciprocal, (E4M3, a.kv_scale_device = step.scale, step.scale[0] = 1e-39f), FAILED, "write a value there whose reciprocal is finite before the run")
ARGS(scales_on_the_device_underflow, (FP8, a.scales_out = step.scales, a.softmax_scale = 1, a.q_scale_device = step.scale, a.kv_scale_device = step.scale, step.scale[0] = 1e-20f), FAILED, "softmax_scale x q_scale x kv_scale is 1 x 1e-20 x 1e-20, too small")
// clang-format on

// What is not read may be anything.
Test(bad_append, validator_lets_pass) {
  static const lathe_backend backends[] = {LATHE_BACKEND_CUDA, LATHE_BACKEND_CPU};
  int b;
  for (b = 0; b < 2; b++) {
    lathe_append_desc desc = good_append_desc();
    lathe_append_args args = good_append_args();
    lathe_context *context = context_of(backends[b]);
    lathe_append_plan *plan = recorded_append(context, &desc);
    step.tables[0] = step.tables[3] = step.tables[TABLE_STRIDE] = INT32_MAX;
    cr_expect_eq(lathe_append_validate(plan, &args, NULL), LATHE_STATUS_OK, "%s",
                 lathe_last_error()->message);
    step.tables[4] = INT32_MAX; // request 0's, which is not written here
    step.inactive[0] = 1;
    args.inactive = step.inactive;
    cr_expect_eq(lathe_append_validate(plan, &args, NULL), LATHE_STATUS_OK);
    args.slot_mapping = step.slots;
    args.block_tables = NULL;
    step.slots[3] = -1;
    cr_expect_eq(lathe_append_validate(plan, &args, NULL), LATHE_STATUS_OK);
    args.positions = step.positions;
    args.seq_lens = NULL;
    cr_expect_eq(lathe_append_validate(plan, &args, NULL), LATHE_STATUS_OK);
    lathe_append_plan_destroy(plan);
    lathe_context_destroy(context);
  }
}

Test(bad_append, nulls) {
  lathe_append_desc desc = good_append_desc();
  lathe_append_args args = good_append_args();
  lathe_append_plan_info info;
  lathe_context *context = recording_context(9, 0);
  lathe_append_plan *plan = recorded_append(context, &desc);
  expect_refused(lathe_append_check(NULL, &desc), INVALID, "context is null");
  expect_refused(lathe_append_check(context, NULL), INVALID, "desc is null");
  expect_refused(lathe_append_plan_create(context, &desc, NULL), INVALID, "plan is null");
  expect_refused(lathe_append_plan_get_info(NULL, &info), INVALID, "plan is null");
  expect_refused(lathe_append_plan_get_info(plan, NULL), INVALID, "info is null");
  expect_refused(lathe_append_run(NULL, &args, NULL), INVALID, "plan is null");
  expect_refused(lathe_append_run(plan, NULL, NULL), INVALID, "args is null");
  expect_refused(lathe_append_validate(NULL, &args, NULL), INVALID, "plan is null");
  recorded.capturing = 1;
  expect_refused(lathe_append_validate(plan, &args, NULL), INVALID,
                 "call lathe_append_validate() before the capture");
  lathe_append_plan_destroy(plan);
  lathe_append_plan_destroy(NULL);
  lathe_context_destroy(context);
}

Test(bad_append, device_too_old) {
  lathe_append_desc desc = good_append_desc();
  lathe_merge_desc merge = good_merge_desc();
  lathe_context *context = recording_context(7, 5);
  expect_refused(lathe_append_check(context, &desc), UNSUPPORTED, "compute capability 7.5");
  expect_refused(lathe_merge_check(context, &merge), UNSUPPORTED, "compute capability 7.5");
  lathe_context_destroy(context);
}

Test(bad_append, programmatic_below_hopper) {
  lathe_append_desc desc = good_append_desc();
  lathe_append_args args = good_append_args();
  lathe_merge_desc merge_desc = good_merge_desc();
  lathe_merge_args merge_args = good_merge_args();
  lathe_context *context = recording_context(8, 0);
  lathe_append_plan *plan = recorded_append(context, &desc);
  lathe_merge_plan *merge = recorded_merge(context, &merge_desc);
  args.programmatic_launch = merge_args.programmatic_launch = 1;
  expect_refused(lathe_append_run(plan, &args, NULL), UNSUPPORTED,
                 "lathe_append_args.programmatic_launch is 1");
  expect_refused(lathe_merge_run(merge, &merge_args, NULL), UNSUPPORTED,
                 "lathe_merge_args.programmatic_launch is 1");
  cr_expect_eq(recorded.num_launches, 0);
  lathe_append_plan_destroy(plan);
  lathe_merge_plan_destroy(merge);
  lathe_context_destroy(context);
}

Test(bad_append, kernel_that_may_not_be_compiled) {
  lathe_append_desc desc = good_append_desc();
  lathe_merge_desc merge = good_merge_desc();
  lathe_append_plan *plan;
  lathe_merge_plan *merge_plan;
  lathe_context *context = recording_context(9, 0);
  context->jit = 0;
  context->jit_off = "LATHE_JIT=0";
  expect_refused(lathe_append_plan_create(context, &desc, &plan), LATHE_STATUS_JIT_DISABLED,
                 "families = [\"append_sm80_bf16_bf16\"], l = 32, r = 16,");
  expect_refused(lathe_merge_plan_create(context, &merge, &merge_plan), LATHE_STATUS_JIT_DISABLED,
                 "families = [\"join_sm80_bf16\"], l = 32,");
  lathe_context_destroy(context);
}

// ------------------------------------------------------------------------------------------ merge

static void refuse_merge(lathe_backend backend, const lathe_merge_desc *desc,
                         const lathe_merge_args *args, lathe_status status, const char *words) {
  lathe_context *context = context_of(backend);
  lathe_merge_plan *plan = NULL;
  if (!args) {
    expect_refused(lathe_merge_check(context, desc), status, words);
    expect_refused(lathe_merge_plan_create(context, desc, &plan), status, words);
    cr_expect_neq(lathe_last_error()->reason, LATHE_REASON_NONE);
    cr_expect_null(plan);
  } else {
    plan = recorded_merge(context, desc);
    expect_refused(lathe_merge_run(plan, args, NULL), status, words);
    cr_expect_eq(recorded.num_launches, 0);
    lathe_merge_plan_destroy(plan);
  }
  lathe_context_destroy(context);
}

#define MERGE_ON(suite, backend, name, change, of, status, words)                                  \
  Test(suite, name) {                                                                              \
    lathe_merge_desc d = good_merge_desc();                                                        \
    lathe_merge_args a = good_merge_args();                                                        \
    const lathe_merge_args *args = &a, *desc = NULL;                                               \
    (void)args, (void)desc;                                                                        \
    change;                                                                                        \
    refuse_merge(backend, &d, of, status, words);                                                  \
  }
#define MERGE(name, change, of, status, words)                                                     \
  MERGE_ON(bad_merge, LATHE_BACKEND_CUDA, name, change, of, status, words)                         \
  MERGE_ON(bad_merge_cpu, LATHE_BACKEND_CPU, name, change, of, status, words)

// clang-format off
MERGE(num_heads_zero, d.num_heads = 0, desc, INVALID, "lathe_merge_desc.num_heads is 0; give")
MERGE(lora_rank_zero, d.kv_lora_rank = 0, desc, INVALID, "lathe_merge_desc.kv_lora_rank is 0; give")
MERGE_ON(bad_merge, LATHE_BACKEND_CUDA, lora_rank_not_of_16, d.kv_lora_rank = 40, desc, UNSUPPORTED, "kv_lora_rank is 40; the CUDA kernels")
MERGE(in_dtype_unset, d.in_dtype = LATHE_DTYPE_NONE, desc, INVALID, "in_dtype is not set")
MERGE(in_dtype_e4m3, d.in_dtype = LATHE_DTYPE_E4M3, desc, UNSUPPORTED, "in_dtype is e4m3; what is merged is f16, bf16 or f32")
MERGE(out_dtype_e4m3, d.out_dtype = LATHE_DTYPE_E4M3, desc, UNSUPPORTED, "out_dtype is e4m3;")
MERGE(lse_base_unknown, d.lse_base = (lathe_lse_base)10, desc, INVALID, "lathe_merge_desc.lse_base is 10")
MERGE(num_tokens_zero, a.num_tokens = 0, args, INVALID, "num_tokens is 0; give")
MERGE(num_states_zero, a.num_states = 0, args, INVALID, "num_states is 0; give 1 to 64")
MERGE(num_states_too_many, a.num_states = 65, args, INVALID, "num_states is 65; give 1 to 64, and merge what is merged")
MERGE(states_null, a.states = NULL, args, INVALID, "states is null; give the host's array of 2")
MERGE(state_out_null, good_states[1].out = NULL, args, INVALID, "states[1].out is null; give")
MERGE(state_lse_null, good_states[1].lse = NULL, args, INVALID, "states[1].lse is null; give")
MERGE(out_null, a.out = NULL, args, INVALID, "lathe_merge_args.out is null; give")
MERGE(in_stride_small, a.in_head_stride = 16, args, INVALID, "in_head_stride is 16 elements; give 32 or more")
MERGE(in_lse_stride_small, a.in_lse_token_stride = 2, args, INVALID, "in_lse_token_stride is 2 elements, but 4 rows")
MERGE(out_stride_small, a.out_token_stride = 64, args, INVALID, "out_token_stride is 64 elements, but 4 rows")
MERGE_ON(bad_merge, LATHE_BACKEND_CUDA, in_unaligned, good_states[0].out = step.in[0] + 2, args, INVALID, "states[0].out is at")
MERGE_ON(bad_merge, LATHE_BACKEND_CUDA, out_stride_not_of_16_bytes, a.out_head_stride = 36, args, INVALID, "out_head_stride is 36 elements; give a multiple of 8")
MERGE(lse_stride_without_lse, (a.lse = NULL, a.lse_token_stride = 4), args, INVALID, "lse_token_stride is 4 while lse is null")
MERGE(in_place, a.out = step.in[1], args, INVALID, "out is at")
MERGE(lse_in_place, a.lse = step.in_lse[0], args, INVALID, "lse is at")
// clang-format on

Test(bad_merge, nulls) {
  lathe_merge_desc desc = good_merge_desc();
  lathe_merge_args args = good_merge_args();
  lathe_merge_plan_info info;
  lathe_context *context = recording_context(9, 0);
  lathe_merge_plan *plan = recorded_merge(context, &desc);
  expect_refused(lathe_merge_check(NULL, &desc), INVALID, "context is null");
  expect_refused(lathe_merge_check(context, NULL), INVALID, "desc is null");
  expect_refused(lathe_merge_plan_create(context, &desc, NULL), INVALID, "plan is null");
  expect_refused(lathe_merge_plan_get_info(NULL, &info), INVALID, "plan is null");
  expect_refused(lathe_merge_plan_get_info(plan, NULL), INVALID, "info is null");
  expect_refused(lathe_merge_run(NULL, &args, NULL), INVALID, "plan is null");
  expect_refused(lathe_merge_run(plan, NULL, NULL), INVALID, "args is null");
  lathe_merge_plan_destroy(plan);
  lathe_merge_plan_destroy(NULL);
  lathe_context_destroy(context);
}
