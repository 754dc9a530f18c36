// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the other files stand on: arithmetic, the error record, the allocator, the log, the hash.
#define _GNU_SOURCE
#include "../fakes/fakes.h"

Test(base, ceil_div) {
  cr_expect_eq(lathep_ceil_div(0, 64), 0);
  cr_expect_eq(lathep_ceil_div(1, 64), 1);
  cr_expect_eq(lathep_ceil_div(64, 64), 1);
  cr_expect_eq(lathep_ceil_div(65, 64), 2);
  cr_expect_eq(lathep_ceil_div(INT64_MAX, 1), INT64_MAX);
  cr_expect_eq(lathep_ceil_div(INT64_MAX, 2), INT64_MAX / 2 + 1);
}

Test(base, overflow) {
  int64_t result;
  cr_expect_eq(lathep_mul_overflow(1 << 20, (int64_t)1 << 42, &result), 0);
  cr_expect_eq(result, (int64_t)1 << 62);
  cr_expect_neq(lathep_mul_overflow((int64_t)1 << 32, (int64_t)1 << 31, &result), 0);
  cr_expect_eq(lathep_add_overflow(INT64_MAX - 1, 1, &result), 0);
  cr_expect_eq(result, INT64_MAX);
  cr_expect_neq(lathep_add_overflow(INT64_MAX, 1, &result), 0);
}

Test(base, version) {
  cr_expect_eq(lathe_version(), LATHE_VERSION);
}

// ----------------------------------------------------------------------------------------- status

Test(status, strings) {
  int i, j;
  cr_expect_str_eq(lathe_status_string(LATHE_STATUS_OK), "LATHE_STATUS_OK");
  cr_expect_str_eq(lathe_status_string(LATHE_STATUS_CHECK_FAILED), "LATHE_STATUS_CHECK_FAILED");
  for (i = 0; i <= LATHE_STATUS_CHECK_FAILED; i++) {
    cr_expect_eq(strncmp(lathe_status_string((lathe_status)i), "LATHE_STATUS_", 13), 0, "%d", i);
    for (j = 0; j < i; j++)
      cr_expect_str_neq(lathe_status_string((lathe_status)i), lathe_status_string((lathe_status)j));
  }
  cr_expect_str_eq(lathe_status_string((lathe_status)(LATHE_STATUS_CHECK_FAILED + 1)),
                   "unknown lathe_status");
  cr_expect_str_eq(lathe_status_string((lathe_status)(-1)), "unknown lathe_status");
}

Test(status, record_before_any_failure) {
  const lathe_error *error = lathe_last_error();
  cr_assert_not_null(error);
  cr_expect_eq(error->status, LATHE_STATUS_OK);
  cr_expect_eq(error->driver_code, 0);
  cr_expect_eq(error->nvrtc_code, 0);
  cr_expect_str_eq(error->message, "");
  cr_expect_str_eq(error->compile_log, "");
}

Test(status, record_of_each_kind) {
  const lathe_error *error = lathe_last_error();
  cr_expect_eq(lathep_fail_nvrtc(LATHE_STATUS_COMPILE_FAILED, 6, "the log", "%s; %d", "a", 1),
               LATHE_STATUS_COMPILE_FAILED);
  cr_expect_eq(error->status, LATHE_STATUS_COMPILE_FAILED);
  cr_expect_eq(error->nvrtc_code, 6);
  cr_expect_str_eq(error->message, "a; 1");
  cr_expect_str_eq(error->compile_log, "the log");
  lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, 700, "launch");
  cr_expect_eq(error->driver_code, 700);
  cr_expect_eq(error->nvrtc_code, 0, "nothing stays of the failure before");
  cr_expect_str_eq(error->message, "launch (CUDA_ERROR_ILLEGAL_ADDRESS, 700)");
  cr_expect_str_eq(error->compile_log, "");
  lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, 12345, "x");
  cr_expect_str_eq(error->message, "x (CUresult, 12345)");
  lathep_fail(LATHE_STATUS_UNSUPPORTED, "no");
  cr_expect_eq(error->driver_code, 0);
}

