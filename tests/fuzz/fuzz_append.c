// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What no host check of an append sees: lengths, cu_q_lens, positions, slots and block tables that
// hold anything. The CPU backend must stay inside the tensors (which AddressSanitizer watches, and
// bytes around the outputs), and what the validator lets pass must write every row that is to be
// written.
#define FUZZ_COUNT 20000
#include "fuzz.h"

enum {
  BATCH = 3,
  TOKENS = 6,
  HEADS = 2,
  L = 8,
  R = 4,
  PAGES = 5,
  PAGE = 3,
  MAX_LEN = 10,
  GUARD = 32
};

static int32_t *draw(fuzz_input *input, int count, int32_t most) {
  int32_t *values = (int32_t *)ref_alloc(sizeof(int32_t) * (size_t)count);
  int i;
  for (i = 0; i < count; i++) { /* a number in range, or any number */
    const uint32_t choice = fuzz_byte(input);
    values[i] = choice < 200 ? (int32_t)(choice % (uint32_t)most) : (int32_t)fuzz_number(input);
  }
  return values;
}

static unsigned char *guarded(size_t size) {
  unsigned char *memory = (unsigned char *)ref_alloc(size + 2 * GUARD);
  memset(memory, 0xa5, size + 2 * GUARD);
  return memory + GUARD;
}

static void guarded_free(unsigned char *memory, size_t size) {
  int i;
  for (i = 1; i <= GUARD; i++)
    fuzz_expect(memory[-i] == 0xa5 && memory[size + (size_t)i - 1] == 0xa5,
                "bytes beside an output were written");
  free(memory - GUARD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static lathe_context *context;
  fuzz_input input = {data, size};
  const uint32_t choice = fuzz_byte(&input), more = fuzz_byte(&input);
  const int fp8 = choice & 1, row = fp8 ? L + R : 2 * (L + R);
  const size_t out_size = (size_t)(TOKENS * HEADS * row), cache_size = (size_t)(PAGES * PAGE * row);
  int32_t *lens, *cu, *positions, *tables, *inactive;
  int64_t slots[TOKENS];
  float *cos_sin = (float *)calloc(MAX_LEN * R, sizeof(float));
  uint16_t *in = (uint16_t *)calloc(TOKENS * HEADS * (L + R), sizeof(uint16_t));
  unsigned char *out = guarded(out_size), *cache = guarded(cache_size);
  lathe_append_plan *plan;
  lathe_append_desc desc;
  lathe_append_args args;
  lathe_status status;
  int i;
  if (!context) {
    lathe_context_desc cpu;
    memset(&cpu, 0, sizeof cpu);
    cpu.backend = LATHE_BACKEND_CPU;
    fuzz_expect(lathe_context_create(&cpu, &context) == LATHE_STATUS_OK, "no context");
  }
  lens = draw(&input, BATCH, MAX_LEN + 1);
  cu = draw(&input, BATCH + 1, TOKENS + 1);
  positions = draw(&input, TOKENS, MAX_LEN);
  tables = draw(&input, BATCH * 4, PAGES);
  inactive = draw(&input, BATCH, 2);
  for (i = 0; i < TOKENS; i++)
    slots[i] = fuzz_byte(&input) < 200 ? fuzz_byte(&input) % (PAGES * PAGE) : fuzz_number(&input);
  memset(&desc, 0, sizeof desc);
  desc.num_heads = HEADS;
  desc.kv_lora_rank = L;
  desc.qk_rope_head_dim = R;
  desc.q_dtype = LATHE_DTYPE_F16;
  desc.kv_dtype = desc.q_out_dtype = fp8 ? LATHE_DTYPE_E4M3 : LATHE_DTYPE_F16;
  desc.rope = (lathe_rope)(1 + (choice >> 1 & 3) % 3);
  desc.page_size = PAGE;
  desc.max_batch = BATCH;
  desc.max_q_len = 2;
  desc.max_seq_len = MAX_LEN;
  memset(&args, 0, sizeof args);
  args.batch = BATCH;
  args.num_tokens = TOKENS;
  args.cu_q_lens = choice & 8 ? cu : NULL;
  args.q_nope = in;
  args.q_pe = in;
  args.q_out = out;
  args.latent_cache = in;
  args.kv_cache = cache;
  args.num_pages = PAGES;
  args.block_tables = choice & 16 ? NULL : tables;
  args.slot_mapping = choice & 16 ? slots : NULL;
  args.positions = choice & 32 ? positions : NULL;
  args.seq_lens = choice & 32 ? NULL : lens;
  args.inactive = choice & 64 ? inactive : NULL;
  args.cos_sin = cos_sin;
  args.block_table_stride = choice & 128 ? 2 + more % 3 : 0;
  if (args.block_table_stride > 4)
    args.block_table_stride = 4;
  fuzz_expect(lathe_append_plan_create(context, &desc, &plan) == LATHE_STATUS_OK,
              lathe_last_error()->message);
  status = lathe_append_validate(plan, &args, NULL);
  fuzz_expect(status == LATHE_STATUS_OK || status == LATHE_STATUS_CHECK_FAILED,
              lathe_status_string(status));
  fuzz_expect(lathe_append_run(plan, &args, NULL) == LATHE_STATUS_OK, lathe_last_error()->message);
  /* zeros were appended: where the validator found nothing, an active request's slot holds them */
  for (i = 0; i < TOKENS && !status && args.slot_mapping && !args.cu_q_lens && !args.inactive; i++)
    fuzz_expect(slots[i] < 0 || cache[slots[i] * row] == 0, "a row was not written");
  lathe_append_plan_destroy(plan);
  guarded_free(out, out_size);
  guarded_free(cache, cache_size);
  free(lens);
  free(cu);
  free(positions);
  free(tables);
  free(inactive);
  free(cos_sin);
  free(in);
  return 0;
}
