// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Where a kernel comes from: memory, table, disk cache or NVRTC, and what happens to each when it
// cannot be had.
#define _GNU_SOURCE
#include "../fakes/fakes.h"

#include <locale.h>

#define NAME "decode_sm80_bf16_bf16_l512r64_m16t32s2x2"

static const lathep_kernel *get(lathe_context *context, int l, lathe_kernel_source want) {
  lathep_variant variant = test_variant(l);
  lathe_kernel_source how = LATHE_KERNEL_SOURCE_NONE;
  const lathep_kernel *kernel;
  lathe_status status = lathep_kernel_get(context, &variant, &kernel, &how);
  cr_assert_eq(status, LATHE_STATUS_OK, "%s: %s\n%s", lathe_status_string(status),
               lathe_last_error()->message, log_text);
  cr_expect_eq(how, want, "source %d, not %d:\n%s", (int)how, (int)want, log_text);
  cr_expect_not_null(kernel->function);
  cr_expect_eq(cuda->pushes, cuda->pops);
  return kernel;
}

static void expect_no_kernel(lathe_context *context, lathe_status want, const char *words) {
  lathep_variant variant = test_variant(512);
  const lathep_kernel *kernel = (const lathep_kernel *)&variant;
  lathe_kernel_source how;
  expect_failed(lathep_kernel_get(context, &variant, &kernel, &how), want, words);
  cr_expect_null(kernel);
  cr_expect_null(context->kernels, "nothing stays behind");
  cr_expect_eq(cuda->pushes, cuda->pops);
}

// ------------------------------------------------------------------------------------------ order

Test(kernel, compiled_then_remembered_then_cached) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  const lathep_kernel *first;
  test_begin_fakes();
  context = make_context(&desc);
  first = get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect_str_eq(first->name, NAME);
  cr_expect_str_eq(cuda->symbol, "lathe_" NAME);
  cr_expect_eq(first->registers, 200);
  cr_expect_eq(first->static_shared, 1024);
  cr_expect_eq(first->binary_version, 90);
  expect_logged("jit: compiled " NAME " for sm_90a: ");
  cr_expect_eq(get(context, 512, LATHE_KERNEL_SOURCE_MEMORY), first);
  cr_expect_neq(get(context, 256, LATHE_KERNEL_SOURCE_NVRTC), first);
  cr_expect_eq(nvrtc->compiles, 2);
  lathe_context_destroy(context);
  cr_expect_eq(cuda->loads, 2);
  cr_expect_eq(cuda->unloads, 2);
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_CACHE);
  get(context, 256, LATHE_KERNEL_SOURCE_CACHE);
  cr_expect_eq(nvrtc->compiles, 2);
  cr_expect_eq(list_folder(cache_dir, NULL, 0), 2);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, compiled_with_two_options) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect_eq(nvrtc->num_options, 2);
  cr_expect_str_eq(nvrtc->options[0], "--gpu-architecture=sm_90a");
  cr_expect_str_eq(nvrtc->options[1], "--std=c++17");
  lathe_context_destroy(context);
  cuda->major = 8;
  cuda->minor = 6;
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect_str_eq(nvrtc->options[0], "--gpu-architecture=sm_86");
  lathe_context_destroy(context);
  cuda->major = 12;
  cuda->minor = 0;
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect_str_eq(nvrtc->options[0], "--gpu-architecture=sm_120");
  lathe_context_destroy(context);
  test_end();
}

