// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// lathe_merge on the GPU: against the CPU backend, exactly where one state alone saw keys; and
// parts of a decode against the whole.
#include "device.h"

#include "../ref/compare.h"

static const lathe_dtype types[] = {LATHE_DTYPE_F16, LATHE_DTYPE_BF16, LATHE_DTYPE_F32};

typedef struct merge_problem {
  lathe_merge_desc desc;
  lathe_merge_args args; // device pointers
  lathe_merge_state host[LATHE_MERGE_MAX_STATES], device[LATHE_MERGE_MAX_STATES];
  size_t in, lse_in, out, lse; // bytes
  unsigned char *in_host, *out_host, *want;
  float *lse_host, *lse_out, *lse_want;
  gpu_buffer in_device, lse_in_device, out_device, lse_device;
} merge_problem;

static void make(merge_problem *m, ref_random *random, int strided) {
  const int tokens = m->args.num_tokens, heads = m->desc.num_heads, states = m->args.num_states;
  const int row = m->desc.kv_lora_rank + (strided ? 16 : 0), pad = strided ? 3 : 0;
  int s, i, d;
  m->in = (size_t)(tokens * heads * row) * ref_dtype_size(m->desc.in_dtype);
  m->out = (size_t)(tokens * heads * row) * ref_dtype_size(m->desc.out_dtype);
  m->lse_in = m->lse = sizeof(float) * (size_t)(tokens * (heads + pad));
  m->in_host = (unsigned char *)poisoned(m->in * (size_t)states);
  m->lse_host = (float *)poisoned(m->lse_in * (size_t)states);
  m->out_host = (unsigned char *)poisoned(m->out);
  m->want = (unsigned char *)poisoned(m->out);
  m->lse_out = (float *)poisoned(m->lse);
  m->lse_want = (float *)poisoned(m->lse);
  if (strided) { // heads outside tokens
    m->args.in_token_stride = m->args.out_token_stride = row;
    m->args.in_head_stride = m->args.out_head_stride = tokens * row;
    m->args.in_lse_token_stride = m->args.lse_token_stride = heads + pad;
  }
  for (s = 0; s < states; s++)
    for (i = 0; i < tokens * heads; i++) {
      const int token = i / heads, head = i % heads;
      const int empty = (token + head) % 5 == 0 ? s != head % states : ref_below(random, 3) == 0;
      const int at = strided ? token * (heads + pad) + head : i;
      float *lse = m->lse_host + (size_t)s * m->lse_in / sizeof(float) + at;
      *lse = empty || token == 3 ? -INFINITY : (float)(4 * ref_normal(random));
      for (d = 0; d < m->desc.kv_lora_rank && *lse != -INFINITY; d++)
        ref_store(m->desc.in_dtype, m->in_host + (size_t)s * m->in,
                  (strided ? head * tokens + token : i) * row + d, ref_normal(random));
    }
  gpu_buffer_upload(&m->in_device, m->in_host, m->in * (size_t)states);
  gpu_buffer_upload(&m->lse_in_device, m->lse_host, m->lse_in * (size_t)states);
  gpu_buffer_upload(&m->out_device, m->out_host, m->out);
  gpu_buffer_upload(&m->lse_device, m->lse_out, m->lse);
  for (s = 0; s < states; s++) {
    m->host[s].out = m->in_host + (size_t)s * m->in;
    m->host[s].lse = m->lse_host + (size_t)s * m->lse_in / sizeof(float);
    m->device[s].out = gpu_address(m->in_device.at + (size_t)s * m->in);
    m->device[s].lse = (const float *)gpu_address(m->lse_in_device.at + (size_t)s * m->lse_in);
  }
}

static void release(merge_problem *m) {
  gpu_free(m->in_device.at);
  gpu_free(m->lse_in_device.at);
  gpu_free(m->out_device.at);
  gpu_free(m->lse_device.at);
  free(m->in_host);
  free(m->lse_host);
  free(m->out_host);
  free(m->want);
  free(m->lse_out);
  free(m->lse_want);
}

// The state that alone saw keys; -1: none or several did.
static int only_state(const merge_problem *m, int at) {
  int s, found = -1;
  for (s = 0; s < m->args.num_states; s++)
    if (m->host[s].lse[at] != -INFINITY) {
      if (found >= 0)
        return -1;
      found = s;
    }
  return found;
}

