"""The reference models of MLPerf Tiny as a search space of four points: something known to measure an estimator by.

Architectures after the training code of MLPerf Tiny v1 (Apache-2.0, github.com/mlcommons/tiny, benchmark/training:
``keyword_spotting/keras_model.py``, ``image_classification/keras_model.py``, ``visual_wake_words/vww_model.py`` and
``anomaly_detection/keras_model.py``). The final softmax is left out, as everywhere here: a model gives logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .branches import Fusable
from .errors import UserError
from .kernels import KernelAndBias, Statistics, fold_batch_norm
from .space import Candidate, Choice, Parameter, SearchSpace

# Keras' default, which the reference models are trained with.
_NORM_EPS, _NORM_MOMENTUM = 1e-3, 0.01
_SMALLEST_SIDE = 4


@dataclass(frozen=True)
class Published:
    """What is published of one reference model, for its own input shape and number of outputs.

    ``keras_parameters`` are as Keras counts them: four for each channel of a batch normalisation, which fusion takes
    away. ``fused_parameters`` and ``macs`` are those of the published int8 files. ``arena_bytes`` and ``file_bytes``
    were published for a TFLite Micro of the Silicon Labs SDK and its int8 files (mltk 2022-02, ``mltk summarize``;
    the file in steps of 100 bytes): they hold what the others add, such as a softmax and float inputs.
    """

    input_shape: tuple[int, ...]
    classes: int
    keras_parameters: int
    fused_parameters: int
    macs: int
    arena_bytes: int
    file_bytes: int


# Keras parameters: what ``model.summary()`` prints (for resnet8, in image_classification/Logs of MLPerf Tiny).
# MACs: the model cards of siliconlabs/mltk, mltk/models/tinyml, say 2.657 M, 12.502 M, 7.490 M and 264.192 k; they
# list all weight shapes too, whose sizes add up to the fused parameters.
PUBLISHED: Mapping[str, Published] = {
    "ds_cnn": Published((1, 49, 10), 12, 24_908, 22_604, 2_656_768, 21_424, 53_700),
    "resnet8": Published((3, 32, 32), 10, 78_666, 77_706, 12_501_632, 53_972, 99_300),
    "mobilenet_v1": Published((3, 96, 96), 2, 221_794, 210_850, 7_489_664, 156_424, 334_200),
    "autoencoder": Published((640,), 640, 269_992, 265_864, 264_192, 9_396, 280_300),
}


class Normed(Fusable):
    """A convolution or linear layer with a bias, followed by batch normalisation, as Keras users write it.

    ``padding`` are zeros before and after each axis, last axis first, as ``torch.nn.functional.pad`` takes them.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:
        super().__init__()
        self.layer, self.padding = layer, padding
        norm = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
        self.norm = norm(layer.weight.shape[0], eps=_NORM_EPS, momentum=_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(F.pad(x, self.padding) if any(self.padding) else x))

    def fused(self) -> nn.Module:
        """Return the one layer, with a zero pad before it only where the padding is not symmetric."""
        norm, layer = self.norm, self.layer
        assert norm.running_mean is not None and norm.running_var is not None and layer.bias is not None
        values = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        mean, variance, weight, shift = (value.detach().double() for value in values)
        statistics = Statistics(mean, variance, weight, shift, norm.eps)
        given = KernelAndBias(layer.weight.detach().double(), layer.bias.detach().double())
        kernel, bias = (tensor.to(layer.weight.dtype) for tensor in fold_batch_norm(given, statistics))
        left, right, top, bottom = self.padding
        symmetric = (left, top) == (right, bottom)
        folded = _empty_copy(layer, (top, left) if symmetric else (0, 0))
        folded.weight, folded.bias = nn.Parameter(kernel), nn.Parameter(bias)
        folded.train(self.training)
        return folded if symmetric else nn.Sequential(nn.ZeroPad2d(self.padding), folded)


def _empty_copy(layer: nn.Conv2d | nn.Linear, padding: tuple[int, int]) -> nn.Conv2d | nn.Linear:
    """Return a layer of the same form without weights, a convolution with a padding of its own."""
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features, device="meta")
    return nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=padding,
        groups=layer.groups,
        device="meta",
    )


class Residual(nn.Module):
    """Two normed convolutions beside a shortcut, which has a convolution of its own where the form changes."""

    def __init__(self, first: Normed, second: Normed, shortcut: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.shortcut = first, second, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.second(torch.relu(self.first(x))))


