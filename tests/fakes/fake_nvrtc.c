// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "fake_nvrtc.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct _nvrtcProgram {
  char name[256];  // of the kernel
  char image[512]; // once compiled
} * program_handle;

fake_nvrtc_state fake_nvrtc = {13, 0,   {75, 80, 86, 89, 90, 100, 120}, 7, 0, 0, "", 0, 0, 0,
                               0,  {""}};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

int nvrtcVersion(int *major, int *minor) {
  *major = fake_nvrtc.major;
  *minor = fake_nvrtc.minor;
  return 0;
}

int nvrtcGetNumSupportedArchs(int *count) {
  *count = fake_nvrtc.num_archs;
  return 0;
}

int nvrtcGetSupportedArchs(int *archs) {
  memcpy(archs, fake_nvrtc.archs, (size_t)fake_nvrtc.num_archs * sizeof(int));
  return 0;
}

int nvrtcCreateProgram(program_handle *program, const char *source, const char *name,
                       int num_headers, const char *const *headers, const char *const *names) {
  const char *kernel = strstr(source, "#define LATHE_P_KERNEL ");
  (void)headers, (void)names, (void)name;
  if (num_headers || !kernel)
    return 3;
  *program = calloc(1, sizeof **program);
  sscanf(kernel, "#define LATHE_P_KERNEL %255s", (*program)->name);
  return 0;
}

int nvrtcDestroyProgram(program_handle *program) {
  free(*program);
  *program = NULL;
  return 0;
}

int nvrtcCompileProgram(program_handle program, int num_options, const char *const *options) {
  struct timespec pause = {0, 0};
  int i, code = 0;
  pthread_mutex_lock(&mutex);
  fake_nvrtc.compiles++;
  fake_nvrtc.num_options = num_options;
  for (i = 0; i < num_options && i < 4; i++)
    snprintf(fake_nvrtc.options[i], sizeof fake_nvrtc.options[i], "%s", options[i]);
  if (fake_nvrtc.compile_fails) {
    fake_nvrtc.compile_fails -= fake_nvrtc.compile_fails > 0;
    code = fake_nvrtc.compile_code;
  }
  pthread_mutex_unlock(&mutex);
  pause.tv_nsec = fake_nvrtc.milliseconds * 1000000L;
  nanosleep(&pause, NULL);
  if (fake_nvrtc.spoil_locale) {
    static locale_t other; // lives on: threads are left in it
    if (!other)
      other = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    uselocale(other);
  }
  if (!code)
    snprintf(program->image, sizeof program->image, "FAKE %s %s", options[0], program->name);
  return code;
}

int nvrtcGetProgramLogSize(program_handle program, size_t *size) {
  (void)program;
  *size = strlen(fake_nvrtc.log) + 1;
  return 0;
}

int nvrtcGetProgramLog(program_handle program, char *log) {
  (void)program;
  strcpy(log, fake_nvrtc.log);
  return 0;
}

int nvrtcGetPTXSize(program_handle program, size_t *size) {
  *size = strlen(program->image) + 1;
  return 0;
}

int nvrtcGetPTX(program_handle program, char *ptx) {
  strcpy(ptx, program->image);
  memcpy(ptx, "PTX ", 4);
  return 0;
}

int nvrtcGetCUBINSize(program_handle program, size_t *size) {
  *size = strlen(program->image);
  return 0;
}

#ifndef FAKE_OLD
int nvrtcGetCUBIN(program_handle program, char *cubin) {
  memcpy(cubin, program->image, strlen(program->image));
  return 0;
}
#endif
