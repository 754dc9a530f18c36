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

// What dispatch asks of a machine: of a context's, or of one that the caller tells of.
typedef struct lathep_target {
  const lathe_context *context; // for the log; null: none
  lathe_backend backend;
  const lathep_device *device;
  int tensor_maps;      // its driver makes them
  const char *kernel;   // LATHE_KERNEL; null: none is named
  const char *disabled; // LATHE_DISABLE; null: nothing is
} lathep_target;

typedef struct lathep_candidates {
  const lathe_context *context; // for the log; null: none
  char text[4096];              // one line each, "\n" after each
  size_t length;
} lathep_candidates;

// `list` null: nobody is told.
LATHEP_FN void lathep_candidate(lathep_candidates *list, const char *name, const char *verdict) {
  size_t room, length;
  if (!list)
    return;
  room = sizeof list->text - list->length;
  length = lathep_print(list->text + list->length, room, "%s: %s\n", name, verdict);
  if (length < room)
    list->length += length;
  else
    list->text[list->length] = '\0'; // whole lines only
  if (list->context)
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
  const lathep_target *target;
  const lathe_decode_desc *desc; // checked, defaults filled
  const char *only;              // the one variant to give, by name; null: the best
  lathep_candidates *list;
} lathep_question;

// Why a policy does not compute the desc: what lathep_refuse is told if no other takes the plan.
typedef struct lathep_refusal {
  lathe_reason reason;
  const char *field;
  int64_t value;
  char text[512]; // what stands in the way; what would work
} lathep_refusal;

// A policy fills *variant, or returns UNSUPPORTED and fills *refusal.
typedef lathe_status (*lathep_policy_choose)(const lathep_question *question, lathep_arch arch,
                                             lathep_variant *variant, lathep_refusal *refusal);

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
                                              lathep_variant *variant, lathep_refusal *refusal) {
  const lathe_decode_desc *desc = question->desc;
  const int32_t l = desc->kv_lora_rank, r = desc->qk_rope_head_dim;
  int registers;
  char limit[128];
  lathe_status status = lathep_tile_walk(
      desc, (int64_t)desc->num_heads * desc->max_q_len, question->target->device->shared_optin,
      question->only, variant, limit, sizeof limit, lathep_candidate_tile, question->list);
  (void)arch;
  if (!status)
    return status;
  if (question->only && !limit[0]) {
    lathep_print(refusal->text, sizeof refusal->text,
                 "no tile of these dims has that name; give one of the names "
                 "that the log shows (LATHE_LOG=dispatch)");
    return status;
  }
  // *variant is the smallest tile: it has registers enough, or no tile has.
  registers = lathep_tile_accumulators(l, variant->rows, variant->tokens) > LATHEP_ACCUMULATORS;
  refusal->reason = registers ? LATHE_REASON_REGISTERS : LATHE_REASON_SHARED_MEMORY;
  refusal->field = registers || l >= r ? "kv_lora_rank" : "qk_rope_head_dim";
  refusal->value = registers || l >= r ? l : r;
  lathep_print(refusal->text, sizeof refusal->text,
               "the smallest tile of kv_lora_rank %d + qk_rope_head_dim %d with a %s cache %s of a "
               "block; give %s",
               (int)l, (int)r, lathe_dtype_string(desc->kv_dtype), limit,
               registers                            ? "a smaller kv_lora_rank"
               : desc->kv_dtype == LATHE_DTYPE_E4M3 ? "smaller dims"
                                                    : "smaller dims or an e4m3 cache");
  return status;
}

