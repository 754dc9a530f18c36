// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The one place that says how far a result may be from the oracle's. Feed elements, then ask.
//   output (f16, bf16): every element within 8e-4, or within 2.01/128 of the wanted value; and over
//                       all elements 1 - 2 x.y / (x.x + y.y) at most 5e-6
//   output (e4m3):      every element within a step of the format from the wanted value
//   lse:                every element within 1e-6, or within 8.01/65536 of the wanted value
// Infinities and NaN must be in the same places. The bars are those of FlashMLA's own tests.
#ifndef LATHE_TESTS_REF_COMPARE_H
#define LATHE_TESTS_REF_COMPARE_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>

#define REF_OUT_ABS    8e-4
#define REF_OUT_REL    (2.01 / 128)
#define REF_OUT_COSINE 5e-6
#define REF_LSE_ABS    1e-6
#define REF_LSE_REL    (8.01 / 65536)

/* A coarse output has its bar, and no cosine: a step is more than that would allow. */
typedef enum ref_kind { REF_KIND_OUT, REF_KIND_LSE, REF_KIND_COARSE_OUT } ref_kind;

typedef struct ref_error {
  int64_t elements, failures; /* compared, and outside the bar */
  double worst_abs;           /* largest |got - want| of finite elements */
  double dot, norms;          /* x.y and x.x + y.y of the output elements */
  double worst_excess;        /* of the element named below: error / bar */
  ref_kind worst_kind;
  int64_t worst_token, worst_head, worst_element;
  double worst_got, worst_want;
} ref_error;

static inline double ref_out_bar(double want) {
  return fmax(REF_OUT_ABS, REF_OUT_REL * fabs(want));
}

static inline double ref_lse_bar(double want) {
  return fmax(REF_LSE_ABS, REF_LSE_REL * fabs(want));
}

/* An element with a bar of its own. */
static inline void ref_error_add_bar(ref_error *error, ref_kind kind, int64_t token, int64_t head,
                                     int64_t element, double got, double want, double bar) {
  double off = fabs(got - want), excess = off / bar;
  if (!isfinite(got) || !isfinite(want)) {
    int same = (isnan(got) && isnan(want)) || (!isnan(want) && got == want);
    excess = same ? 0 : (double)INFINITY;
  } else {
    error->worst_abs = fmax(error->worst_abs, off);
    if (kind == REF_KIND_OUT) {
      error->dot += got * want;
      error->norms += got * got + want * want;
    }
  }
  error->failures += excess >= 1;
  if (error->elements++ == 0 || excess > error->worst_excess) {
    error->worst_excess = excess;
    error->worst_kind = kind;
    error->worst_token = token;
    error->worst_head = head;
    error->worst_element = element;
    error->worst_got = got;
    error->worst_want = want;
  }
}

/* Start from a zeroed ref_error, then one call per element. */
static inline void ref_error_add(ref_error *error, int64_t token, int64_t head, int64_t element,
                                 double got, double want) {
  ref_error_add_bar(error, REF_KIND_OUT, token, head, element, got, want, ref_out_bar(want));
}

/* An e4m3 element, as stored, beside another that has been rounded: equal, or neighbours. Steps are
   an eighth of the power of two that the larger one has, 2^-9 at least. */
static inline void ref_error_add_e4m3(ref_error *error, int64_t token, int64_t head,
                                      int64_t element, double got, double want) {
  double larger = fmax(fabs(got), fabs(want));
  double step = larger >= 0x1p-6 && larger <= 448 ? ldexp(1.0, ilogb(larger) - 3) : 0x1p-9;
  ref_error_add_bar(error, REF_KIND_COARSE_OUT, token, head, element, got, want, 1.001 * step);
}

static inline void ref_error_add_lse(ref_error *error, int64_t token, int64_t head, double got,
                                     double want) {
  ref_error_add_bar(error, REF_KIND_LSE, token, head, 0, got, want, ref_lse_bar(want));
}

static inline double ref_error_cosine(const ref_error *error) {
  return error->norms > 0 ? 1 - 2 * error->dot / error->norms : 0;
}

/* 1 if every bar was kept. Either way one line in `message` that names the worst element. */
static inline int ref_error_ok(const ref_error *error, char *message, size_t size) {
  double cosine = ref_error_cosine(error);
  int ok = error->failures == 0 && cosine <= REF_OUT_COSINE;
  snprintf(message, size,
           "%s: %lld of %lld elements outside the bar, cosine difference %.2g (bar %.2g), worst "
           "%s[token %lld, head %lld, element %lld] = %.9g, wanted %.9g (%.3g of its bar)",
           ok ? "ok" : "WRONG", (long long)error->failures, (long long)error->elements, cosine,
           REF_OUT_COSINE, error->worst_kind == REF_KIND_LSE ? "lse" : "out",
           (long long)error->worst_token, (long long)error->worst_head,
           (long long)error->worst_element, error->worst_got, error->worst_want,
           error->worst_excess);
  return ok;
}

#endif
