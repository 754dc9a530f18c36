// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Tile sizes: how a variant cuts its work, by the shape, the rows and the device's shared memory.
// codegen/tile.py mirrors the arithmetic, the kernels assert it, and tests hold the three together.

enum {
  LATHEP_ACCUMULATORS = 128,    // registers of a thread that may hold output
  LATHEP_SHARED_STATIC = 1024,  // kept of a block's opt-in limit for static shared memory
  LATHEP_SHARED_RESERVED = 1024 // what the driver keeps of a multiprocessor for every block
};

// --------------------------------------------------------------------------------------- portable

// Bytes between rows in shared memory: rows whose 16-byte chunks do not fall into groups of eight
// (which the kernel swizzles) get an odd number of chunks, so that eight rows hit different banks.
LATHEP_FN int64_t lathep_row_stride(int64_t bytes) {
  int64_t chunks = bytes / 16;
  return (chunks % 8 == 0 ? chunks : (chunks | 1)) * 16;
}

// Bytes of a cache row.
LATHEP_FN int64_t lathep_kv_row(const lathep_variant *v) {
  return v->format == LATHE_KV_FORMAT_ROW656 ? (int64_t)LATHEP_ROW656_BYTES
                                             : ((int64_t)v->l + v->r) * lathep_dtype_size(v->kv);
}

// Are cache rows copied to the ring as they are and from there converted to 16-bit elements, in a
// place of their own?
LATHEP_FN int lathep_converts(const lathep_variant *v) {
  return v->format == LATHE_KV_FORMAT_ROW656;
}

