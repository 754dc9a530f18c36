// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The loader against libraries that are missing, too old or newer than they should be.
#define _GNU_SOURCE
#include "../fakes/fakes.h"

static lathep_nvrtc loaded;

// ------------------------------------------------------------------------------------------- cuda

Test(loader, no_driver) {
  lathep_cuda table;
  test_begin();
  expect_failed(lathep_cuda_load(&table), LATHE_STATUS_NO_DEVICE, "libcuda.so.1");
  cr_expect(strstr(lathe_last_error()->message, "install NVIDIA's driver"));
  test_end();
}

Test(loader, whole_driver) {
  lathep_cuda table;
  test_begin();
  install_cuda("fake_cuda");
  cr_assert_eq(lathep_cuda_load(&table), LATHE_STATUS_OK, "%s", lathe_last_error()->message);
  cr_expect_not_null(table.library);
#define EXPECT_LOADED(field, symbol, arguments) cr_expect(table.field != NULL, "%s", symbol);
  LATHEP_CUDA_FUNCTIONS(EXPECT_LOADED)
  LATHEP_CUDA_OPTIONAL(EXPECT_LOADED)
#undef EXPECT_LOADED
  test_end();
}

Test(loader, driver_without_optional_functions) {
  lathep_cuda table;
  test_begin();
  install_cuda("fake_cuda_bare");
  cr_assert_eq(lathep_cuda_load(&table), LATHE_STATUS_OK, "%s", lathe_last_error()->message);
  cr_expect(table.cuLaunchKernelEx == NULL);
  cr_expect(table.cuFuncLoad == NULL);
  cr_expect(table.cuStreamIsCapturing == NULL);
  cr_expect(table.cuLaunchKernel != NULL);
  test_end();
}

Test(loader, driver_that_lacks_a_function) {
  lathep_cuda table;
  test_begin();
  install_cuda("fake_cuda_old");
  cuda->version = 10020;
  expect_failed(lathep_cuda_load(&table), LATHE_STATUS_DRIVER_TOO_OLD,
                "libcuda.so.1 (CUDA 10.2) has no function cuFuncGetAttribute; install a driver of "
                "CUDA 11.0 or later");
  test_end();
}

Test(loader, driver_of_an_old_version) {
  lathep_cuda table;
  test_begin();
  install_cuda("fake_cuda");
  cuda->version = 10020;
  expect_failed(lathep_cuda_load(&table), LATHE_STATUS_DRIVER_TOO_OLD,
                "libcuda.so.1 is of CUDA 10.2; install");
  cuda->version = 11000;
  cr_expect_eq(lathep_cuda_load(&table), LATHE_STATUS_OK);
  test_end();
}

Test(loader, no_driver_at_all) {
  lathep_cuda table;
  test_begin();
  write_file(path_in(library_dir, "libcuda.so.1"), "not a library", 13);
  expect_failed(lathep_cuda_load(&table), LATHE_STATUS_NO_DEVICE, "libcuda.so.1");
  test_end();
}

// ------------------------------------------------------------------------------------------ nvrtc

static void expect_found(int driver_version, const char *name) {
  cr_assert_eq(lathep_nvrtc_load(&loaded, NULL, driver_version), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  cr_expect_eq(strncmp(loaded.name, library_dir, strlen(library_dir)), 0);
  cr_expect_str_eq(loaded.name + strlen(library_dir), name);
}

Test(loader, nvrtc_of_the_drivers_version_comes_first) {
  test_begin();
  install_nvrtc("fake_nvrtc", "libnvrtc.so");
  expect_found(13000, "libnvrtc.so");
  install_nvrtc("fake_nvrtc", "libnvrtc.so.11.2");
  expect_found(13000, "libnvrtc.so.11.2");
  install_nvrtc("fake_nvrtc", "libnvrtc.so.12");
  expect_found(13000, "libnvrtc.so.12");
  expect_found(14000, "libnvrtc.so.12");
  install_nvrtc("fake_nvrtc", "libnvrtc.so.13");
  expect_found(13000, "libnvrtc.so.13");
  expect_found(12080, "libnvrtc.so.12");
  expect_found(11040, "libnvrtc.so.11.2");
  expect_found(14000, "libnvrtc.so.13");
  expect_found(0, "libnvrtc.so.13");
  install_nvrtc("fake_nvrtc", "libnvrtc.so.14");
  expect_found(14000, "libnvrtc.so.14");
  cr_expect_eq(loaded.major, 13);
  cr_expect_eq(loaded.minor, 0);
  test_end();
}

Test(loader, nvrtc_named) {
  const char *path;
  test_begin();
  install_nvrtc("fake_nvrtc", "libnvrtc.so.13");
  path = path_in(library_dir, "libnvrtc.so.13");
  cr_assert_eq(lathep_nvrtc_load(&loaded, path, 13000), LATHE_STATUS_OK);
  cr_expect_str_eq(loaded.name, path);
  expect_failed(lathep_nvrtc_load(&loaded, path_in(library_dir, "nothing.so"), 13000),
                LATHE_STATUS_NVRTC_UNAVAILABLE, "nothing.so\" is not usable: ");
  cr_expect_null(loaded.library, "no other one is looked for");
  test_end();
}

Test(loader, nvrtc_missing) {
  test_begin();
  expect_failed(lathep_nvrtc_load(&loaded, NULL, 12080), LATHE_STATUS_NVRTC_UNAVAILABLE,
                "libnvrtc.so.12: ");
  cr_expect(strstr(lathe_last_error()->message, "install the NVRTC package of CUDA 12"), "%s",
            lathe_last_error()->message);
  test_end();
}

// One that is too old is passed over for one that is not.
Test(loader, nvrtc_too_old) {
  test_begin();
  install("fake_nvrtc_old", "libnvrtc.so.13");
  expect_failed(lathep_nvrtc_load(&loaded, NULL, 13000), LATHE_STATUS_NVRTC_UNAVAILABLE,
                "has no function nvrtcGetCUBIN");
  expect_failed(lathep_nvrtc_load(&loaded, path_in(library_dir, "libnvrtc.so.13"), 13000),
                LATHE_STATUS_NVRTC_UNAVAILABLE, "has no function nvrtcGetCUBIN");
  install_nvrtc("fake_nvrtc", "libnvrtc.so.12");
  expect_found(13000, "libnvrtc.so.12");
  test_end();
}
