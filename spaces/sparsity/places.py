"""Values that stand at the places of an activation, most of them the same all over its height and width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

UNKNOWN = float("nan")


def constant(value: float, shape: Sequence[int]) -> Tensor:
    return torch.full((), value, dtype=torch.double).expand(tuple(shape))


def compact(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors of one shape without the axes along which none of them has a memory of its own."""
    for axis in range(tensors[0].dim()):
        if all(tensor.stride(axis) == 0 for tensor in tensors):
            tensors = tuple(tensor.narrow(axis, 0, 1) for tensor in tensors)
    return tensors


def bordered(gone: Tensor, shape: Sequence[int]) -> Tensor:
    """Return by channel what is left between zeros: only zero is still the same everywhere."""
    constants = constants_along(gone, 1)
    return spread(torch.where(constants == 0, 0.0, UNKNOWN), shape, 1)


def along(numbers: Tensor, axis: int) -> Tensor | None:
    """Return what stands along an axis, (size of the axis,), where it is the same all over the other axes."""
    rows = _rows(numbers, axis)
    first = rows[:, 0]
    return first.expand(numbers.shape[axis]) if bool((rows == first[:, None]).all()) else None


def constants_along(values: Tensor, axis: int) -> Tensor:
    """Return for each place along an axis what stands all over the other axes, NaN where that is not the same."""
    rows = _rows(values, axis)
    first = rows[:, 0]
    same = (rows == first[:, None]).all(1)
    return torch.where(same, first, UNKNOWN).expand(values.shape[axis])


def _rows(values: Tensor, axis: int) -> Tensor:
    by_axis = compact(values)[0].movedim(axis, 0)
    return by_axis.reshape(len(by_axis), -1)


def uniform(values: Tensor, axis: int) -> Tensor | None:
    """Return the values without an axis along which they do not change, None where they do."""
    first = values.narrow(axis, 0, 1)
    return first.squeeze(axis) if bool((values == first).all()) else None


def spread(along: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    by_axis = [1] * len(shape)
    by_axis[axis] = -1
    return along.reshape(by_axis).expand(tuple(shape))


def stands_for_many(numbers: Tensor, other: Tensor, shape: Sequence[int]) -> bool:
    """Whether an element of one operand meets several channels of another, as where a map is laid over all of them."""
    aligned = numbers.reshape([1] * (len(shape) - numbers.dim()) + list(numbers.shape))
    whole = other.expand(tuple(shape))
    return any(
        aligned.shape[axis] == 1 < shape[axis]
        and whole.stride(axis)
        and bool((whole != whole.narrow(axis, 0, 1)).any())
        for axis in range(len(shape))
    )


def inner_axes(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Return of a reshape those axes of the result that are all but the first part of one axis that was split."""
    inner: list[int] = []
    old = new = 0
    while old < len(before) and new < len(after):
        left, right, end_old, end_new = before[old], after[new], old + 1, new + 1
        while left != right:
            if left < right:
                left, end_old = left * before[end_old], end_old + 1
            else:
                right, end_new = right * after[end_new], end_new + 1
        long = [axis for axis in range(new, end_new) if after[axis] > 1]
        if end_old - old == 1:
            inner += long[1:]
        old, new = end_old, end_new
    return inner
