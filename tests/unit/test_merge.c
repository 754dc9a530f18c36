// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// lathe_merge on the CPU backend: cases worked out by hand, and parts of an attention against the
// whole.
#include "cpu_case.h"

typedef struct merge_case {
  lathe_merge_desc desc;
  lathe_merge_args args;
  lathe_merge_state states[3];
  float in[3][2], lse[3], out[2], out_lse;
} merge_case;

// One token, one head, L = 2, states (1, 2), (3, 6), (-0, 9) of equal lse.
static void merge_make(merge_case *m) {
  static const float in[3][2] = {{1, 2}, {3, 6}, {-0.0f, 9}};
  int i;
  memset(m, 0, sizeof *m);
  memcpy(m->in, in, sizeof in);
  m->desc.num_heads = 1;
  m->desc.kv_lora_rank = 2;
  m->desc.in_dtype = LATHE_DTYPE_F32;
  for (i = 0; i < 3; i++) {
    m->states[i].out = m->in[i];
    m->states[i].lse = &m->lse[i];
  }
  m->args.num_tokens = 1;
  m->args.num_states = 3;
  m->args.states = m->states;
  m->args.out = m->out;
  m->args.lse = &m->out_lse;
}

static void merge_run(const lathe_merge_desc *desc, const lathe_merge_args *args) {
  lathe_context_desc cpu;
  lathe_context *context;
  lathe_merge_plan *plan;
  memset(&cpu, 0, sizeof cpu);
  cpu.backend = LATHE_BACKEND_CPU;
  cpu_ok(lathe_context_create(&cpu, &context), "lathe_context_create");
  cpu_ok(lathe_merge_plan_create(context, desc, &plan), "lathe_merge_plan_create");
  cpu_ok(lathe_merge_run(plan, args, NULL), "lathe_merge_run");
  lathe_merge_plan_destroy(plan);
  lathe_context_destroy(context);
}

static void merge_expect(const merge_case *m, float x, float y, float lse) {
  merge_run(&m->desc, &m->args);
  cr_expect(m->out[0] == x && m->out[1] == y, "(%g, %g), wanted (%g, %g)", (double)m->out[0],
            (double)m->out[1], (double)x, (double)y);
  cr_expect(m->out_lse == lse || fabs((double)m->out_lse - (double)lse) < 1e-6, "lse %g, wanted %g",
            (double)m->out_lse, (double)lse);
}

Test(merge, equal_weights) {
  merge_case m;
  merge_make(&m);
  m.args.num_states = 2;
  merge_expect(&m, 2, 4, logf(2));
}

Test(merge, natural_and_base_2) {
  merge_case m;
  merge_make(&m);
  m.args.num_states = 2;
  m.lse[1] = logf(3); // weights 1 : 3
  merge_expect(&m, 2.5f, 5, logf(4));
  m.desc.lse_base = LATHE_LSE_BASE2;
  m.lse[0] = 2; // 4 : 4
  m.lse[1] = 2;
  merge_expect(&m, 2, 4, 3);
}

Test(merge, large_lse_do_not_overflow) {
  merge_case m;
  merge_make(&m);
  m.args.num_states = 2;
  m.lse[0] = m.lse[1] = 30000;
  merge_expect(&m, 2, 4, 30000 + logf(2));
  m.lse[1] = -30000;
  merge_expect(&m, 1, 2, 30000);
}

// Its bits, and what is beside it may be anything.
Test(merge, one_state_alone_is_copied) {
  merge_case m;
  merge_make(&m);
  m.lse[0] = m.lse[1] = -INFINITY;
  m.lse[2] = 0.1f;
  m.in[0][0] = m.in[1][1] = NAN;
  merge_run(&m.desc, &m.args);
  cr_expect(memcmp(m.out, m.in[2], sizeof m.out) == 0);
  cr_expect_eq(m.out_lse, 0.1f);
}

Test(merge, no_state_saw_a_key) {
  merge_case m;
  merge_make(&m);
  m.lse[0] = m.lse[1] = m.lse[2] = -INFINITY;
  m.in[0][0] = NAN;
  m.out[0] = m.out[1] = NAN;
  merge_expect(&m, 0, 0, -INFINITY);
}

Test(merge, nan_is_not_hidden) {
  merge_case m;
  merge_make(&m);
  m.lse[1] = NAN;
  merge_run(&m.desc, &m.args);
  cr_expect(isnan(m.out[0]) && isnan(m.out_lse));
  m.lse[1] = INFINITY;
  merge_run(&m.desc, &m.args);
  cr_expect(isnan(m.out[0]) && isnan(m.out_lse));
}

