// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A libnvrtc.so whose compiler is the system's for C++. A kernel's text stays as it is, but for two
// things: what comes from templates/device, one PTX instruction a function, is left out, for
// cuda_words.h and ptx.h have it, and dynamic shared memory is asked for. Shared objects are kept
// in EMULATOR_CACHE, or where the build says.
#define _GNU_SOURCE
#include "compiler.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct _nvrtcProgram {
  char *source, *log, image[512];
} program;

enum { NVRTC_ERROR_COMPILATION = 6 };

static void append_text(FILE *to, const char *from, size_t length) {
  fwrite(from, 1, length, to);
}

static int starts(const char *line, const char *words) {
  return strncmp(line, words, strlen(words)) == 0;
}

// The text for a C++ compiler.
static char *translate(const char *source, const char *arch) {
  char *text = NULL;
  size_t size = 0;
  FILE *to = open_memstream(&text, &size);
  const char *line, *end, *shared;
  int device = 0; // in a text of templates/device
  fprintf(to, "#define __CUDA_ARCH__ %d0\n", atoi(arch));
  if (strchr(arch, 'a'))
    fprintf(to, "#define __CUDA_ARCH_FEAT_SM%d_ALL\n", atoi(arch));
  fprintf(to, "#define EMULATED_HALF %d\n",
          strstr(source, "pack_f16(e.x") != NULL || strstr(source, "k16.f32.f16.f16 \"") != NULL);
  fprintf(to, "#include \"cuda_words.h\"\n#include \"ptx.h\"\n");
  for (line = source; *line; line = *end ? end + 1 : end) {
    end = strchr(line, '\n');
    end = end ? end : line + strlen(line);
    if (starts(line, "#line"))
      device = memmem(line, (size_t)(end - line), "device/", 7) != NULL;
    if (device)
      continue;
    shared = memmem(line, (size_t)(end - line), "extern __shared__", 17);
    if (shared) { // the last word is the array's name
      const char *bracket = memchr(shared, '[', (size_t)(end - shared)), *name = bracket;
      while (name[-1] != ' ')
        name--;
      fprintf(to, "unsigned char *%.*s = emulator_dynamic();\n", (int)(bracket - name), name);
    } else {
      append_text(to, line, (size_t)(end - line));
      fputc('\n', to);
    }
  }
  fprintf(to, "EMULATED_ENTRY(LATHE_P_KERNEL)\n");
  fclose(to);
  return text;
}

static uint64_t hash(uint64_t h, const char *text) { // FNV-1a
  for (; *text; text++)
    h = (h ^ (unsigned char)*text) * 0x100000001b3ull;
  return h;
}

static char *read_file(const char *path) {
  FILE *file = fopen(path, "r");
  char *text = NULL;
  size_t size = 0, got;
  char block[4096];
  FILE *to = open_memstream(&text, &size);
  while (file && (got = fread(block, 1, sizeof block, file)) > 0)
    append_text(to, block, got);
  if (file)
    fclose(file);
  fclose(to);
  return text;
}

static uint64_t hash_file(uint64_t h, const char *path) {
  char *text = read_file(path);
  h = hash(h, text);
  free(text);
  return h;
}

#define NVRTC(name) __attribute__((visibility("default"))) int name

NVRTC(nvrtcVersion)(int *major, int *minor) {
  *major = 13;
  *minor = 0;
  return 0;
}
NVRTC(nvrtcGetNumSupportedArchs)(int *count) {
  *count = 4;
  return 0;
}
NVRTC(nvrtcGetSupportedArchs)(int *archs) {
  static const int known[] = {80, 86, 89, 90};
  memcpy(archs, known, sizeof known);
  return 0;
}
NVRTC(nvrtcCreateProgram)
(program **made, const char *source, const char *name, int num_headers, const char *const *headers,
 const char *const *names) {
  (void)name, (void)num_headers, (void)headers, (void)names;
  *made = calloc(1, sizeof **made);
  (*made)->source = strdup(source);
  (*made)->log = strdup("");
  return 0;
}
NVRTC(nvrtcDestroyProgram)(program **p) {
  free((*p)->source);
  free((*p)->log);
  free(*p);
  *p = NULL;
  return 0;
}
NVRTC(nvrtcCompileProgram)(program *p, int num_options, const char *const *options) {
  const char *cache = getenv("EMULATOR_CACHE"), *arch = NULL;
  char *text, path[400], source[450], log[450], command[2400];
  uint64_t h;
  int i, failed;
  FILE *file;
  for (i = 0; i < num_options; i++) {
    const char *word = strstr(options[i], "sm_");
    arch = word ? word + 3 : arch;
  }
  if (!arch)
    return NVRTC_ERROR_COMPILATION;
  text = translate(p->source, arch);
  h = hash(0xcbf29ce484222325ull, text);
  h = hash_file(h, EMULATOR_SOURCE "/cuda_words.h");
  h = hash_file(h, EMULATOR_SOURCE "/ptx.h");
  snprintf(path, sizeof path, "%s/%016llx.so", cache ? cache : EMULATOR_FOLDER,
           (unsigned long long)h);
  snprintf(p->image, sizeof p->image, "%s%s", EMULATOR_IMAGE, path);
  if (access(path, R_OK) == 0) {
    free(text);
    return 0;
  }
  snprintf(source, sizeof source, "%s.%d.cc", path, (int)getpid());
  snprintf(log, sizeof log, "%s.%d.log", path, (int)getpid());
  mkdir(cache ? cache : EMULATOR_FOLDER, 0777); // there already, as a rule
  file = fopen(source, "w");
  if (!file) {
    free(text);
    free(p->log);
    p->log = strdup("cannot write where the emulator keeps its kernels");
    return NVRTC_ERROR_COMPILATION;
  }
  append_text(file, text, strlen(text));
  fclose(file);
  free(text);
  snprintf(command, sizeof command,
           "%s -w -O1 -std=c++17 -fPIC -shared -I'%s' '%s' -o '%s.%d' 2>'%s'", EMULATOR_CXX,
           EMULATOR_SOURCE, source, path, (int)getpid(), log);
  failed = system(command);
  free(p->log);
  p->log = read_file(log);
  unlink(log);
  if (!failed) {
    unlink(source);
    snprintf(command, sizeof command, "%s.%d", path, (int)getpid());
    failed = rename(command, path);
  }
  return failed ? NVRTC_ERROR_COMPILATION : 0;
}
NVRTC(nvrtcGetProgramLogSize)(program *p, size_t *size) {
  *size = strlen(p->log) + 1;
  return 0;
}
NVRTC(nvrtcGetProgramLog)(program *p, char *log) {
  strcpy(log, p->log);
  return 0;
}
NVRTC(nvrtcGetCUBINSize)(program *p, size_t *size) {
  *size = strlen(p->image) + 1;
  return 0;
}
NVRTC(nvrtcGetCUBIN)(program *p, char *cubin) {
  strcpy(cubin, p->image);
  return 0;
}
NVRTC(nvrtcGetPTXSize)(program *p, size_t *size) {
  return nvrtcGetCUBINSize(p, size);
}
NVRTC(nvrtcGetPTX)(program *p, char *ptx) {
  return nvrtcGetCUBIN(p, ptx);
}
NVRTC(nvrtcAddNameExpression)(program *p, const char *name) {
  (void)p, (void)name;
  return 0;
}
