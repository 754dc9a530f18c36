// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The CPU backend where inputs are wrong, huge or hostile: lengths, cu_q_lens and table entries
// that no host check can see, offsets beyond 2^32, memory that runs out, many threads.
#include "cpu_case.h"

#include <pthread.h>
#include <sys/mman.h>

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0x4000
#endif
#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS 0x20
#endif

static int32_t *integers(ref_problem *problem, int which) {
  return (int32_t *)problem->buffers[which].host;
}

/* ref_attend clamps as the documentation says, so the oracle is asked about the same bad values. */
static void expect_after(ref_problem *problem) {
  cpu_run(&problem->desc, &problem->args);
  cpu_expect(problem);
  ref_problem_free(problem);
}

Test(cpu_bounds, lengths_are_clamped) {
  ref_options options = cpu_options();
  ref_problem problem;
  const int32_t full[] = {70, 70, 70, 70, 70, 70};
  options.seq_lens = full; /* so that every page of every row exists */
  options.desc.max_q_len = 2;
  ref_problem_make(&problem, &options);
  integers(&problem, REF_SEQ_LENS)[0] = -1;
  integers(&problem, REF_SEQ_LENS)[1] = 71;
  integers(&problem, REF_SEQ_LENS)[2] = INT32_MAX;
  integers(&problem, REF_SEQ_LENS)[3] = INT32_MIN;
  expect_after(&problem);
}

Test(cpu_bounds, lengths_are_clamped_to_the_table) {
  ref_options options = cpu_options();
  ref_problem problem;
  const int32_t seq_lens[] = {40, 40, 40, 40, 40, 40};
  options.seq_lens = seq_lens;
  ref_problem_make(&problem, &options);
  /* 5 pages of 8 rows are filled; max_seq_len is 70, but say that a row of the table ends there */
  for (int i = 0; i < 6; i++) {
    integers(&problem, REF_SEQ_LENS)[i] = 60;
    for (int p = 0; p < 5; p++)
      integers(&problem, REF_TABLES)[5 * i + p] =
          integers(&problem, REF_TABLES)[problem.args.block_table_stride * i + p];
  }
  problem.args.block_table_stride = 5;
  expect_after(&problem);
}

Test(cpu_bounds, cu_q_lens_are_clamped) {
  static const int32_t bad[][5] = {
      {0, 2, 4, 6, 8},          {0, 2, 4, 6, 1000},
      {-5, 2, 4, 6, 8},         {0, 4, 2, 6, 8},
      {0, INT32_MAX, 4, 6, 8},  {0, INT32_MIN, 4, 6, 8},
      {8, 8, 8, 8, 8},          {0, 8, 8, 8, 8},
      {9, 10, 11, 12, 13},      {-9, -8, -7, -6, -5},
      {INT32_MIN, -1, 0, 1, 2}, {INT32_MAX, 0, 0, 0, 8},
      {0, 0, 0, 0, INT32_MAX},  {INT32_MIN, INT32_MAX, 0, INT32_MIN, INT32_MAX},
  };
  const int32_t q_lens[] = {2, 2, 2, 2};
  for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
    ref_options options = cpu_options();
    ref_problem problem;
    options.desc.max_q_len = 3;
    options.batch = 4;
    options.q_lens = q_lens;
    ref_problem_make(&problem, &options);
    memcpy(problem.buffers[REF_CU_Q_LENS].host, bad[n], sizeof bad[n]);
    cpu_run(&problem.desc, &problem.args);
    /* requests may now overlap, so a token holds one of its requests' results: check memory only,
       and the tokens that belong to one request alone */
    cr_assert(ref_gaps_untouched(&problem));
    for (int32_t i = 0; i < 4; i++) {
      int32_t first, q_len, kv_len;
      ref_request(&problem.desc, &problem.args, i, &first, &q_len, &kv_len);
      cr_assert(first >= 0 && q_len >= 0 && first + q_len <= 8 && q_len <= 3);
      for (int32_t t = 0; t < q_len; t++) {
        int owners = 0;
        for (int32_t j = 0; j < 4; j++) {
          int32_t start, count, unused;
          ref_request(&problem.desc, &problem.args, j, &start, &count, &unused);
          owners += first + t >= start && first + t < start + count;
        }
        if (owners == 1)
          cpu_expect_row(&problem.desc, &problem.args, i, t, 1);
      }
    }
    ref_problem_free(&problem);
  }
}

