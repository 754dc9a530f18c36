// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Which kernel a plan gets. A policy is one way to write the kernel; each is a row of a table,
// tried in order, and says of every variant it considers why it passes it over. The same lines go
// to the log (topic dispatch) and into the plan's info.

enum { LATHEP_MAX_GROUPS = 1024 }; // of lathep_decode_params

typedef struct lathep_candidates {
  const lathe_context *context; // for the log
  char text[4096];              // one line each, "\n" after each
  size_t length;
} lathep_candidates;

LATHEP_FN void lathep_candidate(lathep_candidates *list, const char *name, const char *verdict) {
  size_t room = sizeof list->text - list->length;
  size_t length = lathep_print(list->text + list->length, room, "%s: %s\n", name, verdict);
  if (length < room)
    list->length += length;
  else
    list->text[list->length] = '\0'; // whole lines only
  lathep_log(list->context, LATHEP_TOPIC_DISPATCH, "%s: %s", name, verdict);
}

// The kernels of a plan and how they are launched; what kernel_params.h needs of them.
typedef struct lathep_choice {
  lathep_variant decode, merge;
  int row_tiles; // tiles of decode.rows that num_heads * max_q_len rows fill
  int groups;    // parts the KV work is cut into; 1: nothing is split, merge is not launched
  size_t partial_out_bytes, partial_lse_bytes, split_table_bytes; // rounded up to 256 each
  size_t workspace_size;
} lathep_choice;

// A policy fills choice->decode, or returns UNSUPPORTED with a reason to show if no later policy
// takes the plan either.
typedef struct lathep_policy {
  const char *name;
  int min_compute; // 10 * major + minor
  lathe_status (*choose)(const lathe_context *, const lathe_decode_desc *, lathep_candidates *,
                         lathep_variant *, char *reason, size_t reason_size);
} lathep_policy;

LATHEP_FN void lathep_candidate_tile(void *user, const lathep_variant *variant, const char *why) {
  char name[128], verdict[192];
  lathep_variant_name(variant, name, sizeof name);
  if (why)
    lathep_print(verdict, sizeof verdict, "passed over: %s", why);
  else
    lathep_print(verdict, sizeof verdict, "taken: %d bytes of shared memory, %d threads",
                 variant->shared_bytes, variant->threads);
  lathep_candidate((lathep_candidates *)user, name, verdict);
}

// mma.sync and cp.async, on everything from sm_80 on.
LATHEP_FN lathe_status lathep_choose_portable(const lathe_context *context,
                                              const lathe_decode_desc *desc,
                                              lathep_candidates *list, lathep_variant *variant,
                                              char *reason, size_t reason_size) {
  char limit[128];
  lathe_status status = lathep_tile_walk(desc, (int64_t)desc->num_heads * desc->max_q_len,
                                         context->device.shared_optin, variant, limit, sizeof limit,
                                         lathep_candidate_tile, list);
  if (status)
    lathep_print(
        reason, reason_size,
        "the smallest tile of kv_lora_rank %d + qk_rope_head_dim %d with a %s cache %s of a "
        "block; give smaller dims%s",
        (int)desc->kv_lora_rank, (int)desc->qk_rope_head_dim, lathe_dtype_string(desc->kv_dtype),
        limit, desc->kv_dtype == LATHE_DTYPE_E4M3 ? "" : " or an e4m3 cache");
  return status;
}

static const lathep_policy lathep_policies[] = {
    {"portable sm80", 80, lathep_choose_portable},
};

LATHEP_FN size_t lathep_round_up(size_t bytes, size_t to) {
  return (bytes + to - 1) / to * to;
}

