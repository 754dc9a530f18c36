// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A stand-in for as much of Criterion as the unit tests use, for ThreadSanitizer builds: the runner
// of Criterion maps its arena where TSan keeps its shadow, and does not start. Like Criterion, a
// process per test; the output is TAP.
#ifndef LATHE_TESTS_SANITIZE_CRITERION_H
#define LATHE_TESTS_SANITIZE_CRITERION_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct stand_in_options {
  const char *description;
  void (*init)(void);
  void (*fini)(void);
  double timeout;
  int disabled;
} stand_in_options;

typedef struct stand_in_test {
  const char *suite, *name;
  const stand_in_options *options;
  void (*body)(void *parameter);
  struct stand_in_parameters (*parameters)(void);
  struct stand_in_test *next;
} stand_in_test;

typedef struct stand_in_parameters {
  size_t size;
  void *params;
  size_t length;
} stand_in_parameters;

static stand_in_test *stand_in_tests;
static int stand_in_failed;

enum { STAND_IN_FAILED = 1, STAND_IN_SKIPPED = 77 };

static inline void stand_in_fail(const char *file, int line, const char *what, int fatal) {
  printf("# %s:%d: %s\n", file, line, what);
  stand_in_failed = 1;
  if (fatal) {
    fflush(stdout);
    exit(STAND_IN_FAILED);
  }
}

#define STAND_IN_CHECK(fatal, ok, what)                                                            \
  ((ok) ? (void)0 : stand_in_fail(__FILE__, __LINE__, what, fatal))