Test(status, long_texts_are_cut) {
  static char text[3 * LATHEP_COMPILE_LOG_MAX];
  memset(text, 'x', sizeof text - 1);
  lathep_fail_nvrtc(LATHE_STATUS_COMPILE_FAILED, 1, text, "%s", text);
  cr_expect_eq(strlen(lathe_last_error()->message), LATHEP_MESSAGE_MAX - 1);
  cr_expect_eq(strlen(lathe_last_error()->compile_log), LATHEP_COMPILE_LOG_MAX - 1);
  lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, 1, "%s", text);
  cr_expect_eq(strlen(lathe_last_error()->message), LATHEP_MESSAGE_MAX - 1);
}

static void *other_thread(void *message) {
  cr_expect_str_eq(lathe_last_error()->message, "");
  lathep_fail(LATHE_STATUS_NO_DEVICE, "%s", (const char *)message);
  cr_expect_str_eq(lathe_last_error()->message, (const char *)message);
  return NULL;
}

Test(status, record_is_the_threads_own) {
  pthread_t thread;
  char message[] = "of the other";
  lathep_fail(LATHE_STATUS_UNSUPPORTED, "of this one");
  cr_assert_eq(pthread_create(&thread, NULL, other_thread, message), 0);
  pthread_join(thread, NULL);
  cr_expect_str_eq(lathe_last_error()->message, "of this one");
  cr_expect_eq(lathe_last_error()->status, LATHE_STATUS_UNSUPPORTED);
}

Test(status, record_can_be_put_back) {
  lathep_error_record saved = lathep_last;
  lathep_fail(LATHE_STATUS_UNSUPPORTED, "passing");
  lathep_error_restore(&saved);
  cr_expect_str_eq(lathe_last_error()->message, "");
  lathep_fail(LATHE_STATUS_UNSUPPORTED, "lasting");
  saved = lathep_last;
  lathep_fail(LATHE_STATUS_NO_DEVICE, "passing");
  lathep_error_restore(&saved);
  cr_expect_str_eq(lathe_last_error()->message, "lasting");
  cr_expect_eq(lathe_last_error()->status, LATHE_STATUS_UNSUPPORTED);
}

// ------------------------------------------------------------------------------------------ alloc

typedef struct counting {
  int live, total, left; // `left` more are granted; -1: all
} counting;

static void *count_alloc(size_t size, void *user) {
  counting *c = (counting *)user;
  void *memory;
  if (c->left == 0)
    return NULL;
  c->left -= c->left > 0;
  c->live++;
  c->total++;
  memory = malloc(size);
  if (memory)
    memset(memory, 0xa5, size);
  return memory;
}

static void count_free(void *memory, void *user) {
  cr_expect_not_null(memory, "the library frees no null pointer");
  ((counting *)user)->live--;
  free(memory);
}

static lathe_allocator counting_allocator(counting *c) {
  lathe_allocator allocator = {count_alloc, count_free, c};
  memset(c, 0, sizeof *c);
  c->left = -1;
  return allocator;
}

Test(alloc, memory_is_zeroed) {
  static const char zeros[100];
  lathe_allocator none = {NULL, NULL, NULL}, counted;
  counting c;
  void *memory = lathep_alloc(&none, sizeof zeros);
  cr_expect_arr_eq(memory, zeros, sizeof zeros);
  lathep_free(&none, memory);
  counted = counting_allocator(&c);
  memory = lathep_alloc(&counted, sizeof zeros);
  cr_expect_arr_eq(memory, zeros, sizeof zeros);
  lathep_free(&counted, memory);
  lathep_free(&counted, NULL);
  memory = lathep_alloc(&counted, 0);
  cr_expect_not_null(memory);
  lathep_free(&counted, memory);
  cr_expect_eq(c.live, 0);
  cr_expect_eq(c.total, 2);
}