// The launch: as many blocks as the device runs at once, dealt to the row tiles; every group of
// row_tiles blocks walks its share of the KV rows, and leaves at most two partial results.
LATHEP_FN void lathep_choice_launch(const lathe_context *context, const lathe_decode_desc *desc,
                                    lathep_choice *choice) {
  const lathep_variant *v = &choice->decode;
  int64_t rows = (int64_t)desc->num_heads * desc->max_q_len;
  int64_t total = (int64_t)context->device.num_sms * v->ctas;
  size_t slots;
  choice->row_tiles = (int)lathep_ceil_div(rows, v->rows);
  choice->groups = total > choice->row_tiles ? (int)(total / choice->row_tiles) : 1;
  if (choice->groups > LATHEP_MAX_GROUPS)
    choice->groups = LATHEP_MAX_GROUPS;
  slots = (size_t)2 * (size_t)choice->groups * (size_t)choice->row_tiles * (size_t)v->rows;
  choice->partial_out_bytes =
      lathep_round_up(slots * (size_t)v->l * sizeof(float), LATHEP_WORKSPACE_ALIGN);
  choice->partial_lse_bytes = lathep_round_up(slots * sizeof(float), LATHEP_WORKSPACE_ALIGN);
  choice->split_table_bytes = lathep_round_up((size_t)choice->groups * 16, LATHEP_WORKSPACE_ALIGN);
  choice->workspace_size =
      choice->partial_out_bytes + choice->partial_lse_bytes + choice->split_table_bytes;
  lathep_variant_merge(desc->out_dtype, desc->kv_lora_rank, &choice->merge);
}

// Takes a checked desc. On failure lathe_last_error() gives the first policy's reason.
LATHEP_FN lathe_status lathep_dispatch(const lathe_context *context, const lathe_decode_desc *desc,
                                       lathep_candidates *list, lathep_choice *choice) {
  int compute = 10 * context->device.major + context->device.minor;
  char reason[512] = "", why[192];
  size_t i;
  list->context = context;
  list->length = 0;
  list->text[0] = '\0';
  memset(choice, 0, sizeof *choice);
  if (context->backend == LATHE_BACKEND_CPU) {
    lathep_candidate(list, "decode_cpu", "taken: the context is on the CPU backend");
    return LATHE_STATUS_OK;
  }
  for (i = 0; i < sizeof lathep_policies / sizeof lathep_policies[0]; i++) {
    const lathep_policy *policy = &lathep_policies[i];
    if (compute < policy->min_compute) {
      lathep_print(why, sizeof why,
                   "the device has compute capability %d.%d and the %s kernels need %d.%d or later",
                   context->device.major, context->device.minor, policy->name,
                   policy->min_compute / 10, policy->min_compute % 10);
      lathep_candidate(list, policy->name, why);
      if (!reason[0])
        lathep_print(reason, sizeof reason, "%s; use the CPU backend or another device", why);
      continue;
    }
    if (!policy->choose(context, desc, list, &choice->decode, reason[0] ? why : reason,
                        reason[0] ? sizeof why : sizeof reason)) {
      lathep_choice_launch(context, desc, choice);
      return LATHE_STATUS_OK;
    }
  }
  return lathep_fail(LATHE_STATUS_UNSUPPORTED,
                     "no kernel computes this lathe_decode_desc on %s: %s", context->device.name,
                     reason);
}

// What lathe_decode_check and lathe_decode_plan_create share, so that both give the same reason.
LATHEP_FN lathe_status lathep_decode_prepare(const lathe_context *context,
                                             const lathe_decode_desc *desc,
                                             lathe_decode_desc *filled, lathep_candidates *list,
                                             lathep_choice *choice) {
  lathe_status status;
  if (!context)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "context is null; give one made by lathe_context_create()");
  if (!desc)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "desc is null; give a lathe_decode_desc with the dims of the model");
  lathep_decode_desc_defaults(desc, filled);
  status = lathep_decode_desc_check(filled, context->backend);
  return status ? status : lathep_dispatch(context, filled, list, choice);
}

LATHE_API lathe_status lathe_decode_check(const lathe_context *context,
                                          const lathe_decode_desc *desc) {
  lathe_decode_desc filled;
  lathep_candidates list;
  lathep_choice choice;
  return lathep_decode_prepare(context, desc, &filled, &list, &choice);
}
