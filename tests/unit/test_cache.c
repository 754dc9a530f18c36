// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The disk cache: where it is, the bytes of an entry, and that nothing wrong with one is fatal.
#define _GNU_SOURCE
#include "../fakes/fakes.h"

static const lathep_hash key = {0x0123456789abcdefu, 0xfedcba9876543210u};
static char payload[] = "a cubin";
static lathep_image image = {payload, 7, 0};

static lathe_context *cache_context(const char *folder) {
  lathe_context_desc desc = test_desc();
  desc.backend = LATHE_BACKEND_CPU;
  desc.cache_dir = folder;
  return make_context(&desc);
}

static void expect_miss(lathe_context *context, const char *words) {
  lathep_image got;
  log_text[0] = '\0';
  cr_expect_eq(lathep_cache_load(context, "kernel", key, &got), 0);
  cr_expect_null(got.data);
  expect_logged(words);
}

static void expect_hit(lathe_context *context) {
  lathep_image got;
  cr_assert_eq(lathep_cache_load(context, "kernel", key, &got), 1, "%s", log_text);
  cr_expect_eq(got.size, image.size);
  cr_expect_arr_eq(got.data, payload, image.size);
  cr_expect_eq(got.data[got.size], 0);
  lathep_image_free(&context->allocator, &got);
}

static char *entry(void) {
  return path_in(cache_dir, "kernel-0123456789abcdef.cubin");
}

// ----------------------------------------------------------------------------------------- folder

static void expect_folder(const char *desc, const char *env, const char *xdg, const char *home,
                          const char *want) {
  lathe_context *context;
  xdg ? setenv("XDG_CACHE_HOME", xdg, 1) : unsetenv("XDG_CACHE_HOME");
  home ? setenv("HOME", home, 1) : unsetenv("HOME");
  env ? setenv("LATHE_CACHE_DIR", env, 1) : unsetenv("LATHE_CACHE_DIR");
  context = cache_context(desc);
  if (want)
    cr_expect_str_eq(context->cache_dir, want);
  else
    cr_expect_null(context->cache_dir, "%s", context->cache_dir);
  lathe_context_destroy(context);
}

Test(cache, folder) {
  test_begin();
  expect_folder("/desc", "/env", "/xdg", "/home", "/desc");
  expect_folder(NULL, "/env", "/xdg", "/home", "/env");
  expect_folder(NULL, "env", "/xdg", "/home", "env");
  expect_folder(NULL, "", "/xdg", "/home", "/xdg/lathe");
  expect_folder(NULL, NULL, "/xdg", "/home", "/xdg/lathe");
  expect_folder(NULL, NULL, "relative", "/home", "/home/.cache/lathe");
  expect_folder(NULL, NULL, "", "/home", "/home/.cache/lathe");
  expect_folder(NULL, NULL, NULL, "/home", "/home/.cache/lathe");
  expect_folder(NULL, NULL, "relative", "relative", NULL);
  expect_folder(NULL, NULL, NULL, NULL, NULL);
  test_end();
}

Test(cache, folders_are_made) {
  lathe_context *context;
  char deep[700];
  struct stat status;
  test_begin();
  snprintf(deep, sizeof deep, "%s/a//b/c/", cache_dir);
  context = cache_context(deep);
  cr_expect_neq(stat(cache_dir, &status), 0, "only when needed");
  lathep_cache_store(context, "kernel", key, &image);
  expect_hit(context);
  cr_expect_eq(stat(deep, &status), 0);
  cr_expect_eq(status.st_mode & 0777, 0700, "as the XDG specification wants");
  lathe_context_destroy(context);
  test_end();
}

Test(cache, none) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  lathep_image got;
  test_begin();
  desc.backend = LATHE_BACKEND_CPU;
  setenv("LATHE_CACHE", "0", 1);
  context = make_context(&desc);
  lathep_cache_store(context, "kernel", key, &image);
  cr_expect_eq(lathep_cache_load(context, "kernel", key, &got), 0);
  cr_expect_eq(list_folder(cache_dir, NULL, 0), 0);
  lathe_context_destroy(context);
  test_end();
}

// ---------------------------------------------------------------------------------------- entries