static void compare(const merge_problem *m, int strided, const char *name) {
  const int tokens = m->args.num_tokens, heads = m->desc.num_heads, l = m->desc.kv_lora_rank;
  const int row = l + (strided ? 16 : 0), wide = m->desc.out_dtype == LATHE_DTYPE_F32;
  ref_error error;
  char message[512];
  int i, d;
  memset(&error, 0, sizeof error);
  for (i = 0; i < tokens * heads; i++) {
    const int token = i / heads, head = i % heads;
    const int at = strided ? token * (heads + 3) + head : i;
    const int first = (strided ? head * tokens + token : i) * row, only = only_state(m, at);
    for (d = 0; d < l; d++) {
      const double got = ref_load(m->desc.out_dtype, m->out_host, first + d);
      const double want = ref_load(m->desc.out_dtype, m->want, first + d);
      ref_error_add_bar(&error, 0, token, head, d, got, want,
                        wide ? 1e-5 * (1 + fabs(want)) : ref_out_bar(want));
    }
    ref_error_add_lse(&error, token, head, (double)m->lse_out[at], (double)m->lse_want[at]);
    if (only >= 0 && m->desc.in_dtype == m->desc.out_dtype) {
      const size_t bytes = ref_dtype_size(m->desc.in_dtype);
      gpu_check(memcmp(m->out_host + (size_t)first * bytes,
                       (const char *)m->host[only].out + (size_t)first * bytes,
                       (size_t)l * bytes) == 0 &&
                    m->lse_out[at] == m->host[only].lse[at],
                "%s: token %d head %d, of one state alone, is no copy", name, token, head);
    }
    for (d = l; d < row; d++)
      gpu_check(isnan(ref_load(m->desc.out_dtype, m->out_host, first + d)),
                "%s: padding was written", name);
  }
  gpu_check(ref_error_ok(&error, message, sizeof message), "%s: %s", name, message);
}

GPU_TEST(merge, grid) {
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  static const int counts[] = {1, 2, 3, 8, 31, 33, 64};
  static const int dims[] = {512, 256, 48};
  ref_random random = {99};
  int in, out, n, k = 0;
  for (in = 0; in < 3; in++)
    for (out = 0; out < 3; out++)
      for (n = 0; n < (gpu_small() ? 2 : 7); n++, k++) {
        merge_problem m;
        lathe_merge_plan *plan = NULL, *oracle = NULL;
        lathe_merge_args args;
        const int strided = k % 2;
        char name[128];
        memset(&m, 0, sizeof m);
        m.desc.num_heads = 1 + k % 17;
        m.desc.kv_lora_rank = dims[k % 3];
        m.desc.in_dtype = types[in];
        m.desc.out_dtype = types[out];
        m.desc.lse_base = k % 4 < 2 ? LATHE_LSE_NATURAL : LATHE_LSE_BASE2;
        m.args.num_tokens = 1 + k % 7;
        m.args.num_states = counts[n];
        make(&m, &random, strided);
        snprintf(name, sizeof name, "%s to %s, %d states, %d x %d x %d, base %d%s",
                 lathe_dtype_string(types[in]), lathe_dtype_string(types[out]), counts[n],
                 m.args.num_tokens, m.desc.num_heads, m.desc.kv_lora_rank, (int)m.desc.lse_base,
                 strided ? ", strided" : "");
        gpu_ok(lathe_merge_plan_create(context, &m.desc, &plan), name);
        gpu_ok(lathe_merge_plan_create(gpu_oracle_context(), &m.desc, &oracle), name);
        args = m.args;
        args.states = m.device;
        args.out = gpu_address(m.out_device.at);
        args.lse = (float *)gpu_address(m.lse_device.at);
        gpu_ok(lathe_merge_run(plan, &args, NULL), name);
        gpu_must(gpu.synchronize());
        gpu_must(gpu.download(m.out_host, m.out_device.at, m.out));
        gpu_must(gpu.download(m.lse_out, m.lse_device.at, m.lse));
        args = m.args;
        args.states = m.host;
        args.out = m.want;
        args.lse = m.lse_want;
        gpu_ok(lathe_merge_run(oracle, &args, NULL), name);
        compare(&m, strided, name);
        lathe_merge_plan_destroy(plan);
        lathe_merge_plan_destroy(oracle);
        release(&m);
      }
  lathe_context_destroy(context);
}

