// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Variants: what makes one kernel differ from another, its one name (codegen/README.md has the
// grammar), its parameter block, and the choice of tile sizes. codegen/ mirrors the arithmetic, the
// kernel asserts it, and tests hold the three together.

typedef enum lathep_op { LATHEP_OP_DECODE, LATHEP_OP_MERGE } lathep_op;

typedef struct lathep_variant {
  lathep_op op;
  lathe_dtype q, kv, out; // merge: out alone
  int l, r;               // merge: l alone
  int rows;               // (token, head) rows of a block's tile
  int tokens;             // KV rows of a stage
  int stages;             // KV stages in flight
  int ctas;               // blocks of a multiprocessor that shared memory is sized for
  int shared_bytes;       // dynamic
  int threads;            // of a block
} lathep_variant;

enum {
  LATHEP_MERGE_THREADS = 256,
  LATHEP_MERGE_BLOCKS_PER_SM = 4, // what registers let run at once
  LATHEP_ACCUMULATORS = 128,      // registers of a thread that may hold output
  LATHEP_SHARED_STATIC = 1024,    // kept of a block's opt-in limit for static shared memory
  LATHEP_SHARED_RESERVED = 1024   // what the driver keeps of a multiprocessor for every block
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
  const char *q = lathe_dtype_string(v->q), *kv = lathe_dtype_string(v->kv);
  const char *out = lathe_dtype_string(v->out);
  if (v->op == LATHEP_OP_MERGE)
    lathep_print(text, size, "merge_sm80_%s", out);
  else if (v->out == v->q)
    lathep_print(text, size, "decode_sm80_%s_%s", q, kv);
  else
    lathep_print(text, size, "decode_sm80_%s_%s_o%s", q, kv, out);
}

// The full name. The kernel's symbol is this with "lathe_" before it.
LATHEP_FN void lathep_variant_name(const lathep_variant *v, char *text, size_t size) {
  char family[64];
  lathep_variant_family(v, family, sizeof family);
  if (v->op == LATHEP_OP_MERGE)
    lathep_print(text, size, "%s_l%d", family, v->l);
  else
    lathep_print(text, size, "%s_l%dr%d_m%dt%ds%dx%d", family, v->l, v->r, v->rows, v->tokens,
                 v->stages, v->ctas);
}

// The parameter block that goes before the family's body, byte for byte what
// templates/emit/params.j2 prints. Returns its length, as snprintf does.
LATHEP_FN size_t lathep_variant_params(const lathep_variant *v, char *text, size_t size) {
  char name[128];
  lathep_variant_name(v, name, sizeof name);
  if (v->op == LATHEP_OP_MERGE)
    return lathep_print(text, size,
                        "#define LATHE_P_KERNEL lathe_%s\n"
                        "#define LATHE_P_L %d\n",
                        name, v->l);
  return lathep_print(text, size,
                      "#define LATHE_P_KERNEL lathe_%s\n"
                      "#define LATHE_P_L %d\n"
                      "#define LATHE_P_R %d\n"
                      "#define LATHE_P_ROWS %d\n"
                      "#define LATHE_P_TOKENS %d\n"
                      "#define LATHE_P_STAGES %d\n"
                      "#define LATHE_P_CTAS %d\n"
                      "#define LATHE_P_SHARED_BYTES %d\n",
                      name, v->l, v->r, v->rows, v->tokens, v->stages, v->ctas, v->shared_bytes);
}

// The kernel that merges the split-KV partials of decode variants with this output.
LATHEP_FN void lathep_variant_merge(lathe_dtype out, int l, lathep_variant *v) {
  memset(v, 0, sizeof *v);
  v->op = LATHEP_OP_MERGE;
  v->out = out;
  v->l = l;
  v->threads = LATHEP_MERGE_THREADS;
}

// ------------------------------------------------------------------------------------------ tiles

// Bytes between rows in shared memory: rows whose 16-byte chunks do not fall into groups of eight
// (which the kernel swizzles) get an odd number of chunks, so that eight rows hit different banks.
LATHEP_FN int64_t lathep_row_stride(int64_t elements, int64_t bytes) {
  int64_t chunks = elements * bytes / 16;
  return (chunks % 8 == 0 ? chunks : (chunks | 1)) * 16;
}

LATHEP_FN int64_t lathep_shared_bytes(int64_t l, int64_t r, int kv_bytes, int rows, int tokens,
                                      int stages) {
  return rows * lathep_row_stride(l + r, 2) +
         (int64_t)stages * tokens * lathep_row_stride(l + r, kv_bytes) +
         rows * lathep_row_stride(tokens, 2) + rows * 32;
}

LATHEP_FN int lathep_tile_warps(int rows, int tokens) {
  if (rows == 64)
    return 8;
  return rows == 32 || tokens >= 32 ? 4 : tokens / 8;
}

// Accumulator registers of a thread: 16-column slices of the output are dealt to the warps.
LATHEP_FN int64_t lathep_tile_accumulators(int64_t l, int rows, int tokens) {
  int64_t warps = lathep_tile_warps(rows, tokens);
  return rows * ((l / 16 + warps - 1) / warps) * 16 / 32;
}

