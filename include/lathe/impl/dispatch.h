// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Which kernel a plan gets. A policy is one way to write the kernel; each is a row of a table,
// tried in order, and says of every variant it considers why it passes it over. The same lines go
// to the log (topic dispatch) and into the plan's info.

enum {
  LATHEP_MAX_GROUPS = LATHEP_MAX_SPLITS, // a group has one split at most
  LATHEP_MERGE_BLOCKS_PER_SM = 4,        // what registers let run at once
  LATHEP_SPLIT_INTS = 4,                 // of a row of the split table
  LATHEP_SCHEDULE_INTS = 8               // of a group's two cuts
};

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
  lathep_variant decode, merge, schedule;
  int row_tiles;   // tiles of decode.rows that num_heads * max_q_len rows fill
  int groups;      // shares that the KV work is cut into
  int split_parts; // with a split_len: the most parts of a request; else 0
  int slots;       // for partial results: the most that a run leaves
  int merges;      // runs may leave partial results
  int merge_blocks;
  // Of the workspace, in order, rounded up to 256 each: partial results, the split table of a run,
  // and what runs leave alone: a schedule and its split table.
  size_t partial_out_bytes, partial_exponents_bytes, partial_lse_bytes, split_table_bytes,
      schedule_bytes;
  size_t workspace_size;
} lathep_choice;

// What a policy is asked: its kernel for this desc on this device.
typedef struct lathep_question {
  const lathe_context *context;
  const lathe_decode_desc *desc; // checked, defaults filled
  const char *only;              // the one variant to give, by name; null: the best
  lathep_candidates *list;
} lathep_question;

// A policy fills *variant, or returns UNSUPPORTED with a reason and what would work, to show if no
// other policy takes the plan.
typedef lathe_status (*lathep_policy_choose)(const lathep_question *question, lathep_arch arch,
                                             lathep_variant *variant, char *reason,
                                             size_t reason_size);

LATHEP_FN void lathep_candidate_tile(void *user, const lathep_variant *variant, const char *why) {
  char name[128], verdict[320];
  if (variant->rows)
    lathep_variant_name(variant, name, sizeof name);
  else
    lathep_variant_family(variant, name, sizeof name);
  if (why)
    lathep_print(verdict, sizeof verdict, "passed over: %s", why);
  else
    lathep_print(verdict, sizeof verdict, "taken: %d bytes of shared memory, %d threads",
                 variant->shared_bytes, variant->threads);
  lathep_candidate((lathep_candidates *)user, name, verdict);
}

LATHEP_FN lathe_status lathep_choose_portable(const lathep_question *question, lathep_arch arch,
                                              lathep_variant *variant, char *reason,
                                              size_t reason_size) {
  const lathe_decode_desc *desc = question->desc;
  char limit[128];
  lathe_status status = lathep_tile_walk(
      desc, (int64_t)desc->num_heads * desc->max_q_len, question->context->device.shared_optin,
      question->only, variant, limit, sizeof limit, lathep_candidate_tile, question->list);
  (void)arch;
  if (status && question->only && !limit[0])
    lathep_print(reason, reason_size,
                 "no tile of these dims has that name; give one of the names "
                 "that the log shows (LATHE_LOG=dispatch)");
  else if (status)
    lathep_print(
        reason, reason_size,
        "the smallest tile of kv_lora_rank %d + qk_rope_head_dim %d with a %s cache %s of a "
        "block; give smaller dims%s",
        (int)desc->kv_lora_rank, (int)desc->qk_rope_head_dim, lathe_dtype_string(desc->kv_dtype),
        limit, desc->kv_dtype == LATHE_DTYPE_E4M3 ? "" : " or an e4m3 cache");
  return status;
}