// All that loading would do lazily is done now, as the first launch may be inside a capture.
Test(kernel, set_up_for_a_first_launch_in_a_capture) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect_eq(cuda->functions_loaded, 1);
  cr_expect_eq(cuda->dynamic_shared, test_variant(512).shared_bytes);
  cr_expect_eq(cuda->carveout, 100);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, set_up_by_a_driver_without_cuFuncLoad) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin();
  install_cuda("fake_cuda_bare");
  install_nvrtc("fake_nvrtc", "libnvrtc.so.13");
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect_eq(cuda->functions_loaded, 0);
  cr_expect_gt(cuda->queries, 0);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, merge_has_no_dynamic_shared_memory) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  const lathep_kernel *kernel;
  lathe_kernel_source how;
  lathep_variant merge;
  test_begin_fakes();
  context = make_context(&desc);
  lathep_variant_merge(LATHE_DTYPE_BF16, 512, 0, &merge);
  cuda->dynamic_shared = -1;
  cr_assert_eq(lathep_kernel_get(context, &merge, &kernel, &how), LATHE_STATUS_OK);
  cr_expect_eq(cuda->dynamic_shared, -1);
  cr_expect_str_eq(kernel->name, "merge_sm80_bf16_l512");
  lathe_context_destroy(context);
  test_end();
}

// ------------------------------------------------------------------------------------------ table

static const lathe_kernel_image *image_of(const char *variant, lathe_image_kind kind, int arch,
                                          int specific) {
  static lathe_kernel_image images[32];
  static char data[32][128];
  static int next;
  lathe_kernel_image *image = &images[next];
  memset(image, 0, sizeof *image);
  snprintf(data[next], sizeof data[next], "%s %d%s lathe_%s", kind == LATHE_IMAGE_PTX ? "P" : "C",
           arch, specific ? "a" : "", variant);
  image->variant = variant;
  image->kind = kind;
  image->arch = arch;
  image->arch_specific = specific;
  image->data = data[next];
  image->size = sizeof data[next];
  next++;
  return image;
}

static int symbol_code;

static int get_function(const void *symbol, void **function) {
  *function = (void *)(uintptr_t)symbol;
  return symbol_code;
}

// The beginning of the image that a device of this capability loads of the table.
static void expect_image(const lathe_kernel_table *table, int major, int minor, const char *want) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  cuda->major = major;
  cuda->minor = minor;
  memset(cuda->image, 0, sizeof cuda->image);
  desc.kernels = table;
  desc.cache = LATHE_SWITCH_OFF;
  log_text[0] = '\0';
  context = make_context(&desc);
  get(context, 512, want ? LATHE_KERNEL_SOURCE_AHEAD_OF_TIME : LATHE_KERNEL_SOURCE_NVRTC);
  if (want)
    cr_expect_eq(strncmp(cuda->image, want, strlen(want)), 0, "%s, not %s, for %d.%d", cuda->image,
                 want, major, minor);
  lathe_context_destroy(context);
}

Test(kernel, best_image_of_the_table) {
  const lathe_kernel_image images[] = {
      *image_of(NAME, LATHE_IMAGE_PTX, 80, 0),       *image_of(NAME, LATHE_IMAGE_CUBIN, 80, 0),
      *image_of(NAME, LATHE_IMAGE_CUBIN, 86, 0),     *image_of(NAME, LATHE_IMAGE_CUBIN, 90, 1),
      *image_of(NAME, LATHE_IMAGE_PTX, 90, 1),       *image_of(NAME, LATHE_IMAGE_PTX, 89, 0),
      *image_of("other", LATHE_IMAGE_CUBIN, 100, 0),
  };
  const lathe_kernel_table table = {LATHE_VERSION, 7, images, NULL};
  test_begin_fakes();
  expect_image(&table, 8, 0, "C 80 ");
  expect_image(&table, 8, 6, "C 86 ");
  expect_image(&table, 8, 9, "C 86 ");
  expect_image(&table, 8, 7, "C 86 ");
  expect_image(&table, 9, 0, "C 90a ");
  expect_image(&table, 10, 0, "P 89 ");
  expect_image(&table, 12, 0, "P 89 ");
  test_end();
}

Test(kernel, symbol_of_the_program) {
  static char symbol;
  const lathe_kernel_image images[] = {{NAME, LATHE_IMAGE_SYMBOL, 0, 0, &symbol, 0}};
  const lathe_kernel_table table = {LATHE_VERSION, 1, images, get_function};
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  desc.kernels = &table;
  context = make_context(&desc);
  cr_expect_eq((void *)get(context, 512, LATHE_KERNEL_SOURCE_AHEAD_OF_TIME)->function,
               (void *)&symbol);
  cr_expect_eq(cuda->loads, 0);
  cr_expect_eq(cuda->functions_loaded, 1);
  lathe_context_destroy(context);
  cr_expect_eq(cuda->unloads, 0);
  symbol_code = 98; // the program has no image for this device
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  expect_logged("passed over: get_function of the table (98)");
  lathe_context_destroy(context);
  test_end();
}

