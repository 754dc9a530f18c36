# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Tile sizes: the same arithmetic as include/lathe/impl/tile.h, which chooses at run time. tests/codegen
compares the two over a wide grid."""

from dataclasses import dataclass

SHARED_STATIC = 1024    # kept of a block's limit for static shared memory
SHARED_RESERVED = 1024  # what the driver keeps of a multiprocessor for every block
ACCUMULATORS = 128      # registers of a thread that may hold output; half with three blocks

# Most dynamic shared memory of a block, bytes, by 10 * major + minor.
SHARED_LIMIT = {80: 166912, 86: 101376, 87: 166912, 88: 101376, 89: 101376, 90: 232448,
                100: 232448, 103: 232448, 110: 232448, 120: 101376, 121: 101376}

# (rows, tokens, blocks per multiprocessor), in the order they are tried
TILES = [(64, 64, 1), (64, 32, 1), (64, 16, 1), (32, 32, 2), (32, 32, 1), (32, 16, 1),
         (16, 32, 3), (16, 32, 2), (16, 32, 1), (16, 16, 1)]


@dataclass(frozen=True)
class Tile:
    rows: int
    tokens: int
    stages: int
    ctas: int
    shared_bytes: int
    threads: int
    page: int = 0  # rows of a page that are copied at once; sm80: 0

    @property
    def name(self):
        return f"m{self.rows}t{self.tokens}s{self.stages}" + (f"p{self.page}" if self.page else f"x{self.ctas}")


@dataclass(frozen=True)
class Hopper:
    """The one tile of a family with tensor maps. slot: cache rows of a stage; other: shared memory besides
    the query and the ring, and probabilities: of each stage, without a rope part."""
    rows: int
    tokens: int
    threads: int
    row_threads: int  # besides, where page is 1: rows are copied by threads
    pages: tuple  # the most first
    slot: int
    stages: range
    enough: int  # bytes of shared memory beyond which more stages gain nothing
    other: int
    probabilities: int
    dims: range


CHUNK = 64  # elements: rows are copied in chunks
HOPPER = {"sm90": Hopper(16, 64, 288, 96, (16, 1), 16, range(8, 17), 180224, 9216, 0,
                         range(64, 513, CHUNK)),
          "sm90a": Hopper(64, 64, 512, 0, (64, 32, 16, 8, 4, 1), 64, range(2, 5), 232448, 4096, 8192,
                          range(128, 513, CHUNK))}
HOPPER_ROPES = (0, 16, 32, 48, 64, 128)


def row_stride(size):
    """Bytes between rows of so many in shared memory, such that eight rows fall into different banks."""
    chunks = size // 16
    return (chunks if chunks % 8 == 0 else chunks | 1) * 16


def shared_bytes(d, kv_row, rows, tokens, stages, converted=False):
    return (rows * row_stride(d * 2) + stages * tokens * row_stride(kv_row) +
            (tokens * row_stride(d * 2) if converted else 0) + rows * row_stride(tokens * 2) + rows * 32)


def warps(rows, tokens):
    return 8 if rows == 64 else 4 if rows == 32 or tokens >= 32 else tokens // 8


def accumulators(l, rows, tokens):
    count = warps(rows, tokens)
    return rows * ((l // 16 + count - 1) // count) * 16 // 32


def limit(ctas, optin):
    if ctas == 1:
        return optin - SHARED_STATIC
    return (optin + SHARED_RESERVED) // ctas - SHARED_RESERVED - SHARED_STATIC


def choose(l, r, kv_row, rows, optin, converted=False):
    """The tile for `rows` query rows on a device whose blocks may have `optin` bytes; None: none fits. kv_row: bytes of
    a cache row; converted: to 16-bit elements, in a place beside the ring."""
    want = 16 if rows <= 16 else 32 if rows <= 32 else 64
    for tile_rows, tokens, ctas in TILES:
        most = ACCUMULATORS // 2 if ctas > 2 else ACCUMULATORS
        if tile_rows > want or accumulators(l, tile_rows, tokens) > most:
            continue
        for stages in (4, 3, 2, 1) if converted else (4, 3, 2):
            size = shared_bytes(l + r, kv_row, tile_rows, tokens, stages, converted)
            if size <= limit(ctas, optin):
                return Tile(tile_rows, tokens, stages, ctas, size, 32 * warps(tile_rows, tokens))
    return None


def hopper_bytes(arch, l, r, stages):
    t = HOPPER[arch]
    row = 2 * CHUNK * (-(-l // CHUNK) + -(-r // CHUNK))
    return row * (t.rows + stages * t.slot) + t.other + (0 if r else stages * t.probabilities)


def hopper_page(arch, page_size):
    """Rows of a page that the family copies at once."""
    return next(page for page in HOPPER[arch].pages if page_size % page == 0)


def choose_hopper(arch, l, r, optin, page):
    """The tile of such a family that copies `page` rows at once, None where it computes no such dims or they
    do not fit."""
    t = HOPPER[arch]
    if page not in t.pages or l not in t.dims or r not in HOPPER_ROPES:
        return None
    for stages in reversed(t.stages):
        size = hopper_bytes(arch, l, r, stages)
        if size <= (limit(1, optin) if stages == t.stages[0] else min(limit(1, optin), t.enough)):
            return Tile(t.rows, t.tokens, stages, 1, size, t.threads + (t.row_threads if page == 1 else 0), page)
    return None
