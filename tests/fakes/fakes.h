// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// For tests that bring their own libcuda and NVRTC: a folder that the library looks into instead of
// the system's, what is linked there from $LATHE_TEST_FAKES, and a logger that remembers. To be
// included, after _GNU_SOURCE is defined, in place of lathe.h.
#ifndef LATHE_TESTS_FAKES_H
#define LATHE_TESTS_FAKES_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char test_folder[256]; // this test's own, removed by test_end()
static char library_dir[300]; // <test_folder>/lib/
static char cache_dir[300];   // <test_folder>/cache, not there yet
#define LATHEP_LIBRARY_DIR library_dir

#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "fake_cuda.h"
#include "fake_nvrtc.h"

static fake_cuda_state *cuda;
static fake_nvrtc_state *nvrtc;

// -------------------------------------------------------------------------------------------- log

static char log_text[1 << 16]; // "topic: line\n" ...
static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;

static inline void test_log(const char *topic, const char *line, void *user) {
  size_t length;
  (void)user;
  pthread_mutex_lock(&log_mutex);
  length = strlen(log_text);
  snprintf(log_text + length, sizeof log_text - length, "%s: %s\n", topic, line);
  pthread_mutex_unlock(&log_mutex);
}

static inline int count_of(const char *text, const char *words) {
  int count = 0;
  for (; (text = strstr(text, words)) != NULL; text++)
    count++;
  return count;
}

static inline void expect_logged(const char *words) {
  cr_expect(strstr(log_text, words), "\"%s\" is not in the log:\n%s", words, log_text);
}

// ------------------------------------------------------------------------------------------ files

static inline char *path_in(const char *folder, const char *name) {
  static char paths[8][700];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

static inline size_t read_file(const char *path, char *bytes, size_t size) {
  FILE *file = fopen(path, "rb");
  size_t length;
  cr_assert(file, "%s: %s", path, strerror(errno));
  length = fread(bytes, 1, size, file);
  fclose(file);
  return length;
}

static inline void write_file(const char *path, const void *bytes, size_t size) {
  FILE *file = fopen(path, "wb");
  cr_assert(file && fwrite(bytes, 1, size, file) == size && !fclose(file), "%s: %s", path,
            strerror(errno));
}

// How many files a folder has, and the name of the last; 0 for no folder.
static inline int list_folder(const char *folder, char *name, size_t size) {
  DIR *dir = opendir(folder);
  struct dirent *entry;
  int count = 0;
  while (dir && (entry = readdir(dir)) != NULL) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
      continue;
    count++;
    if (name)
      snprintf(name, size, "%s", entry->d_name);
  }
  if (dir)
    closedir(dir);
  return count;
}

static inline int remove_one(const char *path, const struct stat *status, int kind,
                             struct FTW *where) {
  (void)status, (void)kind, (void)where;
  return remove(path);
}

// ------------------------------------------------------------------------------------------ fakes

// A library by the name that the loader asks for. Null `fake`: it is not there.
static inline void *install(const char *fake, const char *name) {
  char from[512];
  const char *fakes = getenv("LATHE_TEST_FAKES");
  cr_assert(fakes, "LATHE_TEST_FAKES does not say where the fake libraries are");
  snprintf(from, sizeof from, "%s/lib%s.so", fakes, fake);
  cr_assert_eq(symlink(from, path_in(library_dir, name)), 0, "%s: %s", name, strerror(errno));
  return dlopen(path_in(library_dir, name), RTLD_NOW | RTLD_LOCAL);
}

static inline void install_cuda(const char *fake) {
  void *library = install(fake, "libcuda.so.1");
  cr_assert(library, "%s", dlerror());
  cuda = (fake_cuda_state *)dlsym(library, FAKE_CUDA_STATE);
}

static inline void install_nvrtc(const char *fake, const char *name) {
  void *library = install(fake, name);
  cr_assert(library, "%s", dlerror());
  nvrtc = (fake_nvrtc_state *)dlsym(library, FAKE_NVRTC_STATE);
}

// An empty folder to look for libraries in, and an environment without our variables.
static inline void test_begin(void) {
#define UNSET(name, values, fallback, help) unsetenv(#name);
  LATHEP_ENVIRONMENT(UNSET)
#undef UNSET
  snprintf(test_folder, sizeof test_folder, "/tmp/lathe-test-XXXXXX");
  cr_assert(mkdtemp(test_folder));
  snprintf(library_dir, sizeof library_dir, "%s/lib/", test_folder);
  snprintf(cache_dir, sizeof cache_dir, "%s/cache", test_folder);
  cr_assert_eq(mkdir(library_dir, 0777), 0);
  setenv("XDG_CACHE_HOME", test_folder, 1); // no test reaches the user's own
  log_text[0] = '\0';
}

static inline void test_begin_fakes(void) {
  test_begin();
  install_cuda("fake_cuda");
  install_nvrtc("fake_nvrtc", "libnvrtc.so.13");
}

static inline void test_end(void) {
  nftw(test_folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

// A desc of the CUDA backend with the logger above and a cache of the test's own.
static inline lathe_context_desc test_desc(void) {
  lathe_context_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.backend = LATHE_BACKEND_CUDA;
  desc.logger.log = test_log;
  desc.cache_dir = cache_dir;
  return desc;
}

static inline lathe_context *make_context(const lathe_context_desc *desc) {
  lathe_context *context;
  lathe_status status = lathe_context_create(desc, &context);
  cr_assert_eq(status, LATHE_STATUS_OK, "%s: %s", lathe_status_string(status),
               lathe_last_error()->message);
  return context;
}

// The last call failed with this status, and its message has these words and says what would work.
static inline void expect_failed(lathe_status got, lathe_status want, const char *words) {
  const lathe_error *error = lathe_last_error();
  cr_assert_str_eq(lathe_status_string(got), lathe_status_string(want), "got %s: %s",
                   lathe_status_string(got), error->message);
  cr_expect_eq(error->status, want);
  cr_expect(strstr(error->message, words), "\"%s\" is not in \"%s\"", words, error->message);
  cr_expect(strchr(error->message, ';'), "\"%s\" does not say what would work", error->message);
}

static inline void expect_no_context(const lathe_context_desc *desc, lathe_status want,
                                     const char *words) {
  lathe_context *context = (lathe_context *)&log_text;
  expect_failed(lathe_context_create(desc, &context), want, words);
  cr_expect_null(context);
}

// decode_sm80_bf16_bf16_l512r64_m16t32s2x2, or with another L
static inline lathep_variant test_variant(int l) {
  lathep_variant v;
  memset(&v, 0, sizeof v);
  v.op = LATHEP_OP_DECODE;
  v.q = v.kv = v.out = LATHE_DTYPE_BF16;
  v.l = l;
  v.r = 64;
  v.rows = 16;
  v.tokens = 32;
  v.stages = 2;
  v.ctas = 2;
  v.threads = 128;
  v.shared_bytes = (int)lathep_tile_bytes(&v);
  return v;
}

#endif
