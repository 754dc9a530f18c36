// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What every other file stands on: libc, the private linkage, arithmetic that tells of overflow.
// Only what strict C11 shows of POSIX is used, so that no feature macro has to come before the
// user's first include.

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LATHEP_FN           static inline
#define LATHEP_THREAD_LOCAL __thread

enum { LATHEP_PATH_MAX = 4096 };

// CUDA's handles that lathe.h does not name.
struct CUmod_st;
struct CUfunc_st;

// a >= 0, b > 0; right up to INT64_MAX.
LATHEP_FN int64_t lathep_ceil_div(int64_t a, int64_t b) {
  return a / b + (a % b != 0);
}

LATHEP_FN int64_t lathep_clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// Nonzero if the result does not fit; *result is then not to be used.
LATHEP_FN int lathep_mul_overflow(int64_t a, int64_t b, int64_t *result) {
  return __builtin_mul_overflow(a, b, result);
}

LATHEP_FN int lathep_add_overflow(int64_t a, int64_t b, int64_t *result) {
  return __builtin_add_overflow(a, b, result);
}

// snprintf, for text that may be cut: gcc's -Wformat-truncation does not see through it. Returns
// the length of the whole text.
__attribute__((format(printf, 3, 4))) LATHEP_FN size_t lathep_print(char *text, size_t size,
                                                                    const char *format, ...) {
  va_list values;
  int length;
  va_start(values, format);
  length = vsnprintf(text, size, format, values);
  va_end(values);
  return length > 0 ? (size_t)length : 0;
}

LATHE_API int lathe_version(void) {
  return LATHE_VERSION;
}
