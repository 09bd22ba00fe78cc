"""Quantities as people write them: ``2 ms``, ``64KiB``, ``15%``, ``10m``, ``1.5M``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..spaces.errors import UserError

DURATIONS_US: Mapping[str, float] = {
    "ns": 1e-3,
    "us": 1,
    "µs": 1,
    "ms": 1e3,
    "s": 1e6,
    "m": 60e6,
    "min": 60e6,
    "h": 3600e6,
}
SIZES_BYTES: Mapping[str, float] = {
    "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
FRACTIONS: Mapping[str, float] = {"": 1, "%": 0.01}
COUNTS: Mapping[str, float] = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}

KINDS: Mapping[str, tuple[Mapping[str, float], str, str]] = {
    "duration": (DURATIONS_US, "a duration", "2 ms"),
    "size": (SIZES_BYTES, "a size", "64 KiB"),
    "fraction": (FRACTIONS, "a fraction", "15%"),
    "count": (COUNTS, "a number", "1.5M"),
}


def parse_quantity(text: object, kind: str) -> float:
    """Return a quantity in its base unit: microseconds, bytes, a fraction or a count.

    Raises :class:`UserError` for an unknown unit, a missing one, or a number that is not positive and finite.
    """
    units, noun, example = KINDS[kind]
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Zµ%]*)\s*", str(text))
    if not match or match[2] not in units:
        raise UserError(f'"{text}": not {noun} (try "{example}")')
    value = float(match[1]) * units[match[2]]
    if not 0 < value < float("inf"):
        raise UserError(f'"{text}": {noun} must be positive (try "{example}")')
    return value


def format_quantity(value: float, kind: str) -> str:
    """Return a short text for people, in the largest unit that leaves at least one."""
    if kind == "fraction":
        return f"{100 * value:.2f} %"
    names = {
        "duration": (("s", 1e6), ("ms", 1e3), ("us", 1)),
        "size": (("MiB", 2**20), ("KiB", 2**10), ("B", 1)),
        "count": (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1)),
    }[kind]
    unit, factor = next(((name, size) for name, size in names if abs(value) >= size), names[-1])
    return f"{value / factor:.4g} {unit}".strip()
