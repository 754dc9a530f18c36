// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Variants: what makes one kernel differ from another, its one name (codegen/README.md has the
// grammar) and its parameter block. codegen/ makes the same texts, and a test holds the two
// together.

// What a kernel does besides attention as it is: bits of LATHE_P_OPTIONS, and their letters in
// names, in this order. templates/parts/options.cuh.j2 has the same bits.
enum {
  LATHEP_OPTION_WINDOW = 1,  // w: desc.sliding_window
  LATHEP_OPTION_SOFTCAP = 2, // c: desc.logit_softcap
  LATHEP_OPTION_SINKS = 4,   // s: desc.attention_sinks
  LATHEP_OPTION_SCALE = 8,   // d: desc.softmax_scale_on_device
  LATHEP_OPTION_TREE = 16,   // t: desc.mask is LATHE_MASK_TREE
  LATHEP_OPTION_RANKS = 32,  // r: desc.cp_world, where a kernel has to know of it
  LATHEP_OPTION_SPARSE = 64, // i: desc.sparse_topk
  LATHEP_SCHEDULE_OPTIONS = LATHEP_OPTION_WINDOW | LATHEP_OPTION_RANKS | LATHEP_OPTION_SPARSE,
  LATHEP_MERGE_OPTIONS = LATHEP_OPTION_SINKS | LATHEP_OPTION_RANKS
};
static const char lathep_option_letters[] = "wcsdtri";

typedef enum lathep_op {
  LATHEP_OP_DECODE,
  LATHEP_OP_MERGE,    // of the parts of a split decode
  LATHEP_OP_SCHEDULE, // lathe_decode_schedule
  LATHEP_OP_APPEND,   // lathe_append_run
  LATHEP_OP_JOIN      // lathe_merge_run
} lathep_op;

// What a kernel is written for; its word in names.
typedef enum lathep_arch {
  LATHEP_ARCH_SM80, // mma.sync and cp.async: everything from compute capability 8.0 on
  LATHEP_ARCH_SM90, // mma.sync and the copy engine (TMA): 9.0 and later
  LATHEP_ARCH_SM90A // wgmma and the copy engine: 9.0 alone
} lathep_arch;

static const char *const lathep_arch_words[] = {"sm80", "sm90", "sm90a"};

// The least architecture of a compilation, 10 * major + minor.
LATHEP_FN int lathep_arch_compute(lathep_arch arch) {
  return arch == LATHEP_ARCH_SM80 ? 80 : 90;
}

typedef struct lathep_variant {
  lathep_op op;
  lathep_arch arch; // all but decode: sm80
  // merge: out alone; append: out is the query written; join: q is what is read, no kv; schedule:
  // none
  lathe_dtype q, kv, out;
  lathe_kv_format format; // decode, append: of the cache
  int l, r;               // merge, join: l alone; schedule: neither
  unsigned options;       // LATHEP_OPTION_... bits that the kernel knows
  int rows;               // (token, head) rows of a block's tile
  int tokens;             // KV rows of a step; merge: 0
  int stages;             // of the ring in shared memory
  int ctas;               // blocks of a multiprocessor that shared memory is sized for
  int page;               // rows of a page that are copied at once, 1: without tensor maps; sm80: 0
  int shared_bytes;       // dynamic
  int threads;            // of a block
} lathep_variant;

// A row of LATHE_KV_FORMAT_ROW656.
enum {
  LATHEP_ROW656_L = 512, // elements
  LATHEP_ROW656_R = 64,
  LATHEP_ROW656_GROUP = 128,  // of the latent, that share a scale
  LATHEP_ROW656_SCALES = 512, // bytes before the scales, before the roped part, and in all
  LATHEP_ROW656_ROPE = 528,
  LATHEP_ROW656_BYTES = 656
};

enum {
  LATHEP_MERGE_THREADS = 256,
  LATHEP_SCHEDULE_THREADS = 256,
  LATHEP_APPEND_THREADS = 256,
  LATHEP_JOIN_THREADS = 256
};

LATHE_API const char *lathe_dtype_string(lathe_dtype dtype) {
  switch (dtype) {
  case LATHE_DTYPE_F16:
    return "f16";
  case LATHE_DTYPE_BF16:
    return "bf16";
  case LATHE_DTYPE_E4M3:
    return "e4m3";
  case LATHE_DTYPE_F32:
    return "f32";
  case LATHE_DTYPE_NONE:
    break;
  }
  return "none";
}

