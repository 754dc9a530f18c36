// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A small decode step that is right in every field, for tests that then spoil one.
#ifndef LATHE_TESTS_DECODE_FIXTURE_H
#define LATHE_TESTS_DECODE_FIXTURE_H

#include <criterion/criterion.h>

enum { NUM_PAGES = 16, TABLE_STRIDE = 5 };

// Stands for device memory too: the recording driver only reads lengths and tables, by memcpy.
static _Alignas(256) struct {
  unsigned char q[3 * 2 * 4 * 48 * 2], q_pe[3 * 2 * 4 * 16 * 2];
  _Alignas(256) unsigned char kv[NUM_PAGES * 4 * 48 * 2], kpe[NUM_PAGES * 4 * 16 * 2];
  _Alignas(256) unsigned char out[3 * 2 * 4 * 32 * 2];
  _Alignas(256) float lse[3 * 2 * 4];
  _Alignas(256) int32_t tables[3 * TABLE_STRIDE], seq_lens[4], cu_q_lens[4];
  _Alignas(256) uint32_t tree[3 * 2 * 2];
  _Alignas(256) int32_t lists[3 * 2 * 2], list_lens[3 * 2];
  _Alignas(256) unsigned char workspace[1 << 21];
} memory;

static inline lathe_decode_desc good_desc(void) {
  lathe_decode_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.num_heads = 4;
  desc.kv_lora_rank = 32;
  desc.qk_rope_head_dim = 16;
  desc.q_dtype = LATHE_DTYPE_BF16;
  desc.kv_dtype = LATHE_DTYPE_BF16;
  desc.page_size = 4;
  desc.max_batch = 3;
  desc.max_q_len = 2;
  desc.max_seq_len = 20;
  return desc;
}

// Fills the lengths, tables and lists as well.
static inline lathe_decode_args good_args(void) {
  lathe_decode_args args;
  int i;
  memset(&args, 0, sizeof args);
  args.batch = 3;
  args.q = memory.q;
  args.kv_cache = memory.kv;
  args.num_pages = NUM_PAGES;
  args.block_tables = memory.tables;
  args.seq_lens = memory.seq_lens;
  args.softmax_scale = 0.125f;
  args.out = memory.out;
  args.lse = memory.lse;
  args.workspace = memory.workspace;
  args.workspace_size = sizeof memory.workspace;
  for (i = 0; i < 3 * TABLE_STRIDE; i++)
    memory.tables[i] = (i * 7 + 3) % NUM_PAGES;
  for (i = 0; i < 3; i++)
    memory.seq_lens[i] = 20 - 9 * i; // 20, 11, 2
  for (i = 0; i < 4; i++)
    memory.cu_q_lens[i] = 2 * i - (i > 1); // 0, 2, 3, 5
  for (i = 0; i < 3 * 2; i++) {
    memory.lists[2 * i] = (i * 11 + 5) % (4 * NUM_PAGES);
    memory.lists[2 * i + 1] = -1;
    memory.list_lens[i] = 2;
  }
  return args;
}

static inline lathe_context *cpu_context(void) {
  lathe_context_desc desc;
  lathe_context *context;
  memset(&desc, 0, sizeof desc);
  desc.backend = LATHE_BACKEND_CPU;
  cr_assert_eq(lathe_context_create(&desc, &context), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  return context;
}

static inline lathe_decode_plan *plan_of(lathe_context *context, const lathe_decode_desc *desc) {
  lathe_decode_plan *plan;
  cr_assert_eq(lathe_decode_plan_create(context, desc, &plan), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  return plan;
}

// The last call failed with this status, and its message has these words and says what would work.
static inline void expect_refused(lathe_status got, lathe_status want, const char *words) {
  const lathe_error *error = lathe_last_error();
  cr_assert_str_eq(lathe_status_string(got), lathe_status_string(want), "got %s: %s",
                   lathe_status_string(got), error->message);
  cr_expect_eq(error->status, want);
  cr_expect(strstr(error->message, words), "\"%s\" is not in \"%s\"", words, error->message);
  cr_expect(strchr(error->message, ';'), "\"%s\" does not say what would work", error->message);
}

#endif