Test(merge, dtypes_and_strides) {
  uint16_t in[2][2 * 2 * 5], out[2 * 2 * 3 + 9];
  float lse[2][8], out_lse[8];
  lathe_merge_state states[2] = {{in[0], lse[0]}, {in[1], lse[1]}};
  merge_case m;
  int i, token, head;
  merge_make(&m);
  memset(out, 0xff, sizeof out);
  for (i = 0; i < 20; i++) {
    ref_store(LATHE_DTYPE_F16, in[0], i, i);
    ref_store(LATHE_DTYPE_F16, in[1], i, i + 2);
  }
  for (i = 0; i < 8; i++) {
    lse[0][i] = lse[1][i] = (float)i;
    out_lse[i] = 99;
  }
  m.desc.num_heads = 2;
  m.desc.in_dtype = LATHE_DTYPE_F16;
  m.desc.out_dtype = LATHE_DTYPE_BF16;
  m.args.num_tokens = 2;
  m.args.num_states = 2;
  m.args.states = states;
  m.args.in_token_stride = 4; // heads outside tokens
  m.args.in_head_stride = 9;
  m.args.in_lse_token_stride = 1;
  m.args.in_lse_head_stride = 3;
  m.args.out = out;
  m.args.out_token_stride = 8;
  m.args.out_head_stride = 3;
  m.args.lse = out_lse;
  m.args.lse_token_stride = 3;
  m.args.lse_head_stride = 1;
  merge_run(&m.desc, &m.args);
  for (token = 0; token < 2; token++)
    for (head = 0; head < 2; head++) {
      cr_expect_eq(ref_load(LATHE_DTYPE_BF16, out, token * 8 + head * 3 + 1),
                   token * 4 + head * 9 + 1 + 1);
      cr_expect(fabs((double)out_lse[token * 3 + head] - (token + head * 3 + log(2))) < 1e-6);
    }
  cr_expect_eq(out[2], 0xffff);
  cr_expect_eq(out_lse[2], 99);
}

// Attention over the first pages and over the rest, merged, is attention over all of them.
Test(merge, parts_of_an_attention) {
  ref_options options = cpu_options();
  ref_problem whole;
  merge_case m;
  lathe_decode_args args;
  float *out[2], lse[2][64];
  int32_t lens[8], part, i, rows;
  options.desc.out_dtype = LATHE_DTYPE_F16;
  options.desc.lse_base = LATHE_LSE_BASE2;
  ref_problem_make(&whole, &options);
  cpu_run(&whole.desc, &whole.args);
  rows = whole.args.batch * whole.desc.num_heads;
  merge_make(&m);
  for (part = 0; part < 2; part++) {
    const int32_t first = 16; // rows, of two pages
    out[part] = (float *)ref_alloc((size_t)rows * 32 * sizeof(float));
    args = whole.args;
    for (i = 0; i < args.batch; i++) {
      const int32_t length = whole.args.seq_lens[i];
      lens[i] = part == 0 ? (length < first ? length : first) : length < first ? 0 : length - first;
    }
    args.seq_lens = lens;
    args.block_tables += part == 0 ? 0 : first / whole.desc.page_size;
    if (args.block_table_stride == 0)
      args.block_table_stride =
          (whole.desc.max_seq_len + whole.desc.page_size - 1) / whole.desc.page_size;
    args.out = out[part];
    args.lse = lse[part];
    args.out_token_stride = args.out_head_stride = 0;
    args.lse_token_stride = args.lse_head_stride = 0;
    cpu_run(&whole.desc, &args);
    m.states[part].out = out[part];
    m.states[part].lse = lse[part];
  }
  {
    uint16_t *merged = (uint16_t *)ref_alloc((size_t)rows * 32 * sizeof(uint16_t));
    float merged_lse[64];
    m.desc.num_heads = whole.desc.num_heads;
    m.desc.kv_lora_rank = 32;
    m.desc.in_dtype = LATHE_DTYPE_F16;
    m.desc.lse_base = LATHE_LSE_BASE2;
    m.args.num_tokens = whole.args.batch;
    m.args.num_states = 2;
    m.args.out = merged;
    m.args.lse = merged_lse;
    merge_run(&m.desc, &m.args);
    for (i = 0; i < rows; i++) {
      const int32_t token = i / whole.desc.num_heads, head = i % whole.desc.num_heads;
      int32_t e;
      for (e = 0; e < 32; e++) {
        const double want = ref_out(&whole.desc, &whole.args, token, head, e);
        const double got = ref_load(LATHE_DTYPE_F16, merged, i * 32 + e);
        cr_assert(fabs(got - want) <= 1e-3 * (1 + fabs(want)), "%g, wanted %g", got, want);
      }
      if (whole.args.lse) {
        const double want = ref_lse(&whole.args, token, head);
        cr_assert((double)merged_lse[i] == want || fabs((double)merged_lse[i] - want) < 1e-5);
      }
    }
    free(merged);
  }
  free(out[0]);
  free(out[1]);
  ref_problem_free(&whole);
}
