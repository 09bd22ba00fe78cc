"""Small torch modules, one for each thing that a lowering has to get right."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Calls(nn.Module):
    """A module that is a function of its input and of some parts."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.function = nn.ModuleList(parts), function

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.parts)


def flat(*layers: nn.Module, features: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 3))


IMAGE, SEQUENCE, ROWS = (4, 9, 9), (4, 20), (6, 8)

# name -> how to make it, the shape of its input without the batch, the TFLite operators that are to come out.
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "conv1d": (
        lambda: flat(nn.Conv1d(4, 6, 3, padding=1), nn.ReLU(), features=120),
        SEQUENCE, "CONV_2D FULLY_CONNECTED",
    ),
    "conv1d by two": (
        lambda: flat(nn.Conv1d(4, 6, 5, 2, 2), nn.ReLU6(), nn.AdaptiveAvgPool1d(1), features=6),
        SEQUENCE, "PAD CONV_2D AVERAGE_POOL_2D FULLY_CONNECTED",
    ),
    "causal": (
        lambda: flat(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(4, 6, 3), nn.ReLU(), features=120),
        SEQUENCE, "PAD CONV_2D FULLY_CONNECTED",
    ),
    "pad that is SAME": (
        lambda: flat(nn.ConstantPad2d((1, 1, 0, 1), 0.0), nn.Conv2d(4, 6, (2, 3)), features=486),
        IMAGE, "CONV_2D FULLY_CONNECTED",
    ),
    "pad with ones": (
        lambda: flat(nn.ConstantPad2d(1, 1.0), nn.Conv2d(4, 6, 3), features=486),
        IMAGE, "PADV2 CONV_2D FULLY_CONNECTED",
    ),
    "depthwise with a multiplier": (
        lambda: flat(nn.Conv2d(4, 8, 3, padding=1, groups=4), nn.ReLU(), nn.Conv2d(8, 2, 1), features=162),
        IMAGE, "DEPTHWISE_CONV_2D CONV_2D FULLY_CONNECTED",
    ),
    "groups": (
        lambda: flat(nn.Conv2d(4, 8, 3, padding=1, groups=2), features=648), IMAGE, "CONV_2D FULLY_CONNECTED",
    ),
    "no bias": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.Flatten(), nn.Linear(392, 3, bias=False)),
        IMAGE, "CONV_2D FULLY_CONNECTED",
    ),
    "dilation": (
        lambda: flat(nn.Conv2d(4, 8, 3, dilation=2, padding=2), nn.Conv2d(8, 8, 3, dilation=2), features=200),
        IMAGE, "CONV_2D CONV_2D FULLY_CONNECTED",
    ),
    "stride on an even size": (
        lambda: flat(nn.Conv2d(4, 8, 3, 2, 1), features=200), (4, 10, 10), "PAD CONV_2D FULLY_CONNECTED",
    ),
    "stride on an odd size": (
        lambda: flat(nn.Conv2d(4, 8, 3, 2, 1), features=200), (4, 9, 9), "CONV_2D FULLY_CONNECTED",
    ),
    "strides and sizes that differ": (
        lambda: flat(nn.Unflatten(1, (1, 20)), nn.Conv2d(1, 6, (5, 3), (2, 1), (2, 1)), features=540),
        (20, 9), "PAD CONV_2D FULLY_CONNECTED",
    ),
    "residual": (
        lambda: Calls(
            lambda x, a, b, c: c(F.relu(a(x) + b(x)).mean((2, 3))),
            nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(4, 8, 1), nn.Linear(8, 3),
        ),
        IMAGE, "CONV_2D CONV_2D ADD AVERAGE_POOL_2D FULLY_CONNECTED",
    ),
    "an activation that is read twice": (
        lambda: Calls(
            lambda x, a, b: b((lambda y: F.relu(y) - y)(a(x)).flatten(1)), nn.Conv2d(4, 8, 3), nn.Linear(392, 3)
        ),
        IMAGE, "CONV_2D RELU SUB FULLY_CONNECTED",
    ),
    "an activation of a joint": (
        lambda: Calls(lambda x, a: a(F.relu(torch.cat([x, x * 2], 1)).flatten(1)), nn.Linear(648, 3)),
        IMAGE, "MUL CONCATENATION RELU FULLY_CONNECTED",
    ),
    "maximum pools": (
        lambda: flat(nn.Conv2d(4, 8, 3), nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), features=32),
        IMAGE, "CONV_2D MAX_POOL_2D MAX_POOL_2D FULLY_CONNECTED",
    ),
    "maximum pool with its own padding": (
        lambda: flat(nn.Conv2d(4, 8, 2), nn.MaxPool2d(3, 2, 1), features=128),
        IMAGE, "CONV_2D PADV2 MAX_POOL_2D FULLY_CONNECTED",
    ),
    "maximum pool in ceil mode": (
        lambda: flat(nn.Conv2d(4, 8, 3), nn.MaxPool2d(2, ceil_mode=True), features=128),
        IMAGE, "CONV_2D MAX_POOL_2D FULLY_CONNECTED",
    ),
    "average pool that counts its zeros": (
        lambda: flat(nn.Conv2d(4, 8, 3), nn.AvgPool2d(3, 2, 1), features=128),
        IMAGE, "CONV_2D PAD AVERAGE_POOL_2D FULLY_CONNECTED",
    ),
    "average pool without its zeros": (
        lambda: flat(nn.Conv2d(4, 8, 3), nn.AvgPool2d(3, 2, 1, count_include_pad=False), features=128),
        IMAGE, "CONV_2D AVERAGE_POOL_2D FULLY_CONNECTED",
    ),
    "adaptive pool": (
        lambda: flat(nn.Conv2d(4, 8, 2), nn.AdaptiveAvgPool2d(2), features=32),
        IMAGE, "CONV_2D AVERAGE_POOL_2D FULLY_CONNECTED",
    ),
    "spatial maximum": (
        lambda: Calls(lambda x, a, b: b(a(x).amax((2, 3))), nn.Conv2d(4, 8, 3), nn.Linear(8, 3)),
        IMAGE, "CONV_2D MAX_POOL_2D FULLY_CONNECTED",
    ),
    "mean over the channels": (
        lambda: Calls(lambda x, a, b: b(a(x).mean(1).flatten(1)), nn.Conv2d(4, 8, 3), nn.Linear(49, 3)),
        IMAGE, "CONV_2D MEAN FULLY_CONNECTED",
    ),
    "activations": (
        lambda: flat(
            nn.Conv2d(4, 8, 3), nn.Hardswish(), nn.SiLU(), nn.Sigmoid(), nn.Tanh(), nn.Conv2d(8, 8, 1), nn.Hardtanh(),
            nn.LeakyReLU(0.1), nn.Hardsigmoid(), nn.ELU(), features=392,
        ),
        IMAGE,
        "CONV_2D HARD_SWISH LOGISTIC MUL LOGISTIC TANH CONV_2D LEAKY_RELU ADD MUL ELU FULLY_CONNECTED",
    ),
    "slopes of each channel": (
        lambda: flat(nn.Conv2d(4, 8, 3), nn.PReLU(8), features=392), IMAGE, "CONV_2D PRELU FULLY_CONNECTED",
    ),
    "limits of its own": (
        lambda: flat(nn.Conv2d(4, 8, 2), nn.Hardtanh(0, 3), features=512),
        IMAGE, "CONV_2D MAXIMUM MINIMUM FULLY_CONNECTED",
    ),
    "softmax": (
        lambda: nn.Sequential(flat(features=12), nn.Softmax(-1)), (3, 4), "FULLY_CONNECTED SOFTMAX",
    ),
    "logarithm of softmax": (
        lambda: nn.Sequential(flat(features=12), nn.LogSoftmax(-1)), (3, 4), "FULLY_CONNECTED LOG_SOFTMAX",
    ),
    "softmax over the channels": (
        lambda: flat(nn.Conv2d(4, 8, 3), nn.Softmax(1), features=392), IMAGE, "CONV_2D SOFTMAX FULLY_CONNECTED",
    ),
    "joint": (
        lambda: Calls(
            lambda x, a, b, c: c(torch.cat([a(x), b(x)], 1).flatten(1)),
            nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(4, 3, 1), nn.Linear(891, 3),
        ),
        IMAGE, "CONV_2D CONV_2D CONCATENATION FULLY_CONNECTED",
    ),
    "gates": (
        lambda: Calls(
            lambda x, a, b: b((lambda p, q: p * torch.sigmoid(q))(*a(x).chunk(2, 1)).flatten(1)),
            nn.Conv2d(4, 8, 3), nn.Linear(196, 3),
        ),
        IMAGE, "CONV_2D SLICE SLICE LOGISTIC MUL FULLY_CONNECTED",
    ),
    "a part of each axis": (
        lambda: Calls(lambda x, a, b: b(a(x)[:, 2:5, 1:, :-2].flatten(1)), nn.Conv2d(4, 8, 3), nn.Linear(90, 3)),
        IMAGE, "CONV_2D SLICE SLICE SLICE FULLY_CONNECTED",
    ),
    "squeeze and excite": (
        lambda: Calls(
            lambda x, a, b, c: c((lambda y: y * torch.sigmoid(b(y.mean((2, 3), keepdim=True))))(a(x)).mean((2, 3))),
            nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 3),
        ),
        IMAGE, "CONV_2D AVERAGE_POOL_2D CONV_2D LOGISTIC MUL AVERAGE_POOL_2D FULLY_CONNECTED",
    ),
    "numbers": (
        lambda: Calls(lambda x, a: a((1 - (x + 0.5) * 2 / 3).flatten(1)), nn.Linear(324, 3)),
        IMAGE, "ADD MUL MUL SUB FULLY_CONNECTED",
    ),
    "a constant of each channel": (
        lambda: Calls(
            lambda x, a, b: b((a(x) + torch.arange(8.0).view(8, 1, 1) / 8).flatten(1)),
            nn.Conv2d(4, 8, 3), nn.Linear(392, 3),
        ),
        IMAGE, "CONV_2D ADD FULLY_CONNECTED",
    ),
    "a batch norm in front": (
        lambda: flat(nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3), features=392), IMAGE, "MUL ADD CONV_2D FULLY_CONNECTED",
    ),
    "a shuffle of channels": (
        lambda: Calls(
            lambda x, a, b: b(a(x).view(1, 2, 4, 7, 7).transpose(1, 2).reshape(1, 8, 7, 7).flatten(1)),
            nn.Conv2d(4, 8, 3), nn.Linear(392, 3),
        ),
        IMAGE, "CONV_2D FULLY_CONNECTED",
    ),
    "upsampling": (
        lambda: flat(
            nn.Conv2d(4, 8, 3), nn.Upsample(scale_factor=2), nn.Conv2d(8, 2, 3),
            nn.Upsample(scale_factor=2, mode="bilinear"), features=1152,
        ),
        IMAGE, "CONV_2D RESIZE_NEAREST_NEIGHBOR CONV_2D RESIZE_BILINEAR FULLY_CONNECTED",
    ),
    "rows": (
        lambda: flat(nn.Linear(8, 16), nn.ReLU(), features=96), ROWS, "FULLY_CONNECTED FULLY_CONNECTED",
    ),
    "columns": (
        lambda: Calls(lambda x, a, b: b(a(x.transpose(1, 2)).mean(1)), nn.Linear(6, 8), nn.Linear(8, 3)),
        ROWS, "FULLY_CONNECTED ADD AVERAGE_POOL_2D FULLY_CONNECTED",
    ),
    "layer norm": (
        lambda: flat(nn.Linear(8, 16), nn.LayerNorm(16), features=96),
        ROWS,
        "FULLY_CONNECTED MEAN SQUARED_DIFFERENCE MEAN ADD RSQRT SUB MUL MUL ADD FULLY_CONNECTED",
    ),
    "a weight that is used twice": (
        lambda: Calls(lambda x, a, b: b(a(a(x)).flatten(1)), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(324, 3)),
        IMAGE, "CONV_2D CONV_2D FULLY_CONNECTED",
    ),
    "a feature map": (lambda: nn.Conv2d(4, 8, 3), IMAGE, "CONV_2D"),
    "an image that is turned": (
        lambda: flat(nn.Conv2d(4, 8, 3), Calls(lambda x: x.transpose(2, 3)), nn.Conv2d(8, 2, 3), features=50),
        IMAGE, "CONV_2D TRANSPOSE CONV_2D FULLY_CONNECTED",
    ),
    "attention": (
        lambda: flat(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0), features=48),
        ROWS,
        "FULLY_CONNECTED SLICE SLICE SLICE MUL MUL RESHAPE TRANSPOSE RESHAPE TRANSPOSE BATCH_MATMUL SOFTMAX RESHAPE "
        "TRANSPOSE BATCH_MATMUL TRANSPOSE RESHAPE FULLY_CONNECTED ADD MEAN SQUARED_DIFFERENCE MEAN ADD RSQRT SUB MUL "
        "MUL ADD FULLY_CONNECTED FULLY_CONNECTED ADD MEAN SQUARED_DIFFERENCE MEAN ADD RSQRT SUB MUL MUL ADD "
        "FULLY_CONNECTED",
    ),
}  # fmt: skip


def make(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A model in evaluation mode, with the shape of its input, the batch included; the same weights each time."""
    maker, shape, _ = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return maker().eval(), (1, *shape)


def features(shape: tuple[int, ...], count: int = 24) -> Tensor:
    """Inputs (count, *shape[1:]) for a model of input ``shape``."""
    return torch.randn(count, *shape[1:], generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def answers(module: nn.Module, inputs: Tensor) -> Tensor:
    """What torch computes for each input alone: (count, ...)."""
    return torch.cat([module(row[None]) for row in inputs])
