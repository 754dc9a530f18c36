// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Why descs are refused: every reason of the table is reached, with its status, its field and that
// field's value, by a context and by a device that is only told of, before anything is loaded.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "recording_driver.h"

// Where a case is refused; on the CPU backend, too, or not.
typedef struct machine {
  int cpu, major, minor, shared_optin;
  const char *kernel;   // LATHE_KERNEL
  const char *disabled; // LATHE_DISABLE
} machine;

static const machine EVERY = {1, 9, 0, 232448, NULL, NULL};
static const machine H100 = {0, 9, 0, 232448, NULL, NULL};
static const machine TURING = {0, 7, 5, 65536, NULL, NULL};
static const machine TINY = {0, 8, 6, 16384, NULL, NULL};
static const machine NAMED = {0, 9, 0, 232448, "sm90a", NULL};
static const machine OFF = {0, 9, 0, 232448, NULL, "sm90a,sm80,sm90"};
static const machine NAMED_OFF = {0, 9, 0, 232448, "sm80", "decode_sm80_bf16_bf16"};
static const machine UNMERGED = {0, 9, 0, 232448, NULL, "merge_sm80_bf16"};
static const machine UNSCHEDULED = {0, 9, 0, 232448, NULL, "schedule_sm80"};

// reason, field, its value, machine, what is done to a good desc, and words of the message
// clang-format off
#define CASES(X)                                                                                   \
  X(NOT_SET, "q_dtype", 0, EVERY, d->q_dtype = LATHE_DTYPE_NONE, "q_dtype is not set")             \
  X(NOT_SET, "kv_dtype", 0, EVERY, d->kv_dtype = LATHE_DTYPE_NONE, "kv_dtype is not set")          \
  X(UNKNOWN_VALUE, "out_dtype", 77, EVERY, d->out_dtype = (lathe_dtype)77, "no lathe_dtype")       \
  X(UNKNOWN_VALUE, "mask", 3, EVERY, d->mask = (lathe_mask)3, "no lathe_mask")                     \
  X(UNKNOWN_VALUE, "cp_lens", 2, EVERY, (d->cp_world = 2, d->cp_lens = (lathe_cp_lens)2), "no lathe_cp_lens") \
  X(UNKNOWN_VALUE, "lse_base", 9, EVERY, d->lse_base = (lathe_lse_base)9, "no lathe_lse_base")     \
  X(TOO_SMALL, "num_heads", 0, EVERY, d->num_heads = 0, "1 or more")                               \
  X(TOO_SMALL, "kv_lora_rank", -512, EVERY, d->kv_lora_rank = -512, "1 or more")                   \
  X(TOO_SMALL, "qk_rope_head_dim", -1, EVERY, d->qk_rope_head_dim = -1, "0 or more")               \
  X(TOO_SMALL, "page_size", 0, EVERY, d->page_size = 0, "1 or more")                               \
  X(TOO_SMALL, "max_batch", 0, EVERY, d->max_batch = 0, "1 or more")                               \
  X(TOO_SMALL, "max_q_len", -2, EVERY, d->max_q_len = -2, "1 or more")                             \
  X(TOO_SMALL, "max_seq_len", INT32_MIN, EVERY, d->max_seq_len = INT32_MIN, "1 or more")           \
  X(TOO_SMALL, "num_sms", -1, EVERY, d->num_sms = -1, "0 or more")                                 \
  X(TOO_SMALL, "sliding_window", -1, EVERY, d->sliding_window = -1, "0 or more")                   \
  X(TOO_SMALL, "split_len", -64, EVERY, d->split_len = -64, "0 or more")                           \
  X(TOO_LARGE, "kv_lora_rank", INT32_MAX, EVERY, d->kv_lora_rank = INT32_MAX, "at most")           \
  X(TOO_LARGE, "page_size", INT32_MAX, EVERY, d->page_size = INT32_MAX, "at most")                 \
  X(TOO_LARGE, "split_len", INT32_MAX, EVERY, d->split_len = INT32_MAX, "at most")                 \
  X(NOT_A_MULTIPLE, "split_len", 96, EVERY, d->split_len = 96, "128 is the next")                  \
  X(NOT_A_MULTIPLE, "kv_lora_rank", 500, H100, d->kv_lora_rank = 500, "512 is the next")           \
  X(NOT_A_MULTIPLE, "qk_rope_head_dim", 24, H100, d->qk_rope_head_dim = 24, "32 is the next")      \
  X(Q_DTYPE, "q_dtype", LATHE_DTYPE_E4M3, EVERY, d->q_dtype = LATHE_DTYPE_E4M3, "an e4m3 cache")   \
  X(KV_DTYPE, "kv_dtype", LATHE_DTYPE_F16, EVERY, d->kv_dtype = LATHE_DTYPE_F16, "bf16 or e4m3")   \
  X(OUT_DTYPE, "out_dtype", LATHE_DTYPE_F32, EVERY, d->out_dtype = LATHE_DTYPE_F32, "or e4m3")     \
  X(TOO_MANY_ROWS, "num_heads", 1 << 20, EVERY, (d->num_heads = 1 << 20, d->max_q_len = 2048),     \
    "1048576 x 2048")                                                                              \
  X(WINDOW_MASK, "sliding_window", 64, EVERY, (d->sliding_window = 64, d->mask = LATHE_MASK_NONE), \
    "LATHE_MASK_CAUSAL")                                                                           \
  X(KV_FORMAT, "kv_format", LATHE_KV_FORMAT_ROW656, EVERY, d->kv_format = LATHE_KV_FORMAT_ROW656,  \
    "bf16 and e4m3, of which")                                                                     \
  X(SPARSE_MASK, "sparse_topk", 8, EVERY, (d->sparse_topk = 8, d->sliding_window = 4),             \
    "a sliding_window of 0")                                                                       \
  X(SPARSE_MASK, "sparse_topk", 8, EVERY, (d->sparse_topk = 8, d->sliding_window = 5000),          \
    "a sliding_window of 0")                                                                       \
  X(SPARSE_MASK, "sparse_topk", 8, EVERY, (d->sparse_topk = 8, d->mask = LATHE_MASK_TREE),         \
    "another mask and lists")                                                                      \
  X(SPARSE_MASK, "sparse_topk", 8, EVERY, (d->sparse_topk = 8, d->cp_world = 2),                   \
    "LATHE_CP_LENS_LOCAL and lists")                                                               \
  X(WINDOW_MASK, "sliding_window", 64, EVERY, (d->sliding_window = 64, d->mask = LATHE_MASK_TREE), \
    "LATHE_MASK_TREE")                                                                             \
  X(TOO_SMALL, "cp_world", -4, EVERY, d->cp_world = -4, "1 or more")                               \
  X(TOO_SMALL, "cp_interleave", -1, EVERY, d->cp_interleave = -1, "1 or more")                     \
  X(TOO_LARGE, "cp_interleave", 1 << 30, EVERY, (d->cp_world = 2, d->cp_interleave = 1 << 30), "536870912 at most") \
  X(CP_RANK, "cp_rank", 2, EVERY, (d->cp_world = 2, d->cp_rank = 2), "0 to 1")                     \
  X(CP_LENS, "cp_lens", LATHE_CP_LENS_LOCAL, EVERY, (d->cp_world = 2, d->cp_lens = LATHE_CP_LENS_LOCAL), \
    "the lengths of whole requests")                                                               \
  X(SOFTCAP, "logit_softcap", -50, EVERY, d->logit_softcap = -50.0f, "1e-30 to 1e30")              \
  X(SPLIT_BATCH, "max_batch", 1025, H100, (d->split_len = 64, d->max_batch = 1025), "1024 requests") \
  X(SPLIT_PARTS, "split_len", 64, H100,                                                            \
    (d->split_len = 64, d->max_batch = 512, d->max_seq_len = 4096, d->sparse_topk = 1 << 29),      \
    "max_batch x max_q_len x ceil(sparse_topk / split_len) = 1024 x 8388608 parts of")             \
  X(SPLIT_PARTS, "split_len", 64, H100,                                                            \
    (d->split_len = 64, d->max_batch = 1024, d->max_seq_len = 1 << 28),                            \
    "max_batch x ceil(max_seq_len / split_len) = 1024 x 4194304 parts of")                         \
  X(SPLIT_PARTS, "split_len", 64, H100,                                                            \
    (d->split_len = 64, d->max_batch = 1024, d->max_seq_len = 1 << 28), "a greater split_len")     \
  X(COMPUTE_CAPABILITY, "", 75, TURING, (void)d, "needs 8.0 or later; use another device")         \
  X(REGISTERS, "kv_lora_rank", 2048, H100, d->kv_lora_rank = 2048, "accumulator registers")        \
  X(REGISTERS, "kv_lora_rank", 2048, H100, d->kv_lora_rank = 2048,                                 \
    "of a block; give a smaller kv_lora_rank")                                                     \
  X(REGISTERS, "kv_lora_rank", 2048, H100, (d->kv_lora_rank = 2048, d->kv_dtype = LATHE_DTYPE_E4M3), \
    "of a block; give a smaller kv_lora_rank")                                                     \
  X(SHARED_MEMORY, "qk_rope_head_dim", 8192, H100, d->qk_rope_head_dim = 8192, "of shared memory") \
  X(SHARED_MEMORY, "kv_lora_rank", 512, TINY, d->kv_lora_rank = 512, "of 15360 bytes of shared")   \
  X(NAMED_KERNEL, "", 0, NAMED, d->kv_lora_rank = 576, "unset LATHE_KERNEL")                       \
  X(NAMED_KERNEL, "", 0, NAMED, d->kv_dtype = LATHE_DTYPE_E4M3, "LATHE_KERNEL is \"sm90a\"")       \
  X(DISABLED, "", 0, OFF, (void)d, "LATHE_DISABLE has sm80; take it out")                          \
  X(NOT_A_MULTIPLE, "kv_lora_rank", 24, OFF, d->kv_lora_rank = 24, "32 is the next")               \
  X(REGISTERS, "kv_lora_rank", 2048, OFF, d->kv_lora_rank = 2048, "accumulator registers")         \
  X(DISABLED, "", 0, NAMED_OFF, (void)d, "LATHE_DISABLE has decode_sm80_bf16_bf16; take it out, or") \
  X(DISABLED, "", 0, UNMERGED, (void)d, "need merge_sm80_bf16_l32 on recording device")            \
  X(DISABLED, "", 0, UNSCHEDULED, (void)d, "LATHE_DISABLE has schedule_sm80; take it out")
