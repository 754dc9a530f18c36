// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What a plan may be asked for: the one place where the defaults of a desc are filled in and a desc
// is checked. No later code looks at a zero size again.

enum {
  LATHEP_DIM_STEP = 16,     // elements: L and R of the kernels are multiples of it
  LATHEP_SPLIT_STEP = 64,   // KV rows: split_len is a multiple of every kernel's step
  LATHEP_MAX_SPLITS = 1024, // rows of the split table, which the merge kernel has in shared memory
  LATHEP_MAX_ROWS = 1 << 30 // of a sequence, a page, a request: room to round up in 32 bits
};

#define LATHEP_DECODE_DESC "lathe_decode_desc"

LATHEP_FN void lathep_decode_desc_defaults(const lathe_decode_desc *desc,
                                           lathe_decode_desc *filled) {
  *filled = *desc;
  if (filled->out_dtype == LATHE_DTYPE_NONE)
    filled->out_dtype = filled->q_dtype == LATHE_DTYPE_E4M3 ? LATHE_DTYPE_BF16 : filled->q_dtype;
  if (filled->max_q_len == 0)
    filled->max_q_len = 1;
  if (filled->cp_world == 0)
    filled->cp_world = 1;
  if (filled->cp_interleave == 0)
    filled->cp_interleave = 1;
  if (filled->cp_world == 1 && filled->cp_lens == LATHE_CP_LENS_LOCAL)
    filled->cp_lens = LATHE_CP_LENS_GLOBAL; // the same
  if (filled->mask == LATHE_MASK_CAUSAL && filled->cp_lens == LATHE_CP_LENS_GLOBAL &&
      !filled->sparse_topk && filled->max_seq_len > 0 &&
      filled->sliding_window >= filled->max_seq_len)
    filled->sliding_window = 0; // hides nothing
}

// What a run works on. With lists of rows each new token is a request of its own, and its list the
// cache that it sees.
LATHEP_FN void lathep_desc_of_run(const lathe_decode_desc *desc, lathe_decode_desc *run) {
  *run = *desc;
  if (!desc->sparse_topk)
    return;
  run->max_batch = desc->max_batch * desc->max_q_len;
  run->max_q_len = 1;
  run->max_seq_len = desc->sparse_topk;
  run->mask = LATHE_MASK_NONE;
}

// What of the caller's desc the sizes of a run's are, as in messages.
LATHEP_FN const char *lathep_batch_word(const lathe_decode_desc *desc) {
  return desc->sparse_topk ? "max_batch x max_q_len" : "max_batch";
}

LATHEP_FN const char *lathep_heads_word(const lathe_decode_desc *desc) {
  return desc->sparse_topk ? "num_heads" : "num_heads x max_q_len";
}

LATHEP_FN const char *lathep_length_word(const lathe_decode_desc *desc) {
  return desc->sparse_topk ? "sparse_topk" : "max_seq_len";
}

LATHEP_FN const char *lathep_rows_word(const lathe_decode_desc *desc) {
  return lathep_shares_rows(desc) ? "the most rows of a rank" : lathep_length_word(desc);
}