// The body was compiled away: -arch was below what the kernel needs.
Test(kernel, empty_kernel_is_absent) {
  static char symbol;
  const lathe_kernel_image images[] = {{NAME, LATHE_IMAGE_SYMBOL, 0, 0, &symbol, 0},
                                       *image_of(NAME, LATHE_IMAGE_CUBIN, 90, 0)};
  const lathe_kernel_table table = {LATHE_VERSION, 2, images, get_function};
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  cuda->static_shared = 0;
  desc.kernels = &table;
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  expect_logged("dispatch: " NAME " ahead of time for sm_90: passed over: it is empty");
  expect_logged("dispatch: " NAME " ahead of time, image 0: passed over: it is empty");
  lathe_context_destroy(context);
  cr_expect_eq(cuda->loads, cuda->unloads);
  test_end();
}

Test(kernel, image_that_the_driver_refuses) {
  const lathe_kernel_image images[] = {*image_of(NAME, LATHE_IMAGE_CUBIN, 90, 0),
                                       *image_of(NAME, LATHE_IMAGE_PTX, 80, 0)};
  const lathe_kernel_table table = {LATHE_VERSION, 2, images, NULL};
  test_begin_fakes();
  cuda->load_fails = 1;
  cuda->load_code = 200;
  expect_image(&table, 9, 0, "P 80 ");
  expect_logged("for sm_90: passed over: cuModuleLoadData (200)");
  cuda->load_fails = 2;
  expect_image(&table, 9, 0, NULL);
  expect_logged("for compute_80: passed over: cuModuleLoadData (200)");
  cr_expect_str_eq(lathe_last_error()->message, "");
  test_end();
}

// ---------------------------------------------------------------------------------------- threads

enum { THREADS = 8 };

typedef struct asking {
  lathe_context *context;
  int l;
  const lathep_kernel *kernel;
  lathe_kernel_source how;
  lathe_status status;
} asking;

static void *ask(void *data) {
  asking *a = (asking *)data;
  lathep_variant variant = test_variant(a->l);
  a->status = lathep_kernel_get(a->context, &variant, &a->kernel, &a->how);
  return NULL;
}