Test(cache, stored_and_loaded) {
  lathe_context *context;
  char name[300];
  test_begin();
  context = cache_context(cache_dir);
  expect_miss(context, "cache: not read: ");
  lathep_cache_store(context, "kernel", key, &image);
  expect_logged("cache: written: ");
  expect_hit(context);
  expect_logged("cache: read: ");
  cr_expect_eq(list_folder(cache_dir, name, sizeof name), 1, "no temporary file stays");
  cr_expect_str_eq(name, "kernel-0123456789abcdef.cubin");
  lathep_cache_store(context, "kernel", key, &image);
  expect_hit(context);
  cr_expect_eq(list_folder(cache_dir, NULL, 0), 1);
  lathe_context_destroy(context);
  test_end();
}

// The format on disk. What reads other bytes than these has another LATHEP_CACHE_FORMAT.
Test(cache, golden) {
  static const unsigned char golden[] = {
      'L',  'A',  'T',  'H',  'E',  'B',  'I',  'N',  1,    0,    0,    0,    0,    0,    0,
      0,    7,    0,    0,    0,    0,    0,    0,    0,    0xe1, 0x93, 0xf7, 0x7a, 0x0f, 0xbb,
      0xf7, 0x49, 0x04, 0x3c, 0x15, 0x3b, 0x2a, 0x84, 0x15, 0xff, 0xef, 0xcd, 0xab, 0x89, 0x67,
      0x45, 0x23, 0x01, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0,    0,    0,    0,
      0,    0,    0,    0,    'a',  ' ',  'c',  'u',  'b',  'i',  'n'};
  char bytes[200];
  size_t i, size;
  lathe_context *context;
  test_begin();
  context = cache_context(cache_dir);
  lathep_cache_store(context, "kernel", key, &image);
  size = read_file(entry(), bytes, sizeof bytes);
  cr_expect_eq(size, sizeof golden);
  for (i = 0; i < size && i < sizeof golden; i++)
    cr_expect_eq((unsigned char)bytes[i], golden[i], "byte %zu is 0x%02x", i,
                 (unsigned)(unsigned char)bytes[i]);
  write_file(entry(), golden, sizeof golden);
  expect_hit(context);
  lathe_context_destroy(context);
  test_end();
}

Test(cache, ptx_stays_ptx) {
  lathe_context *context;
  lathep_image ptx = image, got;
  test_begin();
  ptx.ptx = 1;
  context = cache_context(cache_dir);
  lathep_cache_store(context, "kernel", key, &ptx);
  cr_assert_eq(lathep_cache_load(context, "kernel", key, &got), 1);
  cr_expect_eq(got.ptx, 1);
  lathep_image_free(&context->allocator, &got);
  lathe_context_destroy(context);
  test_end();
}

// However it was cut, lengthened or changed by one byte: a line of the log, and it can be replaced.
Test(cache, spoilt_entries) {
  lathe_context *context;
  char bytes[200], bad[200];
  size_t size, i;
  test_begin();
  context = cache_context(cache_dir);
  lathep_cache_store(context, "kernel", key, &image);
  size = read_file(entry(), bytes, sizeof bytes);
  for (i = 0; i < size; i++) {
    write_file(entry(), bytes, i);
    expect_miss(context, i > 64 ? "it is cut short or too long" : "it is cut short");
  }
  memcpy(bad, bytes, size);
  bad[size] = 'x';
  write_file(entry(), bad, size + 1);
  expect_miss(context, "it is cut short or too long");
  for (i = 0; i < size; i++) {
    memcpy(bad, bytes, size);
    bad[i] ^= 0x10;
    write_file(entry(), bad, size);
    expect_miss(context, i < 8    ? "it is no cache entry"
                         : i < 12 ? "it has another format"
                         : i < 16 ? "its bytes are not those that were written"
                         : i < 24 ? "it is cut short or too long"
                         : i < 40 ? "its bytes are not those that were written"
                         : i < 56 ? "it was made from another source"
                                  : "its bytes are not those that were written");
  }
  lathep_cache_store(context, "kernel", key, &image);
  expect_hit(context);
  lathe_context_destroy(context);
  test_end();
}

