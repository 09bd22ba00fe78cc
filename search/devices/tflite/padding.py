"""How torch pads an image, in the two modes of TFLite and its PAD operator."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ....spaces.errors import UserError
from ..graph import Operator
from .builder import Builder, Value
from .layout import Shape

Pair = tuple[int, int]

LOWEST = float(np.finfo(np.float32).min)
"""What a maximum pool sees around its image."""


def padded(
    builder: Builder,
    name: str,
    value: Value,
    out_size: Shape,
    reach: Pair,
    stride: Pair,
    before: Pair,
    filler: float = 0.0,
) -> tuple[Value, str]:
    """The image that an operator reads, and the padding mode that gives it ``out_size``.

    How much is needed after the image is told by the output's size: torch pads more where the stride leaves a rest.
    TFLite pads by itself where that is what it calls SAME; else a PAD operator makes a padded copy, which costs memory.
    """
    in_size = value.shape[1:3]
    axes = list(zip(in_size, out_size, reach, stride, before, strict=True))
    needed = [max(0, (out - 1) * step + size - length - lead) for length, out, size, step, lead in axes]
    if not any(before) and not any(needed):
        return value, "VALID"
    total = [max(0, (out - 1) * step + size - length) for length, out, size, step, _ in axes]
    as_same = all(out == -(-length // step) for length, out, _, step, _ in axes)
    if as_same and all(sum_ // 2 == lead for sum_, lead in zip(total, before, strict=True)):
        return value, "SAME"
    height, width = ((lead, trail) for lead, trail in zip(before, needed, strict=True))
    return pad_image(builder, name, value, height, width, filler), "VALID"


def pad_image(builder: Builder, name: str, value: Value, height: Pair, width: Pair, filler: float = 0.0) -> Value:
    """A copy of an image (1, H, W, C) with ``filler`` around it."""
    shape = (1, value.shape[1] + sum(height), value.shape[2] + sum(width), value.shape[3])
    paddings = (0, 0, *height, *width, 0, 0)
    if filler == 0.0:
        tensor = builder.emit("PAD", f"{name}.pad", [value.tensor], shape, structure={"paddings": paddings})
    else:
        value_of_pad = builder.number(f"{name}.filler", filler)
        tensor = builder.emit(
            "PADV2", f"{name}.pad", [value.tensor], shape, structure={"paddings": paddings}, last=[value_of_pad]
        )
    return replace(value, tensor=tensor, shape=shape)


def pair(numbers: Iterable[int]) -> Pair:
    first, second = numbers
    return int(first), int(second)


def spatial(operator: Operator, key: str, default: int) -> Pair:
    """A (height, width) attribute; for one spatial axis its height is ``default``."""
    value = operator.attribute(key, default)
    if not isinstance(value, tuple):
        return (int(str(value)),) * 2
    if len(value) == 1:
        return (value[0] if operator.kind == "pool" else default), value[0]
    if len(value) != 2:
        raise UserError(f"{operator.name}: {len(value)} spatial axes; TFLite convolves and pools over one or two")
    return pair(value)