static void ask_all(lathe_context *context, asking *askings, int kernels) {
  pthread_t threads[THREADS];
  int i;
  for (i = 0; i < THREADS; i++) {
    askings[i].context = context;
    askings[i].l = 64 * (1 + i % kernels);
    cr_assert_eq(pthread_create(&threads[i], NULL, ask, &askings[i]), 0);
  }
  for (i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
}

Test(kernel, threads_compile_once) {
  lathe_context_desc desc = test_desc();
  asking askings[THREADS];
  lathe_context *context;
  int i, made = 0;
  test_begin_fakes();
  nvrtc->milliseconds = 50;
  context = make_context(&desc);
  ask_all(context, askings, 2);
  for (i = 0; i < THREADS; i++) {
    cr_assert_eq(askings[i].status, LATHE_STATUS_OK);
    cr_expect_eq(askings[i].kernel, askings[i % 2].kernel);
    made += askings[i].how == LATHE_KERNEL_SOURCE_NVRTC;
    cr_expect(askings[i].how == LATHE_KERNEL_SOURCE_NVRTC ||
              askings[i].how == LATHE_KERNEL_SOURCE_MEMORY);
  }
  cr_expect_eq(made, 2);
  cr_expect_eq(nvrtc->compiles, 2);
  cr_expect_eq(cuda->loads, 2);
  lathe_context_destroy(context);
  test_end();
}

// One fails, and another one of those that waited tries: nobody waits for ever.
Test(kernel, threads_after_a_failure) {
  lathe_context_desc desc = test_desc();
  asking askings[THREADS];
  lathe_context *context;
  int i, failed = 0;
  test_begin_fakes();
  nvrtc->milliseconds = 20;
  nvrtc->compile_fails = 3;
  nvrtc->compile_code = 6;
  context = make_context(&desc);
  ask_all(context, askings, 1);
  for (i = 0; i < THREADS; i++) {
    failed += askings[i].status == LATHE_STATUS_COMPILE_FAILED;
    cr_expect_eq(askings[i].kernel == NULL, askings[i].status != LATHE_STATUS_OK);
  }
  cr_expect_eq(failed, 3);
  cr_expect_eq(nvrtc->compiles, 4);
  lathe_context_destroy(context);
  test_end();
}

// -------------------------------------------------------------------------------- what goes wrong

Test(kernel, compilation_forbidden) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  const lathep_kernel *kernel;
  lathe_kernel_source how;
  lathep_variant merge, hopper = test_variant(512);
  test_begin_fakes();
  setenv("LATHE_JIT", "0", 1);
  context = make_context(&desc);
  expect_no_kernel(context, LATHE_STATUS_JIT_DISABLED,
                   "kernel " NAME " is in no table and no cache, and LATHE_JIT=0 forbids to "
                   "compile it; add to codegen/variants.toml a [[variant]] with families = "
                   "[\"decode_sm80_bf16_bf16\"], l = 512, r = 64, rows = [16]");
  lathep_variant_merge(LATHE_DTYPE_F16, 320, 0, &merge);
  expect_failed(lathep_kernel_get(context, &merge, &kernel, &how), LATHE_STATUS_JIT_DISABLED,
                "a [[variant]] with families = [\"merge_sm80_f16\"], l = 320, or allow "
                "compilation");
  lathep_variant_merge(LATHE_DTYPE_F16, 320, LATHEP_OPTION_SINKS, &merge);
  expect_failed(lathep_kernel_get(context, &merge, &kernel, &how), LATHE_STATUS_JIT_DISABLED,
                "families = [\"merge_sm80_f16\"], l = 320, options = [\"s\"], or allow");
  hopper.arch = LATHEP_ARCH_SM90A;
  hopper.page = hopper.rows = 64;
  expect_failed(lathep_kernel_get(context, &hopper, &kernel, &how), LATHE_STATUS_JIT_DISABLED,
                "families = [\"decode_sm90a_bf16_bf16\"], l = 512, r = 64, rows = [64], pages = "
                "[64], or allow compilation, or set LATHE_KERNEL=sm80");
  cr_expect_eq(nvrtc->compiles, 0);
  lathe_context_destroy(context);
  unsetenv("LATHE_JIT");
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  lathe_context_destroy(context);
  desc.jit = LATHE_SWITCH_OFF; // what the cache has is not compiled
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_CACHE);
  lathe_context_destroy(context);
  desc.cache = LATHE_SWITCH_OFF;
  context = make_context(&desc);
  expect_no_kernel(context, LATHE_STATUS_JIT_DISABLED, "lathe_context_desc.jit forbids");
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, compilation_forbidden_and_no_nvrtc) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin();
  install_cuda("fake_cuda");
  desc.jit = LATHE_SWITCH_OFF;
  context = make_context(&desc);
  expect_no_kernel(context, LATHE_STATUS_JIT_DISABLED, "add to codegen/variants.toml");
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, no_nvrtc) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin();
  install_cuda("fake_cuda");
  context = make_context(&desc);
  expect_no_kernel(context, LATHE_STATUS_NVRTC_UNAVAILABLE, "no NVRTC to compile with: ");
  install_nvrtc("fake_nvrtc", "libnvrtc.so.12");
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC); // installed meanwhile
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, nvrtc_newer_than_the_driver) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  cuda->version = 12080;
  cuda->load_fails = -1;
  cuda->load_code = 200;
  context = make_context(&desc);
  expect_no_kernel(context, LATHE_STATUS_NVRTC_TOO_NEW,
                   "the driver (CUDA 12.8) refused " NAME ", which NVRTC 13.0 (");
  cr_expect_eq(lathe_last_error()->driver_code, 200);
  cuda->load_fails = 0; // as it may be within one major version
  get(context, 512, LATHE_KERNEL_SOURCE_CACHE);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, driver_refuses_its_own_versions_output) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  cuda->load_fails = -1;
  cuda->load_code = 2;
  context = make_context(&desc);
  expect_no_kernel(context, LATHE_STATUS_CUDA_ERROR, "cuModuleLoadData failed for " NAME);
  cr_expect_eq(lathe_last_error()->driver_code, 2);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, nvrtc_that_does_not_know_the_device) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  cuda->major = 13;
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect_str_eq(nvrtc->options[0], "--gpu-architecture=compute_120");
  cr_expect_eq(strncmp(cuda->image, "PTX ", 4), 0);
  expect_logged("jit: NVRTC 13.0 does not know sm_130: PTX for compute_120, which the driver "
                "finishes");
  lathe_context_destroy(context);
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_CACHE);
  cr_expect_eq(strncmp(cuda->image, "PTX ", 4), 0);
  lathe_context_destroy(context);
  nvrtc->num_archs = 1; // sm_75
  desc.cache = LATHE_SWITCH_OFF;
  context = make_context(&desc);
  expect_no_kernel(context, LATHE_STATUS_NVRTC_UNAVAILABLE,
                   "knows no architecture from sm_80 to the device's sm_130");
  lathe_context_destroy(context);
  test_end();
}

