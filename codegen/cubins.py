# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Compiles variants with NVRTC through ctypes: needs the library, no toolkit and no GPU."""

import ctypes
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import render
import schema
import tile

# What the library passes too (include/lathe/impl/jit.h), besides the architecture.
OPTIONS = ("--std=c++17",)


class CompileError(Exception):
    pass


@dataclass(frozen=True)
class Image:
    name: str
    target: str
    data: bytes

    @property
    def kind(self):
        return "LATHE_IMAGE_PTX" if self.target.startswith("compute_") else "LATHE_IMAGE_CUBIN"

    @property
    def arch(self):
        return arch(self.target)

    @property
    def specific(self):
        return int(self.target.endswith("a"))


def arch(target):
    match = re.fullmatch(r"(?:sm|compute)_(\d+)a?", target)
    if not match or int(match[1]) not in tile.SHARED_LIMIT:
        known = ", ".join(f"sm_{a}" for a in tile.SHARED_LIMIT)
        raise CompileError(f"--archs: {target!r} is no architecture that Lathe knows; give some of {known}, "
                           "sm_90a for Hopper, compute_80 for PTX")
    return int(match[1])


class Nvrtc:
    def __init__(self, path):
        try:
            self.library = ctypes.CDLL(path)
        except OSError as error:
            raise CompileError(f"cannot open NVRTC: {error}; give its path with --nvrtc") from error

    def _call(self, function, *arguments):
        code = getattr(self.library, function)(*arguments)
        if code:
            self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise CompileError(f"{function}: {self.library.nvrtcGetErrorString(code).decode()}")

    def _bytes(self, program, what):
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        data = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, data)
        return data.raw

    def compile(self, name, source, target):
        """A cubin for sm_XY, PTX (with its final zero byte) for compute_XY."""
        return self.compile_with_log(name, source, target)[0]

    def compile_with_log(self, name, source, target):
        """The same, and what the compiler said."""
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), f"{name}.cu".encode(), 0,
                   None, None)
        try:
            options = (f"--gpu-architecture={target}", *OPTIONS)
            array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            code = self.library.nvrtcCompileProgram(program, len(options), array)
            log = self._bytes(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            if code:
                raise CompileError(f"{name} for {target} does not compile:\n{log}")
            return self._bytes(program, "PTX" if target.startswith("compute_") else "CUBIN"), log
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))


def serves(family, target):
    """Is machine code of the family made for this target, or PTX?"""
    policy = schema.ARCHS[family.arch]
    return target.startswith("compute_") or arch(target) in policy.devices and (target.endswith("a") or
                                                                                not policy.specific)


def jobs(catalog, targets):
    """(variant, target), sorted: each architecture's kernels, those of an "a" target for that alone, and as PTX
    those of the rows that ask for it, for every amount of shared memory, as it is not known what device it ends
    on."""
    found = []
    for target in targets:
        ptx = target.startswith("compute_")
        archs = sorted(tile.SHARED_LIMIT) if ptx else [arch(target)]
        found += [(variant, target) for variant in catalog.variants(archs, ptx)
                  if serves(variant.family, target)]
    return found


def compile_all(catalog, targets, nvrtc_path):
    nvrtc = Nvrtc(nvrtc_path)
    bodies = {family: render.body(family) for family in catalog.families}

    def one(job):
        variant, target = job
        source = render.params(variant) + bodies[variant.family]
        return Image(variant.name, target, nvrtc.compile(variant.name, source, target))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(one, jobs(catalog, targets)))