Test(cpu_bounds, tokens_of_no_request_are_not_written) {
  const int32_t q_lens[] = {2, 2, 2, 2};
  ref_options options = cpu_options();
  ref_problem problem;
  options.desc.max_q_len = 2;
  options.batch = 4;
  options.q_lens = q_lens;
  ref_problem_make(&problem, &options);
  for (int i = 2; i < 5; i++)
    integers(&problem, REF_CU_Q_LENS)[i] = 2;
  cpu_run(&problem.desc, &problem.args);
  for (int64_t token = 0; token < 8; token++)
    for (int64_t h = 0; h < 3; h++)
      cr_assert(!isnan(ref_out(&problem.desc, &problem.args, token, h, 0)) == (token < 2));
  ref_problem_free(&problem);
}

Test(cpu_bounds, table_entries_out_of_range_are_pages_of_zeros) {
  static const int32_t bad[] = {-1, INT32_MIN, INT32_MAX, 0 /* num_pages */};
  for (int n = 0; n < 4; n++) {
    ref_options options = cpu_options();
    ref_problem problem;
    options.split_kv = n & 1;
    options.desc.kv_dtype = n & 2 ? LATHE_DTYPE_E4M3 : LATHE_DTYPE_BF16;
    ref_problem_make(&problem, &options);
    for (int i = 0; i < 6; i++)
      integers(&problem, REF_TABLES)[problem.args.block_table_stride * i] =
          n < 3 ? bad[n] : (int32_t)problem.args.num_pages;
    expect_after(&problem);
  }
}

Test(cpu_bounds, unused_table_entries_may_hold_anything) {
  ref_options options = cpu_options();
  ref_problem problem;
  options.trust_tables = 1; /* ref_problem fills unused entries with 2^31 - 1 */
  options.padding = 3;
  ref_problem_make(&problem, &options);
  expect_after(&problem);
}

Test(cpu_bounds, nothing_past_the_table_of_no_rows_is_read) {
  ref_options options = cpu_options();
  ref_problem problem;
  const int32_t none[] = {0, 0, 0, 0, 0, 0};
  options.seq_lens = none;
  ref_problem_make(&problem, &options);
  memset(problem.buffers[REF_KV].host, 0xff, problem.buffers[REF_KV].size);
  expect_after(&problem);
}

Test(cpu_bounds, a_nan_that_is_seen_is_told) {
  ref_options options = cpu_options();
  ref_problem problem;
  const int32_t seq_lens[] = {20, 20, 20, 20, 20, 20};
  options.seq_lens = seq_lens;
  options.desc.max_q_len = 2;
  ref_problem_make(&problem, &options);
  /* the last row of request 2: seen by its token 1, not by its token 0 */
  ref_store(LATHE_DTYPE_BF16, problem.buffers[REF_KV].host,
            ref_cache_row(&problem.desc, &problem.args, 2, 19, 0) + 3, NAN);
  cpu_run(&problem.desc, &problem.args);
  for (int32_t h = 0; h < 3; h++) {
    cpu_expect_row(&problem.desc, &problem.args, 2, 0, h);
    cr_assert(isnan(ref_out(&problem.desc, &problem.args, 5, h, 0)));
    cr_assert(isnan(ref_lse(&problem.args, 5, h)));
    cpu_expect_row(&problem.desc, &problem.args, 3, 1, h);
  }
  ref_problem_free(&problem);
}

/* Address space without memory: only what is touched exists. */
static void *sparse(size_t size) {
  void *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    cr_skip_test("no %zu bytes of address space", size);
  return memory;
}

/* Moves every row of a problem to the same place under larger strides; returns the new tensor. */
static void *spread(const ref_problem *problem, int which, int64_t outers, int64_t inners,
                    int64_t old_outer, int64_t old_inner, int64_t outer, int64_t inner,
                    int64_t row_bytes, int64_t element, size_t *size) {
  const char *from = (const char *)problem->buffers[which].host;
  *size = (size_t)(((outers - 1) * outer + (inners - 1) * inner) * element + row_bytes);
  char *to = (char *)sparse(*size);
  for (int64_t o = 0; o < outers; o++)
    for (int64_t i = 0; i < inners; i++)
      memcpy(to + (o * outer + i * inner) * element,
             from + (o * old_outer + i * old_inner) * element, (size_t)row_bytes);
  return to;
}