Test(alloc, texts_are_copied) {
  counting c;
  lathe_allocator allocator = counting_allocator(&c);
  char text[] = "path", *copy = text;
  cr_expect_eq(lathep_copy_text(&allocator, NULL, &copy), 0);
  cr_expect_null(copy);
  cr_expect_eq(lathep_copy_text(&allocator, text, &copy), 0);
  text[0] = 'm';
  cr_expect_str_eq(copy, "path");
  lathep_free(&allocator, copy);
  c.left = 0;
  cr_expect_neq(lathep_copy_text(&allocator, text, &copy), 0);
  cr_expect_null(copy);
}

// Every allocation of a context and its first kernel fails once: a status, and nothing is left.
Test(alloc, every_allocation_may_fail) {
  lathe_context_desc desc;
  lathe_context *context;
  const lathep_kernel *kernel;
  lathe_kernel_source how;
  lathep_variant variant = test_variant(512);
  lathe_status status = LATHE_STATUS_OUT_OF_MEMORY;
  counting c;
  int granted;
  test_begin_fakes();
  setenv("LATHE_DUMP_DIR", path_in(test_folder, "dump"), 1);
  setenv("LATHE_NVRTC_LIB", path_in(library_dir, "libnvrtc.so.13"), 1);
  for (granted = 0; status && granted < 100; granted++) {
    desc = test_desc();
    desc.cache = LATHE_SWITCH_OFF; // whose faults, want of memory too, fail nothing
    desc.allocator = counting_allocator(&c);
    c.left = granted;
    status = lathe_context_create(&desc, &context);
    if (!status) {
      status = lathep_kernel_get(context, &variant, &kernel, &how);
      cr_expect_eq(status != 0, kernel == NULL);
      lathe_context_destroy(context);
    }
    if (status)
      expect_failed(status, LATHE_STATUS_OUT_OF_MEMORY, "lathe_allocator.alloc returned null");
    cr_expect_eq(c.live, 0, "%d of %d allocations stay after %d were granted", c.live, c.total,
                 granted);
  }
  cr_expect_eq(status, LATHE_STATUS_OK);
  cr_expect_gt(granted, 5);
  cr_expect_eq(cuda->loads, cuda->unloads);
  cr_expect_eq(cuda->retains, cuda->releases);
  cr_expect_eq(cuda->pushes, cuda->pops);
  test_end();
}

// -------------------------------------------------------------------------------------------- log

static lathe_context *log_context(const char *topics, int logger) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  desc.backend = LATHE_BACKEND_CPU;
  if (!logger)
    desc.logger.log = NULL;
  if (topics)
    setenv("LATHE_LOG", topics, 1);
  context = make_context(&desc);
  log_text[0] = '\0';
  return context;
}

Test(log, logger_hears_all_topics) {
  test_begin();
  lathe_context *context = log_context(NULL, 1);
  lathep_log(context, LATHEP_TOPIC_DISPATCH, "a %d", 1);
  lathep_log(context, LATHEP_TOPIC_JIT, "b");
  lathep_log(context, LATHEP_TOPIC_CACHE, "c");
  lathep_log(context, LATHEP_TOPIC_LAUNCH, "d");
  lathep_log(context, LATHEP_TOPIC_CONTEXT, "e");
  cr_expect_str_eq(log_text, "dispatch: a 1\njit: b\ncache: c\nlaunch: d\ncontext: e\n");
  lathe_context_destroy(context);
  test_end();
}

Test(log, topics_are_selected) {
  test_begin();
  lathe_context *context = log_context("jit,context", 1);
  lathep_log(context, LATHEP_TOPIC_DISPATCH, "a");
  lathep_log(context, LATHEP_TOPIC_JIT, "b");
  lathep_log(context, LATHEP_TOPIC_CONTEXT, "c");
  cr_expect_str_eq(log_text, "jit: b\ncontext: c\n");
  lathe_context_destroy(context);
  test_end();
}

