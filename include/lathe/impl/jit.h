// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Compilation by NVRTC of a source that includes nothing.

enum { LATHEP_JIT_OPTIONS = 2 };

// What to compile for. The same two options, in this order, go into every compilation of Lathe's,
// ahead of time too.
typedef struct lathep_jit_target {
  int arch; // 10 * major + minor
  int ptx;  // NVRTC does not know the device: PTX of an older architecture, the driver finishes it
  char name[16]; // "sm_90a", "compute_90"
  char arch_option[48];
  const char *options[LATHEP_JIT_OPTIONS];
} lathep_jit_target;

// Hopper has instructions that only its own target, sm_90a, gives access to.
LATHEP_FN void lathep_jit_target_set(lathep_jit_target *target, int arch, int ptx) {
  target->arch = arch;
  target->ptx = ptx;
  if (ptx)
    lathep_print(target->name, sizeof target->name, "compute_%d", arch);
  else
    lathep_print(target->name, sizeof target->name, "sm_%d%s", arch, arch == 90 ? "a" : "");
  lathep_print(target->arch_option, sizeof target->arch_option, "--gpu-architecture=%s",
               target->name);
  target->options[0] = target->arch_option;
  target->options[1] = "--std=c++17";
}

// The device's own architecture, or the newest that NVRTC knows below it.
LATHEP_FN lathe_status lathep_jit_target_choose(const lathep_nvrtc *nvrtc, int arch,
                                                lathep_jit_target *target) {
  int archs[256], count = 0, newest = 0, i;
  if (nvrtc->nvrtcGetNumSupportedArchs(&count) || count < 0 ||
      count > (int)(sizeof archs / sizeof archs[0]) || nvrtc->nvrtcGetSupportedArchs(archs))
    count = 0;
  for (i = 0; i < count; i++)
    if (archs[i] <= arch && archs[i] > newest)
      newest = archs[i];
  if (newest < 80)
    return lathep_fail(LATHE_STATUS_NVRTC_UNAVAILABLE,
                       "NVRTC %d.%d (%s) knows no architecture from sm_80 to the device's sm_%d; "
                       "give another one in LATHE_NVRTC_LIB",
                       nvrtc->major, nvrtc->minor, nvrtc->name, arch);
  lathep_jit_target_set(target, newest, newest != arch);
  return LATHE_STATUS_OK;
}

// The same for a kernel, whose instructions must be that target's.
LATHEP_FN lathe_status lathep_jit_target_for(const lathe_context *context,
                                             const lathep_variant *variant, const char *name,
                                             lathep_jit_target *target) {
  const lathep_nvrtc *nvrtc = &context->nvrtc;
  const int arch = 10 * context->device.major + context->device.minor;
  const int least = lathep_arch_compute(variant->arch);
  lathe_status status = lathep_jit_target_choose(nvrtc, arch, target);
  if (status)
    return status;
  if (target->arch < least)
    return lathep_fail(LATHE_STATUS_NVRTC_UNAVAILABLE,
                       "NVRTC %d.%d (%s) compiles for %s at most, and kernel %s needs sm_%d; give "
                       "an NVRTC of CUDA 12.0 or later in LATHE_NVRTC_LIB, or set "
                       "LATHE_KERNEL=sm80",
                       nvrtc->major, nvrtc->minor, nvrtc->name, target->name, name, least);
  if (target->ptx)
    lathep_log(context, LATHEP_TOPIC_JIT,
               "NVRTC %d.%d does not know sm_%d: PTX for %s, which the driver finishes; a newer "
               "NVRTC may give faster kernels",
               nvrtc->major, nvrtc->minor, arch, target->name);
  return LATHE_STATUS_OK;
}

// For LATHE_DUMP_DIR; a file that cannot be written is a line of the log.
LATHEP_FN void lathep_jit_dump(const lathe_context *context, const char *variant,
                               const char *suffix, const void *data, size_t size) {
  char path[LATHEP_PATH_MAX];
  int code;
  if (!context->env.dump_dir)
    return;
  code = lathep_make_folder(context->env.dump_dir);
  if (!code && lathep_print(path, sizeof path, "%s/%s%s", context->env.dump_dir, variant, suffix) >=
                   sizeof path)
    code = ENAMETOOLONG;
  if (!code)
    code = lathep_file_write(path, "", 0, data, size);
  if (code)
    lathep_log(context, LATHEP_TOPIC_JIT, "not dumped: %s/%s%s: %s", context->env.dump_dir, variant,
               suffix, strerror(code));
}

LATHEP_FN void lathep_jit_dump_source(const lathe_context *context, const char *variant,
                                      const char *source, const lathep_jit_target *target) {
  char options[256];
  size_t length =
      lathep_print(options, sizeof options, "%s\n%s\n", target->options[0], target->options[1]);
  lathep_jit_dump(context, variant, ".cu", source, strlen(source));
  lathep_jit_dump(context, variant, ".options", options, length);
}

// The first line of a log that tells of an error, or of anything.
LATHEP_FN void lathep_jit_first_error(const char *log, char *line, size_t size) {
  const char *error = strstr(log, "error"), *begin = error ? error : log;
  while (begin > log && begin[-1] != '\n')
    begin--;
  lathep_print(line, size, "%.*s", (int)strcspn(begin, "\n"), begin);
}

