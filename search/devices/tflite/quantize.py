"""Post-training static quantisation to int8, as the TFLite specification of 8-bit integers has it.

Activations have one scale and zero point a tensor, weights of convolutions one symmetric scale a channel, biases are
int32 in units of input scale times weight scale (https://ai.google.dev/edge/litert/models/quantization_spec).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..graph import Graph, Operator
from .lower import SAME_SCALE, fixed_scale_of
from .padding import LOWEST
from .write import Quantization

Range = tuple[float, float]
MADE_UP_RANGE: Range = (-4.0, 4.0)

# The axis of the weight whose indices have a scale each; a fully connected weight has one scale, as older kernels want.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": None}
_LARGEST_BIAS = 2**30  # leaves as much again for the sum of products
# Runtimes rescale accumulators by input * weight / output scale; XNNPACK takes none below 2**-32.
_SMALLEST_RESCALE = 2.0**-31
_SMALLEST_SCALE = 1e-9


def quantize(
    graph: Graph, constants: Mapping[str, np.ndarray], ranges: Mapping[str, Range]
) -> tuple[dict[str, np.ndarray], dict[str, Quantization]]:
    """The integer constants of an int8 ``graph`` and the scales of its tensors.

    ``constants`` are in float; ``ranges`` are the smallest and largest value seen of each activation. Where none was
    seen of those that share a scale, ``MADE_UP_RANGE`` stands.
    """
    scales = _activation_scales(graph, constants, ranges)
    integers: dict[str, np.ndarray] = {}
    for operator in graph.operators:
        if str(operator.attribute("operator")) in _CHANNEL_AXIS:
            _quantize_product(operator, constants, scales, integers)
    for name, info in graph.tensors.items():
        if name in constants and name not in integers:
            assert info.dtype == "int8", name
            integers[name] = _to_integers(constants[name], scales[name])
    return integers, scales


def _activation_scales(
    graph: Graph, constants: Mapping[str, np.ndarray], ranges: Mapping[str, Range]
) -> dict[str, Quantization]:
    products = {
        name for op in graph.operators if str(op.attribute("operator")) in _CHANNEL_AXIS for name in op.inputs[1:]
    }
    names = [name for name, info in graph.tensors.items() if info.dtype == "int8" and name not in products]
    groups = _groups_of_one_scale(graph, names)
    seen = dict(ranges) | {n: (float(constants[n].min()), float(constants[n].max())) for n in names if n in constants}
    scales: dict[str, Quantization] = {}
    for members in groups:
        fixed = next(filter(None, (fixed_scale_of(name, graph.operators) for name in members)), None)
        if fixed is not None:
            quantization = Quantization((fixed[0],), fixed[1])
        else:
            bounds = [seen[name] for name in members if name in seen] or [MADE_UP_RANGE]
            # What a maximum pool sees around its image widens no range: it becomes the lowest integer.
            bounds = [(low, high) for low, high in bounds if low > LOWEST]
            quantization = _asymmetric(min(low for low, _ in bounds), max(high for _, high in bounds))
        scales.update(dict.fromkeys(members, quantization))
    return scales


def _groups_of_one_scale(graph: Graph, names: Sequence[str]) -> list[list[str]]:
    leader = {name: name for name in names}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for operator in graph.operators:
        if str(operator.attribute("operator")) in SAME_SCALE:
            # The first tensor of the graph leads, so that the order of the groups does not hang on the operators.
            for name in operator.inputs:
                if name in leader:
                    leader[find(name)] = find(operator.outputs[0])
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(find(name), []).append(name)
    return list(groups.values())


def _asymmetric(low: float, high: float) -> Quantization:
    """The scale and zero point of a range, widened so that zero is exactly an integer."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, _SMALLEST_SCALE)
    return Quantization((float(np.float32(scale)),), int(np.clip(round(-128 - low / scale), -128, 127)))


def _to_integers(values: np.ndarray, quantization: Quantization) -> np.ndarray:
    scaled = np.round(values.astype(np.float64) / quantization.scales[0]) + quantization.zero_point
    return np.clip(scaled, -128, 127).astype(np.int8)


def _quantize_product(
    operator: Operator,
    constants: Mapping[str, np.ndarray],
    scales: dict[str, Quantization],
    integers: dict[str, np.ndarray],
) -> None:
    """The weight and the bias of a convolution or a fully connected layer."""
    source, weight, *rest = operator.inputs
    axis = _CHANNEL_AXIS[str(operator.attribute("operator"))]
    values = constants[weight].astype(np.float64)
    channels = values.shape[axis or 0]
    bias = constants[rest[0]].astype(np.float64) if rest else np.zeros(channels)
    in_scale, out_scale = scales[source].scales[0], scales[operator.outputs[0]].scales[0]
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0).reshape(channels, -1)
    largest_bias = np.abs(bias).max(keepdims=True) if axis is None else np.abs(bias)
    if weight in scales:  # two operators share it
        scale = np.array(scales[weight].scales)
    else:
        scale = weight_scales(np.abs(rows).max(axis=1), largest_bias, in_scale, out_scale)
    shaped = scale.reshape([-1 if place == axis else 1 for place in range(values.ndim)])
    integers[weight] = np.clip(np.round(values / shaped), -127, 127).astype(np.int8)
    scales[weight] = Quantization(tuple(scale.tolist()), 0, axis or 0)
    if rest:
        bias_scale = (np.float32(in_scale) * scale.astype(np.float32)).astype(np.float64)
        limits = np.iinfo(np.int32)
        integers[rest[0]] = np.clip(np.round(bias / bias_scale), limits.min, limits.max).astype(np.int32)
        scales[rest[0]] = Quantization(tuple(bias_scale.tolist()), 0, 0)


def weight_scales(largest: np.ndarray, bias: np.ndarray, in_scale: float, out_scale: float) -> np.ndarray:
    """A symmetric scale for each channel from the largest magnitudes (channels) of its weights and of its bias.

    A dead channel, whose weights are all but zero, gets one that its bias still fits and that runtimes can rescale.
    """
    scale = largest / 127
    usual = scale.max() or 1.0
    scale = np.where(scale > 0, scale, usual)
    scale = np.maximum(scale, bias / (in_scale * _LARGEST_BIAS))
    scale = np.maximum(scale, out_scale / in_scale * _SMALLEST_RESCALE)
    return scale.astype(np.float32).astype(np.float64)