LATHEP_FN int lathep_dtype_size(lathe_dtype dtype) {
  return dtype == LATHE_DTYPE_F32    ? 4
         : dtype == LATHE_DTYPE_E4M3 ? 1
         : dtype == LATHE_DTYPE_NONE ? 0
                                     : 2;
}

// ------------------------------------------------------------------------------------------ names

// The family: everything that changes the text of a kernel, nothing that only changes a size.
LATHEP_FN void lathep_variant_family(const lathep_variant *v, char *text, size_t size) {
  const char *q = lathe_dtype_string(v->q), *arch = lathep_arch_words[v->arch];
  const char *kv = v->format == LATHE_KV_FORMAT_ROW656 ? "row656" : lathe_dtype_string(v->kv);
  const char *op = v->op == LATHEP_OP_APPEND ? "append" : "decode";
  char out[16] = "";
  if (v->out != v->q)
    lathep_print(out, sizeof out, "_o%s", lathe_dtype_string(v->out));
  if (v->op == LATHEP_OP_SCHEDULE)
    lathep_print(text, size, "schedule_%s", arch);
  else if (v->op == LATHEP_OP_MERGE)
    lathep_print(text, size, "merge_%s_%s", arch, lathe_dtype_string(v->out));
  else if (v->op == LATHEP_OP_JOIN)
    lathep_print(text, size, "join_%s_%s%s", arch, q, out);
  else
    lathep_print(text, size, "%s_%s_%s_%s%s", op, arch, q, kv, out);
}

// The letters of options; "" for none.
LATHEP_FN void lathep_options_word(unsigned options, char *text, size_t size) {
  size_t length = 0, i;
  for (i = 0; lathep_option_letters[i] && length + 1 < size; i++)
    if (options & 1u << i)
      text[length++] = lathep_option_letters[i];
  text[length] = '\0';
}

// The full name. The kernel's symbol is this with "lathe_" before it.
LATHEP_FN void lathep_variant_name(const lathep_variant *v, char *text, size_t size) {
  char family[64], word[16];
  size_t length;
  lathep_variant_family(v, family, sizeof family);
  lathep_options_word(v->options, word, sizeof word);
  length = strlen(family);
  if (word[0])
    lathep_print(family + length, sizeof family - length, "_%s", word);
  if (v->op == LATHEP_OP_SCHEDULE)
    lathep_print(text, size, "%s_t%d", family, v->tokens);
  else if (v->op == LATHEP_OP_MERGE || v->op == LATHEP_OP_JOIN)
    lathep_print(text, size, "%s_l%d", family, v->l);
  else if (v->op == LATHEP_OP_APPEND)
    lathep_print(text, size, "%s_l%dr%d", family, v->l, v->r);
  else
    lathep_print(text, size, "%s_l%dr%d_m%dt%ds%d%c%d", family, v->l, v->r, v->rows, v->tokens,
                 v->stages, v->page ? 'p' : 'x', v->page ? v->page : v->ctas);
}

// The parameter block that goes before the family's body, byte for byte what
// templates/emit/params.j2 prints. Returns its length, as snprintf does.
LATHEP_FN size_t lathep_variant_params(const lathep_variant *v, char *text, size_t size) {
  char name[128];
  lathep_variant_name(v, name, sizeof name);
  if (v->op == LATHEP_OP_SCHEDULE)
    return lathep_print(text, size,
                        "#define LATHE_P_KERNEL lathe_%s\n"
                        "#define LATHE_P_TOKENS %d\n"
                        "#define LATHE_P_OPTIONS %u\n",
                        name, v->tokens, v->options);
  if (v->op == LATHEP_OP_MERGE)
    return lathep_print(text, size,
                        "#define LATHE_P_KERNEL lathe_%s\n"
                        "#define LATHE_P_L %d\n"
                        "#define LATHE_P_OPTIONS %u\n",
                        name, v->l, v->options);
  if (v->op == LATHEP_OP_JOIN)
    return lathep_print(text, size,
                        "#define LATHE_P_KERNEL lathe_%s\n"
                        "#define LATHE_P_L %d\n",
                        name, v->l);
  if (v->op == LATHEP_OP_APPEND)
    return lathep_print(text, size,
                        "#define LATHE_P_KERNEL lathe_%s\n"
                        "#define LATHE_P_L %d\n"
                        "#define LATHE_P_R %d\n",
                        name, v->l, v->r);
  return lathep_print(text, size,
                      "#define LATHE_P_KERNEL lathe_%s\n"
                      "#define LATHE_P_L %d\n"
                      "#define LATHE_P_R %d\n"
                      "#define LATHE_P_ROWS %d\n"
                      "#define LATHE_P_TOKENS %d\n"
                      "#define LATHE_P_STAGES %d\n"
                      "#define LATHE_P_%s %d\n"
                      "#define LATHE_P_SHARED_BYTES %d\n"
                      "#define LATHE_P_OPTIONS %u\n",
                      name, v->l, v->r, v->rows, v->tokens, v->stages, v->page ? "PAGE" : "CTAS",
                      v->page ? v->page : v->ctas, v->shared_bytes, v->options);
}

