// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The public helpers for args.softmax_scale. In double, rounded once.

LATHEP_FN double lathep_yarn_factor(float factor, float mscale_all_dim) {
  return factor > 1.0f ? 0.1 * (double)mscale_all_dim * log((double)factor) + 1.0 : 1.0;
}

// Dims that have no scale (their sum is 0 or less) give 0, which lathe_decode_run refuses.
LATHE_API float lathe_softmax_scale(int qk_nope_head_dim, int qk_rope_head_dim, float q_scaling) {
  const double dim = (double)qk_nope_head_dim + qk_rope_head_dim;
  const double scaling = q_scaling == 0.0f ? 1.0 : (double)q_scaling;
  return dim > 0 ? (float)(1.0 / (scaling * sqrt(dim))) : 0.0f;
}

LATHE_API float lathe_yarn_mscale(float factor, float mscale_all_dim) {
  return (float)lathep_yarn_factor(factor, mscale_all_dim);
}

LATHE_API float lathe_yarn_q_scaling(float factor, float mscale_all_dim) {
  const double m = lathep_yarn_factor(factor, mscale_all_dim);
  return (float)(1.0 / (m * m));
}
