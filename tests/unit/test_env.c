// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The environment: every variable, every value that it takes, and one that it does not.
#define _GNU_SOURCE
#include "../fakes/fakes.h"

static const lathe_allocator plain;

static lathep_env read_env(const char *name, const char *value) {
  lathep_env env;
  setenv(name, value, 1);
  memset(&env, 0, sizeof env);
  cr_expect_eq(lathep_env_read(&env, &plain), LATHE_STATUS_OK, "%s=%s: %s", name, value,
               lathe_last_error()->message);
  unsetenv(name);
  return env;
}

Test(env, defaults) {
  lathep_env env;
  test_begin();
  env = read_env("LATHE_JIT", "");
  cr_expect_eq(env.backend, LATHE_BACKEND_AUTO);
  cr_expect_eq(env.jit, 1);
  cr_expect_eq(env.cache, 1);
  cr_expect_eq(env.check, 0);
  cr_expect_eq(env.log_set, 0);
  cr_expect_null(env.cache_dir);
  cr_expect_null(env.dump_dir);
  cr_expect_null(env.nvrtc_lib);
  cr_expect_null(env.kernel);
  cr_expect_null(env.disabled);
  test_end();
}

Test(env, backend) {
  test_begin();
  cr_expect_eq(read_env("LATHE_BACKEND", "auto").backend, LATHE_BACKEND_AUTO);
  cr_expect_eq(read_env("LATHE_BACKEND", "cuda").backend, LATHE_BACKEND_CUDA);
  cr_expect_eq(read_env("LATHE_BACKEND", "cpu").backend, LATHE_BACKEND_CPU);
  test_end();
}

Test(env, switches) {
  test_begin();
  cr_expect_eq(read_env("LATHE_JIT", "0").jit, 0);
  cr_expect_eq(read_env("LATHE_JIT", "1").jit, 1);
  cr_expect_eq(read_env("LATHE_CACHE", "0").cache, 0);
  cr_expect_eq(read_env("LATHE_CHECK", "1").check, 1);
  test_end();
}