// Decode over the first pages and over the rest, merged on the device, against decode over all of
// them.
GPU_TEST(merge, parts_of_a_decode) {
  enum { FIRST = 128, BATCH = 4 };
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  problem p;
  device_problem device;
  lathe_decode_plan *plan;
  lathe_merge_plan *merge = NULL;
  lathe_merge_desc desc;
  lathe_merge_args args;
  lathe_merge_state states[2];
  gpu_buffer outs[2], lses[2], lens[2], merged = {0, 0, 0}, merged_lse = {0, 0, 0};
  int32_t part_lens[BATCH];
  unsigned char *got;
  float *got_lse;
  ref_error error;
  char message[512];
  shape s;
  int part, i, rows, d;
  memset(&s, 0, sizeof s);
  memset(outs, 0, sizeof outs);
  memset(lses, 0, sizeof lses);
  memset(lens, 0, sizeof lens);
  memset(&device, 0, sizeof device);
  memset(&args, 0, sizeof args);
  memset(&desc, 0, sizeof desc);
  memset(&error, 0, sizeof error);
  s.batch = BATCH;
  s.q_len = 1;
  s.num_heads = 16;
  s.kv_len = 700;
  s.page_size = 64;
  s.l = 512;
  s.r = 64;
  s.q = s.kv = s.out = LATHE_DTYPE_BF16;
  s.lengths = LENGTHS_UNEVEN;
  s.lse = 1;
  s.seed = 5; // strides written out
  problem_make(&p, &s);
  rows = BATCH * s.num_heads;
  plan = make_plan(context, &p.desc);
  device_upload(&device, &p, lathe_decode_workspace_size(plan));
  device_run(&device, &p, plan, 0xff);
  for (part = 0; part < 2; part++) {
    lathe_decode_args part_args = device.args;
    for (i = 0; i < BATCH; i++)
      part_lens[i] = part == 0           ? (p.lens[i] < FIRST ? p.lens[i] : FIRST)
                     : p.lens[i] < FIRST ? 0
                                         : p.lens[i] - FIRST;
    gpu_buffer_upload(&lens[part], part_lens, sizeof part_lens);
    gpu_buffer_reserve(&outs[part], p.out_size);
    gpu_buffer_reserve(&lses[part], p.lse_size);
    gpu_buffer_fill(&outs[part], 0xff);
    part_args.seq_lens = (const int32_t *)gpu_address(lens[part].at);
    if (part_args.block_table_stride == 0)
      part_args.block_table_stride = (p.desc.max_seq_len + s.page_size - 1) / s.page_size;
    part_args.block_tables += part * FIRST / s.page_size;
    part_args.out = gpu_address(outs[part].at);
    part_args.lse = (float *)gpu_address(lses[part].at);
    gpu_ok(lathe_decode_run(plan, &part_args, NULL), "lathe_decode_run over a part");
    states[part].out = part_args.out;
    states[part].lse = part_args.lse;
  }
  desc.num_heads = s.num_heads;
  desc.kv_lora_rank = s.l;
  desc.in_dtype = LATHE_DTYPE_BF16;
  gpu_ok(lathe_merge_plan_create(context, &desc, &merge), "lathe_merge_plan_create");
  gpu_buffer_reserve(&merged, p.out_size);
  gpu_buffer_reserve(&merged_lse, p.lse_size);
  args.num_tokens = BATCH;
  args.num_states = 2;
  args.states = states;
  args.out = gpu_address(merged.at);
  args.lse = (float *)gpu_address(merged_lse.at);
  gpu_ok(lathe_merge_run(merge, &args, NULL), "lathe_merge_run");
  gpu_must(gpu.synchronize());
  got = (unsigned char *)malloc(p.out_size);
  got_lse = (float *)malloc(p.lse_size);
  gpu_must(gpu.download(got, merged.at, p.out_size));
  gpu_must(gpu.download(got_lse, merged_lse.at, p.lse_size));
  for (i = 0; i < rows; i++) {
    for (d = 0; d < s.l; d++)
      ref_error_add(&error, i / s.num_heads, i % s.num_heads, d,
                    ref_load(s.out, got, (int64_t)i * s.l + d),
                    ref_load(s.out, p.out, (int64_t)i * s.l + d));
    ref_error_add_lse(&error, i / s.num_heads, i % s.num_heads, (double)got_lse[i],
                      (double)p.lse[i]);
  }
  gpu_check(ref_error_ok(&error, message, sizeof message), "merged parts: %s", message);
  free(got);
  free(got_lse);
  for (part = 0; part < 2; part++) {
    gpu_free(outs[part].at);
    gpu_free(lses[part].at);
    gpu_free(lens[part].at);
  }
  gpu_free(merged.at);
  gpu_free(merged_lse.at);
  lathe_merge_plan_destroy(merge);
  lathe_decode_plan_destroy(plan);
  device_free(&device);
  problem_free(&p);
  lathe_context_destroy(context);
}
