// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Decode context parallelism: each rank's share of a step in turn on the one device, joined by
// lathe_merge_run there, against the CPU backend with all of the rows.
#include "families.h"
#include "oracle.h"

#include "../ref/ranks.h"

enum { MOST_RANKS = 4, LENGTHS = 11 };

typedef struct share_buffers {
  gpu_buffer kv, kpe, tables, lens, out, lse;
} share_buffers;

// What the ranks share: the query, what its tokens see, the sinks; and the way it is done.
typedef struct run {
  lathe_context *context;
  problem p;             // the whole
  device_problem whole;  // of it, inputs that all ranks have
  lathe_decode_args all; // p's, every stride set
  int world, interleave, local, scheduled;
} run;

// One rank from upload to out and lse on the device. 0 on success.
static int run_rank(run *r, int rank, share_buffers *b) {
  lathe_decode_desc desc = r->p.desc;
  lathe_decode_plan *plan;
  ref_share share;
  lathe_decode_args args;
  gpu_buffer *workspace = &r->whole.workspace;
  int ok = 0;
  desc.cp_world = r->world;
  desc.cp_rank = rank;
  desc.cp_interleave = r->interleave;
  desc.cp_lens = r->local ? LATHE_CP_LENS_LOCAL : LATHE_CP_LENS_GLOBAL;
  ref_share_make(&share, &desc, &r->all);
  plan = make_plan(r->context, &share.desc);
  if (plan) {
    gpu_buffer_upload(&b->kv, share.kv, share.kv_size);
    gpu_buffer_upload(&b->kpe, share.kpe, share.kpe_size);
    gpu_buffer_upload(&b->tables, share.tables, share.tables_size);
    gpu_buffer_upload(&b->lens, share.args.seq_lens, 4 * (size_t)r->all.batch);
    gpu_buffer_upload(&b->out, share.out, share.out_size);
    gpu_buffer_upload(&b->lse, share.lse, share.lse_size);
    gpu_buffer_reserve(workspace, lathe_decode_workspace_size(plan));
    gpu_buffer_fill(workspace, 0xff);
    args = r->whole.args;
    args.kv_cache = gpu_address(b->kv.at);
    args.kpe_cache = share.args.kpe_cache ? gpu_address(b->kpe.at) : NULL;
    args.kv_page_stride = args.kv_row_stride = args.kpe_page_stride = args.kpe_row_stride = 0;
    args.num_pages = share.args.num_pages;
    args.block_tables = (const int32_t *)gpu_address(b->tables.at);
    args.block_table_stride = 0;
    args.seq_lens = (const int32_t *)gpu_address(b->lens.at);
    args.out = gpu_address(b->out.at);
    args.lse = (float *)gpu_address(b->lse.at);
    args.out_token_stride = args.out_head_stride = args.lse_token_stride = args.lse_head_stride = 0;
    args.workspace = gpu_address(workspace->at);
    args.workspace_size = lathe_decode_workspace_size(plan);
    ok = 1;
    if (r->scheduled)
      ok = gpu_ok(lathe_decode_schedule(plan, &args, NULL), "lathe_decode_schedule");
    args.scheduled = r->scheduled;
    ok = ok && gpu_ok(lathe_decode_validate(plan, &args, NULL), "lathe_decode_validate") &&
         gpu_ok(lathe_decode_run(plan, &args, NULL), "lathe_decode_run");
    gpu_must(gpu.synchronize());
  }
  lathe_decode_plan_destroy(plan);
  ref_share_free(&share);
  return !ok;
}

