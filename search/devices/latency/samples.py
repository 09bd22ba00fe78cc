"""Random small convolutional networks to fit and to check a latency model with, as torch modules without weights.

As modules they go to every runtime: through our own TFLite writer, and here to ONNX, without ``torch.onnx.export``,
which takes a second a network.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ....spaces.squeeze import Squeeze
from ....spaces.streaming import OverTime, SqueezeOverTime, Streaming, streaming
from ..shipped import INPUT_NAME, LABELS_KEY, OUTPUT_NAME
from ..stream import NEW_STATE, STATE, WINDOW_KEY

_MACS_RANGE = (3e3, 4e8)
_LARGEST_PARAMETERS = 2_000_000
_KERNELS = (1, 3, 5, 7, 9, 11, 13)
_SQUEEZED_SHARE = 0.25  # of stages
_OPSET, _IR_VERSION = 18, 9
_NO_PADS = (0, 0, 0, 0)


@dataclass(frozen=True)
class Sample:
    """A fused network on ``meta``, and the shape of its input with a batch of 1."""

    module: nn.Sequential
    input_shape: tuple[int, ...]


@dataclass(frozen=True)
class StreamSample:
    """A network on ``meta`` that listens hop by hop, and the shape (bands, 1, frames) of the window that it is for."""

    stream: Streaming
    input_shape: tuple[int, ...]


def random_streams(count: int, rng: np.random.Generator) -> list[StreamSample]:
    """``count`` causal networks over time in their streaming form, of the kinds of ``random_samples``."""
    samples: list[StreamSample] = []
    while len(samples) < count:
        with torch.device("meta"):
            builder = _Builder(_input_shape(rng, flat=True), rng, causal=True)
            _network(builder)
            shape = builder.input_shape[1:]
            if builder.macs <= _MACS_RANGE[1] and builder.parameters <= _LARGEST_PARAMETERS:
                samples.append(StreamSample(streaming(nn.Sequential(*builder.layers).eval(), shape), shape))
    return samples


def random_samples(count: int, rng: np.random.Generator) -> list[Sample]:
    """``count`` networks of 3e3 to 4e8 MACs: in turns one or two layers, and whole networks of up to 25.

    Half of them have height 1, as keyword networks over time have; full and depthwise separable convolutions with
    kernels of 1 to 13 taps, widths mostly multiples of 4.
    """
    samples: list[Sample] = []
    while len(samples) < count:
        number = len(samples)
        flat = number % 4 < 2
        with torch.device("meta"):
            builder = _Builder(_input_shape(rng, flat), rng)
            (_layers if number % 5 in (2, 4) else _network)(builder)
        if _MACS_RANGE[0] <= builder.macs <= _MACS_RANGE[1] and builder.parameters <= _LARGEST_PARAMETERS:
            samples.append(Sample(nn.Sequential(*builder.layers).eval(), builder.input_shape))
    return samples


def onnx_model(sample: Sample, seed: int = 0) -> bytes:
    """The network as ONNX with seeded random weights, as the exporter would write it.

    Knows the layers of ``random_samples`` and of fused RepCNN models: convolution, ReLU, average pool, squeeze,
    a pad before a convolution, flatten, unflatten, linear, dropout; ``ValueError`` for another one.
    """
    from onnx import TensorProto, helper

    nodes = _OnnxNodes(np.random.default_rng(seed))
    for layer in sample.module:
        nodes.add(layer)
    with torch.no_grad():
        result = sample.module(torch.empty(sample.input_shape, device="meta"))
    graph = helper.make_graph(
        nodes.nodes,
        "network",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, sample.input_shape)],
        [helper.make_tensor_value_info(nodes.at, TensorProto.FLOAT, tuple(result.shape))],
        nodes.constants,
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString())


def onnx_stream(sample: StreamSample, seed: int = 0) -> bytes:
    """A streaming network as ONNX with seeded random weights, named as ``streaming_onnx`` names what it writes."""
    from onnx import TensorProto, helper

    nodes = _OnnxNodes(np.random.default_rng(seed))
    for layer in sample.stream.layers:
        nodes.add_over_time(layer) if isinstance(layer, OverTime) else nodes.add(layer)
    nodes.rename_result(OUTPUT_NAME)
    hop, *states = sample.stream.input_shapes(sample.input_shape)
    with torch.no_grad():
        logits, *_ = sample.stream(*(torch.empty(shape, device="meta") for shape in (hop, *states)))
    shapes = {INPUT_NAME: hop, **{f"{STATE}{number}": shape for number, shape in enumerate(states)}}
    results = {OUTPUT_NAME: logits.shape, **{f"{NEW_STATE}{number}": shape for number, shape in enumerate(states)}}
    infos = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, tuple(shape)) for name, shape in ends.items()]
        for ends in (shapes, results)
    ]
    model = helper.make_model(
        helper.make_graph(nodes.nodes, "network", *infos, nodes.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    labels = json.dumps([str(number) for number in range(logits.shape[1])])
    helper.set_model_props(model, {LABELS_KEY: labels, WINDOW_KEY: str(sample.stream.window_hops)})
    return bytes(model.SerializeToString())


class _Builder:
    """Adds layers and keeps count; ``shape`` is that of the last result, (1, channels, height, width)."""

    def __init__(self, shape: tuple[int, int, int, int], rng: np.random.Generator, causal: bool = False) -> None:
        self.rng = rng
        self.causal = causal
        self.layers: list[nn.Module] = []
        self.input_shape = self.shape = shape
        self.macs = self.parameters = 0

    def conv(self, channels: int, kernel: int, stride: int = 1, depthwise: bool = False) -> None:
        _, read, height, width = self.shape
        size = (1 if self.input_shape[2] == 1 else kernel, kernel)
        groups = read if depthwise else 1
        padding = (size[0] // 2, 0 if self.causal else size[1] // 2)
        if self.causal and kernel > 1:
            self.layers.append(nn.ConstantPad2d((kernel - 1, 0, 0, 0), 0.0))
        self.layers.append(nn.Conv2d(read, channels, size, stride, padding, groups=groups))
        self.shape = (1, channels, -(-height // stride), -(-width // stride))
        weights = channels * (read // groups) * math.prod(size)
        self.parameters += weights
        self.macs += weights * math.prod(self.shape[2:])

    def relu(self) -> None:
        self.layers.append(nn.ReLU())

    def squeeze(self) -> None:
        _, channels, height, width = self.shape
        layer = Squeeze(channels, (height, width), causal=self.causal)
        self.layers.append(layer)
        self.parameters += sum(parameter.numel() for parameter in layer.parameters())

    def classify(self, classes: int) -> None:
        self.layers += [nn.AvgPool2d(self.shape[2:]), nn.Flatten(), nn.Linear(self.shape[1], classes)]


def _network(builder: _Builder) -> None:
    """A stem and one to four stages of blocks, pooled and classified."""
    rng = builder.rng
    separable = rng.random() < 0.5
    builder.conv(_width(rng), 3)
    builder.relu()
    for _ in range(rng.integers(1, 5)):
        width, kernel, stride = _width(rng), _kernel(rng), int(rng.integers(1, 3))
        squeezed = rng.random() < _SQUEEZED_SHARE
        for block in range(rng.integers(1, 4)):
            if separable:
                builder.conv(builder.shape[1], max(3, kernel), stride if block == 0 else 1, depthwise=True)
                builder.relu()
                builder.conv(width, 1)
            else:
                builder.conv(width, kernel, stride if block == 0 else 1)
            builder.relu()
            if squeezed:
                builder.squeeze()
    builder.classify(int(rng.integers(2, 40)))


def _layers(builder: _Builder) -> None:
    """One or two convolutions alone."""
    rng = builder.rng
    for _ in range(rng.integers(1, 3)):
        depthwise = builder.shape[1] > 1 and rng.random() < 0.4
        channels = builder.shape[1] if depthwise else _width(rng)
        kernel = _kernel(rng)
        builder.conv(channels, max(3, kernel) if depthwise else kernel, int(rng.integers(1, 3)), depthwise)
        if rng.random() < 0.7:
            builder.relu()
    if rng.random() < 0.3:
        builder.classify(_width(rng))


def _input_shape(rng: np.random.Generator, flat: bool) -> tuple[int, int, int, int]:
    if flat:
        return 1, _between(rng, 8, 100), 1, _between(rng, 12, 120)
    channels = int(rng.choice([1, 1, 1, 2, 3, 10, 16])) if rng.random() < 0.7 else _width(rng)
    # Half of the maps are small: there the border, which runtimes treat apart, is most of the work.
    largest = 16 if rng.random() < 0.5 else 80
    return 1, channels, _between(rng, 3, min(largest, 64)), _between(rng, 3, largest)


def _between(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number, as likely in each octave."""
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))


