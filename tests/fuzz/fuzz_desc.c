// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Descs and args with a few fields set to anything: every one is accepted or refused with a reason,
// and none makes the checks overflow, divide by zero or touch memory.
#define FUZZ_COUNT 200000
#include "fuzz.h"

#include <stddef.h>

#define DESC(name)                                                                                 \
  { offsetof(lathe_decode_desc, name), sizeof(((lathe_decode_desc *)0)->name), 0 }
#define ARGS(name)                                                                                 \
  { offsetof(lathe_decode_args, name), sizeof(((lathe_decode_args *)0)->name), 0 }
#define POINTER(name)                                                                              \
  { offsetof(lathe_decode_args, name), sizeof(void *), 1 }

typedef struct field {
  size_t offset, size;
  int pointer;
} field;

static uint64_t tensor[64];

static const field desc_fields[] = {DESC(num_heads),
                                    DESC(kv_lora_rank),
                                    DESC(qk_rope_head_dim),
                                    DESC(q_dtype),
                                    DESC(kv_dtype),
                                    DESC(out_dtype),
                                    DESC(page_size),
                                    DESC(max_batch),
                                    DESC(max_q_len),
                                    DESC(max_seq_len),
                                    DESC(mask),
                                    DESC(lse_base),
                                    DESC(num_sms),
                                    DESC(split_len),
                                    DESC(sliding_window),
                                    DESC(logit_softcap),
                                    DESC(attention_sinks),
                                    DESC(softmax_scale_on_device),
                                    DESC(kv_format),
                                    DESC(sparse_topk),
                                    DESC(cp_world),
                                    DESC(cp_rank),
                                    DESC(cp_interleave),
                                    DESC(cp_lens)};

static const field args_fields[] = {ARGS(batch),
                                    ARGS(q_len),
                                    POINTER(cu_q_lens),
                                    ARGS(num_tokens),
                                    POINTER(q),
                                    POINTER(q_pe),
                                    ARGS(q_token_stride),
                                    ARGS(q_head_stride),
                                    ARGS(q_pe_token_stride),
                                    ARGS(q_pe_head_stride),
                                    POINTER(kv_cache),
                                    POINTER(kpe_cache),
                                    ARGS(kv_page_stride),
                                    ARGS(kv_row_stride),
                                    ARGS(kpe_page_stride),
                                    ARGS(kpe_row_stride),
                                    ARGS(num_pages),
                                    POINTER(block_tables),
                                    ARGS(block_table_stride),
                                    POINTER(seq_lens),
                                    ARGS(softmax_scale),
                                    ARGS(kv_scale),
                                    ARGS(q_scale),
                                    ARGS(out_scale),
                                    POINTER(sinks),
                                    POINTER(softmax_scale_at),
                                    POINTER(sparse_indices),
                                    POINTER(sparse_lens),
                                    ARGS(sparse_token_stride),
                                    POINTER(tree_mask),
                                    ARGS(tree_mask_stride),
                                    POINTER(out),
                                    ARGS(out_token_stride),
                                    ARGS(out_head_stride),
                                    POINTER(lse),
                                    ARGS(lse_token_stride),
                                    ARGS(lse_head_stride),
                                    POINTER(workspace),
                                    ARGS(workspace_size),
                                    ARGS(scheduled)};

static void set_fields(fuzz_input *input, void *object, const field *fields, size_t count) {
  for (uint32_t n = fuzz_byte(input) % 6; n > 0; n--) {
    const field *f = &fields[fuzz_byte(input) % count];
    int64_t wide = fuzz_number(input);
    int32_t narrow = (int32_t)wide;
    if (f->pointer) /* null, aligned or not, or the same as another */
      wide = wide == 0 ? 0 : (int64_t)(uintptr_t)((char *)tensor + (wide & 127));
    memcpy((char *)object + f->offset, f->size == 8 ? (void *)&wide : (void *)&narrow, f->size);
  }
}

static int encode(lathep_tensor_map *map, int type, unsigned rank, void *address,
                  const uint64_t *dims, const uint64_t *strides, const unsigned *box,
                  const unsigned *steps, int interleave, int swizzle, int promotion, int fill) {
  (void)type, (void)address, (void)steps;
  (void)interleave, (void)swizzle, (void)promotion, (void)fill;
  memset(map, 0, sizeof *map);
  for (unsigned i = 0; i < rank; i++) {
    fuzz_expect(dims[i] > 0 && dims[i] <= 1ull << 32, "a map's dimension is out of range");
    fuzz_expect(box[i] > 0 && box[i] <= 256, "a map's box is out of range");
    fuzz_expect(i + 1 == rank || (strides[i] % 16 == 0 && strides[i] < 1ull << 40),
                "a map's stride is out of range");
  }
  return 0;
}

// A refused desc has a reason, and that its status.
static void expect_reason(lathe_status status) {
  const lathe_reason reason = lathe_last_error()->reason;
  fuzz_expect_status(status);
  if (status)
    fuzz_expect(reason != LATHE_REASON_NONE && lathep_reason_status(reason) == status &&
                    lathe_last_error()->field,
                "a refusal without its reason");
}

