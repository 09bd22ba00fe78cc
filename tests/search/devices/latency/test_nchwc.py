import numpy as np
import pytest
import torch
from torch.nn import functional

from repareto.search.devices.latency.nchwc import Axis, depthwise_terms, full_terms, pointwise_terms


def counted_taps(axis: Axis) -> list[int]:
    """The same by a convolution of ones, which adds up the taps on the input."""
    after = (axis.written - 1) * axis.stride + axis.dilation * (axis.kernel - 1) + 1 - axis.read - axis.before
    ones = functional.pad(torch.ones(1, 1, axis.read), (axis.before, max(0, after)))
    kernel = torch.ones(1, 1, axis.kernel)
    taps = functional.conv1d(ones, kernel, stride=axis.stride, dilation=axis.dilation)
    return [round(float(value)) for value in taps[0, 0, : axis.written]]


def random_axes(count: int) -> list[Axis]:
    rng = np.random.default_rng(0)
    axes = []
    while len(axes) < count:
        read, kernel, stride, dilation = (int(n) for n in rng.integers(1, (60, 14, 3, 3)))
        before = int(rng.integers(0, kernel))
        written = (read + 2 * before - dilation * (kernel - 1) - 1) // stride + 1
        if written > 0:
            axes.append(Axis(read, kernel, stride, dilation, before, written))
    return axes


@pytest.mark.parametrize("axis", random_axes(40))
def test_taps_on_the_input(axis: Axis) -> None:
    taps = counted_taps(axis)
    assert [axis.taps(position) for position in range(axis.written)] == taps
    assert axis.total_taps() == sum(taps)
    assert max(taps) <= axis.touched() <= axis.kernel
    assert 0 <= axis.middle <= axis.written


def test_edges_of_a_padded_axis() -> None:
    axis = Axis(read=8, kernel=5, stride=1, dilation=1, before=2, written=8)
    assert axis.edges() == (3, 4, 4, 3)
    assert axis.middle == 4
    assert Axis(read=2, kernel=13, stride=1, dilation=1, before=6, written=2).touched() == 3


def test_more_of_anything_is_no_less_work() -> None:
    def axis(length: int, kernel: int) -> Axis:
        return Axis(length, kernel, 1, 1, kernel // 2, length)

    small, large = axis(9, 3), axis(12, 5)
    for smaller, larger in (
        (full_terms(16, 16, small, small, True), full_terms(32, 80, large, large, True)),
        (full_terms(3, 16, small, small, False), full_terms(9, 80, large, large, False)),
        (depthwise_terms(16, small, small), depthwise_terms(80, large, large)),
        (pointwise_terms(16, 80, small, small), pointwise_terms(32, 96, large, large)),
    ):
        assert sum(smaller.values()) < sum(larger.values())
        assert smaller["weights.bytes"] < larger["weights.bytes"]