// sm_89 is the newest that NVRTC knows: the portable kernel becomes PTX of that, Hopper's nothing.
Test(kernel, nvrtc_too_old_for_hopper) {
  lathe_context_desc desc = test_desc();
  lathep_variant variant = test_variant(512);
  const lathep_kernel *kernel;
  lathe_kernel_source how;
  lathe_context *context;
  test_begin_fakes();
  nvrtc->major = 11;
  nvrtc->minor = 7;
  nvrtc->num_archs = 4;
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  variant.arch = LATHEP_ARCH_SM90;
  variant.page = 16;
  expect_failed(lathep_kernel_get(context, &variant, &kernel, &how), LATHE_STATUS_NVRTC_UNAVAILABLE,
                "compiles for compute_89 at most, and kernel decode_sm90_bf16_bf16_l512r64_"
                "m16t32s2p16 needs sm_90; give an NVRTC of CUDA 12.0 or later");
  cr_expect_eq(nvrtc->compiles, 1);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, source_that_nvrtc_refuses) {
  static char log[] = "templates/a.cuh.j2(3): warning: odd\n"
                      "templates/b.cuh.j2(7): error: no such thing\n\n2 errors\n";
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  nvrtc->compile_fails = -1;
  nvrtc->compile_code = 6;
  nvrtc->log = log;
  context = make_context(&desc);
  expect_no_kernel(context, LATHE_STATUS_COMPILE_FAILED,
                   "NVRTC 13.0 refused " NAME ".cu for sm_90a (code 6): templates/b.cuh.j2(7): "
                   "error: no such thing; see");
  cr_expect_str_eq(lathe_last_error()->compile_log, log);
  cr_expect_eq(lathe_last_error()->nvrtc_code, 6);
  expect_logged("jit: templates/b.cuh.j2(7): error: no such thing\njit: 2 errors\n");
  cr_expect_eq(list_folder(cache_dir, NULL, 0), 0);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, spoilt_cache_entry_is_replaced) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  char name[300], bytes[2000];
  size_t size;
  test_begin_fakes();
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  lathe_context_destroy(context);
  cr_assert_eq(list_folder(cache_dir, name, sizeof name), 1);
  size = read_file(path_in(cache_dir, name), bytes, sizeof bytes);
  write_file(path_in(cache_dir, name), bytes, size - 1);
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  expect_logged("cache: passed over: ");
  lathe_context_destroy(context);
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_CACHE);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, cached_image_that_the_driver_refuses) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  lathe_context_destroy(context);
  cuda->load_fails = 1;
  cuda->load_code = 200;
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  expect_logged("cache: passed over: " NAME ": cuModuleLoadData gave 200");
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, other_nvrtc_other_entry) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  lathe_context_destroy(context);
  nvrtc->minor = 1;
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  lathe_context_destroy(context);
  cr_expect_eq(list_folder(cache_dir, NULL, 0), 2);
  test_end();
}

