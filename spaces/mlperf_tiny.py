"""The reference models of MLPerf Tiny as a search space of four points: something known to measure an estimator by.

Architectures after the training code of MLPerf Tiny v1 (Apache-2.0, github.com/mlcommons/tiny, benchmark/training:
``keyword_spotting/keras_model.py``, ``image_classification/keras_model.py``, ``visual_wake_words/vww_model.py`` and
``anomaly_detection/keras_model.py``). The final softmax is left out, as everywhere here: a model gives logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn

from .errors import UserError
from .layers import Normed, Residual
from .padding import same_padding
from .space import Candidate, Choice, Parameter, SearchSpace

# Keras' defaults, which the reference models are trained with.
_keras_normed = partial(Normed, eps=1e-3, momentum=0.01)
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


def ds_cnn(
    input_shape: tuple[int, ...],
    classes: int,
    filters: int = 64,
    blocks: int = 4,
    kernel: tuple[int, int] = (10, 4),
) -> nn.Sequential:
    """Keyword spotting: a convolution and depthwise separable ones, after Hello Edge (arXiv 1711.07128).

    Features are (1, frames, coefficients), and so is the first ``kernel``.
    """
    channels, height, width = input_shape
    rows, columns = -(-height // 2), -(-width // 2)
    layers: list[nn.Module] = [_conv(channels, filters, kernel, 2, (height, width)), nn.ReLU(), nn.Dropout(0.2)]
    for _ in range(blocks):
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
        layers += [_keras_normed(nn.Linear(read, written)), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


_BUILDERS: Mapping[str, Callable[[tuple[int, ...], int], nn.Sequential]] = {
    "ds_cnn": ds_cnn,
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
    (top, bottom), (left, right) = (same_padding(*axis, stride) for axis in zip(kernel, sides, strict=True))
    convolution = nn.Conv2d(read, written, kernel, stride=stride, groups=groups)
    return _keras_normed(convolution, (left, right, top, bottom))