LATHEP_FN lathe_status lathep_choose_hopper(const lathep_question *question, lathep_arch arch,
                                            lathep_variant *variant, lathep_refusal *refusal) {
  const lathep_device *device = question->target->device;
  const int driver = device->driver_version;
  const char *fix = "give a desc that it takes";
  char why[256], name[128];
  lathe_status status =
      lathep_hopper_fit(arch, question->desc, device->shared_optin, variant, why, sizeof why);
  lathep_variant_name(variant, name, sizeof name);
  if (!question->target->tensor_maps) {
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
    lathep_print(refusal->text, sizeof refusal->text, "%s; %s", why, fix);
  return status;
}

// A way to write the kernel, the devices that it runs on, and the plans that it is taken for.
typedef struct lathep_policy {
  lathep_arch arch;
  int runs_from, runs_to;   // compute capability, 10 * major + minor
  int taken_from, taken_to; // the same
  int max_rows;             // of num_heads * max_q_len
  int max_tokens;           // of max_batch * the cache rows that a run reads of a request at most
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
    choice->split_parts = (int)lathep_ceil_div(lathep_most_rows(desc), desc->split_len);
    choice->merges = choice->split_parts > 1;
    slots = choice->merges ? (int64_t)desc->max_batch * choice->split_parts : 0;
  }
  if (desc->split_len && (slots > INT32_MAX || slots * slot_rows > INT32_MAX))
    return lathep_refuse(
        LATHE_REASON_SPLIT_PARTS, "split_len", desc->split_len,
        "lathe_decode_desc.split_len is %d: the partial results of %s x ceil(%s / split_len) = "
        "%d x %d parts of %lld rows are more than a workspace can hold; give a greater split_len",
        (int)desc->split_len, lathep_batch_word(desc), lathep_rows_word(desc), (int)desc->max_batch,
        choice->split_parts, (long long)slot_rows);
  choice->slots = (int)slots;
  return LATHE_STATUS_OK;
}