LATHEP_FN lathe_status lathep_check_size(const char *of, const char *field, int32_t value,
                                         int32_t least, int32_t most, const char *what) {
  if (value < least)
    return lathep_refuse(LATHE_REASON_TOO_SMALL, field, value, "%s.%s is %d; give %s, %d or more",
                         of, field, (int)value, what, (int)least);
  if (value > most)
    return lathep_refuse(LATHE_REASON_TOO_LARGE, field, value, "%s.%s is %d; give %s, %d at most",
                         of, field, (int)value, what, (int)most);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_check_dtype(const char *of, const char *field, lathe_dtype value) {
  if ((int)value < 0 || (int)value > (int)LATHE_DTYPE_F32)
    return lathep_refuse(LATHE_REASON_UNKNOWN_VALUE, field, value,
                         "%s.%s is %d, which is no lathe_dtype; give "
                         "LATHE_DTYPE_BF16, LATHE_DTYPE_F16 or what the field's comment names",
                         of, field, (int)value);
  if (value == LATHE_DTYPE_NONE)
    return lathep_refuse(LATHE_REASON_NOT_SET, field, value,
                         "%s.%s is not set (0); give LATHE_DTYPE_BF16, "
                         "LATHE_DTYPE_F16 or what the field's comment names",
                         of, field);
  return LATHE_STATUS_OK;
}

LATHEP_FN int lathep_is_half(lathe_dtype dtype) {
  return dtype == LATHE_DTYPE_F16 || dtype == LATHE_DTYPE_BF16;
}

LATHEP_FN lathe_status lathep_check_dtypes(const lathe_decode_desc *desc) {
  const char *of = LATHEP_DECODE_DESC;
  lathe_status status = lathep_check_dtype(of, "q_dtype", desc->q_dtype);
  if (!status)
    status = lathep_check_dtype(of, "kv_dtype", desc->kv_dtype);
  if (!status)
    status = lathep_check_dtype(of, "out_dtype", desc->out_dtype);
  if (status)
    return status;
  if (!lathep_is_half(desc->q_dtype) && desc->q_dtype != LATHE_DTYPE_E4M3)
    return lathep_refuse(LATHE_REASON_Q_DTYPE, "q_dtype", desc->q_dtype,
                         "lathe_decode_desc.q_dtype is %s; queries are f16, bf16 or e4m3",
                         lathe_dtype_string(desc->q_dtype));
  if (desc->q_dtype == LATHE_DTYPE_E4M3 && desc->kv_dtype != LATHE_DTYPE_E4M3)
    return lathep_refuse(
        LATHE_REASON_Q_DTYPE, "q_dtype", desc->q_dtype,
        "lathe_decode_desc.q_dtype is e4m3 with kv_dtype %s; give an e4m3 cache too, "
        "or a query of %s",
        lathe_dtype_string(desc->kv_dtype),
        lathep_is_half(desc->kv_dtype) ? lathe_dtype_string(desc->kv_dtype) : "f16 or bf16");
  if (desc->kv_dtype != desc->q_dtype && desc->kv_dtype != LATHE_DTYPE_E4M3)
    return lathep_refuse(LATHE_REASON_KV_DTYPE, "kv_dtype", desc->kv_dtype,
                         "lathe_decode_desc.kv_dtype is %s with q_dtype %s; give %s or e4m3",
                         lathe_dtype_string(desc->kv_dtype), lathe_dtype_string(desc->q_dtype),
                         lathe_dtype_string(desc->q_dtype));
  if (!lathep_is_half(desc->out_dtype) && desc->out_dtype != LATHE_DTYPE_E4M3)
    return lathep_refuse(LATHE_REASON_OUT_DTYPE, "out_dtype", desc->out_dtype,
                         "lathe_decode_desc.out_dtype is %s; outputs are f16, bf16 or e4m3 (0: "
                         "q_dtype, bf16 for e4m3)",
                         lathe_dtype_string(desc->out_dtype));
  return LATHE_STATUS_OK;
}

// How rows lie in the cache, with dtypes that have been checked.
LATHEP_FN lathe_status lathep_check_format(const char *of, lathe_kv_format format, lathe_dtype q,
                                           lathe_dtype kv, int32_t l, int32_t r) {
  if (format != LATHE_KV_FORMAT_PLAIN && format != LATHE_KV_FORMAT_ROW656)
    return lathep_refuse(LATHE_REASON_UNKNOWN_VALUE, "kv_format", format,
                         "%s.kv_format is %d, which is no lathe_kv_format; give "
                         "LATHE_KV_FORMAT_PLAIN or LATHE_KV_FORMAT_ROW656",
                         of, (int)format);
  if (format == LATHE_KV_FORMAT_PLAIN)
    return LATHE_STATUS_OK;
  if (kv != LATHE_DTYPE_E4M3 || q != LATHE_DTYPE_BF16)
    return lathep_refuse(LATHE_REASON_KV_FORMAT, "kv_format", format,
                         "%s.kv_format is LATHE_KV_FORMAT_ROW656 with q_dtype %s and "
                         "kv_dtype %s; give bf16 and e4m3, of which its rows are made",
                         of, lathe_dtype_string(q), lathe_dtype_string(kv));
  if (l != LATHEP_ROW656_L || r != LATHEP_ROW656_R)
    return lathep_refuse(LATHE_REASON_KV_FORMAT, "kv_format", format,
                         "%s.kv_format is LATHE_KV_FORMAT_ROW656 with kv_lora_rank %d "
                         "and qk_rope_head_dim %d; give %d and %d, or the plain format",
                         of, (int)l, (int)r, (int)LATHEP_ROW656_L, (int)LATHEP_ROW656_R);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_check_dim(const char *of, const char *field, int32_t value) {
  if (value % LATHEP_DIM_STEP)
    return lathep_refuse(LATHE_REASON_NOT_A_MULTIPLE, field, value,
                         "%s.%s is %d; the CUDA kernels take multiples of %d (%d is "
                         "the next): pad the rows with zeros",
                         of, field, (int)value, (int)LATHEP_DIM_STEP,
                         (int)(value - value % LATHEP_DIM_STEP + LATHEP_DIM_STEP));
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_check_split_len(const lathe_decode_desc *desc) {
  const int32_t length = desc->split_len;
  if (length % LATHEP_SPLIT_STEP)
    return lathep_refuse(
        LATHE_REASON_NOT_A_MULTIPLE, "split_len", length,
        "lathe_decode_desc.split_len is %d; give a multiple of %d (%d is the next), "
        "or 0 for cuts where they balance the work",
        (int)length, (int)LATHEP_SPLIT_STEP,
        (int)(length - length % LATHEP_SPLIT_STEP + LATHEP_SPLIT_STEP));
  return LATHE_STATUS_OK;
}

// Lists say what a token sees: nothing else does.
LATHEP_FN lathe_status lathep_check_sparse(const lathe_decode_desc *desc) {
  const char *with = NULL, *works = NULL;
  if (desc->sliding_window) {
    with = "a sliding_window";
    works = "a sliding_window of 0 and lists of what the window has";
  } else if (desc->mask == LATHE_MASK_TREE) {
    with = "LATHE_MASK_TREE";
    works = "another mask and lists of what the tree lets a token see";
  } else if (lathep_shares_rows(desc)) {
    with = "several ranks and LATHE_CP_LENS_GLOBAL";
    works = "LATHE_CP_LENS_LOCAL and lists of this rank's rows";
  }
  if (with)
    return lathep_refuse(LATHE_REASON_SPARSE_MASK, "sparse_topk", desc->sparse_topk,
                         "lathe_decode_desc.sparse_topk is %d with %s, which has no say beside "
                         "lists; give %s",
                         (int)desc->sparse_topk, with, works);
  if ((int64_t)desc->max_batch * desc->max_q_len > LATHEP_MAX_ROWS)
    return lathep_refuse(LATHE_REASON_TOO_MANY_ROWS, "max_batch", desc->max_batch,
                         "lathe_decode_desc.max_batch x max_q_len is %d x %d with sparse_topk; "
                         "their product may be %d at most",
                         (int)desc->max_batch, (int)desc->max_q_len, (int)LATHEP_MAX_ROWS);
  return LATHE_STATUS_OK;
}

// Takes a desc whose mask has been checked.
LATHEP_FN lathe_status lathep_check_options(const lathe_decode_desc *desc) {
  const float cap = desc->logit_softcap;
  if (desc->sliding_window && desc->mask != LATHE_MASK_CAUSAL)
    return lathep_refuse(LATHE_REASON_WINDOW_MASK, "sliding_window", desc->sliding_window,
                         "lathe_decode_desc.sliding_window is %d with LATHE_MASK_%s; give "
                         "LATHE_MASK_CAUSAL, since a window ends at the token's own position, or 0",
                         (int)desc->sliding_window,
                         desc->mask == LATHE_MASK_TREE ? "TREE" : "NONE");
  if (desc->sparse_topk) {
    lathe_status status = lathep_check_sparse(desc);
    if (status)
      return status;
  }
  if (cap != 0.0f && !(cap >= 1e-30f && cap <= 1e30f))
    return lathep_refuse(
        LATHE_REASON_SOFTCAP, "logit_softcap", cap >= -1e18f && cap <= 1e18f ? (int64_t)cap : 0,
        "lathe_decode_desc.logit_softcap is %g; give 1e-30 to 1e30, or 0 for none", (double)cap);
  return LATHE_STATUS_OK;
}

// Takes a desc whose mask and options have been checked.
LATHEP_FN lathe_status lathep_check_ranks(const lathe_decode_desc *desc) {
  const char *of = LATHEP_DECODE_DESC, *why = NULL;
  const int32_t world = desc->cp_world;
  lathe_status status = lathep_check_size(of, "cp_world", world, 1, LATHEP_MAX_ROWS,
                                          "the ranks that share each request's rows (0 is 1)");
  if (!status)
    status = lathep_check_size(
        of, "cp_interleave", desc->cp_interleave, 1, LATHEP_MAX_ROWS / world,
        "the positions that follow each other on a rank (0 is 1), times cp_world 2^30");
  if (status)
    return status;
  if (desc->cp_rank < 0 || desc->cp_rank >= world)
    return lathep_refuse(LATHE_REASON_CP_RANK, "cp_rank", desc->cp_rank,
                         "lathe_decode_desc.cp_rank is %d of cp_world %d; give 0 to %d",
                         (int)desc->cp_rank, (int)world, (int)world - 1);
  if (desc->cp_lens == LATHE_CP_LENS_GLOBAL)
    return LATHE_STATUS_OK;
  if (desc->cp_lens != LATHE_CP_LENS_LOCAL)
    return lathep_refuse(LATHE_REASON_UNKNOWN_VALUE, "cp_lens", desc->cp_lens,
                         "lathe_decode_desc.cp_lens is %d, which is no lathe_cp_lens; give "
                         "LATHE_CP_LENS_GLOBAL or LATHE_CP_LENS_LOCAL",
                         (int)desc->cp_lens);
  if (desc->sliding_window)
    why = "a sliding_window";
  else if (desc->mask == LATHE_MASK_TREE)
    why = "LATHE_MASK_TREE";
  else if (desc->mask == LATHE_MASK_CAUSAL && desc->max_q_len > 1 && !desc->sparse_topk)
    why = "LATHE_MASK_CAUSAL and a max_q_len over 1";
  if (why)
    return lathep_refuse(LATHE_REASON_CP_LENS, "cp_lens", desc->cp_lens,
                         "lathe_decode_desc.cp_lens is LATHE_CP_LENS_LOCAL with %s, of which a "
                         "rank's own rows do not say what a token sees; give LATHE_CP_LENS_GLOBAL "
                         "and the lengths of whole requests",
                         why);
  return LATHE_STATUS_OK;
}

LATHEP_FN lathe_status lathep_check_lse_base(const char *of, lathe_lse_base base) {
  if (base != LATHE_LSE_NATURAL && base != LATHE_LSE_BASE2)
    return lathep_refuse(LATHE_REASON_UNKNOWN_VALUE, "lse_base", base,
                         "%s.lse_base is %d, which is no lathe_lse_base; give LATHE_LSE_NATURAL or "
                         "LATHE_LSE_BASE2",
                         of, (int)base);
  return LATHE_STATUS_OK;
}

// Of the kernels that every device from sm_80 on runs.
LATHEP_FN lathe_status lathep_check_device(const lathep_device *device) {
  if (device->major < 8)
    return lathep_refuse(LATHE_REASON_COMPUTE_CAPABILITY, "", 10 * device->major + device->minor,
                         "%s has compute capability %d.%d and the kernels need 8.0 or later; use "
                         "another device, or the CPU backend",
                         device->name, device->major, device->minor);
  return LATHE_STATUS_OK;
}

// Of a plan that is one kernel, which no other stands in for.
LATHEP_FN lathe_status lathep_check_enabled(const char *of, const lathe_context *context,
                                            const lathep_variant *variant) {
  char name[128], word[64];
  if (!lathep_disabled(context->env.disabled, variant, word, sizeof word))
    return LATHE_STATUS_OK;
  lathep_variant_name(variant, name, sizeof name);
  lathep_log(context, LATHEP_TOPIC_DISPATCH, "%s: passed over: LATHE_DISABLE has its family", name);
  return lathep_refuse(LATHE_REASON_DISABLED, "", 0,
                       "plans of this %s need %s on %s, and LATHE_DISABLE has %s; take it out", of,
                       name, context->device.name, word);
}

// Everything about a desc that does not depend on the device's limits: dispatch.h has those. Takes
// a desc whose defaults are filled in.
LATHEP_FN lathe_status lathep_decode_desc_check(const lathe_decode_desc *desc,
                                                lathe_backend backend) {
  const char *of = LATHEP_DECODE_DESC;
  lathe_decode_desc run;
  const int32_t most = INT32_MAX;
  lathe_status status =
      lathep_check_size(of, "num_heads", desc->num_heads, 1, most, "the query heads on this rank");
  if (!status)
    status = lathep_check_size(of, "kv_lora_rank", desc->kv_lora_rank, 1, LATHEP_MAX_ROWS,
                               "the elements of the latent");
  if (!status)
    status = lathep_check_size(of, "qk_rope_head_dim", desc->qk_rope_head_dim, 0, LATHEP_MAX_ROWS,
                               "the elements of the roped part");
  if (!status)
    status =
        lathep_check_size(of, "page_size", desc->page_size, 1, LATHEP_MAX_ROWS, "rows per page");
  if (!status)
    status =
        lathep_check_size(of, "max_batch", desc->max_batch, 1, most, "the most requests of a run");
  if (!status)
    status = lathep_check_size(of, "max_q_len", desc->max_q_len, 1, most,
                               "the most new tokens of a request (0 is 1)");
  if (!status)
    status = lathep_check_size(of, "max_seq_len", desc->max_seq_len, 1, LATHEP_MAX_ROWS,
                               "the most KV rows of a request");
  if (!status)
    status = lathep_check_size(of, "num_sms", desc->num_sms, 0, most,
                               "the multiprocessors to size launches for (0: all of the device's)");
  if (!status)
    status = lathep_check_size(of, "split_len", desc->split_len, 0, LATHEP_MAX_ROWS,
                               "the KV rows between cuts (0: cuts where they balance the work)");
  if (!status)
    status = lathep_check_split_len(desc);
  if (!status)
    status = lathep_check_size(of, "sliding_window", desc->sliding_window, 0, most,
                               "the positions that a token sees, its own included (0: all)");
  if (!status)
    status = lathep_check_size(of, "sparse_topk", desc->sparse_topk, 0, LATHEP_MAX_ROWS,
                               "the entries of a token's list of rows (0: no lists)");
  if (!status)
    status = lathep_check_dtypes(desc);
  if (!status)
    status = lathep_check_format(of, desc->kv_format, desc->q_dtype, desc->kv_dtype,
                                 desc->kv_lora_rank, desc->qk_rope_head_dim);
  if (status)
    return status;
  if (desc->mask != LATHE_MASK_CAUSAL && desc->mask != LATHE_MASK_NONE &&
      desc->mask != LATHE_MASK_TREE)
    return lathep_refuse(LATHE_REASON_UNKNOWN_VALUE, "mask", desc->mask,
                         "lathe_decode_desc.mask is %d, which is no lathe_mask; give "
                         "LATHE_MASK_CAUSAL, LATHE_MASK_NONE or LATHE_MASK_TREE",
                         (int)desc->mask);
  status = lathep_check_options(desc);
  if (!status)
    status = lathep_check_ranks(desc);
  if (!status)
    status = lathep_check_lse_base(of, desc->lse_base);
  if (status)
    return status;
  if ((int64_t)desc->num_heads * desc->max_q_len > LATHEP_MAX_ROWS)
    return lathep_refuse(LATHE_REASON_TOO_MANY_ROWS, "num_heads", desc->num_heads,
                         "lathe_decode_desc.num_heads x max_q_len is %d x %d; their product may be "
                         "%d at most",
                         (int)desc->num_heads, (int)desc->max_q_len, (int)LATHEP_MAX_ROWS);
  if (backend == LATHE_BACKEND_CPU)
    return LATHE_STATUS_OK;
  lathep_desc_of_run(desc, &run);
  if (desc->split_len && run.max_batch > LATHEP_MAX_SPLITS)
    return lathep_refuse(LATHE_REASON_SPLIT_BATCH, "max_batch", desc->max_batch,
                         "lathe_decode_desc.%s is %d with a split_len of %d; give %d %s at most, "
                         "or a split_len of 0",
                         lathep_batch_word(desc), (int)run.max_batch, (int)desc->split_len,
                         (int)LATHEP_MAX_SPLITS, desc->sparse_topk ? "tokens" : "requests");
  status = lathep_check_dim(of, "kv_lora_rank", desc->kv_lora_rank);
  return status ? status : lathep_check_dim(of, "qk_rope_head_dim", desc->qk_rope_head_dim);
}
