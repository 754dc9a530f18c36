# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""What a cubin says of its kernels' resources, read from the ELF: no tool of the toolkit is needed."""
import struct
from dataclasses import dataclass

# Attributes of .nv.info, each with a symbol's index and a number
FRAME_SIZE, MIN_STACK_SIZE, REGISTERS = 0x11, 0x12, 0x2F
WITH_PAYLOAD = 4  # formats below it have their value in the header
RESERVED = 1024   # bytes that the driver keeps of a block's shared memory; counted in from sm_90 on


@dataclass
class Resources:
    registers: int = 0
    local: int = 0   # bytes a thread: spills and stack
    shared: int = 0  # bytes a block, static


def _text(data, at):
    return data[at:data.index(b'\0', at)].decode()


def kernels(cubin):
    """Name to Resources, for every kernel of a cubin."""
    if cubin[:4] != b'\x7fELF':
        raise ValueError('not an ELF file')
    offset, = struct.unpack_from('<Q', cubin, 0x28)
    size, count, names = struct.unpack_from('<HHH', cubin, 0x3A)
    # name, type, flags, address, offset, size, link
    headers = [struct.unpack_from('<IIQQQQI', cubin, offset + size * i) for i in range(count)]
    sections = {_text(cubin, headers[names][4] + h[0]): h for h in headers}
    found = {name[6:]: Resources() for name in sections if name.startswith('.text.')}
    for name, resources in found.items():
        if f'.nv.shared.{name}' in sections:
            resources.shared = sections[f'.nv.shared.{name}'][5]
            if '.nv.shared.reserved.0' in sections:
                resources.shared -= RESERVED

    symbols = sections['.symtab']
    strings = headers[symbols[6]][4]
    info = sections['.nv.info']
    at, end = info[4], info[4] + info[5]
    while at < end:
        form, attribute, length = struct.unpack_from('<BBH', cubin, at)
        at += 4
        if form != WITH_PAYLOAD:
            continue
        if attribute in (FRAME_SIZE, MIN_STACK_SIZE, REGISTERS):
            symbol, value = struct.unpack_from('<II', cubin, at)
            name = _text(cubin, strings + struct.unpack_from('<I', cubin, symbols[4] + 24 * symbol)[0])
            if name in found and attribute == REGISTERS:
                found[name].registers = value
            elif name in found:
                found[name].local = max(found[name].local, value)
        at += length
    return found