// Runs all ranks and brings back what lathe_merge_run makes of them: fp32 [tokens, H, L], [tokens,
// H].
static int run_joined(run *r, float *out, float *lse) {
  const size_t rows = (size_t)(r->all.num_tokens * r->p.desc.num_heads);
  const size_t bytes = rows * (size_t)r->p.desc.kv_lora_rank * 4;
  share_buffers ranks[MOST_RANKS];
  lathe_merge_state states[MOST_RANKS];
  lathe_merge_plan *plan = NULL;
  lathe_merge_desc desc;
  lathe_merge_args args;
  gpu_buffer merged = {0, 0, 0}, merged_lse = {0, 0, 0};
  int rank, bad = 0;
  memset(ranks, 0, sizeof ranks);
  memset(&desc, 0, sizeof desc);
  memset(&args, 0, sizeof args);
  for (rank = 0; rank < r->world; rank++) {
    bad |= run_rank(r, rank, &ranks[rank]);
    states[rank].out = gpu_address(ranks[rank].out.at);
    states[rank].lse = (const float *)gpu_address(ranks[rank].lse.at);
  }
  desc.num_heads = r->p.desc.num_heads;
  desc.kv_lora_rank = r->p.desc.kv_lora_rank;
  desc.in_dtype = r->p.desc.out_dtype;
  desc.out_dtype = LATHE_DTYPE_F32;
  desc.lse_base = r->p.desc.lse_base;
  gpu_buffer_reserve(&merged, bytes);
  gpu_buffer_reserve(&merged_lse, rows * 4);
  args.num_tokens = r->all.num_tokens;
  args.num_states = r->world;
  args.states = states;
  args.out = gpu_address(merged.at);
  args.lse = (float *)gpu_address(merged_lse.at);
  bad |= !gpu_ok(lathe_merge_plan_create(r->context, &desc, &plan), "lathe_merge_plan_create");
  if (!bad) {
    bad = !gpu_ok(lathe_merge_run(plan, &args, NULL), "lathe_merge_run");
    gpu_must(gpu.synchronize());
    gpu_must(gpu.download(out, merged.at, bytes));
    gpu_must(gpu.download(lse, merged_lse.at, rows * 4));
  }
  lathe_merge_plan_destroy(plan);
  gpu_free(merged.at);
  gpu_free(merged_lse.at);
  for (rank = 0; rank < r->world; rank++) {
    gpu_free(ranks[rank].kv.at);
    gpu_free(ranks[rank].kpe.at);
    gpu_free(ranks[rank].tables.at);
    gpu_free(ranks[rank].lens.at);
    gpu_free(ranks[rank].out.at);
    gpu_free(ranks[rank].lse.at);
  }
  return bad;
}

// The lse of the whole, with its head's sink: both in the problem's base.
static double with_sink(const problem *p, double lse, int head) {
  const double unit = p->desc.lse_base == LATHE_LSE_BASE2 ? log(2.0) : 1;
  double sink = p->sinks ? (double)p->sinks[head] / unit : -INFINITY;
  const double most = fmax(lse, sink);
  if (most == -INFINITY)
    return most;
  return most + log(exp((lse - most) * unit) + exp((sink - most) * unit)) / unit;
}

static void compare(run *r, const float *out, const float *lse) {
  problem *p = &r->p;
  const int l = p->desc.kv_lora_rank, heads = p->desc.num_heads;
  ref_error error;
  char name[256], message[512];
  int i, token, head, k;
  lathe_decode_args args = problem_args(p);
  memset(&error, 0, sizeof error);
  if (!gpu_ok(oracle_run(&p->desc, &args), "the CPU backend with all rows"))
    return;
  for (i = 0; i < p->shape.batch; i++)
    for (token = p->cu[i]; token < p->cu[i + 1]; token++)
      for (head = 0; head < heads; head++) {
        const long long at = (long long)token * heads + head;
        const unsigned char *want = p->out + out_offset(p, token, head);
        const double whole = (double)p->lse[lse_offset(p, token, head)];
        for (k = 0; k < l; k++)
          ref_error_add(&error, token, head, k, (double)out[at * l + k],
                        element_value(p->shape.out, want + k * 2));
        ref_error_add_lse(&error, token, head, (double)lse[at], with_sink(p, whole, head));
      }
  gpu_check(ref_error_ok(&error, message, sizeof message), "%d ranks by %d%s%s: %s: %s", r->world,
            r->interleave, r->local ? ", local" : "", r->scheduled ? ", scheduled" : "",
            problem_name(p, name, sizeof name), message);
}

typedef enum kind { CAUSAL, TREE, WINDOW, SINKS, CODES, LOCAL, KINDS } kind;