Test(kernel, cache_that_cannot_be_written) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  write_file(cache_dir, "a file", 6);
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  expect_logged("cache: not written: ");
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, driver_errors_have_a_status) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  context = make_context(&desc);
  cuda->push_code = 709;
  expect_no_kernel(context, LATHE_STATUS_CUDA_ERROR, "cuCtxPushCurrent failed for device 0; see");
  cuda->push_code = 0;
  cuda->set_code = 1;
  expect_no_kernel(context, LATHE_STATUS_CUDA_ERROR,
                   "cuFuncSetAttribute(MAX_DYNAMIC_SHARED_SIZE_BYTES) failed for " NAME);
  cr_expect_eq(cuda->loads, cuda->unloads);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, family_without_source) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  const lathep_kernel *kernel;
  lathe_kernel_source how;
  lathep_variant variant = test_variant(512);
  test_begin_fakes();
  variant.kv = LATHE_DTYPE_F32;
  context = make_context(&desc);
  expect_failed(lathep_kernel_get(context, &variant, &kernel, &how), LATHE_STATUS_UNSUPPORTED,
                "no source of the kernel family decode_sm80_bf16_f32; add a [[family]]");
  lathe_context_destroy(context);
  test_end();
}

// ------------------------------------------------------------------------------------ other things

Test(kernel, dump) {
  static char log[] = "a remark\n";
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  char dump[300], *bytes = malloc(1 << 20);
  size_t size;
  test_begin_fakes();
  snprintf(dump, sizeof dump, "%s/made/dump", test_folder);
  setenv("LATHE_DUMP_DIR", dump, 1);
  nvrtc->log = log;
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  lathe_context_destroy(context);
  cr_expect_eq(list_folder(dump, NULL, 0), 4);
  size = read_file(path_in(dump, NAME ".cu"), bytes, 1 << 20);
  bytes[size] = '\0';
  cr_expect_eq(strncmp(bytes, "#define LATHE_P_KERNEL lathe_" NAME "\n", 40), 0);
  cr_expect(strstr(bytes, "#line 1 \"templates/"));
  size = read_file(path_in(dump, NAME ".options"), bytes, 1 << 20);
  bytes[size] = '\0';
  cr_expect_str_eq(bytes, "--gpu-architecture=sm_90a\n--std=c++17\n");
  size = read_file(path_in(dump, NAME ".log"), bytes, 1 << 20);
  bytes[size] = '\0';
  cr_expect_str_eq(bytes, log);
  size = read_file(path_in(dump, NAME ".cubin"), bytes, 1 << 20);
  cr_expect_eq(strncmp(bytes, "FAKE ", 5), 0);
  setenv("LATHE_DUMP_DIR", "/proc/lathe", 1);
  desc.cache = LATHE_SWITCH_OFF;
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  expect_logged("jit: not dumped: /proc/lathe/" NAME ".cu: ");
  lathe_context_destroy(context);
  free(bytes);
  test_end();
}

Test(kernel, locale_of_the_thread_stays) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  locale_t before;
  test_begin_fakes();
  nvrtc->spoil_locale = 1;
  before = uselocale((locale_t)0);
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  cr_expect(uselocale((locale_t)0) == before);
  lathe_context_destroy(context);
  test_end();
}

Test(kernel, contexts_end_after_their_cuda_context) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  context = make_context(&desc);
  get(context, 512, LATHE_KERNEL_SOURCE_NVRTC);
  cuda->push_code = 201; // the caller has destroyed it
  lathe_context_destroy(context);
  cr_expect_eq(cuda->unloads, 0);
  test_end();
}