Test(log, silent_by_default) {
  test_begin();
  lathe_context *context = log_context(NULL, 0);
  cr_expect_eq(context->log.topics, 0);
  lathep_log(context, LATHEP_TOPIC_JIT, "nobody hears");
  lathe_context_destroy(context);
  test_end();
}

Test(log, stderr_if_topics_are_named) {
  test_begin();
  lathe_context *context = log_context("all", 0);
  cr_expect(context->log.logger.log == lathe_log_stderr);
  cr_expect_eq(context->log.topics, (unsigned)LATHEP_ALL_TOPICS);
  lathe_context_destroy(context);
  test_end();
}

Test(log, lines_are_single_and_bounded) {
  static char text[3 * LATHEP_LOG_MAX];
  test_begin();
  lathe_context *context = log_context("jit", 1);
  lathep_log(context, LATHEP_TOPIC_JIT, "one\ntwo\n");
  lathep_log_lines(context, LATHEP_TOPIC_JIT, "first\n\nsecond\nthird");
  cr_expect_str_eq(log_text, "jit: one\njit: first\njit: second\njit: third\n");
  log_text[0] = '\0';
  memset(text, 'x', sizeof text - 1);
  lathep_log_lines(context, LATHEP_TOPIC_JIT, text);
  cr_expect_eq(strlen(log_text), LATHEP_LOG_MAX - 1 + strlen("jit: \n"));
  lathe_context_destroy(context);
  test_end();
}

// ------------------------------------------------------------------------------------------- hash

static lathep_hash hash_of(const char *text) {
  lathep_hash hash = lathep_hash_start();
  lathep_hash_bytes(&hash, text, strlen(text));
  return lathep_hash_end(hash);
}

static void expect_hash(lathep_hash hash, uint64_t a, uint64_t b) {
  cr_expect(hash.a == a && hash.b == b, "0x%016llxu, 0x%016llxu", (unsigned long long)hash.a,
            (unsigned long long)hash.b);
}

// Other values make every cache on disk worthless: then LATHEP_CACHE_FORMAT goes up as well.
Test(hash, golden) {
  expect_hash(hash_of(""), 0xaebe53f85cdc3c4cu, 0x0d7293fe83b1a2bcu);
  expect_hash(hash_of("a"), 0x34396ad4d9a66160u, 0x31a08ac11df98ab3u);
  expect_hash(hash_of("decode_sm80_bf16_bf16"), 0xd159d3b448752fa1u, 0x1cc1eaf311eade47u);
}

Test(hash, numbers_and_texts_have_borders) {
  lathep_hash one = lathep_hash_start(), two = lathep_hash_start();
  lathep_hash_text(&one, "ab");
  lathep_hash_text(&one, "c");
  lathep_hash_text(&two, "a");
  lathep_hash_text(&two, "bc");
  cr_expect(one.a != two.a && one.b != two.b);
  one = two = lathep_hash_start();
  lathep_hash_number(&one, 1);
  lathep_hash_number(&two, (uint64_t)1 << 32);
  cr_expect(one.a != two.a && one.b != two.b);
}

Test(hash, every_bit_counts_in_both_lanes) {
  char text[64];
  int i;
  lathep_hash base, other;
  memset(text, 0, sizeof text);
  base = lathep_hash_start();
  lathep_hash_bytes(&base, text, sizeof text);
  base = lathep_hash_end(base);
  for (i = 0; i < 8 * (int)sizeof text; i++) {
    text[i / 8] ^= (char)(1 << i % 8);
    other = lathep_hash_start();
    lathep_hash_bytes(&other, text, sizeof text);
    other = lathep_hash_end(other);
    cr_expect(other.a != base.a && other.b != base.b, "bit %d", i);
    text[i / 8] ^= (char)(1 << i % 8);
  }
}