// Lengths 0 and 1, and about the ends of turns, of rounds and of blocks.
static void run_ranks(lathe_context *context, int world, int interleave, int q_len, kind what,
                      int heads, int split_len) {
  const int round = world * interleave;
  const int some[LENGTHS] = {0,
                             1,
                             interleave - 1,
                             interleave,
                             round - 1,
                             round,
                             round + 1,
                             round + interleave,
                             64 * world,
                             2 * round,
                             2 * round + 64 + q_len};
  shape s;
  run r;
  float *out, *lse;
  size_t rows;
  int i;
  memset(&s, 0, sizeof s);
  memset(&r, 0, sizeof r);
  s.batch = LENGTHS;
  s.q_len = q_len;
  s.num_heads = heads;
  s.kv_len = 2 * round + 64 * world + 64 + q_len;
  s.page_size = interleave == 16 ? 64 : 16;
  s.l = gpu_small() ? 64 : 512;
  s.r = gpu_small() ? 16 : 64;
  s.q = s.kv = s.out = LATHE_DTYPE_F16; // ranks' outputs are rounded before they are joined
  if (what == CODES)
    s.kv = LATHE_DTYPE_E4M3;
  s.lengths = LENGTHS_EQUAL; // so that all shorter ones are backed by rows
  s.split_kv = s.split_q = what & 1;
  s.ragged = q_len > 1 && interleave == 16;
  s.lse = 1 + (interleave == 64);
  s.tree = what == TREE;
  s.sinks = what == SINKS;
  s.scale_at = what == CODES;
  s.softcap = what == CODES ? 30 : 0;
  s.no_mask = what == LOCAL && q_len > 1;
  s.seed = (unsigned long long)(world * 1000 + interleave * 10 + q_len + (int)what);
  problem_make(&r.p, &s);
  for (i = 0; i < LENGTHS; i++)
    r.p.lens[i] = some[i];
  r.p.desc.split_len = split_len;
  if (what == WINDOW) // not sooner: rows that it hides from the longest are seen by shorter ones
    r.p.desc.sliding_window = r.p.shape.window = interleave + 5;
  r.context = context;
  r.world = world;
  r.interleave = interleave;
  r.local = what == LOCAL;
  r.scheduled = (world + q_len) % 2;
  device_upload(&r.whole, &r.p, 256);
  {
    lathe_decode_desc filled;
    lathe_decode_args given = problem_args(&r.p);
    lathep_decode_desc_defaults(&r.p.desc, &filled);
    gpu_ok(lathep_decode_args_resolve(&filled, LATHE_BACKEND_CPU, 0, &given, &r.all), "resolve");
  }
  rows = (size_t)(r.all.num_tokens * heads);
  out = (float *)poisoned(rows * (size_t)s.l * 4);
  lse = (float *)poisoned(rows * 4);
  if (run_joined(&r, out, lse) == 0)
    compare(&r, out, lse);
  free(out);
  free(lse);
  device_free(&r.whole);
  problem_free(&r.p);
}

static void run_kind(kind what) {
  static const int interleaves[] = {1, 16, 64};
  lathe_context *context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  int world, i, q_len, n = 0;
  for (world = 2; world <= MOST_RANKS; world++)
    for (i = 0; i < 3; i++)
      for (q_len = 1; q_len <= 4; q_len += 3, n++)
        if (!gpu_small() || n % 6 == (int)what % 6)
          run_ranks(context, world, interleaves[i], q_len, what,
                    gpu_small() ? 3
                    : i == 1    ? 40
                                : 16,
                    n % 3 == 1 ? 64 : 0);
  lathe_context_destroy(context);
}

GPU_TEST(ranks, joined_are_the_whole) {
  run_kind(CAUSAL);
}
GPU_TEST(ranks, joined_under_a_tree_mask) {
  run_kind(TREE);
}
GPU_TEST(ranks, joined_under_a_window) {
  run_kind(WINDOW);
}
GPU_TEST(ranks, joined_with_sinks) {
  run_kind(SINKS);
}
GPU_TEST(ranks, joined_of_e4m3_and_softcap_and_softmax_scale_on_the_device) {
  run_kind(CODES);
}
GPU_TEST(ranks, joined_of_lengths_of_their_own) {
  run_kind(LOCAL);
}