static void expect_beyond_4g(int64_t page_stride, int64_t row_stride, int split) {
  ref_options options = cpu_options();
  ref_problem problem;
  const int32_t seq_lens[] = {20, 11};
  size_t size, kpe_size = 0;
  void *kpe = NULL, *kv;
  options.seq_lens = seq_lens;
  options.batch = 2;
  options.split_kv = split;
  ref_problem_make(&problem, &options);
  lathe_decode_args *args = &problem.args;
  kv = spread(&problem, REF_KV, args->num_pages, 8, args->kv_page_stride, args->kv_row_stride,
              page_stride, row_stride, split ? 64 : 96, 2, &size);
  args->kv_cache = kv;
  args->kv_page_stride = page_stride;
  args->kv_row_stride = row_stride;
  if (split) {
    kpe = spread(&problem, REF_KPE, args->num_pages, 8, args->kpe_page_stride, args->kpe_row_stride,
                 page_stride + 16, row_stride + 2, 32, 2, &kpe_size);
    args->kpe_cache = kpe;
    args->kpe_page_stride = page_stride + 16;
    args->kpe_row_stride = row_stride + 2;
  }
  cpu_run(&problem.desc, args);
  cpu_expect(&problem);
  munmap(kv, size);
  if (kpe)
    munmap(kpe, kpe_size);
  ref_problem_free(&problem);
}

/* 2^32 + 64 elements a page: 8 pages lie over 64 GiB, and offsets lose bits in 32-bit arithmetic */
Test(cpu_bounds, page_offsets_beyond_4g) {
  expect_beyond_4g(((int64_t)1 << 32) + 64, 48, 0);
}
Test(cpu_bounds, split_page_offsets_beyond_4g) {
  expect_beyond_4g(((int64_t)1 << 32) + 64, 48, 1);
}
Test(cpu_bounds, row_offsets_beyond_4g) {
  expect_beyond_4g(((int64_t)1 << 34), ((int64_t)1 << 31) - 6, 0);
}

Test(cpu_bounds, token_offsets_beyond_4g) {
  ref_options options = cpu_options();
  ref_problem problem;
  size_t q_size, out_size, lse_size;
  const int64_t stride = ((int64_t)1 << 32) + 64;
  options.batch = 3;
  ref_problem_make(&problem, &options);
  lathe_decode_args *args = &problem.args;
  void *q = spread(&problem, REF_Q, 3, 3, args->q_token_stride, args->q_head_stride, stride, 56, 96,
                   2, &q_size);
  void *out = spread(&problem, REF_OUT, 3, 3, args->out_token_stride, args->out_head_stride, stride,
                     40, 64, 2, &out_size);
  void *lse = spread(&problem, REF_LSE, 3, 3, args->lse_token_stride, args->lse_head_stride, stride,
                     2, 4, 4, &lse_size);
  args->q = q, args->q_token_stride = stride, args->q_head_stride = 56;
  args->out = out, args->out_token_stride = stride, args->out_head_stride = 40;
  args->lse = (float *)lse, args->lse_token_stride = stride, args->lse_head_stride = 2;
  cpu_run(&problem.desc, args);
  for (int32_t i = 0; i < 3; i++)
    for (int32_t h = 0; h < 3; h++)
      cpu_expect_row(&problem.desc, args, i, 0, h);
  munmap(q, q_size);
  munmap(out, out_size);
  munmap(lse, lse_size);
  ref_problem_free(&problem);
}

Test(cpu_bounds, table_offsets_beyond_4g) {
  ref_options options = cpu_options();
  ref_problem problem;
  size_t size;
  const int64_t stride = ((int64_t)1 << 31) + 7;
  options.batch = 3;
  ref_problem_make(&problem, &options);
  lathe_decode_args *args = &problem.args;
  void *tables = spread(&problem, REF_TABLES, 3, 1, args->block_table_stride, 0, stride, 0,
                        4 * args->block_table_stride, 4, &size);
  args->block_tables = (const int32_t *)tables;
  args->block_table_stride = stride;
  cpu_run(&problem.desc, args);
  cpu_expect(&problem);
  munmap(tables, size);
  ref_problem_free(&problem);
}