Test(env, paths) {
  lathep_env env;
  test_begin();
  env = read_env("LATHE_CACHE_DIR", "relative/is fine");
  cr_expect_str_eq(env.cache_dir, "relative/is fine");
  lathep_env_free(&env, &plain);
  env = read_env("LATHE_DUMP_DIR", "/d");
  cr_expect_str_eq(env.dump_dir, "/d");
  lathep_env_free(&env, &plain);
  env = read_env("LATHE_KERNEL", "sm90a");
  cr_expect_str_eq(env.kernel, "sm90a");
  lathep_env_free(&env, &plain);
  env = read_env("LATHE_KERNEL", "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
  cr_expect_str_eq(env.kernel, "decode_sm80_bf16_bf16_l512r64_m64t64s2x1");
  lathep_env_free(&env, &plain);
  env = read_env("LATHE_DISABLE", "sm90a");
  cr_expect_str_eq(env.disabled, "sm90a");
  lathep_env_free(&env, &plain);
  env = read_env("LATHE_DISABLE", "decode_sm80_bf16_e4m3_of16,sm90,merge_sm80_f16,schedule_sm80");
  cr_expect_str_eq(env.disabled, "decode_sm80_bf16_e4m3_of16,sm90,merge_sm80_f16,schedule_sm80");
  lathep_env_free(&env, &plain);
  env = read_env("LATHE_NVRTC_LIB", "/n");
  cr_expect_str_eq(env.nvrtc_lib, "/n");
  lathep_env_free(&env, &plain);
  test_end();
}

Test(env, topics) {
  lathep_env env;
  test_begin();
  cr_expect_eq(read_env("LATHE_LOG", "all").topics, (unsigned)LATHEP_ALL_TOPICS);
  cr_expect_eq(read_env("LATHE_LOG", "dispatch").topics, 1u << LATHEP_TOPIC_DISPATCH);
  env = read_env("LATHE_LOG", "dispatch,jit,cache,launch,context");
  cr_expect_eq(env.topics, (unsigned)LATHEP_ALL_TOPICS);
  cr_expect_eq(env.log_set, 1);
  cr_expect_eq(read_env("LATHE_LOG", "cache,all").topics, (unsigned)LATHEP_ALL_TOPICS);
  test_end();
}

// variable, value, words of the message
static const char *const refused[][3] = {
    {"LATHE_BACKEND", "gpu", "LATHE_BACKEND is \"gpu\"; give auto, cuda or cpu"},
    {"LATHE_BACKEND", "CPU", "LATHE_BACKEND is \"CPU\"; give"},
    {"LATHE_JIT", "yes", "LATHE_JIT is \"yes\"; give 0 or 1"},
    {"LATHE_JIT", "2", "LATHE_JIT is \"2\"; give"},
    {"LATHE_JIT", "01", "LATHE_JIT is \"01\"; give"},
    {"LATHE_CACHE", "off", "LATHE_CACHE is \"off\"; give 0 or 1"},
    {"LATHE_CHECK", "true", "LATHE_CHECK is \"true\"; give 0 or 1"},
    {"LATHE_KERNEL", "fast", "LATHE_KERNEL is \"fast\"; give sm80, sm90, sm90a, or a name"},
    {"LATHE_KERNEL", "sm9", "LATHE_KERNEL is \"sm9\"; give"},
    {"LATHE_KERNEL", "sm90ab", "LATHE_KERNEL is \"sm90ab\"; give"},
    {"LATHE_KERNEL", "decode_", "LATHE_KERNEL is \"decode_\"; give"},
    {"LATHE_KERNEL", "decode_sm75_bf16_bf16", "LATHE_KERNEL is \"decode_sm75_bf16_bf16\"; give"},
    {"LATHE_DISABLE", "fast",
     "LATHE_DISABLE is \"fast\"; give some of sm80, sm90, sm90a and families"},
    {"LATHE_DISABLE", "sm90a,", "LATHE_DISABLE is \"sm90a,\"; give"},
    {"LATHE_DISABLE", ",sm90a", "LATHE_DISABLE is \",sm90a\"; give"},
    {"LATHE_DISABLE", "sm90a, sm90", "LATHE_DISABLE is \"sm90a, sm90\"; give"},
    {"LATHE_DISABLE", "sm9", "LATHE_DISABLE is \"sm9\"; give"},
    {"LATHE_DISABLE", "decode_sm90_bf16_e4m3", "LATHE_DISABLE is \"decode_sm90_bf16_e4m3\"; give"},
    {"LATHE_DISABLE", "decode_sm80_bf16_bf16_l512r64_m64t64s2x1",
     "LATHE_DISABLE is \"decode_sm80_bf16_bf16_l512r64_m64t64s2x1\"; give"},
    {"LATHE_DISABLE",
     "decode_sm80_bf16_bf16_and_much_more_than_any_name_of_a_family_could_possibly_have",
     "LATHE_DISABLE is"},
    {"LATHE_LOG", "jit,foo", "LATHE_LOG is \"jit,foo\"; give all, or some of dispatch, jit"},
    {"LATHE_LOG", "jit,", "LATHE_LOG is \"jit,\"; give"},
    {"LATHE_LOG", ",", "LATHE_LOG is \",\"; give"},
    {"LATHE_LOG", "ji", "LATHE_LOG is \"ji\"; give"},
    {"LATHE_LOG", "jits", "LATHE_LOG is \"jits\"; give"},
    {"LATHE_LOG", "1", "LATHE_LOG is \"1\"; give"},
};

Test(env, unknown_values_fail_the_context) {
  lathe_context_desc desc = test_desc();
  size_t i;
  test_begin();
  desc.backend = LATHE_BACKEND_CPU;
  for (i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    setenv(refused[i][0], refused[i][1], 1);
    expect_no_context(&desc, LATHE_STATUS_INVALID_ENVIRONMENT, refused[i][2]);
    unsetenv(refused[i][0]);
  }
  test_end();
}

// Read when a context is made, and not again.
Test(env, read_once) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin();
  setenv("LATHE_BACKEND", "cpu", 1);
  setenv("LATHE_CHECK", "1", 1);
  desc.backend = LATHE_BACKEND_AUTO;
  context = make_context(&desc);
  setenv("LATHE_CHECK", "nonsense", 1);
  cr_expect_eq(context->env.check, 1);
  cr_expect_eq(context->backend, LATHE_BACKEND_CPU);
  lathe_context_destroy(context);
  test_end();
}

Test(env, desc_wins) {
  lathe_context_desc desc = test_desc();
  lathe_context *context;
  test_begin_fakes();
  setenv("LATHE_BACKEND", "cpu", 1);
  setenv("LATHE_JIT", "0", 1);
  setenv("LATHE_CACHE", "0", 1);
  setenv("LATHE_CACHE_DIR", "/nowhere", 1);
  setenv("LATHE_NVRTC_LIB", "/nowhere", 1);
  desc.backend = LATHE_BACKEND_CUDA;
  desc.jit = LATHE_SWITCH_ON;
  desc.cache = LATHE_SWITCH_ON;
  desc.cache_dir = cache_dir;
  desc.nvrtc_path = path_in(library_dir, "libnvrtc.so.13");
  context = make_context(&desc);
  cr_expect_eq(context->backend, LATHE_BACKEND_CUDA);
  cr_expect_eq(context->jit, 1);
  cr_expect_str_eq(context->cache_dir, cache_dir);
  cr_expect_str_eq(context->nvrtc_path, desc.nvrtc_path);
  lathe_context_destroy(context);
  setenv("LATHE_JIT", "1", 1);
  setenv("LATHE_CACHE", "1", 1);
  desc.jit = desc.cache = LATHE_SWITCH_OFF;
  context = make_context(&desc);
  cr_expect_eq(context->jit, 0);
  cr_expect_null(context->cache_dir);
  lathe_context_destroy(context);
  test_end();
}