// An entry of another key under this key's name: renamed, or the first 64 bits are the same.
Test(cache, stale_entry) {
  lathe_context *context;
  lathep_hash other = key;
  test_begin();
  context = cache_context(cache_dir);
  other.b++;
  lathep_cache_store(context, "kernel", other, &image);
  expect_miss(context, "it was made from another source, with other options or by another NVRTC");
  lathe_context_destroy(context);
  test_end();
}

// A folder that cannot be one, and entries that are none. (As root, no folder is read-only: a file
// stands in the way instead.)
Test(cache, unusable_places) {
  lathe_context *context;
  char path[700];
  test_begin();
  write_file(path_in(test_folder, "file"), "", 0);
  snprintf(path, sizeof path, "%s/file/cache", test_folder);
  context = cache_context(path);
  lathep_cache_store(context, "kernel", key, &image);
  expect_logged("cache: not written: ");
  expect_miss(context, "cache: not read: ");
  lathe_context_destroy(context);
  context = cache_context("/proc/lathe/cache");
  lathep_cache_store(context, "kernel", key, &image);
  expect_logged("cache: not written: /proc/lathe/cache/");
  lathe_context_destroy(context);
  context = cache_context(cache_dir);
  cr_assert_eq(mkdir(cache_dir, 0700) | mkdir(entry(), 0700), 0);
  expect_miss(context, "cache: not read: ");
  log_text[0] = '\0';
  lathep_cache_store(context, "kernel", key, &image);
  expect_logged("cache: not written: ");
  cr_expect_eq(list_folder(cache_dir, NULL, 0), 1, "no temporary file stays");
  lathe_context_destroy(context);
  test_end();
}

Test(cache, read_only_folder) {
  lathe_context *context;
  test_begin();
  if (geteuid() == 0 && seteuid(65534))
    cr_skip_test("root, and cannot be anyone else");
  context = cache_context("/usr");
  lathep_cache_store(context, "kernel", key, &image);
  expect_logged("cache: not written: /usr/kernel-0123456789abcdef.cubin: Permission denied");
  lathe_context_destroy(context);
  cr_expect_eq(seteuid(0) && geteuid() == 0, 0);
  test_end();
}

Test(cache, paths_that_are_too_long) {
  static char longest[2 * LATHEP_PATH_MAX];
  lathe_context *context;
  lathep_image got;
  test_begin();
  memset(longest, 'x', sizeof longest - 1);
  longest[0] = '/';
  context = cache_context(longest);
  lathep_cache_store(context, "kernel", key, &image);
  cr_expect_eq(lathep_cache_load(context, "kernel", key, &got), 0);
  cr_expect_eq(lathep_make_folder(longest), ENAMETOOLONG);
  lathe_context_destroy(context);
  test_end();
}

// -------------------------------------------------------------------------------------------- key

Test(cache, key_holds_all_that_matters) {
  const char *const options[] = {"--gpu-architecture=sm_90a", "--std=c++17"};
  const char *const swapped[] = {"--std=c++17", "--gpu-architecture=sm_90a"};
  lathep_hash keys[8];
  int i, j;
  keys[0] = lathep_cache_key("source", options, 2, 90, 13, 0);
  keys[1] = lathep_cache_key("sourcE", options, 2, 90, 13, 0);
  keys[2] = lathep_cache_key("source", swapped, 2, 90, 13, 0);
  keys[3] = lathep_cache_key("source", options, 1, 90, 13, 0);
  keys[4] = lathep_cache_key("source", options, 2, 100, 13, 0);
  keys[5] = lathep_cache_key("source", options, 2, 90, 12, 0);
  keys[6] = lathep_cache_key("source", options, 2, 90, 13, 1);
  keys[7] = lathep_cache_key("source ", options, 2, 90, 13, 0);
  for (i = 0; i < 8; i++)
    for (j = 0; j < i; j++)
      cr_expect(keys[i].a != keys[j].a && keys[i].b != keys[j].b, "%d and %d", j, i);
  keys[1] = lathep_cache_key("source", options, 2, 90, 13, 0);
  cr_expect(keys[0].a == keys[1].a && keys[0].b == keys[1].b);
}