LATHEP_FN lathe_status lathep_choose_hopper(const lathep_question *question, lathep_arch arch,
                                            lathep_variant *variant, char *reason,
                                            size_t reason_size) {
  const lathe_context *context = question->context;
  const int driver = context->device.driver_version;
  const char *fix = "give a desc that it takes";
  char why[256], name[128];
  lathe_status status = lathep_hopper_fit(arch, question->desc, context->device.shared_optin,
                                          variant, why, sizeof why);
  lathep_variant_name(variant, name, sizeof name);
  if (!context->cuda.cuTensorMapEncodeTiled) {
    status = LATHE_STATUS_UNSUPPORTED;
    lathep_print(why, sizeof why, "the driver (CUDA %d.%d) has no cuTensorMapEncodeTiled",
                 driver / 1000, driver % 1000 / 10);
    fix = "install a driver of CUDA 12.0 or later";
  } else if (!status && question->only && strcmp(question->only, name)) {
    status = LATHE_STATUS_UNSUPPORTED;
    lathep_print(why, sizeof why, "for this desc it is %s", name);
    fix = "give that name";
  }
  lathep_candidate_tile(question->list, variant, status ? why : NULL);
  if (status)
    lathep_print(reason, reason_size, "%s; %s", why, fix);
  return status;
}

// A way to write the kernel, the devices that it runs on, and the plans that it is taken for.
typedef struct lathep_policy {
  lathep_arch arch;
  int runs_from, runs_to;   // compute capability, 10 * major + minor
  int taken_from, taken_to; // the same
  int max_rows;             // of num_heads * max_q_len
  int max_tokens;           // of max_batch * max_seq_len
  lathep_policy_choose choose;
} lathep_policy;

// THE table of dispatch, tried from the top: the first that takes a plan and can compute it does.
// LATHE_KERNEL names a row, and then counts only where it runs.
enum { LATHEP_EVERY = INT32_MAX };
static const lathep_policy lathep_policies[] = {
    // policy          runs on           taken on          rows up to    cache rows up to
    {LATHEP_ARCH_SM90, 90, LATHEP_EVERY, 90, 90, 16, LATHEP_EVERY, lathep_choose_hopper},
    {LATHEP_ARCH_SM90, 90, LATHEP_EVERY, 90, 90, 128, 8192, lathep_choose_hopper},
    {LATHEP_ARCH_SM90A, 90, 90, 90, 90, LATHEP_EVERY, LATHEP_EVERY, lathep_choose_hopper},
    {LATHEP_ARCH_SM80, 80, LATHEP_EVERY, 80, LATHEP_EVERY, LATHEP_EVERY, LATHEP_EVERY,
     lathep_choose_portable},
};
enum { LATHEP_NUM_POLICIES = sizeof lathep_policies / sizeof lathep_policies[0] };

LATHEP_FN size_t lathep_round_up(size_t bytes, size_t to) {
  return (bytes + to - 1) / to * to;
}

// Slots for partial results. A group leaves at most two, of the requests that it has a part of and
// its neighbours have others; with a split_len it is the request that has a slot for each part.
LATHEP_FN lathe_status lathep_choice_slots(const lathe_decode_desc *desc, lathep_choice *choice) {
  const int64_t slot_rows = (int64_t)choice->row_tiles * choice->decode.rows;
  int64_t slots = 2 * (int64_t)choice->groups;
  choice->merges = choice->groups > 1;
  if (desc->split_len) {
    choice->split_parts = (int)lathep_ceil_div(desc->max_seq_len, desc->split_len);
    choice->merges = choice->split_parts > 1;
    slots = choice->merges ? (int64_t)desc->max_batch * choice->split_parts : 0;
  }
  if (desc->split_len && (slots > INT32_MAX || slots * slot_rows > INT32_MAX))
    return lathep_fail(
        LATHE_STATUS_UNSUPPORTED,
        "lathe_decode_desc.split_len is %d: the partial results of max_batch x ceil(max_seq_len / "
        "split_len) = %d x %d parts of %lld rows are more than a workspace can hold; give a "
        "greater split_len",
        (int)desc->split_len, (int)desc->max_batch, choice->split_parts, (long long)slot_rows);
  choice->slots = (int)slots;
  return LATHE_STATUS_OK;
}

