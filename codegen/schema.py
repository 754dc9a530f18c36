# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Reads variants.toml and refuses what is wrong in it, naming row, field, value and what would do."""

import itertools
import tomllib
from dataclasses import dataclass

import tile as tiles

OPS = ("decode", "merge", "schedule", "append", "join")
# Fields of an operation besides op and arch, and besides families and why: those it must have, and those of its own
# that it may.
FAMILY_FIELDS = {"decode": ("q", "kv", "out"), "merge": ("out",), "schedule": (), "append": ("q", "kv", "out"),
                 "join": ("q", "out")}
ROW_FIELDS = {"decode": ("l", "r", "rows"), "merge": ("l",), "schedule": ("tokens",), "append": ("l", "r"),
              "join": ("l",)}
OPTIONAL_FIELDS = {"decode": ("pages", "options"), "merge": ("options",), "schedule": ("options",), "append": (),
                   "join": ()}
HALF = ("bf16", "f16")
ROWS = (16, 32, 64)
# Letters of options, in the order of their bits in LATHE_P_OPTIONS, and which of them an operation's kernels know.
OPTIONS = "wcsdtri"
HOPPER_OPTIONS = "wcsd"  # of decode
TOGETHER = ("wcsdtr", "csdri")  # lists are whole: no window or tree beside them
OP_OPTIONS = {"decode": OPTIONS, "merge": "sr", "schedule": "wri", "append": "", "join": ""}
TOKENS = (16, 32, 64)


def options_of(op, letters):
    """Those of a plan's options that its kernel of this operation has: the mirror of impl/variant.h."""
    known = "" if op == "merge" and "s" not in letters else OP_OPTIONS[op]
    return "".join(letter for letter in known if letter in letters)


@dataclass(frozen=True)
class Arch:
    """What a policy's kernels are built for ahead of time: devices, 10 * major + minor; specific: by an "a"
    target alone."""
    devices: tuple
    specific: bool = False


ARCHS = {"sm80": Arch(tuple(tiles.SHARED_LIMIT)), "sm90": Arch((90,)), "sm90a": Arch((90,), True)}


class SchemaError(Exception):
    pass


@dataclass(frozen=True)
class Family:
    op: str
    arch: str
    q: str
    kv: str
    out: str

    @property
    def name(self):
        if self.op == "schedule":
            return f"schedule_{self.arch}"
        if self.op == "merge":
            return f"merge_{self.arch}_{self.out}"
        types = "_".join(t for t in (self.q, self.kv) if t)
        return f"{self.op}_{self.arch}_{types}" + ("" if self.out == self.q else f"_o{self.out}")

    def has(self, size):
        """Whether its rows have this size."""
        return size in ROW_FIELDS[self.op]

    @property
    def math(self):
        """What the matrix products are of: an e4m3 query is exact in f16."""
        return "f16" if self.q == "e4m3" else self.q

    def kv_row(self, l, r):
        """Bytes of a cache row."""
        return 656 if self.kv == "row656" else (l + r) * (1 if self.kv == "e4m3" else 2)

    @property
    def pages(self):
        """Rows of a page that its kernels may copy at once, the most first; none of a family that takes any page."""
        return tiles.HOPPER[self.arch].pages if self.arch in tiles.HOPPER else ()

    @property
    def known_options(self):
        """Letters of the options that its kernels know."""
        return HOPPER_OPTIONS if self.arch in tiles.HOPPER else OP_OPTIONS[self.op]

    @property
    def rows(self):
        """Its row tiles."""
        return (tiles.HOPPER[self.arch].rows,) if self.arch in tiles.HOPPER else ROWS

    def tile(self, l, r, rows, optin, page=None):
        """The tile for a device whose blocks may have `optin` bytes; None: none. page: if not the first of pages."""
        if self.arch in tiles.HOPPER:
            return tiles.choose_hopper(self.arch, l, r, optin, page or self.pages[0])
        return tiles.choose(l, r, self.kv_row(l, r), rows, optin, self.kv == "row656")

    def limits(self, archs):
        """Shared memory of those of these devices that its kernels are built for."""
        return sorted({tiles.SHARED_LIMIT[a] for a in archs if a in ARCHS[self.arch].devices})


