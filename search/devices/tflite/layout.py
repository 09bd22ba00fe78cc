"""How the values of a torch tensor lie in the memory of the TFLite tensor that stands for it.

torch computes on channels first, TFLite on channels last. A layout says where each value went: it lists, from the
slowest to the fastest axis in memory, pairs (size, stride), where the stride counts in torch's own row-major order.
(C, H, W) kept as (H, W, C) is ((H * W, 1), (C, H * W)). A torch view (reshape, flatten, unsqueeze, ...) leaves a layout
as it is, so no operator stands for one until somebody needs the values in another order.
"""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

Layout = tuple[tuple[int, int], ...]
Shape = tuple[int, ...]


def strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The row-major stride of each axis, in values."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def canonical(pieces: Iterable[tuple[int, int]]) -> Layout:
    """The same order in memory with the fewest pieces, so that equal orders are equal tuples."""
    merged: list[tuple[int, int]] = []
    for size, stride in pieces:
        if size == 1:
            continue
        if merged and merged[-1][1] == size * stride:
            merged[-1] = (merged[-1][0] * size, stride)
        else:
            merged.append((size, stride))
    return tuple(merged)


def of_axes(shape: Sequence[int], axes: Iterable[int]) -> Layout:
    """The layout of a tensor of torch ``shape`` whose ``axes`` follow in this order in memory."""
    steps = strides(shape)
    return canonical((shape[axis], steps[axis]) for axis in axes)


def plain(shape: Sequence[int]) -> Layout:
    """The layout of torch itself."""
    return of_axes(shape, range(len(shape)))


def split(layout: Layout, shape: Sequence[int]) -> list[tuple[int, int, int]] | None:
    """The pieces (size, stride, axis), each within one axis of the torch ``shape``; None where that cannot be."""
    steps = strides(shape)
    pieces = _cut(layout, {step for step, size in zip(steps, shape, strict=True) if size > 1})
    if pieces is None:
        return None
    found: list[tuple[int, int, int]] = []
    for size, stride in pieces:
        axis = next(a for a, n in enumerate(shape) if n > 1 and steps[a] <= stride < steps[a] * n)
        found.append((size, stride, axis))
    return found


def _cut(layout: Layout, boundaries: set[int]) -> list[tuple[int, int]] | None:
    pieces: list[tuple[int, int]] = []
    for size, stride in layout:
        points = [stride, *sorted(b for b in boundaries if stride < b < stride * size), stride * size]
        pairs = list(itertools.pairwise(points))
        if any(high % low for low, high in pairs):
            return None
        pieces += [(high // low, low) for low, high in reversed(pairs)]
    return pieces


def permuted(layout: Layout, shape: Sequence[int], order: Sequence[int]) -> Layout | None:
    """The layout under ``torch.permute(order)`` of a tensor of ``shape``; None where ``split`` fails."""
    pieces = split(layout, shape)
    if pieces is None:
        return None
    old = strides(shape)
    new = dict(zip(order, strides([shape[axis] for axis in order]), strict=True))
    return canonical((size, stride // old[axis] * new[axis]) for size, stride, axis in pieces)


def by_axis(layout: Layout, shape: Sequence[int]) -> list[list[tuple[int, int]]] | None:
    """For each axis of a TFLite tensor of ``shape``, the pieces that it holds; None where an axis cuts one unevenly."""
    rest = list(layout)
    groups: list[list[tuple[int, int]]] = []
    for axis_size in reversed(shape):
        group: list[tuple[int, int]] = []
        wanted = axis_size
        while wanted > 1:
            size, stride = rest.pop()
            if wanted % size and size % wanted:
                return None
            taken = min(size, wanted)
            group.insert(0, (taken, stride))
            if taken < size:
                rest.append((size // taken, stride * taken))
            wanted //= taken
        groups.insert(0, group)
    return groups


def transposition(source: Layout, target: Layout) -> tuple[Shape, Shape] | None:
    """The shape to see the source in and the permutation that makes it the target; None where two steps are needed."""
    boundaries = {bound for size, stride in (*source, *target) for bound in (stride, stride * size)}
    before, after = _cut(source, boundaries), _cut(target, boundaries)
    if before is None or after is None or sorted(before) != sorted(after):
        return None
    order = [before.index(piece) for piece in after]
    if not order:
        return (), ()
    # Pieces that stay side by side move as one.
    starts = [place for place in range(len(order)) if place == 0 or order[place] != order[place - 1] + 1]
    runs = [order[a:b] for a, b in zip(starts, [*starts[1:], len(order)], strict=True)]
    ranked = sorted(runs)
    shape = tuple(math.prod(before[piece][0] for piece in run) for run in ranked)
    return shape, tuple(ranked.index(run) for run in runs)


def gather_index(layout: Layout) -> np.ndarray:
    """For each place in memory, the place of its value in torch's row-major order."""
    index = np.zeros(1, np.int64)
    for size, stride in layout:
        index = np.add.outer(index, np.arange(size) * stride).reshape(-1)
    return index