// The launch: as many blocks as the device, or desc->num_sms of it, runs at once, dealt to the row
// tiles; every group of row_tiles blocks walks its share of the KV rows.
LATHEP_FN lathe_status lathep_choice_launch(const lathe_context *context,
                                            const lathe_decode_desc *desc, lathep_choice *choice) {
  const lathep_variant *v = &choice->decode;
  int64_t rows = (int64_t)desc->num_heads * desc->max_q_len;
  const int sms = desc->num_sms && desc->num_sms < context->device.num_sms
                      ? desc->num_sms
                      : context->device.num_sms;
  int64_t total = (int64_t)sms * v->ctas;
  size_t slot_rows, splits;
  lathe_status status;
  choice->row_tiles = (int)lathep_ceil_div(rows, v->rows);
  choice->groups = total > choice->row_tiles ? (int)(total / choice->row_tiles) : 1;
  if (choice->groups > LATHEP_MAX_GROUPS)
    choice->groups = LATHEP_MAX_GROUPS;
  choice->merge_blocks = LATHEP_MERGE_BLOCKS_PER_SM * sms;
  status = lathep_choice_slots(desc, choice);
  if (status)
    return status;
  slot_rows = (size_t)choice->slots * (size_t)choice->row_tiles * (size_t)v->rows;
  splits = (size_t)(choice->split_parts ? desc->max_batch : choice->groups);
  choice->partial_out_bytes = lathep_round_up(slot_rows * (size_t)v->l * 2, LATHEP_WORKSPACE_ALIGN);
  choice->partial_exponents_bytes =
      lathep_round_up(slot_rows * (size_t)v->l / 8, LATHEP_WORKSPACE_ALIGN);
  choice->partial_lse_bytes = lathep_round_up(slot_rows * sizeof(float), LATHEP_WORKSPACE_ALIGN);
  choice->split_table_bytes =
      lathep_round_up(splits * LATHEP_SPLIT_INTS * sizeof(int), LATHEP_WORKSPACE_ALIGN);
  choice->schedule_bytes = lathep_round_up(
      (size_t)choice->groups * LATHEP_SCHEDULE_INTS * sizeof(int), LATHEP_WORKSPACE_ALIGN);
  choice->workspace_size = choice->partial_out_bytes + choice->partial_exponents_bytes +
                           choice->partial_lse_bytes + 2 * choice->split_table_bytes +
                           choice->schedule_bytes;
  lathep_variant_merge(desc->out_dtype, desc->kv_lora_rank, v->options, &choice->merge);
  lathep_variant_schedule(v->tokens, v->options, &choice->schedule);
  return LATHE_STATUS_OK;
}

// Does LATHE_KERNEL mean kernels of this family: by its policy's word, by its own name, or by that
// of a variant, which *only then is?
LATHEP_FN int lathep_kernel_named(const char *wanted, lathep_arch arch, const char *family,
                                  const char **only) {
  const size_t length = strlen(family);
  size_t options = 0;
  *only = NULL;
  if (!strcmp(wanted, lathep_arch_words[arch]) || !strcmp(wanted, family))
    return 1;
  if (strncmp(wanted, family, length))
    return 0;
  if (wanted[length] == '_')
    options = strspn(wanted + length + 1, lathep_option_letters);
  if (strncmp(wanted + length + (options ? options + 1 : 0), "_l", 2))
    return 0;
  *only = wanted;
  return 1;
}