@dataclass(frozen=True)
class Variant:
    """One kernel: a family at certain sizes. `params` is its parameter block, name and value."""
    family: Family
    l: int = 0
    r: int = 0
    tile: tiles.Tile = None
    tokens: int = 0  # of a schedule
    options: str = ""  # letters

    @property
    def shape(self):
        """Family, options and dims: the name without the tile."""
        name = self.family.name + (f"_{self.options}" if self.options else "")
        if self.family.op == "schedule":
            return f"{name}_t{self.tokens}"
        return f"{name}_l{self.l}" + (f"r{self.r}" if self.family.has("r") else "")

    @property
    def option_bits(self):
        return sum(1 << OPTIONS.index(letter) for letter in self.options)

    @property
    def name(self):
        t = self.tile
        return self.shape + (f"_{t.name}" if t else "")

    @property
    def params(self):
        block = {"KERNEL": f"lathe_{self.name}"}
        if self.family.op == "schedule":
            return block | {"TOKENS": self.tokens, "OPTIONS": self.option_bits}
        block["L"] = self.l
        if self.family.has("r"):
            block["R"] = self.r
        if self.family.op == "decode":
            t = self.tile
            block |= {"ROWS": t.rows, "TOKENS": t.tokens, "STAGES": t.stages,
                      **({"PAGE": t.page} if t.page else {"CTAS": t.ctas}), "SHARED_BYTES": t.shared_bytes}
        return block | ({"OPTIONS": self.option_bits} if OP_OPTIONS[self.family.op] else {})

    @property
    def empty(self):
        """The body that stands for it where its own cannot be: one with its arguments."""
        if self.family.op in ("append", "join"):
            return f"empty_{self.family.op}"
        return "empty_maps" if self.tile and self.tile.page else "empty"


@dataclass(frozen=True)
class Row:
    """A [[variant]] row: sizes that are built ahead of time."""
    families: tuple
    l: int
    r: int
    rows: tuple
    pages: tuple
    tokens: tuple
    options: tuple
    ptx: bool
    why: str

    def variants(self, archs):
        """The row's kernels for these devices, without repetition."""
        found = {}
        for family in self.families:
            if family.op != "decode":
                for tokens, options in itertools.product(self.tokens or (0,), self.options):
                    v = Variant(family, self.l, self.r, tokens=tokens, options=options)
                    found[v.name] = v
                continue
            for rows, optin, page, options in itertools.product(self.rows, family.limits(archs),
                                                                self.pages or (None,), self.options):
                tile = family.tile(self.l, self.r, rows, optin, page)
                v = Variant(family, self.l, self.r, tile, options=options)
                found[v.name] = v
        return list(found.values())


@dataclass(frozen=True)
class Catalog:
    families: tuple
    rows: tuple

    def variants(self, archs, ptx=False):
        """Kernels for these architectures (10 * major + minor), sorted by name."""
        found = {v.name: v for row in self.rows if row.ptx or not ptx for v in row.variants(archs)}
        return [found[name] for name in sorted(found)]


def _fields(where, table, required, optional=()):
    for key in table:
        if key not in required and key not in optional:
            raise SchemaError(f"{where}: unknown field {key!r}; known are {', '.join((*required, *optional))}")
    for key in required:
        if key not in table:
            raise SchemaError(f"{where}: field {key!r} is missing")


def _one_of(where, field, value, allowed):
    if value not in allowed:
        raise SchemaError(f"{where}: {field} = {value!r}; give one of {', '.join(map(str, allowed))}")


def _size(where, field, value, least):
    if not isinstance(value, int) or isinstance(value, bool) or value < least or value % 16:
        raise SchemaError(f"{where}: {field} = {value!r}; give a multiple of 16, {least} or more")


def _list(where, field, value, of):
    if not isinstance(value, list) or not value or not all(isinstance(x, of) for x in value):
        raise SchemaError(f"{where}: {field} = {value!r}; give a list of one or more")
    for x in value:
        if value.count(x) > 1:
            raise SchemaError(f"{where}: {field} has {x!r} twice; remove one")