/* ------------------------------------------------------------------------------ memory, threads */

typedef struct counting {
  int live, calls, fail_from;
} counting;

static void *counting_alloc(size_t size, void *data) {
  counting *count = (counting *)data;
  if (count->calls++ >= count->fail_from)
    return NULL;
  count->live++;
  return malloc(size);
}

static void counting_free(void *memory, void *data) {
  ((counting *)data)->live -= memory != NULL;
  free(memory);
}

Test(cpu_bounds, memory_comes_from_the_allocator_and_its_end_is_a_status) {
  ref_options options = cpu_options();
  lathe_context_desc context_desc;
  lathe_context *context;
  lathe_decode_plan *plan;
  ref_problem problem;
  counting count = {0, 0, INT32_MAX};
  ref_problem_make(&problem, &options);
  memset(&context_desc, 0, sizeof context_desc);
  context_desc.backend = LATHE_BACKEND_CPU;
  context_desc.allocator.alloc = counting_alloc;
  context_desc.allocator.free = counting_free;
  context_desc.allocator.user_data = &count;
  cpu_ok(lathe_context_create(&context_desc, &context), "lathe_context_create");
  cpu_ok(lathe_decode_plan_create(context, &problem.desc, &plan), "lathe_decode_plan_create");
  int before = count.live;
  cpu_ok(lathe_decode_run(plan, &problem.args, NULL), "lathe_decode_run");
  cr_assert(count.live == before, "run keeps memory");
  count.fail_from = count.calls;
  cr_assert(lathe_decode_run(plan, &problem.args, NULL) == LATHE_STATUS_OUT_OF_MEMORY);
  cr_assert(strstr(lathe_last_error()->message, "allocator"), "%s", lathe_last_error()->message);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  cr_assert(count.live == 0, "%d blocks leak", count.live);
  ref_problem_free(&problem);
}

/* Large enough for several threads; the same bits whoever computes which block. */
Test(cpu_bounds, runs_are_bit_equal) {
  ref_options options = cpu_options();
  ref_problem problem;
  options.desc.num_heads = 64;
  options.desc.kv_lora_rank = 128;
  options.desc.max_seq_len = 600;
  ref_problem_make(&problem, &options);
  ref_buffer *out = &problem.buffers[REF_OUT];
  void *first = ref_alloc(out->size);
  cpu_run(&problem.desc, &problem.args);
  memcpy(first, out->host, out->size);
  for (int n = 0; n < 3; n++) {
    ref_problem_poison(&problem);
    cpu_run(&problem.desc, &problem.args);
    cr_assert(memcmp(first, out->host, out->size) == 0);
  }
  free(first);
  ref_problem_free(&problem);
}

typedef struct shared_run {
  lathe_context *context;
  ref_problem problem;
} shared_run;

static void *run_in_thread(void *data) {
  shared_run *run = (shared_run *)data;
  lathe_decode_plan *plan;
  cpu_ok(lathe_decode_plan_create(run->context, &run->problem.desc, &plan), "plan in a thread");
  for (int n = 0; n < 3; n++)
    cpu_ok(lathe_decode_run(plan, &run->problem.args, NULL), "run in a thread");
  lathe_decode_plan_destroy(plan);
  return NULL;
}

Test(cpu_bounds, threads_share_a_context) {
  enum { THREADS = 4 };
  lathe_context_desc desc;
  lathe_context *context;
  pthread_t threads[THREADS];
  shared_run runs[THREADS];
  memset(&desc, 0, sizeof desc);
  desc.backend = LATHE_BACKEND_CPU;
  cpu_ok(lathe_context_create(&desc, &context), "lathe_context_create");
  for (int n = 0; n < THREADS; n++) {
    ref_options options = cpu_options();
    options.seed = (uint64_t)n;
    options.desc.num_heads = 40;
    options.desc.max_seq_len = 300;
    runs[n].context = context;
    ref_problem_make(&runs[n].problem, &options);
    cr_assert(pthread_create(&threads[n], NULL, run_in_thread, &runs[n]) == 0);
  }
  for (int n = 0; n < THREADS; n++) {
    pthread_join(threads[n], NULL);
    cpu_expect(&runs[n].problem);
    ref_problem_free(&runs[n].problem);
  }
  lathe_context_destroy(context);
}
