"""What answers at an exit: a small classifier of a feature map, of operators that every runtime runs well."""

from __future__ import annotations

from torch import nn

from ..layers import normed_conv

HEADS = ("linear", "pool-linear", "conv")
"""Of the whole map; of its mean over both axes; of that behind a depthwise separable convolution of stride 2."""


def head(kind: str, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return a head of one of ``HEADS``: (batch, *shape) -> (batch, classes)."""
    channels, height, width = shape
    if kind == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, classes))
    layers: list[nn.Module] = []
    if kind == "conv":
        kernel = (1 if height == 1 else 3, 3)
        stride = (1 if height == 1 else 2, 2)
        layers += [normed_conv(channels, channels, kernel, stride=stride, groups=channels)]
        layers += [normed_conv(channels, channels, (1, 1)), nn.ReLU()]
        height, width = -(-height // stride[0]), -(-width // stride[1])
    # A pool of fixed size, not a mean: several runtimes do not delegate means.
    return nn.Sequential(*layers, nn.AvgPool2d((height, width)), nn.Flatten(), nn.Linear(channels, classes))