def _meaningful(where, op, table, fields):
    """Refuses what only other operations have."""
    every = {f for of in (*FAMILY_FIELDS.values(), *ROW_FIELDS.values(), *OPTIONAL_FIELDS.values()) for f in of}
    for field in table:
        if field in every and field not in (*fields[op], *OPTIONAL_FIELDS[op]):
            raise SchemaError(f"{where}: {field} has no meaning for {'an' if op[0] == 'a' else 'a'} {op} kernel; "
                              "remove it")


def _family(i, table):
    where = f"family {i}"
    _fields(where, table, ("op", "arch"), ("q", "kv", "out"))
    _one_of(where, "op", table["op"], OPS)
    op = table["op"]
    _meaningful(where, op, table, FAMILY_FIELDS)
    _fields(where, table, ("op", "arch", *FAMILY_FIELDS[op]))
    _one_of(where, "arch", table["arch"], tuple(ARCHS) if op == "decode" else ("sm80",))
    # what decode's portable kernel, and the merge kernel, read and write
    wide = HALF if table["arch"] in tiles.HOPPER else (*HALF, "e4m3")
    if op == "append":
        _one_of(where, "q", table["q"], HALF)
        _one_of(where, "kv", table["kv"], (table["q"], "e4m3") + ("row656",) * (table["q"] == "bf16"))
        _one_of(where, "out", table["out"], (table["q"],) + ("e4m3",) * (table["kv"] == "e4m3"))
    elif op == "join":
        _one_of(where, "q", table["q"], (*HALF, "f32"))
        _one_of(where, "out", table["out"], (*HALF, "f32"))
    elif "out" in table:
        _one_of(where, "out", table["out"], wide)
    if op == "decode":
        _one_of(where, "q", table["q"], wide)
        _one_of(where, "kv", table["kv"], (table["q"],) if table["arch"] in tiles.HOPPER or table["q"] == "e4m3"
                else (table["q"], "e4m3") + ("row656",) * (table["q"] == "bf16"))
    return Family(op, table["arch"], table.get("q", ""), table.get("kv", ""), table.get("out", ""))


def _sizes(where, family, table):
    """Row tiles and dims that the family has."""
    l, r = table["l"], table["r"]
    for rows in table["rows"]:
        _one_of(f"{where}: {family.name}", "rows", rows, family.rows)
    if "pages" in table and not family.pages:
        raise SchemaError(f"{where}: pages has no meaning for {family.name}, which takes any; remove it")
    for page in table.get("pages", ()):
        _one_of(f"{where}: {family.name}", "pages", page, family.pages)
    if family.arch in tiles.HOPPER:
        dims = tiles.HOPPER[family.arch].dims
        if l not in dims:
            raise SchemaError(f"{where}: l = {l}; {family.name} takes multiples of {dims.step}, {dims[0]} to {dims[-1]}")
        _one_of(f"{where}: {family.name}", "r", r, tiles.HOPPER_ROPES)
        if table.get("ptx", False):
            raise SchemaError(f"{where}: ptx = True; {family.name} is for one architecture, leave ptx out")
    for optin in family.limits(tiles.SHARED_LIMIT):
        if not family.tile(l, r, min(table["rows"]), optin):
            raise SchemaError(f"{where}: l = {l}, r = {r} fit no tile of {family.name} in {optin} bytes of shared "
                              "memory; give smaller dims, which NVRTC compiles where they fit")


def _options(where, family, words):
    known = family.known_options
    for word in words:
        if word != "".join(letter for letter in options_of(family.op, word) if letter in known):
            raise SchemaError(f"{where}: {family.name}: options = {word!r}; give letters of {known!r}, each once and in "
                              "this order")
        if not any(set(word) <= set(letters) for letters in TOGETHER):
            raise SchemaError(f"{where}: {family.name}: options = {word!r}; no plan has all of them, give letters of "
                              + " or of ".join(repr("".join(c for c in t if c in known)) for t in TOGETHER))