// What a Hopper would run of the desc and these args: legal, or a reason.
static void dispatch(const lathe_context *cpu, const lathe_decode_desc *desc,
                     const lathe_decode_args *args) {
  static lathep_candidates list; // too large for some stacks
  lathe_context hopper = *cpu;
  lathe_decode_plan plan;
  lathe_decode_args filled;
  lathep_tensor_map latent, rope;
  struct lathep_decode_params params;
  const lathep_variant *v = &plan.choice.decode;
  lathe_status status;
  memset(&plan, 0, sizeof plan);
  hopper.backend = LATHE_BACKEND_CUDA;
  hopper.device.major = 9;
  hopper.device.num_sms = 132;
  hopper.device.shared_optin = 232448;
  hopper.cuda.cuTensorMapEncodeTiled = encode;
  plan.context = &hopper;
  status = lathep_decode_prepare(&hopper, desc, &plan.asked, &list, &plan.choice);
  expect_reason(status);
  if (status)
    return;
  lathep_desc_of_run(&plan.asked, &plan.desc);
  fuzz_expect(plan.choice.groups >= 1 && plan.choice.groups <= LATHEP_MAX_GROUPS &&
                  plan.choice.merge_blocks >= 1 && plan.choice.merge_blocks <= 4 * 132 &&
                  v->shared_bytes > 0 && v->shared_bytes <= 231424 && v->threads <= 512,
              "a launch that no Hopper runs");
  plan.choice.workspace_size = 0; // the caller's is anything
  status = lathep_plan_args(&plan, args, &filled);
  fuzz_expect_status(status);
  if (status)
    return;
  filled.workspace = tensor;
  lathep_decode_params_fill(&plan, &filled, &params);
  fuzz_expect((size_t)params.splits * LATHEP_SPLIT_INTS * sizeof(int) <=
                      plan.choice.split_table_bytes &&
                  params.splits <= LATHEP_MAX_SPLITS &&
                  (!plan.choice.merges || !plan.desc.split_len ||
                   (int64_t)params.splits * params.split_parts <= plan.choice.slots),
              "a run that writes past its workspace");
  if (!lathep_uses_tensor_maps(v))
    return;
  fuzz_expect(plan.desc.page_size % v->page == 0, "pages are cut by boxes");
  fuzz_expect(!lathep_tensor_maps(&hopper, v, &params, &latent, &rope), "maps");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static lathe_context *context;
  static const int32_t integers[4] = {0, 0, 0, 0};
  fuzz_input input = {data, size};
  lathe_decode_desc desc;
  lathe_decode_args args, filled;
  lathe_decode_plan *plan = NULL;
  if (!context) {
    lathe_context_desc cpu;
    memset(&cpu, 0, sizeof cpu);
    cpu.backend = LATHE_BACKEND_CPU;
    fuzz_expect(lathe_context_create(&cpu, &context) == LATHE_STATUS_OK, "no context");
  }
  const uint32_t base = fuzz_byte(&input); /* what the fields are set in */
  memset(&desc, 0, sizeof desc);
  desc.num_heads = 8;
  desc.kv_lora_rank = base & 1 ? 512 : 64;
  desc.qk_rope_head_dim = base & 1 ? 64 : 16;
  desc.q_dtype = desc.kv_dtype = LATHE_DTYPE_BF16;
  if (base & 1) {
    desc.kv_dtype = LATHE_DTYPE_E4M3;
    desc.kv_format = LATHE_KV_FORMAT_ROW656;
  }
  desc.sparse_topk = base & 2 ? 96 : 0;
  desc.split_len = base & 4 ? 64 : 0;
  desc.page_size = 16;
  desc.max_batch = 4;
  desc.max_seq_len = 128;
  set_fields(&input, &desc, desc_fields, sizeof desc_fields / sizeof desc_fields[0]);
  expect_reason(lathe_decode_check(context, &desc));
  lathe_status status = lathe_decode_plan_create(context, &desc, &plan);
  fuzz_expect_status(status);
  fuzz_expect(!status == (plan != NULL), "a plan that failed, or none that did not");
  if (status)
    return 0;

  memset(&args, 0, sizeof args);
  args.batch = 1;
  args.q = tensor;
  args.kv_cache = tensor + 4;
  args.block_tables = args.seq_lens = integers;
  args.sparse_indices = base & 2 ? integers : NULL;
  args.softmax_scale = 1;
  args.out = tensor + 8;
  set_fields(&input, &args, args_fields, sizeof args_fields / sizeof args_fields[0]);
  /* not run: pointers and strides are anything; what the checks let through must be whole, though
   */
  lathep_decode_desc_defaults(&desc, &desc);
  status = lathep_decode_args_resolve(&desc, LATHE_BACKEND_CPU, 0, &args, &filled);
  fuzz_expect_status(status);
  if (!status) {
    fuzz_expect(filled.q && filled.kv_cache && filled.out && filled.block_tables &&
                    (filled.seq_lens || desc.sparse_topk),
                "a null pointer was let through");
    fuzz_expect(!desc.qk_rope_head_dim || (filled.q_pe && filled.kpe_cache), "no rope part");
    fuzz_expect(filled.batch > 0 && filled.num_tokens > 0 && filled.q_len > 0, "an empty run");
    fuzz_expect(filled.kv_scale > 0 && filled.block_table_stride > 0, "a default is missing");
  }
  dispatch(context, &desc, &args);
  status = lathep_decode_args_resolve(&desc, LATHE_BACKEND_CUDA, 256, &args, &filled);
  if (status != LATHE_STATUS_WORKSPACE_TOO_SMALL)
    fuzz_expect_status(status);
  lathe_decode_plan_destroy(plan);
  return 0;
}
