import numpy as np
import pytest
import torch
from torch import nn

from repareto.search.devices.file_sizes import planned_file_bytes
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.targets import device

SHAPE = (3, 12, 12)


def net(width: int) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AvgPool2d(12), nn.Flatten(), nn.Linear(width, 5)).eval()


@pytest.mark.parametrize("width", [8, 64])
@pytest.mark.parametrize("name", ["host-onnxruntime", "host-onnxruntime-int8", "host-litert", "host-litert-int8"])
def test_the_plan_is_near_the_file_and_hardly_below(name: str, width: int) -> None:
    target, module = device(name), net(width)
    planned = target.flash(read_module(module, (1, *SHAPE)))
    samples = np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32)
    file_bytes = len(target.convert(module, SHAPE, samples, list("abcde")))
    assert planned.method == "planned"
    assert 0.97 * file_bytes <= planned.value <= 1.1 * file_bytes


def test_integers_take_less_than_floats() -> None:
    graph = read_module(net(64), (1, *SHAPE))
    for runtime in ("onnxruntime", "litert"):
        narrow, wide = device(f"host-{runtime}-int8"), device(f"host-{runtime}")
        lowered = [planned_file_bytes(target.lowered(graph), target.file_name) for target in (narrow, wide)]
        assert lowered[0] < lowered[1] * 0.7