// What a desc asks of a kernel besides attention as it is.
LATHEP_FN unsigned lathep_desc_options(const lathe_decode_desc *desc) {
  unsigned options = 0;
  if (desc->sliding_window)
    options |= LATHEP_OPTION_WINDOW;
  if (desc->logit_softcap != 0.0f)
    options |= LATHEP_OPTION_SOFTCAP;
  if (lathep_has_sinks(desc))
    options |= LATHEP_OPTION_SINKS;
  if (desc->softmax_scale_on_device)
    options |= LATHEP_OPTION_SCALE;
  if (desc->mask == LATHE_MASK_TREE)
    options |= LATHEP_OPTION_TREE;
  if (lathep_shares_rows(desc) || (desc->cp_world > 1 && lathep_has_sinks(desc)))
    options |= LATHEP_OPTION_RANKS;
  if (desc->sparse_topk)
    options |= LATHEP_OPTION_SPARSE;
  return options;
}

// A decode variant that a desc asks for, its tile yet to be chosen.
LATHEP_FN void lathep_variant_decode(lathep_arch arch, const lathe_decode_desc *desc,
                                     lathep_variant *v) {
  memset(v, 0, sizeof *v);
  v->op = LATHEP_OP_DECODE;
  v->arch = arch;
  v->q = desc->q_dtype;
  v->kv = desc->kv_dtype;
  v->format = desc->kv_format;
  v->out = desc->out_dtype;
  v->l = desc->kv_lora_rank;
  v->r = desc->qk_rope_head_dim;
  v->options = lathep_desc_options(desc);
}

// The kernel that merges the split-KV partials of decode variants with this output and such
// options. Of ranks it knows what becomes of sinks, and nothing else.
LATHEP_FN void lathep_variant_merge(lathe_dtype out, int l, unsigned options, lathep_variant *v) {
  memset(v, 0, sizeof *v);
  v->op = LATHEP_OP_MERGE;
  v->out = out;
  v->l = l;
  v->options = options & LATHEP_OPTION_SINKS ? options & LATHEP_MERGE_OPTIONS : 0;
  v->threads = LATHEP_MERGE_THREADS;
}

// The kernel that makes the schedule of decode variants of so many tokens a step and such options.
LATHEP_FN void lathep_variant_schedule(int tokens, unsigned options, lathep_variant *v) {
  memset(v, 0, sizeof *v);
  v->op = LATHEP_OP_SCHEDULE;
  v->tokens = tokens;
  v->options = options & LATHEP_SCHEDULE_OPTIONS;
  v->threads = LATHEP_SCHEDULE_THREADS;
}

LATHEP_FN void lathep_variant_append(const lathe_append_desc *desc, lathep_variant *v) {
  memset(v, 0, sizeof *v);
  v->op = LATHEP_OP_APPEND;
  v->q = desc->q_dtype;
  v->kv = desc->kv_dtype;
  v->out = desc->q_out_dtype;
  v->format = desc->kv_format;
  v->l = desc->kv_lora_rank;
  v->r = desc->qk_rope_head_dim;
  v->threads = LATHEP_APPEND_THREADS;
}

LATHEP_FN void lathep_variant_join(const lathe_merge_desc *desc, lathep_variant *v) {
  memset(v, 0, sizeof *v);
  v->op = LATHEP_OP_JOIN;
  v->q = desc->in_dtype;
  v->out = desc->out_dtype;
  v->l = desc->kv_lora_rank;
  v->threads = LATHEP_JOIN_THREADS;
}
