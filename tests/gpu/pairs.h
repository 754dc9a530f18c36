// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Pairwise choice: few cases in which every value of every factor meets every value of every other.
// Greedy, after AETG (Cohen et al., 1997): each case is the best of some random ones, each of which
// takes, factor by factor, the value that makes most new pairs. The same cases on every machine.
#ifndef LATHE_TESTS_GPU_PAIRS_H
#define LATHE_TESTS_GPU_PAIRS_H

#include "../ref/random.h"

#include <string.h>

enum { PAIRS_FACTORS = 20, PAIRS_LEVELS = 16, PAIRS_TRIES = 20 };

typedef struct pairs {
  int factors, levels[PAIRS_FACTORS];
  unsigned char met[PAIRS_FACTORS][PAIRS_LEVELS][PAIRS_FACTORS][PAIRS_LEVELS];
  int left; // pairs that have not met
  ref_random random;
} pairs;

static inline void pairs_begin(pairs *p, int factors, const int *levels) {
  int a, b;
  memset(p, 0, sizeof *p);
  p->factors = factors;
  p->random.state = 1;
  for (a = 0; a < factors; a++) {
    p->levels[a] = levels[a];
    for (b = 0; b < a; b++)
      p->left += levels[a] * levels[b];
  }
}

static inline int pairs_new(const pairs *p, const int *levels, const int *order, int chosen,
                            int factor, int level) {
  int i, fresh = 0;
  for (i = 0; i < chosen; i++)
    fresh += !p->met[factor][level][order[i]][levels[order[i]]];
  return fresh;
}

// The next case in levels[]; 0 when every pair has met.
static inline int pairs_next(pairs *p, int *levels) {
  int best[PAIRS_FACTORS], best_gain = -1, try, i, k;
  if (p->left == 0)
    return 0;
  for (try = 0; try < PAIRS_TRIES; try++) {
    int mine[PAIRS_FACTORS] = {0}, order[PAIRS_FACTORS], gain = 0;
    for (i = 0; i < p->factors; i++)
      order[i] = i;
    ref_shuffle(&p->random, order, p->factors);
    for (i = 0; i < p->factors; i++) {
      int factor = order[i], level = 0, most = -1;
      int start = (int)ref_below(&p->random, p->levels[factor]);
      for (k = 0; k < p->levels[factor]; k++) {
        int candidate = (start + k) % p->levels[factor];
        int fresh = pairs_new(p, mine, order, i, factor, candidate);
        if (i == 0) { // nothing to meet yet: the value with most pairs left
          int other, value;
          for (fresh = other = 0; other < p->factors; other++)
            for (value = 0; value < p->levels[other]; value++)
              fresh += other != factor && !p->met[factor][candidate][other][value];
        }
        if (fresh > most) {
          most = fresh;
          level = candidate;
        }
      }
      mine[factor] = level;
      gain += i ? most : 0;
    }
    if (gain > best_gain) {
      best_gain = gain;
      memcpy(best, mine, sizeof best);
    }
  }
  for (i = 0; i < p->factors; i++)
    for (k = 0; k < p->factors; k++)
      if (i != k && !p->met[i][best[i]][k][best[k]]) {
        p->met[i][best[i]][k][best[k]] = 1;
        p->left -= k < i;
      }
  memcpy(levels, best, sizeof(int) * (size_t)p->factors);
  return 1;
}

#endif