// Dynamic shared memory that one of `ctas` blocks of a multiprocessor may have, when one block may
// have `optin` in all. With several, each also pays what the driver reserves.
LATHEP_FN int64_t lathep_tile_limit(int ctas, int optin) {
  if (ctas == 1)
    return (int64_t)optin - LATHEP_SHARED_STATIC;
  return ((int64_t)optin + LATHEP_SHARED_RESERVED) / ctas - LATHEP_SHARED_RESERVED -
         LATHEP_SHARED_STATIC;
}

// What a thread may spend of its registers on output: with three blocks it has only 168 in all.
LATHEP_FN int lathep_tile_accumulator_limit(int ctas) {
  return ctas > 2 ? LATHEP_ACCUMULATORS / 2 : LATHEP_ACCUMULATORS;
}

typedef struct lathep_tile {
  int rows, tokens, ctas;
} lathep_tile;

// In the order they are tried, from the row tile that the rows ask for downwards.
static const lathep_tile lathep_tiles[] = {
    {64, 64, 1}, {64, 32, 1}, {64, 16, 1}, {32, 32, 2}, {32, 32, 1},
    {32, 16, 1}, {16, 32, 3}, {16, 32, 2}, {16, 32, 1}, {16, 16, 1},
};
enum { LATHEP_NUM_TILES = sizeof lathep_tiles / sizeof lathep_tiles[0] };

// Called once per tile looked at; `why` is null for the one taken, else why it was passed over.
typedef void (*lathep_tile_visit)(void *user, const lathep_variant *variant, const char *why);

// Fits one tile: as many stages as go into shared memory, at most 4 and at least 2. Where it does
// not fit, *v is the variant with two stages and `why` says what it needs.
LATHEP_FN int lathep_tile_fit(const lathep_tile *tile, int shared_limit, lathep_variant *v,
                              char *why, size_t why_size) {
  int64_t accumulators = lathep_tile_accumulators(v->l, tile->rows, tile->tokens);
  int64_t limit = lathep_tile_limit(tile->ctas, shared_limit), bytes = 0;
  int most = lathep_tile_accumulator_limit(tile->ctas);
  v->rows = tile->rows;
  v->tokens = tile->tokens;
  v->ctas = tile->ctas;
  v->threads = 32 * lathep_tile_warps(tile->rows, tile->tokens);
  for (v->stages = 4; v->stages >= 2; v->stages--) {
    bytes =
        lathep_shared_bytes(v->l, v->r, lathep_dtype_size(v->kv), v->rows, v->tokens, v->stages);
    if (bytes <= limit)
      break;
  }
  if (v->stages < 2)
    v->stages = 2;
  v->shared_bytes = bytes < INT32_MAX ? (int)bytes : INT32_MAX;
  if (accumulators > most) {
    lathep_print(why, why_size, "needs %lld of %d accumulator registers a thread",
                 (long long)accumulators, most);
    return 0;
  }
  if (bytes > limit) {
    lathep_print(why, why_size, "needs %lld of %lld bytes of shared memory%s", (long long)bytes,
                 (long long)(limit > 0 ? limit : 0),
                 tile->ctas > 2    ? " for three blocks at once"
                 : tile->ctas == 2 ? " for two blocks at once"
                                   : "");
    return 0;
  }
  return 1;
}

// Walks the tiles for `rows` = num_heads * max_q_len rows and fills *out with the first that fits a
// device whose blocks may have `shared_limit` bytes. The dims and dtypes of the desc have been
// checked, its defaults filled. UNSUPPORTED: *out is the smallest tile, `reason` the limit it met.
LATHEP_FN lathe_status lathep_tile_walk(const lathe_decode_desc *desc, int64_t rows,
                                        int shared_limit, lathep_variant *out, char *reason,
                                        size_t reason_size, lathep_tile_visit visit, void *user) {
  int want = rows <= 16 ? 16 : rows <= 32 ? 32 : 64, i;
  int64_t least = INT64_MAX;
  lathep_variant v;
  memset(&v, 0, sizeof v);
  v.op = LATHEP_OP_DECODE;
  v.q = desc->q_dtype;
  v.kv = desc->kv_dtype;
  v.out = desc->out_dtype;
  v.l = desc->kv_lora_rank;
  v.r = desc->qk_rope_head_dim;
  *out = v;
  if (reason_size)
    reason[0] = '\0';
  for (i = 0; i < LATHEP_NUM_TILES; i++) {
    char why[128];
    if (lathep_tiles[i].rows > want)
      continue;
    if (lathep_tile_fit(&lathep_tiles[i], shared_limit, &v, why, sizeof why)) {
      if (visit)
        visit(user, &v, NULL);
      *out = v;
      return LATHE_STATUS_OK;
    }
    if (visit)
      visit(user, &v, why);
    // The reason to give is that of the smallest tile. Where some tile has registers enough, it is
    // shared memory that stands in the way, whatever a tile of fewer warps lacks.
    int64_t over = lathep_tile_accumulators(v.l, v.rows, v.tokens);
    if (over <= LATHEP_ACCUMULATORS)
      over = 0;
    if (over <= least) {
      lathep_print(reason, reason_size, "%s", why);
      *out = v;
      least = over;
    }
  }
  return LATHE_STATUS_UNSUPPORTED;
}

LATHEP_FN lathe_status lathep_tile_choose(const lathe_decode_desc *desc, int64_t rows,
                                          int shared_limit, lathep_variant *out, char *reason,
                                          size_t reason_size) {
  return lathep_tile_walk(desc, rows, shared_limit, out, reason, reason_size, NULL, NULL);
}
