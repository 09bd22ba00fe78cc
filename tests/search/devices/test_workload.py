import pytest
from torch import nn

from repareto.search.devices.torch_reader import read_module
from repareto.search.devices.workload import Work, onnx_runtime_work, plain_work


def works(module: nn.Module, *shape: int) -> list[Work]:
    return list(onnx_runtime_work(read_module(module.eval(), shape)))


def test_plain_work_moves_each_byte_of_a_kernel_once() -> None:
    module = nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.ReLU(), nn.Flatten())
    (work,) = plain_work(read_module(module.eval(), (1, 4, 10)))
    moved = 4 * 10 + 8 * 4 * 3 + 8 + 8 * 10
    assert work == Work("conv", macs=8 * 10 * 12, nbytes=4 * moved)


def test_aligned_2d_convolutions_are_padded_to_blocks() -> None:
    (full,) = works(nn.Conv2d(8, 24, 3, padding=1), 1, 8, 5, 5)
    assert (full.kind, full.macs) == ("conv2d", 32 * 25 * 8 * 9)
    (point,) = works(nn.Conv2d(16, 16, 1), 1, 16, 5, 5)
    assert (point.kind, point.macs) == ("pointwise_conv2d", 16 * 16 * 25)
    (deep,) = works(nn.Conv2d(16, 16, 3, groups=16), 1, 16, 5, 5)
    assert (deep.kind, deep.macs) == ("depthwise_conv2d", 16 * 9 * 9)


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Conv1d(8, 8, 1), (1, 8, 10), [("product_conv1d", 1)]),
        (nn.Conv1d(8, 8, 1, stride=2), (1, 8, 10), [("product_conv1d", 1), ("windows1d", 8)]),
        (nn.Conv1d(8, 8, 3), (1, 8, 10), [("product_conv1d", 1), ("windows1d", 24)]),
        (nn.Conv1d(8, 8, 3, groups=8), (1, 8, 10), [("grouped_conv1d", 8), ("windows1d", 24)]),
        (nn.Conv2d(8, 7, 3), (1, 8, 6, 9), [("product_conv2d", 1), ("windows2d", 8 * 9 * 4)]),
    ],
    ids=["pointwise", "strided", "full", "depthwise", "unaligned"],
)
def test_other_convolutions_are_products_of_copied_windows(
    module: nn.Module, shape: tuple[int, ...], expected: list[tuple[str, int]]
) -> None:
    assert [(work.kind, work.calls) for work in works(module, *shape)] == expected


def test_views_cost_nothing() -> None:
    assert works(nn.Flatten(), 1, 8, 10) == []