LATHEP_FN int64_t lathep_tile_bytes(const lathep_variant *v) {
  const int64_t row = lathep_row_stride(((int64_t)v->l + v->r) * 2);
  return v->rows * row + (int64_t)v->stages * v->tokens * lathep_row_stride(lathep_kv_row(v)) +
         (lathep_converts(v) ? v->tokens * row : 0) +
         v->rows * lathep_row_stride((int64_t)v->tokens * 2) + v->rows * 32;
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

// Fits one tile: as many stages as go into shared memory, at most 4 and at least 2, or 1 where a
// stage is free as soon as it is converted. Where it does not fit, *v is the variant with the least
// and `why` says what it needs.
LATHEP_FN int lathep_tile_fit(const lathep_tile *tile, int shared_limit, lathep_variant *v,
                              char *why, size_t why_size) {
  int64_t accumulators = lathep_tile_accumulators(v->l, tile->rows, tile->tokens);
  int64_t limit = lathep_tile_limit(tile->ctas, shared_limit), bytes = 0;
  const int most = lathep_tile_accumulator_limit(tile->ctas), least = lathep_converts(v) ? 1 : 2;
  v->rows = tile->rows;
  v->tokens = tile->tokens;
  v->ctas = tile->ctas;
  v->threads = 32 * lathep_tile_warps(tile->rows, tile->tokens);
  for (v->stages = 4; v->stages >= least; v->stages--) {
    bytes = lathep_tile_bytes(v);
    if (bytes <= limit)
      break;
  }
  if (v->stages < least)
    v->stages = least;
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
// device whose blocks may have `shared_limit` bytes. With `only`, a variant's name, it is that tile
// or none, whatever the rows. The dims and dtypes of the desc have been checked, its defaults
// filled. UNSUPPORTED: *out is the smallest tile, `reason` the limit it met, "" if none was tried.
LATHEP_FN lathe_status lathep_tile_walk(const lathe_decode_desc *desc, int64_t rows,
                                        int shared_limit, const char *only, lathep_variant *out,
                                        char *reason, size_t reason_size, lathep_tile_visit visit,
                                        void *user) {
  int want = rows <= 16 ? 16 : rows <= 32 ? 32 : 64, i;
  int64_t least = INT64_MAX;
  lathep_variant v;
  lathep_variant_decode(LATHEP_ARCH_SM80, desc, &v);
  *out = v;
  if (reason_size)
    reason[0] = '\0';
  for (i = 0; i < LATHEP_NUM_TILES; i++) {
    char why[128], name[128];
    int64_t over;
    int fits;
    if (!only && lathep_tiles[i].rows > want)
      continue;
    fits = lathep_tile_fit(&lathep_tiles[i], shared_limit, &v, why, sizeof why);
    lathep_variant_name(&v, name, sizeof name);
    if (only && strcmp(only, name))
      continue;
    if (visit)
      visit(user, &v, fits ? NULL : why);
    if (fits) {
      *out = v;
      return LATHE_STATUS_OK;
    }
    // The reason to give is that of the smallest tile. Where some tile has registers enough, it is
    // shared memory that stands in the way, whatever a tile of fewer warps lacks.
    over = lathep_tile_accumulators(v.l, v.rows, v.tokens);
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
  return lathep_tile_walk(desc, rows, shared_limit, NULL, out, reason, reason_size, NULL, NULL);
}

// ----------------------------------------------------------------------------------------- hopper

enum { LATHEP_CHUNK = 64, LATHEP_HOPPER_MAX_L = 512 }; // elements: rows are copied in chunks
enum { LATHEP_HOPPER_PAGES = 6 };

// One tile a family. Shared memory holds the query and the ring, rows padded to whole chunks, and
// `other` bytes; and for each stage, where there is no rope part to lend its place, probabilities.
typedef struct lathep_hopper_tile {
  lathep_arch arch;
  int rows, tokens, threads;
  int row_threads;                // besides, where page is 1: rows are copied by threads
  int pages[LATHEP_HOPPER_PAGES]; // rows of a page that are copied at once, one of these, down to 1
  int slot;                       // cache rows of a stage
  int least_stages, most_stages;
  int enough_bytes; // of shared memory: more stages, which bring more bytes at once, gain nothing
  int other, probabilities;
  int least_l;
} lathep_hopper_tile;

static const lathep_hopper_tile lathep_hopper_tiles[] = {
    {LATHEP_ARCH_SM90, 16, 64, 288, 96, {16, 1}, 16, 8, 16, 180224, 9216, 0, 64},
    {LATHEP_ARCH_SM90A, 64, 64, 512, 0, {64, 32, 16, 8, 4, 1}, 64, 2, 4, 232448, 4096, 8192, 128},
};

LATHEP_FN int lathep_chunks(int elements) {
  return (int)lathep_ceil_div(elements, LATHEP_CHUNK);
}

LATHEP_FN int lathep_hopper_bytes(const lathep_hopper_tile *tile, int l, int r, int stages) {
  int row = 2 * LATHEP_CHUNK * (lathep_chunks(l) + lathep_chunks(r));
  return row * (tile->rows + stages * tile->slot) + tile->other +
         (r == 0 ? stages * tile->probabilities : 0);
}

// The first of the tile's pages that divides the page size, hence the largest.
LATHEP_FN int lathep_hopper_page(const lathep_hopper_tile *tile, int page_size) {
  int i = 0;
  while (page_size % tile->pages[i])
    i++;
  return tile->pages[i];
}

// Which option of the desc the family has not; 0: none.
LATHEP_FN int lathep_hopper_refuse_option(const lathe_decode_desc *desc, char *why,
                                          size_t why_size) {
  if (desc->sparse_topk)
    lathep_print(why, why_size, "sparse_topk is %d, and it reads no lists of rows",
                 (int)desc->sparse_topk);
  else if (desc->mask == LATHE_MASK_TREE)
    lathep_print(why, why_size, "mask is LATHE_MASK_TREE, and it has no tree mask");
  else if (lathep_desc_options(desc) & LATHEP_OPTION_RANKS)
    lathep_print(why, why_size, "cp_world is %d with %s, and it knows of no other ranks",
                 (int)desc->cp_world,
                 lathep_shares_rows(desc) ? "LATHE_CP_LENS_GLOBAL" : "sinks to be joined");
  else
    return 0;
  return 1;
}

// What the family cannot compute, whatever the device; 0: nothing.
LATHEP_FN int lathep_hopper_refuse(const lathep_hopper_tile *tile, const lathe_decode_desc *desc,
                                   char *why, size_t why_size) {
  int l = desc->kv_lora_rank, r = desc->qk_rope_head_dim;
  if (lathep_hopper_refuse_option(desc, why, why_size))
    return 1;
  if (desc->q_dtype == LATHE_DTYPE_E4M3 || desc->out_dtype == LATHE_DTYPE_E4M3)
    lathep_print(why, why_size, "%s_dtype is e4m3, and it takes f16 and bf16",
                 desc->q_dtype == LATHE_DTYPE_E4M3 ? "q" : "out");
  else if (desc->kv_dtype != desc->q_dtype)
    lathep_print(why, why_size, "kv_dtype is %s, and it takes the query's, %s",
                 lathe_dtype_string(desc->kv_dtype), lathe_dtype_string(desc->q_dtype));
  else if (l % LATHEP_CHUNK || l < tile->least_l || l > LATHEP_HOPPER_MAX_L)
    lathep_print(why, why_size, "kv_lora_rank is %d, and it takes multiples of %d, %d to %d", l,
                 (int)LATHEP_CHUNK, tile->least_l, (int)LATHEP_HOPPER_MAX_L);
  else if (r % 16 || (r > 64 && r != 128))
    lathep_print(why, why_size, "qk_rope_head_dim is %d, and it takes 0, 16, 32, 48, 64 and 128",
                 r);
  else
    return 0;
  return 1;
}

// Sizes the family's tile for a device whose blocks may have `shared_limit` bytes: as many stages
// as fit and help. UNSUPPORTED: `why` says what stands in the way, and out->rows is 0 if that is
// the desc.
LATHEP_FN lathe_status lathep_hopper_fit(lathep_arch arch, const lathe_decode_desc *desc,
                                         int shared_limit, lathep_variant *out, char *why,
                                         size_t why_size) {
  const lathep_hopper_tile *tile = lathep_hopper_tiles;
  int64_t limit = lathep_tile_limit(1, shared_limit), enough;
  while (tile->arch != arch)
    tile++;
  lathep_variant_decode(arch, desc, out);
  if (lathep_hopper_refuse(tile, desc, why, why_size))
    return LATHE_STATUS_UNSUPPORTED;
  out->rows = tile->rows;
  out->tokens = tile->tokens;
  out->page = lathep_hopper_page(tile, desc->page_size);
  out->threads = tile->threads + (out->page == 1 ? tile->row_threads : 0);
  out->ctas = 1;
  enough = limit < tile->enough_bytes ? limit : tile->enough_bytes;
  out->stages = tile->most_stages;
  while (out->stages > tile->least_stages &&
         lathep_hopper_bytes(tile, out->l, out->r, out->stages) > enough)
    out->stages--;
  out->shared_bytes = lathep_hopper_bytes(tile, out->l, out->r, out->stages);
  if (out->shared_bytes <= limit)
    return LATHE_STATUS_OK;
  lathep_print(why, why_size, "needs %d of %lld bytes of shared memory", out->shared_bytes,
               (long long)(limit > 0 ? limit : 0));
  return LATHE_STATUS_UNSUPPORTED;
}
