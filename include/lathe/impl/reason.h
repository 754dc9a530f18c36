// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Why a desc is refused: THE table of reasons, each with its status, from which come lathep_refuse,
// lathe_reason_string and docs/refusals.md. lathe.h has the enum.

// reason, status, when, what works
#define LATHEP_REASONS(X)                                                                          \
  X(NULL_ARGUMENT, INVALID_ARGUMENT, "the context or the desc is null", "give one")                \
  X(NOT_SET, INVALID_ARGUMENT, "a dtype or a rope that has no default is 0",                       \
    "give LATHE_DTYPE_BF16, LATHE_DTYPE_F16 or what the field's comment names; the model's rope")  \
  X(UNKNOWN_VALUE, INVALID_ARGUMENT, "an enum has a value that is none of its own",                \
    "give one of the enumerators in lathe.h")                                                      \
  X(TOO_SMALL, INVALID_ARGUMENT, "a size is negative, or 0 where that is no default",              \
    "give what the message names as the least, or more")                                           \
  X(TOO_LARGE, UNSUPPORTED, "a size is past what the kernels' 32-bit arithmetic holds",            \
    "give what the message names as the most, or less")                                            \
  X(NOT_A_MULTIPLE, UNSUPPORTED, "on CUDA a dim is no multiple of 16; or split_len is none of 64", \
    "give the next multiple; pad the rows of a dim with zeros")                                    \
  X(Q_DTYPE, UNSUPPORTED, "q_dtype is neither f16 nor bf16, nor e4m3 with an e4m3 cache",          \
    "give f16 or bf16, or an e4m3 cache with an e4m3 query")                                       \
  X(KV_DTYPE, UNSUPPORTED, "kv_dtype is neither q_dtype nor e4m3", "give q_dtype, or e4m3")        \
  X(OUT_DTYPE, UNSUPPORTED,                                                                        \
    "out_dtype is none of f16, bf16 and e4m3; of an append q_out_dtype is none that its cache "    \
    "allows",                                                                                      \
    "give f16, bf16, e4m3 or 0; q_dtype or 0")                                                     \
  X(TOO_MANY_ROWS, UNSUPPORTED,                                                                    \
    "num_heads x max_q_len, or with sparse_topk max_batch x max_q_len, is more than 2^30",         \
    "give fewer heads or fewer tokens")                                                            \
  X(WINDOW_MASK, UNSUPPORTED, "sliding_window with LATHE_MASK_NONE or LATHE_MASK_TREE",            \
    "give LATHE_MASK_CAUSAL, or a sliding_window of 0")                                            \
  X(SPARSE_MASK, UNSUPPORTED,                                                                      \
    "sparse_topk with a sliding_window, LATHE_MASK_TREE, or several ranks and "                    \
    "LATHE_CP_LENS_GLOBAL",                                                                        \
    "leave that out, and give lists of what it lets a token see")                                  \
  X(SOFTCAP, INVALID_ARGUMENT, "logit_softcap is no finite positive number of float's range",      \
    "give 1e-30 to 1e30, or 0 for none")                                                           \
  X(SPLIT_BATCH, UNSUPPORTED,                                                                      \
    "on CUDA max_batch, with sparse_topk times max_q_len, is more than 1024 with a split_len",     \
    "give 1024 requests at most, or a split_len of 0")                                             \
  X(SPLIT_PARTS, UNSUPPORTED, "split_len cuts into more parts than a workspace can hold",          \
    "give a greater split_len")                                                                    \
  X(COMPUTE_CAPABILITY, UNSUPPORTED, "no kernel runs on the device's compute capability",          \
    "use a device of 8.0 or later, or the CPU backend")                                            \
  X(REGISTERS, UNSUPPORTED,                                                                        \
    "an output row takes more registers than the threads of any tile have",                        \
    "give a smaller kv_lora_rank")                                                                 \
  X(SHARED_MEMORY, UNSUPPORTED,                                                                    \
    "the smallest tile takes more shared memory than a block of the device may have",              \
    "give smaller dims, or an e4m3 cache")                                                         \
  X(NAMED_KERNEL, UNSUPPORTED, "the kernel that LATHE_KERNEL names does not compute the desc",     \
    "unset LATHE_KERNEL, or do what the message says of that kernel")                              \
  X(DISABLED, UNSUPPORTED,                                                                         \
    "LATHE_DISABLE has every kernel that computes the desc, or one that "                          \
    "each of them needs",                                                                          \
    "take out of LATHE_DISABLE what the message names")                                            \
  X(KV_FORMAT, UNSUPPORTED,                                                                        \
    "kv_format is ROW656 with other dtypes or dims than those of its rows",                        \
    "give q_dtype bf16, kv_dtype e4m3, 512 and 64; or the plain format")                           \
  X(ROW_SCALE, INVALID_ARGUMENT, "row_scale is set with a plain cache, whose rows have none",      \
    "leave it 0")                                                                                  \
  X(ODD_ROPE, INVALID_ARGUMENT, "qk_rope_head_dim is odd, and a rotation takes pairs",             \
    "give an even one, or LATHE_ROPE_NONE")                                                        \
  X(STATE_DTYPE, UNSUPPORTED, "in_dtype or out_dtype of a merge is none of f16, bf16 and f32",     \
    "give one of them")                                                                            \
  X(CP_RANK, INVALID_ARGUMENT, "cp_rank is none of the cp_world ranks",                            \
    "give 0 to cp_world - 1; without context parallelism 0")                                       \
  X(CP_LENS, UNSUPPORTED,                                                                          \
    "LATHE_CP_LENS_LOCAL with several causal tokens, a tree mask or a sliding window",             \
    "give LATHE_CP_LENS_GLOBAL and the lengths of whole requests")

#define LATHEP_REASON_INDEX(name, status, when, works) LATHEP_REASON_INDEX_##name,
enum { LATHEP_REASON_INDEX_NONE, LATHEP_REASONS(LATHEP_REASON_INDEX) LATHEP_NUM_REASONS };
#undef LATHEP_REASON_INDEX

LATHE_API const char *lathe_reason_string(lathe_reason reason) {
  switch (reason) {
  case LATHE_REASON_NONE:
    return "LATHE_REASON_NONE";
#define LATHEP_REASON_CASE(name, status, when, works)                                              \
  case LATHE_REASON_##name:                                                                        \
    return "LATHE_REASON_" #name;
    LATHEP_REASONS(LATHEP_REASON_CASE)
#undef LATHEP_REASON_CASE
  }
  return "unknown lathe_reason";
}

LATHEP_FN lathe_status lathep_reason_status(lathe_reason reason) {
  static const lathe_status statuses[] = {
#define LATHEP_REASON_STATUS(name, status, when, works) LATHE_STATUS_##status,
      LATHE_STATUS_OK, LATHEP_REASONS(LATHEP_REASON_STATUS)
#undef LATHEP_REASON_STATUS
  };
  return statuses[reason];
}

// Every refusal of a desc. `field`: of the desc, "" if it is not one field's; `value`: what it is.
__attribute__((format(printf, 4, 5))) LATHEP_FN lathe_status
lathep_refuse(lathe_reason reason, const char *field, int64_t value, const char *format, ...) {
  lathe_error *error = &lathep_last.error;
  va_list values;
  va_start(values, format);
  lathep_fail_text(lathep_reason_status(reason), 0, 0, "", format, values);
  va_end(values);
  error->reason = reason;
  error->field = field;
  error->value = value;
  return error->status;
}
