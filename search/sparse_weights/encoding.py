"""The encoding: tensors one after the other, each in that of four forms that takes the fewest bytes.

All numbers are little-endian and unaligned.

    file    "RPSW", version u16 = 1, zero u16, tensors u32, then each tensor
    tensor  form u8, type u8, dimensions u8, bytes of the name u8, each dimension u32, values u32, bytes of the
            payload u32, name (UTF-8), payload

    form 0  all elements
    form 1  a bit an element, the first in the lowest bit of the first byte, 1 where it is stored; then those values
    form 2  gaps of 4 bits, the first in the lower half of the first byte; then the values
    form 3  gaps of 8 bits; then the values

A gap says how many zeros stand before the next value; the largest gap, of all ones, is so many zeros and no value.
Values come back bit for bit, and of a zero the sign is lost. ``decoder.c`` reads the same.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from ...spaces.errors import UserError

MAGIC, VERSION = b"RPSW", 1
ALL, BITMAP, GAPS_4, GAPS_8 = range(4)
TYPES = tuple(np.dtype(name) for name in ("<f4", "i1", "u1", "<i4", "<i8"))
_HEADER, _TENSOR = struct.Struct("<4sHHI"), struct.Struct("<BBBB")
_SIZES = struct.Struct("<II")


def encode(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return tensors of one of ``TYPES``, each of fewer than 2^32 elements and a name of at most 255 bytes."""
    parts = [_HEADER.pack(MAGIC, VERSION, 0, len(tensors))]
    for name, tensor in tensors.items():
        kind = TYPES.index(tensor.dtype.newbyteorder("<") if tensor.dtype.itemsize > 1 else tensor.dtype)
        flat = np.ascontiguousarray(tensor, TYPES[kind]).reshape(-1)
        places = np.flatnonzero(flat)
        values = flat[places].tobytes()
        forms = [(flat.tobytes(), ALL, flat.size), (_bitmap(places, flat.size) + values, BITMAP, places.size)]
        forms += [(_gaps(places, width) + values, form, places.size) for form, width in ((GAPS_4, 4), (GAPS_8, 8))]
        payload, form, count = min(forms, key=lambda form: len(form[0]))
        label = name.encode()
        parts += [_TENSOR.pack(form, kind, tensor.ndim, len(label)), struct.pack(f"<{tensor.ndim}I", *tensor.shape)]
        parts += [_SIZES.pack(count, len(payload)), label, payload]
    return b"".join(parts)


def decode(content: bytes) -> dict[str, np.ndarray]:
    """Return what :func:`encode` was given; raises :class:`UserError` for a file that is cut short or damaged."""
    try:
        return _decoded(content)
    except (struct.error, ValueError, IndexError) as error:
        raise UserError(f"sparse weights: the file is damaged ({error})") from error


def _decoded(content: bytes) -> dict[str, np.ndarray]:
    magic, version, _, count = _HEADER.unpack_from(content)
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError(f"it begins with {magic!r}, version {version}")
    at = _HEADER.size
    tensors = {}
    for _ in range(count):
        form, kind, dimensions, label_bytes = _TENSOR.unpack_from(content, at)
        at += _TENSOR.size
        shape = struct.unpack_from(f"<{dimensions}I", content, at)
        at += 4 * dimensions
        stored, payload_bytes = _SIZES.unpack_from(content, at)
        at += _SIZES.size
        label = content[at : at + label_bytes].decode()
        at += label_bytes
        payload = content[at : at + payload_bytes]
        at += payload_bytes
        if len(payload) != payload_bytes:
            raise ValueError(f"{label!r} is cut short")
        tensors[label] = _filled(payload, form, TYPES[kind], stored, int(np.prod(shape, dtype=np.int64))).reshape(shape)
    return tensors


def _filled(payload: bytes, form: int, dtype: np.dtype, stored: int, size: int) -> np.ndarray:
    split = len(payload) - stored * dtype.itemsize
    if split < 0:
        raise ValueError(f"{len(payload)} bytes for {stored} values")
    head, values = np.frombuffer(payload[:split], np.uint8), np.frombuffer(payload[split:], dtype)
    if form == ALL:
        return values.copy()
    if form == BITMAP:
        places = np.flatnonzero(np.unpackbits(head, count=size, bitorder="little"))
    else:
        gaps = head if form == GAPS_8 else np.stack([head & 15, head >> 4], 1).reshape(-1)
        ends = gaps < (255 if form == GAPS_8 else 15)
        places = (np.cumsum(gaps.astype(np.int64) + ends) - 1)[ends][:stored]
    flat = np.zeros(size, dtype)
    flat[places] = values
    return flat


def _bitmap(places: np.ndarray, size: int) -> bytes:
    marks = np.zeros(size, np.uint8)
    marks[places] = 1
    return np.packbits(marks, bitorder="little").tobytes()


def _gaps(places: np.ndarray, width: int) -> bytes:
    """The gaps before each place, as ``width`` bits each; odd halves end with one of no value."""
    most = (1 << width) - 1
    whole, rest = np.divmod(np.diff(places, prepend=-1) - 1, most)
    ends = np.cumsum(whole + 1) - 1
    codes = np.full(ends[-1] + 1 if len(ends) else 0, most, np.uint8)
    codes[ends] = rest
    if width == 8:
        return codes.tobytes()
    if len(codes) % 2:
        codes = np.append(codes, np.uint8(most))
    return (codes[::2] | codes[1::2] << 4).astype(np.uint8).tobytes()
