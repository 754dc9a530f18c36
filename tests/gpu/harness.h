// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the GPU test programs share: a test is written once with GPU_TEST and runs under Criterion,
// a process each, or with --direct one after the other in this process, which is what tools that
// watch a process want (compute-sanitizer, cuda-gdb). Every test skips, with the reason, where
// there is no GPU.
//
//   PROGRAM [Criterion's options]        PROGRAM --direct [--small] [--cpu] [name part]
//
// --cpu tests the tests: see on_cpu.h. A program compiled with GPU_TEST_DIRECT knows --direct alone
// and needs no Criterion, neither to build nor to run.
// LATHE_TEST_FULL=1 runs whole grids, LATHE_TEST_SMALL=1 (or --small) a handful of small cases.
// Include this first; it brings the library's implementation.
#ifndef LATHE_TESTS_GPU_HARNESS_H
#define LATHE_TESTS_GPU_HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#ifndef GPU_TEST_DIRECT
#include <criterion/criterion.h>
#endif

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "on_cpu.h"

// ------------------------------------------------------------------------------------- reporting

typedef struct gpu_test {
  const char *name;
  void (*body)(void);
  struct gpu_test *next;
} gpu_test;

static gpu_test *gpu_tests;
static int gpu_failures, gpu_checks;
static char gpu_first_failure[1024];

// Counts a check; a failed one is told at once, and the test goes on, so that one run shows them
// all.
__attribute__((format(printf, 2, 3))) static inline int gpu_check(int ok, const char *format, ...) {
  va_list list;
  gpu_checks++;
  if (ok)
    return 1;
  if (gpu_failures++ < 20) {
    char text[1024];
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fprintf(stderr, "# FAILED: %s\n", text);
    if (gpu_failures == 1)
      snprintf(gpu_first_failure, sizeof gpu_first_failure, "%s", text);
  }
  return 0;
}

// The body of a test that finds that it cannot run here says why, and returns.
static char gpu_skipped[256];
static inline void gpu_skip(const char *why) {
  snprintf(gpu_skipped, sizeof gpu_skipped, "%s", why);
}

// A call of the library that has to succeed for the test to mean anything.
static inline int gpu_ok(lathe_status status, const char *what) {
  return gpu_check(status == LATHE_STATUS_OK, "%s: %s: %s", what, lathe_status_string(status),
                   lathe_last_error()->message);
}

static inline int gpu_env(const char *name) {
  const char *value = getenv(name);
  return value && value[0] && strcmp(value, "0") != 0;
}
static inline int gpu_small(void) {
  return gpu_env("LATHE_TEST_SMALL");
}
static inline int gpu_full(void) {
  return gpu_env("LATHE_TEST_FULL");
}

static inline double gpu_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Null, or why no GPU test can run here. Opens the driver on the first call.
static inline const char *gpu_missing(void) {
  static char why[256];
  static int state; // 0 not asked, 1 there, 2 missing
  if (gpu_on_cpu)
    return NULL;
  if (state == 0)
    state = gpu_driver_open(0, why, sizeof why) == 0 ? 1 : 2;
  return state == 1 ? NULL : why;
}

#ifdef GPU_TEST_DIRECT
#define GPU_TEST_CRITERION(suite, id)
#else
#define GPU_TEST_CRITERION(suite, id)                                                              \
  Test(suite, id, .timeout = 900) {                                                                \
    const char *missing = gpu_missing();                                                           \
    if (missing)                                                                                   \
      cr_skip_test("%s", missing);                                                                 \
    gpu_body_##id();                                                                               \
    if (gpu_skipped[0] && !gpu_failures)                                                           \
      cr_skip_test("%s", gpu_skipped);                                                             \
    cr_assert(gpu_failures == 0, "%d of %d checks failed; first: %s", gpu_failures, gpu_checks,    \
              gpu_first_failure);                                                                  \
  }
#endif

// GPU_TEST(suite, name) { body }: checks with gpu_check and gpu_ok.
#define GPU_TEST(suite, id)                                                                        \
  static void gpu_body_##id(void);                                                                 \
  static gpu_test gpu_entry_##id = {#id, gpu_body_##id, NULL};                                     \
  __attribute__((constructor)) static void gpu_register_##id(void) {                               \
    gpu_entry_##id.next = gpu_tests;                                                               \
    gpu_tests = &gpu_entry_##id;                                                                   \
  }                                                                                                \
  GPU_TEST_CRITERION(suite, id)                                                                    \
  static void gpu_body_##id(void)

static inline int gpu_run_direct(const char *filter) {
  const char *missing = gpu_missing();
  gpu_test *test, *reversed = NULL;
  int number = 0, bad = 0;
  while ((test = gpu_tests) != NULL) { // registered last first
    gpu_tests = test->next;
    test->next = reversed;
    reversed = test;
  }
  for (test = reversed; test; test = test->next) {
    if (filter && !strstr(test->name, filter))
      continue;
    number++;
    if (missing) {
      printf("ok %d - %s # SKIP %s\n", number, test->name, missing);
      continue;
    }
    gpu_failures = gpu_checks = 0;
    gpu_skipped[0] = '\0';
    test->body();
    if (gpu_skipped[0] && !gpu_failures)
      printf("ok %d - %s # SKIP %s\n", number, test->name, gpu_skipped);
    else
      printf("%sok %d - %s # %d checks\n", gpu_failures ? "not " : "", number, test->name,
             gpu_checks);
    fflush(stdout);
    bad += gpu_failures != 0;
  }
  printf("1..%d\n", number);
  return bad != 0;
}

// ------------------------------------------------------------------------------- other processes

