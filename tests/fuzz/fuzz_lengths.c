// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What no host check sees: lengths, cu_q_lens, block tables and lists that hold anything. The CPU
// backend must stay inside the tensors (which AddressSanitizer watches) and between the output
// rows.
#define FUZZ_COUNT 5000
#include "fuzz.h"

#include "../ref/attention.h"

static void fill(fuzz_input *input, void *to, size_t size, int32_t most) {
  for (size_t i = 0; i < size / 4; i++) {
    /* a number in range, or any number */
    uint32_t choice = fuzz_byte(input);
    int32_t value = choice < 160 ? (int32_t)(choice % (uint32_t)most) : (int32_t)fuzz_number(input);
    memcpy((char *)to + 4 * i, &value, 4);
  }
}

static void fill_buffer(fuzz_input *input, const ref_buffer *buffer, int32_t most) {
  fill(input, buffer->host, buffer->size, most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static lathe_context *context;
  static const int32_t q_lens[3] = {1, 2, 3}, seq_lens[3] = {9, 1, 17};
  fuzz_input input = {data, size};
  uint32_t choice = fuzz_byte(&input), share = fuzz_byte(&input), lists = fuzz_byte(&input);
  int32_t *list_lens = NULL;
  lathe_decode_plan *plan;
  ref_options options;
  ref_problem problem;
  if (!context) {
    lathe_context_desc cpu;
    memset(&cpu, 0, sizeof cpu);
    cpu.backend = LATHE_BACKEND_CPU;
    fuzz_expect(lathe_context_create(&cpu, &context) == LATHE_STATUS_OK, "no context");
  }
  memset(&options, 0, sizeof options);
  options.desc.num_heads = 3;
  options.desc.kv_lora_rank = 8;
  options.desc.qk_rope_head_dim = choice & 1 ? 4 : 0;
  options.desc.q_dtype = LATHE_DTYPE_F16;
  options.desc.kv_dtype = choice & 2 ? LATHE_DTYPE_E4M3 : LATHE_DTYPE_F16;
  options.desc.mask = share & 1    ? LATHE_MASK_TREE
                      : choice & 4 ? LATHE_MASK_NONE
                                   : LATHE_MASK_CAUSAL;
  options.desc.cp_world = (int32_t)(share >> 1 & 3);
  options.desc.cp_rank =
      options.desc.cp_world ? (int32_t)(share >> 3 & 3) % options.desc.cp_world : 0;
  options.desc.cp_interleave = (int32_t)(share >> 5);
  options.desc.sliding_window = options.desc.mask == LATHE_MASK_CAUSAL && choice & 128 ? 5 : 0;
  if (lists & 1) { /* which say what is seen, on one rank or of its own rows */
    options.desc.sparse_topk = 1 + (int32_t)(lists >> 2) % 24;
    options.desc.mask = LATHE_MASK_CAUSAL;
    options.desc.sliding_window = 0;
    options.desc.cp_lens = LATHE_CP_LENS_LOCAL;
  }
  options.desc.page_size = choice & 8 ? 4 : 3;
  options.desc.max_batch = 3;
  options.desc.max_q_len = 3;
  options.desc.max_seq_len = 20;
  options.split_q = options.split_kv = !!(choice & 16);
  options.padding = choice & 32 ? 3 : 0;
  options.q_lens = choice & 64 ? q_lens : NULL;
  options.seq_lens = seq_lens;
  options.unused_pages = 1;
  ref_problem_make(&problem, &options);
  fill_buffer(&input, &problem.buffers[REF_TABLES], (int32_t)problem.args.num_pages);
  fill_buffer(&input, &problem.buffers[REF_SEQ_LENS], 21);
  if (options.q_lens)
    fill_buffer(&input, &problem.buffers[REF_CU_Q_LENS], problem.args.num_tokens + 1);
  if (lists & 1)
    fill_buffer(&input, &problem.buffers[REF_LISTS],
                (int32_t)problem.args.num_pages * problem.desc.page_size);
  if ((lists & 3) == 3) {
    size_t bytes = 4 * (size_t)problem.args.num_tokens;
    list_lens = (int32_t *)ref_alloc(bytes);
    fill(&input, list_lens, bytes, problem.desc.sparse_topk + 1);
    problem.args.sparse_lens = list_lens;
  }
  fuzz_expect(lathe_decode_plan_create(context, &problem.desc, &plan) == LATHE_STATUS_OK,
              lathe_last_error()->message);
  fuzz_expect(lathe_decode_run(plan, &problem.args, NULL) == LATHE_STATUS_OK,
              lathe_last_error()->message);
  fuzz_expect(ref_gaps_untouched(&problem), "bytes between output rows were written");
  lathe_decode_plan_destroy(plan);
  free(list_lens);
  ref_problem_free(&problem);
  return 0;
}