LATHEP_FN lathe_status lathep_jit_no_memory(size_t size) {
  return lathep_fail(LATHE_STATUS_OUT_OF_MEMORY,
                     "lathe_allocator.alloc returned null for %zu bytes of NVRTC's output; give it "
                     "memory or leave it unset for malloc",
                     size);
}

// Brings text or code out of a compiled program.
LATHEP_FN lathe_status lathep_jit_fetch(const lathe_context *context, const lathep_nvrtc *nvrtc,
                                        struct _nvrtcProgram *program, int ptx,
                                        lathep_image *image) {
  size_t size = 0;
  int code =
      ptx ? nvrtc->nvrtcGetPTXSize(program, &size) : nvrtc->nvrtcGetCUBINSize(program, &size);
  if (!code && size > 0) {
    image->data = (char *)lathep_alloc(&context->allocator, size + 1);
    if (!image->data)
      return lathep_jit_no_memory(size);
    code =
        ptx ? nvrtc->nvrtcGetPTX(program, image->data) : nvrtc->nvrtcGetCUBIN(program, image->data);
  }
  if (code || size == 0) {
    lathep_free(&context->allocator, image->data);
    image->data = NULL;
    return lathep_fail_nvrtc(LATHE_STATUS_COMPILE_FAILED, code, "",
                             "NVRTC %d.%d compiled a kernel but gave back %zu bytes of it (code "
                             "%d); try another NVRTC in LATHE_NVRTC_LIB",
                             nvrtc->major, nvrtc->minor, size, code);
  }
  image->size = size;
  image->ptx = ptx;
  return LATHE_STATUS_OK;
}

// Compiles, and hands the log to the logger, the dump and, after an error, the record.
LATHEP_FN lathe_status lathep_jit_program(const lathe_context *context, const lathep_nvrtc *nvrtc,
                                          struct _nvrtcProgram *program, const char *variant,
                                          const lathep_jit_target *target) {
  lathe_status status = LATHE_STATUS_OK;
  char first[256], *log = NULL;
  size_t size = 0;
  int code = nvrtc->nvrtcCompileProgram(program, LATHEP_JIT_OPTIONS, target->options);
  if (nvrtc->nvrtcGetProgramLogSize(program, &size) == 0 && size > 1) {
    log = (char *)lathep_alloc(&context->allocator, size + 1);
    if (log && nvrtc->nvrtcGetProgramLog(program, log) == 0) {
      lathep_log_lines(context, LATHEP_TOPIC_JIT, log);
      lathep_jit_dump(context, variant, ".log", log, strlen(log));
    }
  }
  if (code) {
    lathep_jit_first_error(log ? log : "no log", first, sizeof first);
    status = lathep_fail_nvrtc(LATHE_STATUS_COMPILE_FAILED, code, log ? log : "",
                               "NVRTC %d.%d refused %s.cu for %s (code %d): %s; see compile_log, "
                               "and set LATHE_DUMP_DIR to keep the source",
                               nvrtc->major, nvrtc->minor, variant, target->name, code, first);
  }
  lathep_free(&context->allocator, log);
  return status;
}

// *image is to be freed by the caller. NVRTC may be used by many threads at once.
LATHEP_FN lathe_status lathep_jit_compile(const lathe_context *context, const lathep_nvrtc *nvrtc,
                                          const char *variant, const char *source,
                                          const lathep_jit_target *target, lathep_image *image) {
  struct _nvrtcProgram *program = NULL;
  struct timespec begin, end;
  char name[256];
  // NVRTC before 12.6.2 leaves the thread in another locale.
  void *locale = nvrtc->uselocale ? nvrtc->uselocale(NULL) : NULL;
  lathe_status status;
  int code;
  memset(image, 0, sizeof *image);
  lathep_jit_dump_source(context, variant, source, target);
  timespec_get(&begin, TIME_UTC);
  lathep_print(name, sizeof name, "%s.cu", variant);
  code = nvrtc->nvrtcCreateProgram(&program, source, name, 0, NULL, NULL);
  if (code)
    return lathep_fail_nvrtc(LATHE_STATUS_COMPILE_FAILED, code, "",
                             "NVRTC %d.%d made no program of %s (code %d); see that the machine "
                             "has memory, or try another NVRTC in LATHE_NVRTC_LIB",
                             nvrtc->major, nvrtc->minor, name, code);
  status = lathep_jit_program(context, nvrtc, program, variant, target);
  if (!status)
    status = lathep_jit_fetch(context, nvrtc, program, target->ptx, image);
  nvrtc->nvrtcDestroyProgram(&program);
  if (locale && nvrtc->uselocale(NULL) != locale)
    nvrtc->uselocale(locale);
  if (status)
    return status;
  timespec_get(&end, TIME_UTC);
  lathep_log(context, LATHEP_TOPIC_JIT, "compiled %s for %s: %zu bytes in %.0f ms", variant,
             target->name, image->size,
             (double)(end.tv_sec - begin.tv_sec) * 1e3 +
                 (double)(end.tv_nsec - begin.tv_nsec) * 1e-6);
  lathep_jit_dump(context, variant, target->ptx ? ".ptx" : ".cubin", image->data, image->size);
  return LATHE_STATUS_OK;
}