// A program that starts itself again defines GPU_CHILD as the function that --child runs.
#ifndef GPU_CHILD
#define GPU_CHILD(name) (fprintf(stderr, "no child %s\n", name), 2)
#endif

// Starts GPU_CHILD(name) in a new process with these variables set ("NAME=value", null at the end).
// Criterion's own variable must not reach it.
static inline pid_t gpu_start_child(const char *name, char *const *variables) {
  pid_t child = fork();
  if (child == 0) {
    int i;
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    char *arguments[] = {program, (char *)"--child", (char *)(size_t)name, NULL};
    unsetenv("BXFI_MAP");
    for (i = 0; variables && variables[i]; i++)
      putenv(variables[i]);
    if (length > 0) {
      program[length] = '\0';
      execv(program, arguments);
    }
    _exit(127);
  }
  return child;
}

// Its exit status, 128 and more for a signal.
static inline int gpu_wait_child(pid_t child) {
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child)
    return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline int gpu_run_child(const char *name, char *const *variables) {
  return gpu_wait_child(gpu_start_child(name, variables));
}

// ------------------------------------------------------------------------------------- parallel

typedef struct gpu_work {
  void (*body)(void *user, int index);
  void *user;
  int count, next;
  pthread_mutex_t lock;
} gpu_work;

static inline void *gpu_worker(void *argument) {
  gpu_work *work = (gpu_work *)argument;
  for (;;) {
    int index;
    pthread_mutex_lock(&work->lock);
    index = work->next++;
    pthread_mutex_unlock(&work->lock);
    if (index >= work->count)
      return NULL;
    work->body(work->user, index);
  }
}

// body(user, 0) to body(user, count - 1), over the machine's cores.
static inline void gpu_parallel(int count, void (*body)(void *user, int index), void *user) {
  gpu_work work = {body, user, count, 0, PTHREAD_MUTEX_INITIALIZER};
  pthread_t threads[32];
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  int started = 0, wanted = cores > 32 ? 32 : cores < 1 ? 1 : (int)cores;
  if (wanted > count)
    wanted = count;
  while (started + 1 < wanted && pthread_create(&threads[started], NULL, gpu_worker, &work) == 0)
    started++;
  gpu_worker(&work);
  while (started > 0)
    pthread_join(threads[--started], NULL);
}

// --------------------------------------------------------------------------------------- context

static inline void gpu_remove_folder(const char *path) {
  DIR *folder = opendir(path);
  struct dirent *entry;
  while (folder && (entry = readdir(folder)) != NULL)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      unlinkat(dirfd(folder), entry->d_name, 0);
  if (folder)
    closedir(folder);
  rmdir(path);
}

static char gpu_own_cache[] = "/tmp/lathe-gpu-XXXXXX";

static inline void gpu_remove_cache(void) {
  gpu_remove_folder(gpu_own_cache);
}

// A cache folder of this process's own, so that no earlier build's kernels are tested, unless the
// environment names one for a whole run.
static inline const char *gpu_cache_dir(void) {
  static int made;
  if (getenv("LATHE_CACHE_DIR"))
    return NULL;
  if (!made) {
    made = mkdtemp(gpu_own_cache) ? 1 : -1;
    if (made == 1)
      atexit(gpu_remove_cache);
  }
  return made == 1 ? gpu_own_cache : NULL;
}

// With jit off, kernels are the table's alone, whatever the cache has.
static inline lathe_context *gpu_context_create(const lathe_kernel_table *kernels,
                                                lathe_switch jit) {
  lathe_context_desc desc;
  lathe_context *context = NULL;
  memset(&desc, 0, sizeof desc);
  desc.backend = gpu_on_cpu ? LATHE_BACKEND_CPU : LATHE_BACKEND_CUDA;
  desc.device = gpu_on_cpu ? 0 : LATHE_DEVICE(0);
  desc.kernels = kernels;
  desc.jit = jit;
  desc.cache = jit == LATHE_SWITCH_OFF ? LATHE_SWITCH_OFF : LATHE_SWITCH_DEFAULT;
  desc.cache_dir = gpu_cache_dir();
  if (!gpu_ok(lathe_context_create(&desc, &context), "lathe_context_create"))
    abort();
  return context;
}

static inline lathe_context *gpu_oracle_context(void) {
  static lathe_context *context;
  lathe_context_desc desc;
  if (context)
    return context;
  memset(&desc, 0, sizeof desc);
  desc.backend = LATHE_BACKEND_CPU;
  if (!gpu_ok(lathe_context_create(&desc, &context), "lathe_context_create for the CPU"))
    abort();
  return context;
}

static inline int gpu_run_criterion(int argc, char **argv) {
#ifdef GPU_TEST_DIRECT
  (void)argc;
  fprintf(stderr, "%s: give --direct; this program was built without Criterion\n", argv[0]);
  return 2;
#else
  struct criterion_test_set *tests = criterion_initialize();
  int result = 0;
  criterion_options.jobs = 1; // one GPU, and some tests measure time
  if (criterion_handle_args(argc, argv, true))
    result = !criterion_run_all_tests(tests);
  criterion_finalize(tests);
  return result;
#endif
}

int main(int argc, char **argv) {
  int i;
  if (argc == 3 && strcmp(argv[1], "--child") == 0)
    return GPU_CHILD(argv[2]);
  if (argc > 1 && strcmp(argv[1], "--direct") == 0) {
    const char *filter = NULL;
    for (i = 2; i < argc; i++) {
      if (strcmp(argv[i], "--small") == 0)
        setenv("LATHE_TEST_SMALL", "1", 1);
      else if (strcmp(argv[i], "--cpu") == 0)
        on_cpu_begin();
      else
        filter = argv[i];
    }
    return gpu_run_direct(filter);
  }
  return gpu_run_criterion(argc, argv);
}

#endif
