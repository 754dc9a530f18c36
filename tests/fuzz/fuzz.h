// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the fuzz drivers share. Each defines LLVMFuzzerTestOneInput, so that it links with libFuzzer
// (clang -fsanitize=fuzzer,address,undefined -DLATHE_LIBFUZZER), and is otherwise a test by itself:
//
//     fuzz_NAME [count [seed]]     that many random inputs, default FUZZ_COUNT
//     fuzz_NAME FILE...            those inputs: what libFuzzer found
#ifndef LATHE_TESTS_FUZZ_FUZZ_H
#define LATHE_TESTS_FUZZ_FUZZ_H

#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "../ref/random.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An input read from front to back; zeros follow its end. */
typedef struct fuzz_input {
  const uint8_t *data;
  size_t size;
} fuzz_input;

static inline uint32_t fuzz_byte(fuzz_input *input) {
  if (input->size == 0)
    return 0;
  input->size--;
  return *input->data++;
}

/* Mostly the values at which code goes wrong. */
static inline int64_t fuzz_number(fuzz_input *input) {
  static const int64_t edges[] = {
      0,     1,     -1,      2,         15,        16,        17,        64,        127,       512,
      65535, 65536, 1 << 30, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 1ll << 32, 1ll << 62, -16};
  uint32_t choice = fuzz_byte(input);
  int64_t value = 0;
  if (choice < 128)
    return edges[choice % (sizeof edges / sizeof edges[0])];
  for (uint32_t i = 0; i < (choice < 192 ? 1u : 8u); i++)
    value = (int64_t)((uint64_t)value << 8 | fuzz_byte(input));
  return value;
}

static inline void fuzz_expect(int ok, const char *what) {
  if (!ok) {
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
  }
}

/* A refusal has one of a few codes and a sentence. */
static inline void fuzz_expect_status(lathe_status status) {
  fuzz_expect(status == LATHE_STATUS_OK || status == LATHE_STATUS_INVALID_ARGUMENT ||
                  status == LATHE_STATUS_UNSUPPORTED || status == LATHE_STATUS_OUT_OF_MEMORY,
              lathe_status_string(status));
  if (status)
    fuzz_expect(lathe_last_error()->status == status && strlen(lathe_last_error()->message) > 20,
                "a refusal without a reason");
}

#ifndef LATHE_LIBFUZZER
static int fuzz_file(const char *path) {
  uint8_t *data = (uint8_t *)ref_alloc(1 << 20);
  FILE *file = fopen(path, "rb");
  size_t size;
  if (!file) {
    perror(path);
    return 1;
  }
  size = fread(data, 1, 1 << 20, file);
  fclose(file);
  LLVMFuzzerTestOneInput(data, size);
  free(data);
  return 0;
}

int main(int argc, char **argv) {
  uint8_t data[512];
  char *end = NULL;
  unsigned long long count = argc > 1 ? strtoull(argv[1], &end, 10) : FUZZ_COUNT;
  ref_random random = {argc > 2 ? strtoull(argv[2], NULL, 10) : 1};
  if (end && *end) {
    for (int i = 1; i < argc; i++)
      if (fuzz_file(argv[i]))
        return 1;
    return 0;
  }
  for (unsigned long long n = 0; n < count; n++) {
    size_t size = (size_t)ref_below(&random, (int64_t)sizeof data + 1);
    for (size_t i = 0; i < size; i++)
      data[i] = (uint8_t)ref_next(&random);
    LLVMFuzzerTestOneInput(data, size);
  }
  printf("1..1\nok 1 - %llu random inputs\n", count);
  return 0;
}
#endif

#endif
