"""A candidate in a few words, for lists of many: ``3x2 branches, 24 ch, 2 exits``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..spaces.space import EXITS_PREFIX, FRONT_END_PREFIX, SPARSITY_PREFIX, TRAINING_PREFIX, Value

WORDS = 3
"""How many parameters of a space with names of its own are told."""
ELSEWHERE = (EXITS_PREFIX, FRONT_END_PREFIX, SPARSITY_PREFIX, TRAINING_PREFIX)


def headline(candidate: Mapping[str, Value]) -> str:
    """Return what tells a candidate from others: its depth and branches, its widest channels, exits, sparsity.

    Of a space without such parameters the first few are named.
    """
    told = [*_network(candidate), *_additions(candidate)]
    return ", ".join(told or (f"{name} {_short(value)}" for name, value in _first(candidate)))


def _network(candidate: Mapping[str, Value]) -> Iterable[str]:
    depth = candidate.get("stages", candidate.get("blocks"))
    branches = _whole(candidate, "conv_branches")
    if isinstance(depth, int) and branches:
        yield f"{depth}x{_range(branches)} branch{'es' if max(branches) > 1 else ''}"
    elif isinstance(depth, int):
        yield f"{depth} blocks"
    if widths := _whole(candidate, "width"):
        yield f"{max(widths)} ch"


def _additions(candidate: Mapping[str, Value]) -> Iterable[str]:
    exits = candidate.get(EXITS_PREFIX + "count", 0)
    if exits:
        yield f"{exits} exit{'s' if exits != 1 else ''}"
    if share := sparse_share(candidate):
        yield f"{share} sparse"
    if SPARSITY_PREFIX + "supernet" in candidate:
        yield "supernet"


def sparse_share(candidate: Mapping[str, Value]) -> str:
    """Return how much of a candidate is taken out, in the mean of its levels, such as ``61 %``; "" of a dense one."""
    levels = [value for name, value in candidate.items() if name.startswith(SPARSITY_PREFIX + "level")]
    fractions = [level for level in levels if isinstance(level, float)]
    return f"{100 * sum(fractions) / len(fractions):.0f} %" if fractions else ""


def _whole(candidate: Mapping[str, Value], name: str) -> list[int]:
    """The whole numbers of that name, of the network or of each of its stages."""
    found = (value for key, value in candidate.items() if key == name or key.endswith("." + name))
    return [value for value in found if isinstance(value, int)]


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}-{high}"


def _first(candidate: Mapping[str, Value]) -> list[tuple[str, Value]]:
    own = [(name, value) for name, value in candidate.items() if not name.startswith(ELSEWHERE)]
    return (own or list(candidate.items()))[:WORDS]


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