// Why a policy is not even asked; 0: it is.
LATHEP_FN int lathep_policy_passed(const lathep_question *question, const lathep_policy *policy,
                                   char *why, size_t why_size) {
  const lathep_device *device = &question->context->device;
  const int compute = 10 * device->major + device->minor;
  const int64_t rows = (int64_t)question->desc->num_heads * question->desc->max_q_len;
  const int64_t tokens = (int64_t)question->desc->max_batch * question->desc->max_seq_len;
  if (compute < policy->runs_from || compute > policy->runs_to)
    lathep_print(why, why_size, "the device has compute capability %d.%d, and it needs %d.%d%s",
                 device->major, device->minor, policy->runs_from / 10, policy->runs_from % 10,
                 policy->runs_to == LATHEP_EVERY ? " or later" : "");
  else if (question->context->env.kernel)
    return 0;
  else if (compute < policy->taken_from || compute > policy->taken_to)
    lathep_print(why, why_size, "the device has compute capability %d.%d, and it is taken on %d.%d",
                 device->major, device->minor, policy->taken_from / 10, policy->taken_from % 10);
  else if (policy->max_rows != LATHEP_EVERY && rows > policy->max_rows)
    lathep_print(why, why_size, "num_heads x max_q_len is %lld, and it is taken for up to %d",
                 (long long)rows, policy->max_rows);
  else if (policy->max_tokens != LATHEP_EVERY && tokens > policy->max_tokens)
    lathep_print(why, why_size,
                 "max_batch x max_seq_len is %lld, and for that many rows it is taken for up to %d",
                 (long long)tokens, policy->max_tokens);
  else
    return 0;
  return 1;
}

LATHEP_FN lathe_status lathep_policy_ask(lathep_question *question, const lathep_policy *policy,
                                         lathep_variant *variant, char *reason,
                                         size_t reason_size) {
  char why[192];
  lathep_variant_decode(policy->arch, question->desc, variant);
  if (!lathep_policy_passed(question, policy, why, sizeof why))
    return policy->choose(question, policy->arch, variant, reason, reason_size);
  lathep_candidate_tile(question->list, variant, why);
  lathep_print(reason, reason_size, "%s; use another device, or the CPU backend", why);
  return LATHE_STATUS_UNSUPPORTED;
}

// Takes a checked desc. On failure lathe_last_error() gives the reason of the last policy asked,
// which asks for least.
LATHEP_FN lathe_status lathep_dispatch(const lathe_context *context, const lathe_decode_desc *desc,
                                       lathep_candidates *list, lathep_choice *choice) {
  const char *wanted = context->env.kernel;
  lathep_question question;
  char reason[512] = "";
  size_t i;
  list->context = context;
  list->length = 0;
  list->text[0] = '\0';
  memset(choice, 0, sizeof *choice);
  if (context->backend == LATHE_BACKEND_CPU) {
    lathep_candidate(list, "decode_cpu", "taken: the context is on the CPU backend");
    return LATHE_STATUS_OK;
  }
  question.context = context;
  question.desc = desc;
  question.only = NULL;
  question.list = list;
  for (i = 0; i < LATHEP_NUM_POLICIES; i++) {
    const lathep_policy *policy = &lathep_policies[i];
    char family[64];
    lathep_variant_decode(policy->arch, desc, &choice->decode);
    lathep_variant_family(&choice->decode, family, sizeof family);
    if (wanted && !lathep_kernel_named(wanted, policy->arch, family, &question.only)) {
      lathep_candidate(list, family, "passed over: LATHE_KERNEL names another");
      continue;
    }
    if (!lathep_policy_ask(&question, policy, &choice->decode, reason, sizeof reason)) {
      return lathep_choice_launch(context, desc, choice);
    }
  }
  if (wanted)
    return lathep_fail(LATHE_STATUS_UNSUPPORTED,
                       "LATHE_KERNEL is \"%s\", which does not compute this lathe_decode_desc on "
                       "%s: %s, or unset LATHE_KERNEL",
                       wanted, context->device.name,
                       reason[0] ? reason : "it is a kernel of other types; give sm80");
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