// The launch: as many blocks as the device, or desc->num_sms of it, runs at once, dealt to the row
// tiles; every group of row_tiles blocks walks its share of the KV rows.
LATHEP_FN lathe_status lathep_choice_launch(const lathep_device *device,
                                            const lathe_decode_desc *desc, lathep_choice *choice) {
  const lathep_variant *v = &choice->decode;
  int64_t rows = (int64_t)desc->num_heads * desc->max_q_len;
  const int sms =
      desc->num_sms && desc->num_sms < device->num_sms ? desc->num_sms : device->num_sms;
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

LATHEP_FN int lathep_window_ends_reads(const lathe_decode_desc *desc) {
  return desc->sliding_window &&
         (int64_t)desc->sliding_window + desc->max_q_len - 1 < desc->max_seq_len;
}

// Why a policy is not even asked; 0: it is.
LATHEP_FN int lathep_policy_passed(const lathep_question *question, const lathep_policy *policy,
                                   char *why, size_t why_size) {
  const lathep_device *device = question->target->device;
  const int compute = 10 * device->major + device->minor;
  const int64_t rows = (int64_t)question->desc->num_heads * question->desc->max_q_len;
  const int windowed = lathep_window_ends_reads(question->desc);
  const int64_t tokens =
      question->desc->max_batch *
      (windowed ? (int64_t)question->desc->sliding_window + question->desc->max_q_len - 1
                : question->desc->max_seq_len);
  if (compute < policy->runs_from || compute > policy->runs_to)
    lathep_print(why, why_size, "the device has compute capability %d.%d, and it needs %d.%d%s",
                 device->major, device->minor, policy->runs_from / 10, policy->runs_from % 10,
                 policy->runs_to == LATHEP_EVERY ? " or later" : "");
  else if (question->target->kernel)
    return 0;
  else if (compute < policy->taken_from || compute > policy->taken_to)
    lathep_print(why, why_size, "the device has compute capability %d.%d, and it is taken on %d.%d",
                 device->major, device->minor, policy->taken_from / 10, policy->taken_from % 10);
  else if (policy->max_rows != LATHEP_EVERY && rows > policy->max_rows)
    lathep_print(why, why_size, "%s is %lld, and it is taken for up to %d",
                 lathep_heads_word(question->desc), (long long)rows, policy->max_rows);
  else if (policy->max_tokens != LATHEP_EVERY && tokens > policy->max_tokens)
    lathep_print(why, why_size, "%s x %s is %lld, and for that many rows it is taken for up to %d",
                 lathep_batch_word(question->desc),
                 windowed ? "(sliding_window + max_q_len - 1)" : lathep_length_word(question->desc),
                 (long long)tokens, policy->max_tokens);
  else
    return 0;
  return 1;
}

// A kernel that is switched off is asked for first, in silence: one that cannot compute the desc
// anyway is passed over for that.
LATHEP_FN lathe_status lathep_policy_choice(const lathep_question *question,
                                            const lathep_policy *policy, lathep_variant *variant,
                                            lathep_refusal *refusal) {
  lathep_question silent = *question;
  char word[64], why[96];
  silent.list = NULL;
  if (!lathep_disabled(question->target->disabled, variant, word, sizeof word) ||
      policy->choose(&silent, policy->arch, variant, refusal))
    return policy->choose(question, policy->arch, variant, refusal);
  lathep_print(why, sizeof why, "LATHE_DISABLE has %s", word);
  lathep_candidate_tile(question->list, variant, why);
  refusal->reason = LATHE_REASON_DISABLED;
  refusal->field = "";
  refusal->value = 0;
  lathep_print(refusal->text, sizeof refusal->text, "%s; take it out", why);
  return LATHE_STATUS_UNSUPPORTED;
}

LATHEP_FN lathe_status lathep_policy_ask(lathep_question *question, const lathep_policy *policy,
                                         lathep_variant *variant, lathep_refusal *refusal) {
  const lathep_device *device = question->target->device;
  char why[192];
  lathep_variant_decode(policy->arch, question->desc, variant);
  if (!lathep_policy_passed(question, policy, why, sizeof why))
    return lathep_policy_choice(question, policy, variant, refusal);
  lathep_candidate_tile(question->list, variant, why);
  refusal->reason = LATHE_REASON_COMPUTE_CAPABILITY;
  refusal->field = "";
  refusal->value = 10 * device->major + device->minor;
  lathep_print(refusal->text, sizeof refusal->text, "%s; use another device, or the CPU backend",
               why);
  return LATHE_STATUS_UNSUPPORTED;
}

// Every plan needs a schedule kernel and, where runs split requests, a merge kernel, and there is
// no other of either: a plan is refused if they are switched off.
LATHEP_FN lathe_status lathep_dispatch_others(const lathep_target *target, lathep_candidates *list,
                                              const lathep_choice *choice) {
  const lathep_variant *others[] = {&choice->schedule, choice->merges ? &choice->merge : NULL};
  char name[128], word[64];
  size_t i;
  for (i = 0; i < sizeof others / sizeof others[0]; i++) {
    if (!others[i] || !lathep_disabled(target->disabled, others[i], word, sizeof word))
      continue;
    lathep_variant_name(others[i], name, sizeof name);
    lathep_candidate(list, name, "passed over: LATHE_DISABLE has its family");
    return lathep_refuse(LATHE_REASON_DISABLED, "", 0,
                         "plans of this lathe_decode_desc need %s on %s, and LATHE_DISABLE has %s; "
                         "take it out",
                         name, target->device->name, word);
  }
  return LATHE_STATUS_OK;
}

// Takes a checked desc. On failure lathe_last_error() gives the reason of the last policy asked,
// which asks for least.
LATHEP_FN lathe_status lathep_dispatch(const lathep_target *target, const lathe_decode_desc *desc,
                                       lathep_candidates *list, lathep_choice *choice) {
  const char *wanted = target->kernel;
  lathep_question question;
  lathep_refusal refusal = {LATHE_REASON_NONE, "", 0, ""};
  lathe_status status;
  size_t i;
  list->context = target->context;
  list->length = 0;
  list->text[0] = '\0';
  memset(choice, 0, sizeof *choice);
  if (target->backend == LATHE_BACKEND_CPU) {
    lathep_candidate(list, "decode_cpu", "taken: the context is on the CPU backend");
    return LATHE_STATUS_OK;
  }
  question.target = target;
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
    if (!lathep_policy_ask(&question, policy, &choice->decode, &refusal)) {
      status = lathep_choice_launch(target->device, desc, choice);
      return status ? status : lathep_dispatch_others(target, list, choice);
    }
  }
  if (wanted)
    return lathep_refuse(
        refusal.reason == LATHE_REASON_DISABLED ? LATHE_REASON_DISABLED : LATHE_REASON_NAMED_KERNEL,
        "", 0,
        "LATHE_KERNEL is \"%s\", which does not compute this lathe_decode_desc on "
        "%s: %s, or unset LATHE_KERNEL",
        wanted, target->device->name,
        refusal.text[0] ? refusal.text : "it is a kernel of other types; give sm80");
  return lathep_refuse(refusal.reason, refusal.field, refusal.value,
                       "no kernel computes this lathe_decode_desc on %s: %s", target->device->name,
                       refusal.text);
}