#define STAND_IN_IS(fatal, ok, ...)       STAND_IN_CHECK(fatal, ok, #ok)
#define STAND_IN_NOT(fatal, ok, ...)      STAND_IN_CHECK(fatal, !(ok), "not " #ok)
#define STAND_IN_OP(fatal, op, a, b, ...) STAND_IN_CHECK(fatal, (a)op(b), #a " " #op " " #b)
#define STAND_IN_STRINGS(fatal, op, a, b, ...)                                                     \
  STAND_IN_CHECK(fatal, strcmp(a, b) op 0, #a " " #op " " #b)
#define STAND_IN_ARRAYS(fatal, a, b, size, ...)                                                    \
  STAND_IN_CHECK(fatal, memcmp(a, b, size) == 0, #a " equals " #b)
#define STAND_IN_NEAR(fatal, a, b, epsilon, ...)                                                   \
  STAND_IN_CHECK(fatal, fabs((double)(a) - (double)(b)) <= (double)(epsilon), #a " near " #b)

// the last argument only keeps the variadic part from being empty
#define cr_assert(...)          STAND_IN_IS(1, __VA_ARGS__, "")
#define cr_expect(...)          STAND_IN_IS(0, __VA_ARGS__, "")
#define cr_assert_not(...)      STAND_IN_NOT(1, __VA_ARGS__, "")
#define cr_expect_not(...)      STAND_IN_NOT(0, __VA_ARGS__, "")
#define cr_assert_null(...)     STAND_IN_NOT(1, __VA_ARGS__, "")
#define cr_expect_null(...)     STAND_IN_NOT(0, __VA_ARGS__, "")
#define cr_assert_not_null(...) STAND_IN_IS(1, __VA_ARGS__, "")
#define cr_expect_not_null(...) STAND_IN_IS(0, __VA_ARGS__, "")
#define cr_assert_eq(...)       STAND_IN_OP(1, ==, __VA_ARGS__, "")
#define cr_expect_eq(...)       STAND_IN_OP(0, ==, __VA_ARGS__, "")
#define cr_assert_neq(...)      STAND_IN_OP(1, !=, __VA_ARGS__, "")
#define cr_expect_neq(...)      STAND_IN_OP(0, !=, __VA_ARGS__, "")
#define cr_assert_lt(...)       STAND_IN_OP(1, <, __VA_ARGS__, "")
#define cr_expect_lt(...)       STAND_IN_OP(0, <, __VA_ARGS__, "")
#define cr_assert_leq(...)      STAND_IN_OP(1, <=, __VA_ARGS__, "")
#define cr_expect_leq(...)      STAND_IN_OP(0, <=, __VA_ARGS__, "")
#define cr_assert_gt(...)       STAND_IN_OP(1, >, __VA_ARGS__, "")
#define cr_expect_gt(...)       STAND_IN_OP(0, >, __VA_ARGS__, "")
#define cr_assert_geq(...)      STAND_IN_OP(1, >=, __VA_ARGS__, "")
#define cr_expect_geq(...)      STAND_IN_OP(0, >=, __VA_ARGS__, "")
#define cr_assert_str_eq(...)   STAND_IN_STRINGS(1, ==, __VA_ARGS__, "")
#define cr_expect_str_eq(...)   STAND_IN_STRINGS(0, ==, __VA_ARGS__, "")
#define cr_assert_str_neq(...)  STAND_IN_STRINGS(1, !=, __VA_ARGS__, "")
#define cr_expect_str_neq(...)  STAND_IN_STRINGS(0, !=, __VA_ARGS__, "")
#define cr_assert_arr_eq(...)   STAND_IN_ARRAYS(1, __VA_ARGS__, "")
#define cr_expect_arr_eq(...)   STAND_IN_ARRAYS(0, __VA_ARGS__, "")
#define cr_assert_float_eq(...) STAND_IN_NEAR(1, __VA_ARGS__, "")
#define cr_expect_float_eq(...) STAND_IN_NEAR(0, __VA_ARGS__, "")
#define cr_assert_fail(...)     stand_in_fail(__FILE__, __LINE__, "" __VA_ARGS__, 1)
#define cr_expect_fail(...)     stand_in_fail(__FILE__, __LINE__, "" __VA_ARGS__, 0)
#define cr_log_info(...)        (printf("# " __VA_ARGS__), (void)putchar('\n'))
#define cr_skip_test(...)                                                                          \
  (printf("# " __VA_ARGS__), (void)putchar('\n'), fflush(stdout), exit(STAND_IN_SKIPPED))
#define cr_malloc malloc
#define cr_free   free

#define STAND_IN_REGISTER(suite, name, body, parameters, ...)                                      \
  static const stand_in_options suite##_##name##_options = {.description = NULL, __VA_ARGS__};     \
  static stand_in_test suite##_##name##_test = {#suite, #name,      &suite##_##name##_options,     \
                                                body,   parameters, NULL};                         \
  __attribute__((constructor)) static void suite##_##name##_register(void) {                       \
    suite##_##name##_test.next = stand_in_tests;                                                   \
    stand_in_tests = &suite##_##name##_test;                                                       \
  }
#define Test(suite, name, ...)                                                                     \
  static void suite##_##name##_body(void *parameter);                                              \
  STAND_IN_REGISTER(suite, name, suite##_##name##_body, NULL, __VA_ARGS__)                         \
  static void suite##_##name##_body(void *parameter __attribute__((unused)))

#define ParameterizedTestParameters(suite, name)                                                   \
  static stand_in_parameters suite##_##name##_parameters(void)
#define ParameterizedTest(parameter, suite, name, ...)                                             \
  static void suite##_##name##_typed(parameter);                                                   \
  static void suite##_##name##_body(void *pointer) {                                               \
    suite##_##name##_typed(pointer);                                                               \
  }                                                                                                \
  STAND_IN_REGISTER(suite, name, suite##_##name##_body, suite##_##name##_parameters, __VA_ARGS__)  \
  static void suite##_##name##_typed(parameter)
#define cr_make_param_array(type, array, count)                                                    \
  ((stand_in_parameters){sizeof(type), (void *)(array), (size_t)(count)})

// 1 if it passed
static inline int stand_in_run(const stand_in_test *test, void *parameter) {
  int status = 0;
  pid_t child;
  fflush(stdout);
  child = fork();
  if (child == 0) {
    if (test->options->init)
      test->options->init();
    test->body(parameter);
    if (test->options->fini)
      test->options->fini();
    exit(stand_in_failed ? STAND_IN_FAILED : 0);
  }
  if (child < 0 || waitpid(child, &status, 0) != child)
    status = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == STAND_IN_SKIPPED) {
    printf("ok - %s::%s # SKIP\n", test->suite, test->name);
    return 1;
  }
  printf("%s - %s::%s\n", status == 0 ? "ok" : "not ok", test->suite, test->name);
  return status == 0;
}

int main(void) {
  int count = 0, failed = 0;
  const stand_in_test *test;
  for (test = stand_in_tests; test; test = test->next) {
    stand_in_parameters all = {0, NULL, 1};
    size_t i;
    if (test->parameters)
      all = test->parameters();
    for (i = 0; i < all.length; i++, count++)
      failed += !stand_in_run(test, (char *)all.params + i * all.size);
  }
  printf("1..%d\n", count);
  return failed != 0;
}

#endif