@dataclass(frozen=True)
class MLPerfTiny(SearchSpace):
    """The four reference models. Narrow ``model`` to one of them; nothing else can be chosen.

    A model is the published one for the input shape and number of outputs in ``PUBLISHED``, and is fitted to others:
    the convolutional ones take (channels, height, width) or (height, width), the autoencoder anything.
    """

    name: ClassVar[str] = "mlperf_tiny"

    model: Choice = Choice(tuple(PUBLISHED))

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("model", self.model),)

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        model = str(candidate["model"])
        if model == "autoencoder":
            return _autoencoder(input_shape, classes)
        image_shape = input_shape if len(input_shape) == 3 else (1, *input_shape)
        if len(image_shape) != 3 or min(image_shape[1:]) < _SMALLEST_SIDE:
            raise UserError(
                f"space mlperf_tiny: {model} cannot take inputs of shape {input_shape} "
                f"(give channels, height and width of at least {_SMALLEST_SIDE}, or narrow model to autoencoder)"
            )
        network = _BUILDERS[model](image_shape, classes)
        if len(input_shape) == 2:
            return nn.Sequential(nn.Unflatten(1, (1, input_shape[0])), *network)
        return network


def _ds_cnn(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Keyword spotting: a convolution and four depthwise separable ones, after Hello Edge (arXiv 1711.07128)."""
    channels, height, width = input_shape
    rows, columns, filters = -(-height // 2), -(-width // 2), 64
    layers: list[nn.Module] = [_conv(channels, filters, (10, 4), 2, (height, width)), nn.ReLU(), nn.Dropout(0.2)]
    for _ in range(4):
        layers += _separable(filters, filters, 1, (rows, columns))
    # As published: of 25 frames, the last stays out of the pool.
    pool = nn.AvgPool2d((height // 2, width // 2))
    return nn.Sequential(*layers, nn.Dropout(0.4), pool, nn.Flatten(), nn.Linear(filters, classes))


def _resnet8(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Image classification: three residual blocks, of which the last two halve the image."""
    channels, *sides = input_shape
    layers: list[nn.Module] = [_conv(channels, 16, (3, 3), 1, sides), nn.ReLU()]
    width = 16
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        halved = [-(-side // stride) for side in sides]
        first = _conv(width, filters, (3, 3), stride, sides)
        second = _conv(filters, filters, (3, 3), 1, halved)
        # Not normed in the reference, and so no layer of ours.
        shortcut = nn.Identity() if stride == 1 else nn.Conv2d(width, filters, 1, stride=stride)
        layers.append(Residual(first, second, shortcut))
        width, sides = filters, halved
    return nn.Sequential(*layers, nn.AvgPool2d((sides[0], sides[1])), nn.Flatten(), nn.Linear(width, classes))


def _mobilenet_v1(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Visual wake words: MobileNetV1 (arXiv 1704.04861) of a quarter of the width."""
    channels, *sides = input_shape
    width = 8
    layers: list[nn.Module] = [_conv(channels, width, (3, 3), 2, sides), nn.ReLU()]
    sides = [-(-side // 2) for side in sides]
    plan = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for filters, stride in plan:
        layers += _separable(width, filters, stride, sides)
        width, sides = filters, [-(-side // stride) for side in sides]
    return nn.Sequential(*layers, nn.AvgPool2d((sides[0], sides[1])), nn.Flatten(), nn.Linear(width, classes))


def _autoencoder(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Anomaly detection: eight layers of 128 around one of 8; the outputs stand for the inputs again."""
    widths = [torch.Size(input_shape).numel(), *[128] * 4, 8, *[128] * 4]
    layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
    for read, written in pairwise(widths):
        layers += [Normed(nn.Linear(read, written)), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


_BUILDERS: Mapping[str, Callable[[tuple[int, ...], int], nn.Sequential]] = {
    "ds_cnn": _ds_cnn,
    "resnet8": _resnet8,
    "mobilenet_v1": _mobilenet_v1,
}


def _separable(width: int, filters: int, stride: int, sides: list[int] | tuple[int, ...]) -> list[nn.Module]:
    """Return a depthwise and a pointwise normed convolution, each with its activation."""
    depthwise = _conv(width, width, (3, 3), stride, sides, groups=width)
    return [depthwise, nn.ReLU(), _conv(width, filters, (1, 1), 1, sides), nn.ReLU()]


def _conv(
    read: int, written: int, kernel: tuple[int, int], stride: int, sides: list[int] | tuple[int, ...], groups: int = 1
) -> Normed:
    """Return a normed convolution, padded as TensorFlow pads what it calls "same" for inputs of these two sides."""
    (top, bottom), (left, right) = (_same_padding(*axis, stride) for axis in zip(kernel, sides, strict=True))
    convolution = nn.Conv2d(read, written, kernel, stride=stride, groups=groups)
    return Normed(convolution, (left, right, top, bottom))


def _same_padding(kernel: int, side: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after one axis: as few as give ceil(side / stride), the odd one behind."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2