def _row(i, table, families):
    where = f"variant {i} ({table.get('why', 'no why')!r})"
    _fields(where, table, ("families", "why"), ("l", "r", "rows", "pages", "tokens", "options", "ptx"))
    _list(where, "families", table["families"], str)
    for name in table["families"]:
        _one_of(where, "families", name, tuple(families))
    of = tuple(families[name] for name in table["families"])
    if len({f.op for f in of}) != 1:
        raise SchemaError(f"{where}: families of different operations; give each a row of its own")
    if not isinstance(table["why"], str) or not table["why"].strip():
        raise SchemaError(f"{where}: why = {table['why']!r}; name the models that need this row")
    if not isinstance(table.get("ptx", False), bool):
        raise SchemaError(f"{where}: ptx = {table['ptx']!r}; give true or false")
    op = of[0].op
    _meaningful(where, op, table, ROW_FIELDS)
    _fields(where, table, ("families", "why", *ROW_FIELDS[op]), (*OPTIONAL_FIELDS[op], "ptx"))
    if "l" in table:
        _size(where, "l", table["l"], 16)
    if "r" in table:
        _size(where, "r", table["r"], 0)
    for family in of:
        if family.kv == "row656" and (table["l"], table["r"]) != (512, 64):
            raise SchemaError(f"{where}: l = {table['l']}, r = {table['r']}; {family.name} has rows of 512 and 64")
    if op == "schedule":
        _list(where, "tokens", table["tokens"], int)
        for tokens in table["tokens"]:
            _one_of(where, "tokens", tokens, TOKENS)
    if op == "decode":
        _list(where, "rows", table["rows"], int)
        _list(where, "pages", table.get("pages", [0]), int)
        for family in of:
            _sizes(where, family, table)
    _list(where, "options", table.get("options", [""]), str)
    for family in of:
        _options(where, family, table.get("options", ()))
    return Row(of, table.get("l", 0), table.get("r", 0), tuple(table.get("rows", ())), tuple(table.get("pages", ())),
               tuple(table.get("tokens", ())), tuple(table.get("options", ("",))), table.get("ptx", False), table["why"])


def _companions(rows):
    """A plan has three kernels: one for decode is of no use ahead of time without those that merge its parts and that
    make its schedule."""
    have = {}
    for row in rows:
        for v in row.variants(tiles.SHARED_LIMIT):
            have[v.family.op, v.family.out, v.l or v.tokens, v.options] = row.ptx
    for i, row in enumerate(rows, 1):
        for v in row.variants(tiles.SHARED_LIMIT):
            if v.family.op != "decode":
                continue
            for op, out, field, size in (("merge", v.family.out, "l", v.l), ("schedule", "", "tokens", v.tile.tokens)):
                options = options_of(op, v.options)
                if have.get((op, out, size, options), -1) < row.ptx:
                    needed = f"{op}_sm80{'_' if out else ''}{out} at {field} = {size}"
                    raise SchemaError(f"variant {i} ({row.why!r}): {v.family.name} needs {needed}"
                                      f"{f' with options {options!r}' if options else ''}"
                                      f"{' with ptx' if row.ptx else ''}; add that row too")


def parse(text):
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"not TOML: {error}") from error
    _fields("the file", data, ("family", "variant"))
    for field, tables in data.items():
        if not isinstance(tables, list):
            raise SchemaError(f"the file: {field} is one table; write [[{field}]] above each")
    families = {}
    for i, table in enumerate(data["family"], 1):
        family = _family(i, table)
        if family.name in families:
            raise SchemaError(f"family {i}: {family.name} stands twice; remove one")
        families[family.name] = family
    rows, seen = [], {}
    for i, table in enumerate(data["variant"], 1):
        row = _row(i, table, families)
        for variant in row.variants(tiles.SHARED_LIMIT):
            if variant.name in seen:
                raise SchemaError(f"variant {i}: {variant.name} is in variant {seen[variant.name]} already; "
                                  "remove it from one")
            seen[variant.name] = i
        rows.append(row)
    _companions(rows)
    return Catalog(tuple(families.values()), tuple(rows))


def load(path):
    with open(path, encoding="utf-8") as file:
        return parse(file.read())