// clang-format on

typedef struct refused_case {
  lathe_reason reason;
  const char *field;
  int64_t value;
  const machine *machine;
  const char *words;
} refused_case;

static void spoil(lathe_decode_desc *d, int number) {
  int n = 0;
#define SPOIL(reason, field, value, machine, change, words)                                        \
  if (n++ == number)                                                                               \
    change;
  CASES(SPOIL)
#undef SPOIL
}

static const refused_case cases[] = {
#define ROW(reason, field, value, machine, change, words)                                          \
  {LATHE_REASON_##reason, field, value, &machine, words},
    CASES(ROW)
#undef ROW
};
enum { NUM_CASES = sizeof cases / sizeof cases[0] };

static void expect_reason(const refused_case *c, lathe_status got, const char *by) {
  const lathe_error *error = lathe_last_error();
  (void)by; // where cr_assert drops its message
  cr_assert_eq(got, error->status, "%s: case %td", by, c - cases);
  cr_expect_eq(got, lathep_reason_status(c->reason), "%s: %s: %s", by,
               lathe_reason_string(c->reason), error->message);
  cr_expect_str_eq(lathe_reason_string(error->reason), lathe_reason_string(c->reason), "%s: %s", by,
                   error->message);
  cr_expect_str_eq(error->field, c->field, "%s: %s", by, error->message);
  cr_expect_eq(error->value, c->value, "%s: %s", by, error->message);
  cr_expect(strstr(error->message, c->words), "%s: \"%s\" is not in \"%s\"", by, c->words,
            error->message);
  cr_expect(strstr(error->message, c->field), "%s: %s", by, error->message);
  cr_expect(strstr(error->message, "; "), "%s: %s", by, error->message);
}

static void expect_by_a_context(const refused_case *c, const lathe_decode_desc *desc, int cpu) {
  static char kernel[32], disabled[64];
  lathe_context *context =
      cpu ? cpu_context() : recording_context(c->machine->major, c->machine->minor);
  lathe_decode_plan *plan = (lathe_decode_plan *)&memory;
  context->device.shared_optin = c->machine->shared_optin;
  if (c->machine->kernel) {
    strcpy(kernel, c->machine->kernel);
    context->env.kernel = kernel;
  }
  if (c->machine->disabled) {
    strcpy(disabled, c->machine->disabled);
    context->env.disabled = disabled;
  }
  expect_reason(c, lathe_decode_check(context, desc), "lathe_decode_check");
  expect_reason(c, lathe_decode_plan_create(context, desc, &plan), "lathe_decode_plan_create");
  cr_expect_null(plan);
  cr_expect_null(context->kernels, "nothing is made of it");
  context->env.kernel = context->env.disabled = NULL;
  lathe_context_destroy(context);
}

static void expect_by_a_device(const refused_case *c, const lathe_decode_desc *desc) {
  const lathe_device_desc device = {c->machine->major, c->machine->minor,
                                    (size_t)c->machine->shared_optin};
  expect_reason(c, lathe_decode_check_device(&device, desc), "lathe_decode_check_device");
  if (c->machine->cpu)
    expect_reason(c, lathe_decode_check_device(NULL, desc), "lathe_decode_check_device, CPU");
}

// The reasons that only descs of append and merge have.
static void expect_of_append_and_merge(int *reached) {
  static const refused_case others[] = {
      {LATHE_REASON_KV_FORMAT, "kv_format", LATHE_KV_FORMAT_ROW656, &EVERY, "512 and 64"},
      {LATHE_REASON_ROW_SCALE, "row_scale", LATHE_ROW_SCALE_POW2, &EVERY, "leave it 0"},
      {LATHE_REASON_ODD_ROPE, "qk_rope_head_dim", 15, &EVERY, "an even one"},
      {LATHE_REASON_STATE_DTYPE, "in_dtype", LATHE_DTYPE_E4M3, &EVERY, "f16, bf16 or f32"},
  };
  lathe_context *context = cpu_context();
  lathe_append_desc append;
  lathe_merge_desc merge;
  size_t i;
  for (i = 0; i < sizeof others / sizeof others[0]; i++)
    reached[others[i].reason] = 1;
  memset(&append, 0, sizeof append);
  memset(&merge, 0, sizeof merge);
  append.num_heads = append.page_size = append.max_batch = append.max_seq_len = 1;
  append.kv_lora_rank = append.qk_rope_head_dim = 16;
  append.q_dtype = LATHE_DTYPE_BF16;
  append.kv_dtype = LATHE_DTYPE_E4M3;
  append.rope = LATHE_ROPE_INTERLEAVED;
  append.kv_format = LATHE_KV_FORMAT_ROW656;
  expect_reason(&others[0], lathe_append_check(context, &append), "lathe_append_check");
  append.kv_format = LATHE_KV_FORMAT_PLAIN;
  append.row_scale = LATHE_ROW_SCALE_POW2;
  expect_reason(&others[1], lathe_append_check(context, &append), "lathe_append_check");
  append.row_scale = LATHE_ROW_SCALE_F32;
  append.qk_rope_head_dim = 15;
  expect_reason(&others[2], lathe_append_check(context, &append), "lathe_append_check");
  merge.num_heads = merge.kv_lora_rank = 16;
  merge.in_dtype = LATHE_DTYPE_E4M3;
  expect_reason(&others[3], lathe_merge_check(context, &merge), "lathe_merge_check");
  lathe_context_destroy(context);
}

// Those of these descs that are given are refused under this LATHE_DISABLE.
static void expect_off(lathe_context *context, const char *disabled, const char *words,
                       const lathe_append_desc *append, const lathe_merge_desc *merge) {
  static char list[96];
  const refused_case off = {LATHE_REASON_DISABLED, "", 0, &H100, words};
  lathe_append_plan *append_plan = (lathe_append_plan *)&memory;
  lathe_merge_plan *merge_plan = (lathe_merge_plan *)&memory;
  strcpy(list, disabled);
  context->env.disabled = list;
  if (append) {
    expect_reason(&off, lathe_append_check(context, append), "lathe_append_check");
    expect_reason(&off, lathe_append_plan_create(context, append, &append_plan),
                  "lathe_append_plan_create");
    cr_expect_null(append_plan);
  }
  if (merge) {
    expect_reason(&off, lathe_merge_check(context, merge), "lathe_merge_check");
    expect_reason(&off, lathe_merge_plan_create(context, merge, &merge_plan),
                  "lathe_merge_plan_create");
    cr_expect_null(merge_plan);
  }
  context->env.disabled = NULL;
}

Test(reasons, append_and_merge_are_switched_off_by_family) {
  static char others[] = "sm80,sm90,sm90a,append_sm80_bf16_bf16,join_sm80_bf16,merge_sm80_bf16";
  lathe_context *context = recording_context(9, 0);
  lathe_context *cpu = cpu_context();
  lathe_append_desc append;
  lathe_merge_desc merge;
  memset(&append, 0, sizeof append);
  memset(&merge, 0, sizeof merge);
  append.num_heads = append.page_size = append.max_batch = append.max_seq_len = 1;
  append.kv_lora_rank = append.qk_rope_head_dim = 16;
  append.q_dtype = LATHE_DTYPE_BF16;
  append.kv_dtype = append.q_out_dtype = LATHE_DTYPE_E4M3;
  append.rope = LATHE_ROPE_INTERLEAVED;
  merge.num_heads = merge.kv_lora_rank = 16;
  merge.in_dtype = LATHE_DTYPE_F32;
  merge.out_dtype = LATHE_DTYPE_BF16;
  expect_off(context, "sm80,append_sm80_bf16_e4m3_oe4m3",
             "lathe_append_desc need append_sm80_bf16_e4m3_oe4m3_l16r16 on recording device, and "
             "LATHE_DISABLE has append_sm80_bf16_e4m3_oe4m3; take it out",
             &append, NULL);
  expect_off(context, "join_sm80_f32_obf16,sm90",
             "lathe_merge_desc need join_sm80_f32_obf16_l16 on recording device, and LATHE_DISABLE "
             "has join_sm80_f32_obf16; take it out",
             NULL, &merge);
  cr_expect_null(context->kernels, "nothing is made of them");
  context->env.disabled = others; // of other families, and of attention
  cr_expect_eq(lathe_append_check(context, &append), LATHE_STATUS_OK);
  cr_expect_eq(lathe_merge_check(context, &merge), LATHE_STATUS_OK);
  cpu->env.disabled = others;
  append.kv_dtype = append.q_out_dtype = LATHE_DTYPE_BF16;
  cr_expect_eq(lathe_append_check(context, &append), LATHE_STATUS_UNSUPPORTED);
  cr_expect_eq(lathe_append_check(cpu, &append), LATHE_STATUS_OK, "which has no kernels");
  context->env.disabled = cpu->env.disabled = NULL;
  lathe_context_destroy(cpu);
  lathe_context_destroy(context);
}

// One test, as it counts what was reached.
Test(reasons, each_is_reached) {
  int reached[LATHEP_NUM_REASONS] = {1}; // LATHE_REASON_NONE
  int i;
  for (i = 0; i < NUM_CASES; i++) {
    const refused_case *c = &cases[i];
    lathe_decode_desc desc = good_desc();
    spoil(&desc, i);
    expect_by_a_context(c, &desc, 0);
    if (c->machine->cpu)
      expect_by_a_context(c, &desc, 1);
    if (!c->machine->kernel && !c->machine->disabled) // which are the context's
      expect_by_a_device(c, &desc);
    reached[c->reason] = 1;
  }
  {
    const refused_case null_argument = {LATHE_REASON_NULL_ARGUMENT, "", 0, &H100, "is null"};
    const lathe_device_desc device = {9, 0, 232448};
    lathe_decode_desc desc = good_desc();
    lathe_context *context = cpu_context();
    expect_reason(&null_argument, lathe_decode_check(NULL, &desc), "null context");
    expect_reason(&null_argument, lathe_decode_check(context, NULL), "null desc");
    expect_reason(&null_argument, lathe_decode_check_device(&device, NULL), "null desc");
    expect_reason(&null_argument, lathe_decode_check_device(NULL, NULL), "null desc");
    lathe_context_destroy(context);
    reached[LATHE_REASON_NULL_ARGUMENT] = 1;
  }
  expect_of_append_and_merge(reached);
  for (i = 0; i < LATHEP_NUM_REASONS; i++)
    cr_expect(reached[i], "%s is reached by no case", lathe_reason_string((lathe_reason)i));
}

// The enum of lathe.h is the table, in its order.
Test(reasons, enum_and_table_agree) {
#define SAME(name, status, when, works)                                                            \
  cr_expect_eq((int)LATHE_REASON_##name, (int)LATHEP_REASON_INDEX_##name);                         \
  cr_expect_str_eq(lathe_reason_string(LATHE_REASON_##name), "LATHE_REASON_" #name);               \
  cr_expect(strlen(when) > 10 && strlen(works) > 5);                                               \
  cr_expect_neq(LATHE_STATUS_##status, LATHE_STATUS_OK);
  LATHEP_REASONS(SAME)
#undef SAME
  cr_expect_eq((int)LATHE_REASON_NONE, (int)LATHEP_REASON_INDEX_NONE);
  cr_expect_str_eq(lathe_reason_string(LATHE_REASON_NONE), "LATHE_REASON_NONE");
  cr_expect_str_eq(lathe_reason_string((lathe_reason)LATHEP_NUM_REASONS), "unknown lathe_reason");
}

Test(reasons, docs_have_each) {
  const char *root = getenv("LATHE_TEST_SOURCE");
  char path[1024], *text = (char *)calloc(1, 1 << 16), row[256];
  FILE *file;
  cr_assert_not_null(root);
  snprintf(path, sizeof path, "%s/docs/refusals.md", root);
  file = fopen(path, "r");
  cr_assert_not_null(file, "%s", path);
  cr_assert_gt(fread(text, 1, (1 << 16) - 1, file), 0);
  fclose(file);
#define DOCUMENTED(name, status, when, works)                                                      \
  snprintf(row, sizeof row, "| `LATHE_REASON_" #name "` | `LATHE_STATUS_" #status "` | %s | %s |", \
           when, works);                                                                           \
  cr_expect(strstr(text, row), "docs/refusals.md lacks %s", row);
  LATHEP_REASONS(DOCUMENTED)
#undef DOCUMENTED
  free(text);
}

// Other failures say that no desc was to blame, also after one was.
Test(reasons, none_of_other_failures) {
  lathe_decode_desc desc = good_desc();
  lathe_context *context = cpu_context();
  desc.num_heads = -3;
  cr_expect_eq(lathe_last_error()->reason, LATHE_REASON_NONE);
  cr_expect_str_eq(lathe_last_error()->field, "");
  lathe_decode_check(context, &desc);
  cr_expect_eq(lathe_last_error()->reason, LATHE_REASON_TOO_SMALL);
  cr_expect_eq(lathe_last_error()->value, -3);
  lathe_context_get_info(NULL, NULL);
  cr_expect_eq(lathe_last_error()->reason, LATHE_REASON_NONE);
  cr_expect_str_eq(lathe_last_error()->field, "");
  cr_expect_eq(lathe_last_error()->value, 0);
  lathe_context_destroy(context);
}

// ---------------------------------------------------------------------------- devices told of

static void expect_same_of(int major, int minor, int shared_optin, const lathe_decode_desc *desc) {
  const lathe_device_desc device = {major, minor, (size_t)shared_optin};
  lathe_context *context = recording_context(major, minor);
  lathe_status told, there;
  lathe_error error;
  context->device.shared_optin = shared_optin;
  told = lathe_decode_check_device(&device, desc);
  error = *lathe_last_error();
  there = lathe_decode_check(context, desc);
  cr_expect_eq(told, there, "%d.%d: %s and %s", major, minor, lathe_status_string(told),
               lathe_status_string(there));
  if (told) {
    cr_expect_eq(error.reason, lathe_last_error()->reason);
    cr_expect_str_eq(error.field, lathe_last_error()->field);
    cr_expect_eq(error.value, lathe_last_error()->value);
  }
  lathe_context_destroy(context);
}

// A device that is told of answers as one that is there.
Test(devices, told_of_and_there) {
  static const int devices[][3] = {{7, 5, 65536},   {8, 0, 166912},  {8, 6, 101376}, {9, 0, 232448},
                                   {10, 0, 232448}, {12, 0, 101376}, {9, 0, 40000},  {8, 9, 8192}};
  static const int32_t ranks[] = {16, 64, 256, 320, 512, 528, 1024, 2048};
  size_t d, l;
  for (d = 0; d < sizeof devices / sizeof devices[0]; d++)
    for (l = 0; l < sizeof ranks / sizeof ranks[0]; l++) {
      lathe_decode_desc desc = good_desc();
      desc.kv_lora_rank = ranks[l];
      desc.num_heads = 1 + (int32_t)(17 * l);
      expect_same_of(devices[d][0], devices[d][1], devices[d][2], &desc);
      desc.qk_rope_head_dim = 0;
      desc.kv_dtype = LATHE_DTYPE_E4M3;
      expect_same_of(devices[d][0], devices[d][1], devices[d][2], &desc);
    }
}

// DeepSeek-V3 on an A100, a 4090, an H100, a B200 and a 5090.
Test(devices, that_run_deepseek_v3) {
  static const lathe_device_desc devices[] = {
      {8, 0, 166912}, {8, 9, 101376}, {9, 0, 232448}, {10, 0, 232448}, {12, 0, 101376}};
  lathe_decode_desc desc = good_desc();
  size_t i;
  desc.num_heads = 128;
  desc.kv_lora_rank = 512;
  desc.qk_rope_head_dim = 64;
  desc.page_size = 64;
  for (i = 0; i < sizeof devices / sizeof devices[0]; i++)
    cr_expect_eq(lathe_decode_check_device(&devices[i], &desc), LATHE_STATUS_OK, "%s",
                 lathe_last_error()->message);
  cr_expect_eq(lathe_decode_check_device(NULL, &desc), LATHE_STATUS_OK);
}

#define DEVICE(name, major, minor, bytes, words)                                                   \
  Test(bad_devices, name) {                                                                        \
    const lathe_device_desc device = {major, minor, bytes};                                        \
    lathe_decode_desc desc = good_desc();                                                          \
    expect_refused(lathe_decode_check_device(&device, &desc), LATHE_STATUS_INVALID_ARGUMENT,       \
                   words);                                                                         \
    cr_expect_eq(lathe_last_error()->reason, LATHE_REASON_NONE, "the desc is not to blame");       \
  }
DEVICE(none, 0, 0, 232448, "compute_major and .compute_minor are 0 and 0; give")
DEVICE(as_one_number, 90000, 0, 232448, "are 90000 and 0; give a compute capability, such as")
DEVICE(minor_negative, 9, -1, 232448, "are 9 and -1; give")
DEVICE(minor_past_nine, 8, 10, 232448, "are 8 and 10; give")
DEVICE(no_shared_memory, 9, 0, 0, "shared_memory_per_block is 0; give the bytes")
DEVICE(shared_memory_past_32_bits, 9, 0, SIZE_MAX,
       "shared_memory_per_block is 18446744073709551615")
