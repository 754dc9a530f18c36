// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Random numbers that are the same on every machine (splitmix64), for tests, examples and benches.
#ifndef LATHE_TESTS_REF_RANDOM_H
#define LATHE_TESTS_REF_RANDOM_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct ref_random {
  uint64_t state; /* any value is a seed */
} ref_random;

static inline uint64_t ref_next(ref_random *random) {
  uint64_t z = (random->state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* 0 to n - 1; n > 0 */
static inline int64_t ref_below(ref_random *random, int64_t n) {
  return (int64_t)(ref_next(random) % (uint64_t)n);
}

/* low to high, both included */
static inline int32_t ref_between(ref_random *random, int32_t low, int32_t high) {
  return (int32_t)(low + ref_below(random, (int64_t)high - low + 1));
}

/* [0, 1) */
static inline double ref_uniform(ref_random *random) {
  return (double)(ref_next(random) >> 11) * 0x1p-53;
}

/* mean 0, variance 1 (Box and Muller) */
static inline double ref_normal(ref_random *random) {
  double radius = sqrt(-2 * log(1 - ref_uniform(random)));
  return radius * cos(6.283185307179586477 * ref_uniform(random));
}

static inline void ref_shuffle(ref_random *random, int32_t *values, int64_t count) {
  for (int64_t i = count - 1; i > 0; i--) {
    int64_t j = ref_below(random, i + 1);
    int32_t swapped = values[i];
    values[i] = values[j];
    values[j] = swapped;
  }
}

/* Memory for tests: a failure ends the program, so that no caller has to look. */
static inline void *ref_alloc(size_t size) {
  void *memory = malloc(size ? size : 1);
  if (!memory) {
    fprintf(stderr, "tests/ref: no memory for %zu bytes\n", size);
    abort();
  }
  return memory;
}

#endif