def _kernel(rng: np.random.Generator) -> int:
    return int(rng.choice(_KERNELS))


def _width(rng: np.random.Generator) -> int:
    """Channels: mostly multiples of four, as people choose them, else any."""
    return 4 * int(rng.integers(1, 25)) if rng.random() < 0.9 else int(rng.integers(4, 97))


class _OnnxNodes:
    """The nodes and constants of a chain; ``at`` is the tensor that the next layer reads."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.nodes: list[object] = []
        self.constants: list[object] = []
        self.at = "features"
        self._states = 0
        self._pads = _NO_PADS

    def add(self, layer: nn.Module) -> None:
        if isinstance(layer, nn.Conv2d):
            assert isinstance(layer.padding, tuple)
            pads = [side + more for side, more in zip(layer.padding * 2, self._take_pads(), strict=True)]
            attributes: dict[str, Any] = {
                "kernel_shape": layer.kernel_size,
                "strides": layer.stride,
                "dilations": layer.dilation,
            }
            self._node("Conv", self._values(layer), pads=pads, group=layer.groups, **attributes)
        elif isinstance(layer, nn.ConstantPad2d):
            left, right, top, bottom = layer.padding
            self._pads = (top, left, bottom, right)
        elif isinstance(layer, nn.ReLU):
            self._node("Relu", [])
        elif isinstance(layer, nn.Sigmoid):
            self._node("Sigmoid", [])
        elif isinstance(layer, nn.Sequential):
            for step in layer:
                self.add(step)
        elif isinstance(layer, Squeeze) and not layer.past_frames:
            scaled = self.at
            self.add(nn.Sequential(layer.pool, layer.gate))
            self._node("Mul", [], inputs=[scaled, self.at])
        elif isinstance(layer, nn.AvgPool2d):
            self._node("AveragePool", [], kernel_shape=layer.kernel_size, strides=layer.stride, count_include_pad=1)
        elif isinstance(layer, nn.Flatten):
            self._node("Flatten", [], axis=1)
        elif isinstance(layer, nn.Unflatten):
            self._node("Reshape", [self._constant(np.array([0, *layer.unflattened_size, -1], dtype=np.int64))])
        elif isinstance(layer, nn.Linear):
            self._node("Gemm", self._values(layer), transB=1)
        elif not isinstance(layer, nn.Dropout):
            raise ValueError(f"{type(layer).__name__} is no layer of a sample")

    def add_over_time(self, layer: OverTime) -> None:
        """A layer over what it is given and the past that a state holds, and that state's new value."""
        frames, state = self.at, f"{STATE}{self._states}"
        self._node("Concat", [], inputs=[state, frames], axis=-1)
        joined = self.at
        bounds = [self._constant(np.array([bound])) for bound in (-layer.past_frames, np.iinfo(np.int64).max, 3, 1)]
        self._node("Slice", bounds, result=f"{NEW_STATE}{self._states}")
        self._states += 1
        self.at = joined
        self.add(layer.layer)
        if isinstance(layer, SqueezeOverTime):
            self._node("Mul", [], inputs=[frames, self.at])

    def _take_pads(self) -> tuple[int, ...]:
        """The zeros of the pad that stands in front of a convolution, rows before columns: its own in ONNX."""
        pads, self._pads = self._pads, _NO_PADS
        return pads

    def rename_result(self, name: str) -> None:
        """Call what the last node gives by this name."""
        last: Any = self.nodes[-1]
        assert list(last.output) == [self.at]
        last.output[0] = self.at = name

    def _values(self, layer: nn.Conv2d | nn.Linear) -> list[str]:
        shapes = [tuple(layer.weight.shape), *([tuple(layer.bias.shape)] if layer.bias is not None else [])]
        return [self._constant(self._random(shape)) for shape in shapes]

    def _random(self, shape: tuple[int, ...]) -> np.ndarray:
        values = self._rng.random(shape, dtype=np.float32)
        values -= 0.5
        return values / math.sqrt(max(1, math.prod(shape[1:])))

    def _constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def _node(
        self,
        kind: str,
        constants: list[str],
        inputs: list[str] | None = None,
        result: str | None = None,
        **attributes: Any,
    ) -> None:
        from onnx import helper

        result = result or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [*(inputs or [self.at]), *constants], [result], **attributes))
        self.at = result
