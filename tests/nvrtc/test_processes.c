// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Eight processes that start at once on one cold cache: each gets its kernels, none waits for
// another, and what is left is one whole entry per kernel.
#define _GNU_SOURCE
#include "real_nvrtc.h"

#include <sys/wait.h>

enum { MOST = 8 };

static lathe_kernel_source source_of_plan(void) {
  lathe_context_desc context_desc = test_desc();
  lathe_decode_desc desc =
      real_desc(LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, LATHE_DTYPE_BF16, 64, 0, 8);
  lathe_decode_plan_info info;
  lathe_decode_plan *plan;
  lathe_context *context = make_context(&context_desc);
  cr_assert_eq(lathe_decode_plan_create(context, &desc, &plan), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  lathe_decode_plan_get_info(plan, &info);
  lathe_decode_plan_destroy(plan);
  lathe_context_destroy(context);
  return info.source;
}

static void run_all(int processes, int *compiled, int *cached) {
  pid_t children[MOST];
  int gate[2], i, status;
  char go;
  *compiled = *cached = 0;
  cr_assert_eq(pipe(gate), 0);
  fflush(NULL);
  for (i = 0; i < processes; i++) {
    children[i] = fork();
    cr_assert_geq(children[i], 0);
    if (children[i] == 0) {
      close(gate[1]);
      while (read(gate[0], &go, 1) > 0) // until the parent closes its end: all start at once
        continue;
      _exit((int)source_of_plan());
    }
  }
  close(gate[0]);
  close(gate[1]);
  for (i = 0; i < processes; i++) {
    cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
    cr_assert(WIFEXITED(status), "process %d ended by signal %d", i, WTERMSIG(status));
    *compiled += WEXITSTATUS(status) == LATHE_KERNEL_SOURCE_NVRTC;
    *cached += WEXITSTATUS(status) == LATHE_KERNEL_SOURCE_CACHE;
  }
  cr_expect_eq(*compiled + *cached, processes, "%d compiled, %d from the cache", *compiled,
               *cached);
}

// Eight compilers at once: minutes on a busy machine, where Criterion's own limit is one.
TestSuite(processes, .timeout = 600);

Test(processes, cold_cache) {
  int compiled, cached;
  test_begin_real();
  run_all(MOST, &compiled, &cached);
  cr_expect_geq(compiled, 1);
  cr_expect_eq(list_folder(cache_dir, NULL, 0), 3,
               "decode, merge, schedule, and no temporary file");
  cr_expect_eq(source_of_plan(), LATHE_KERNEL_SOURCE_CACHE);
  test_end();
}

// Entries cut short, by a full disk say: everyone passes them over, and they are whole again.
Test(processes, spoilt_cache) {
  struct dirent *entry;
  int compiled, cached;
  DIR *dir;
  test_begin_real();
  source_of_plan();
  dir = opendir(cache_dir);
  cr_assert_not_null(dir);
  while ((entry = readdir(dir)) != NULL)
    if (strstr(entry->d_name, ".cubin"))
      cr_assert_eq(truncate(path_in(cache_dir, entry->d_name), 1000), 0);
  closedir(dir);
  run_all(3, &compiled, &cached);
  cr_expect_geq(compiled, 1);
  cr_expect_eq(list_folder(cache_dir, NULL, 0), 3);
  cr_expect_eq(source_of_plan(), LATHE_KERNEL_SOURCE_CACHE);
  test_end();
}
