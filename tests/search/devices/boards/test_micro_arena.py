"""The predicted arena against the one that TensorFlow Lite Micro asks for."""

import random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from repareto.search.devices.boards.micro_arena import predict_arena, unmeasured_operators
from repareto.search.devices.boards.tflite_micro import measure_arena
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.lower import lower
from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN

SHAPES = ((40, 101), (1, 49, 10), (3, 32, 32))


def assert_exact(module: nn.Module, shape: tuple[int, ...], precision: str = "int8") -> None:
    graph = lower(read_module(module, (1, *shape)), precision)
    predicted, measured = predict_arena(graph), measure_arena(convert(module, (1, *shape), precision))
    assert (predicted.head_bytes, predicted.tail_bytes) == (measured.head_bytes, measured.tail_bytes)
    assert unmeasured_operators(graph) == ()


@pytest.mark.parametrize("seed", range(9))
def test_candidates_of_the_search_space(seed: int) -> None:
    space, shape = RepCNN(), SHAPES[seed % len(SHAPES)]
    with torch.device("meta"):
        module = fused_copy(space.build(space.draw(random.Random(seed)), shape, 12).eval())
    assert_exact(module, shape)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second, self.third = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.linear = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        z = functional.hardswish(self.second(y))
        w = torch.cat([self.third(z) + y, z], 1)[:, :16]
        return torch.softmax(self.linear(w.mean((2, 3))), -1)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.down, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.first(x))
        y = y * torch.sigmoid(self.up(torch.relu(self.down(functional.avg_pool2d(y, 12)))))
        y = functional.max_pool2d(torch.tanh(y) - y, 2)
        return self.linear(functional.avg_pool2d(y, 6).flatten(1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(16), nn.Linear(16, 5)
        self.query, self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        weights = torch.softmax(torch.bmm(self.query(y), self.key(y).transpose(1, 2)) * 0.25, -1)
        return self.linear((x + torch.bmm(weights, self.value(y))).mean(1))


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize(
    ("module", "shape"), [(Residual(), (3, 16, 16)), (Gated(), (3, 12, 12)), (Attention(), (10, 16))]
)
def test_graphs_with_branches_scratch_buffers_and_copies(
    module: nn.Module, shape: tuple[int, ...], precision: str
) -> None:
    assert_exact(module.eval(), shape, precision)
