"""Small random networks, written directly as ONNX, to time a runtime with.

``torch.onnx.export`` takes more than a second a network; these take a millisecond.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_OPSET, _IR_VERSION = 18, 9
_MACS_RANGE = (1e4, 3e7)
_LARGEST_PARAMETERS = 300_000


@dataclass(frozen=True)
class Network:
    """A serialised ONNX model with one input of ``input_shape`` (a batch of 1 first)."""

    model: bytes
    input_shape: tuple[int, ...]


def random_networks(count: int, rng: np.random.Generator) -> list[Network]:
    """``count`` networks of 1 to 12 layers, up to 300k parameters and 1e4 to 3e7 MACs, of each family in turn.

    The families: full and depthwise separable convolutions, each in one and in two dimensions, fully connected
    layers, and blocks of self-attention.
    """
    networks: list[Network] = []
    while len(networks) < count:
        family = _FAMILIES[len(networks) % len(_FAMILIES)]
        writer = family(rng)
        if writer.parameters <= _LARGEST_PARAMETERS and _MACS_RANGE[0] <= writer.macs <= _MACS_RANGE[1]:
            networks.append(writer.network())
    return networks


class _Writer:
    """Writes a chain of layers; ``at`` is the tensor that the next layer reads, ``shape`` its shape."""

    def __init__(self, shape: tuple[int, ...], rng: np.random.Generator) -> None:
        self._rng = rng
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._input_shape = shape
        self.at, self.shape = "features", shape
        self.macs = self.parameters = 0

    def node(self, kind: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> str:
        from onnx import helper

        self.at, self.shape = f"t{len(self._nodes)}", shape
        self._nodes.append(helper.make_node(kind, inputs, [self.at], **attributes))
        return self.at

    def weight(self, *shape: int) -> str:
        values = self._rng.standard_normal(shape).astype(np.float32) / math.sqrt(max(1, math.prod(shape[1:])))
        self.parameters += values.size
        return self.constant(values)

    def constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, channels: int, kernel: int, stride: int = 1, depthwise: bool = False) -> None:
        _, read, *sizes = self.shape
        groups = read if depthwise else 1
        # A kernel is no longer than an axis, and odd, so that padding keeps the size.
        kernels = [min(kernel, size - 1 + size % 2) for size in sizes]
        sizes = [-(-size // stride) for size in sizes]
        inputs = [self.at, self.weight(channels, read // groups, *kernels), self.weight(channels)]
        pads = [k // 2 for k in kernels] * 2
        strides = [stride] * len(sizes)
        self.node("Conv", inputs, (1, channels, *sizes), kernel_shape=kernels, pads=pads, strides=strides, group=groups)
        self.macs += math.prod(self.shape) * (read // groups) * math.prod(kernels)

    def relu(self) -> None:
        self.node("Relu", [self.at], self.shape)

    def add(self, other: str) -> None:
        self.node("Add", [self.at, other], self.shape)

    def linear(self, features: int) -> None:
        *front, read = self.shape
        weight, bias = self.weight(read, features), self.weight(features)
        if len(front) == 1:
            self.node("Gemm", [self.at, weight, bias], (*front, features))
        else:
            product = self.node("MatMul", [self.at, weight], (*front, features))
            self.node("Add", [product, bias], (*front, features))
        self.macs += math.prod(front) * read * features

    def matmul(self, left: str, right: str, shape: tuple[int, ...], inner: int) -> str:
        self.macs += math.prod(shape) * inner
        return self.node("MatMul", [left, right], shape)

    def mean(self) -> None:
        rank = len(self.shape) - 2
        axes = self.constant(np.arange(2, 2 + rank, dtype=np.int64))
        self.node("ReduceMean", [self.at, axes], self.shape[:2], keepdims=0)

    def pool(self, kind: str) -> None:
        sizes = [size // 2 for size in self.shape[2:]]
        two = [2] * len(sizes)
        self.node(kind, [self.at], (*self.shape[:2], *sizes), kernel_shape=two, strides=two)

    def network(self) -> Network:
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, self._input_shape)],
            [helper.make_tensor_value_info(self.at, TensorProto.FLOAT, self.shape)],
            self._weights,
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        return Network(model.SerializeToString(), self._input_shape)


def _convolutions(rng: np.random.Generator, dimensions: int, separable: bool) -> _Writer:
    """Convolutions with activations, some with a residual sum, then pooled and classified."""
    read = int(rng.choice([20, 32, 40, 64] if dimensions == 1 else [1, 3, 16]))
    sizes = [int(rng.integers(20, 110))] if dimensions == 1 else [int(n) for n in rng.integers((10, 20), (50, 60))]
    writer = _Writer((1, read, *sizes), rng)
    width = _width(rng)
    for _ in range(rng.integers(1, 12 if not separable else 7)):
        before, before_shape = writer.at, writer.shape
        if rng.random() < 0.25:
            width = _width(rng)
        stride = 2 if rng.random() < 0.2 and min(writer.shape[2:]) >= 8 else 1
        kernel = int(rng.choice([1, 3, 3, 5, 9] if dimensions == 1 else [1, 3, 3, 5]))
        if separable:
            writer.conv(writer.shape[1], max(3, kernel), stride, depthwise=True)
            writer.relu()
            kernel = stride = 1
        writer.conv(width, kernel, stride)
        if before_shape == writer.shape and rng.random() < 0.5:
            writer.add(before)
        writer.relu()
    if rng.random() < 0.3 and min(writer.shape[2:]) >= 4:
        writer.pool(str(rng.choice(["MaxPool", "AveragePool"])))
    writer.mean()
    writer.linear(12)
    return writer


def _fully_connected(rng: np.random.Generator) -> _Writer:
    shape = (1, int(rng.integers(40, 500))) if rng.random() < 0.5 else (1, int(rng.integers(10, 100)), _width(rng))
    writer = _Writer(shape, rng)
    for _ in range(rng.integers(1, 8)):
        writer.linear(int(rng.integers(16, 257)))
        writer.relu()
    writer.linear(12)
    return writer


def _attention(rng: np.random.Generator) -> _Writer:
    """Blocks of self-attention and feed-forward layers over (1, time, width)."""
    heads = int(rng.choice([1, 2, 4]))
    time, width = int(rng.integers(10, 100)), heads * int(rng.choice([8, 16, 24, 32]))
    writer = _Writer((1, time, width), rng)
    for _ in range(rng.integers(1, 4)):
        _attention_block(writer, heads, time, width)
        before = writer.at
        writer.linear(int(rng.choice([2, 4])) * width)
        writer.relu()
        writer.linear(width)
        writer.add(before)
    return writer


def _attention_block(writer: _Writer, heads: int, time: int, width: int) -> None:
    before, flat = writer.at, (1, time, width)
    scale, bias = writer.weight(width), writer.weight(width)
    normal = writer.node("LayerNormalization", [before, scale, bias], flat, axis=-1)
    split = writer.constant(np.array([1, time, heads, width // heads], dtype=np.int64))
    parts: list[str] = []
    for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)):  # query, key transposed, value
        writer.at, writer.shape = normal, flat
        writer.linear(width)
        cut = writer.node("Reshape", [writer.at, split], (1, time, heads, width // heads))
        shape = tuple(writer.shape[axis] for axis in order)
        parts.append(writer.node("Transpose", [cut], shape, perm=order))
    scores = writer.matmul(parts[0], parts[1], (1, heads, time, time), width // heads)
    weights = writer.node("Softmax", [scores], writer.shape, axis=-1)
    mixed = writer.matmul(weights, parts[2], (1, heads, time, width // heads), time)
    joined = writer.node("Transpose", [mixed], (1, time, heads, width // heads), perm=(0, 2, 1, 3))
    writer.node("Reshape", [joined, writer.constant(np.array(flat, dtype=np.int64))], flat)
    writer.linear(width)
    writer.add(before)


def _width(rng: np.random.Generator) -> int:
    """Channels: mostly multiples of eight, as people choose them, else any."""
    if rng.random() < 0.6:
        return 8 * int(rng.integers(1, 13))
    return int(rng.integers(4, 97))


_FAMILIES: tuple[Callable[[np.random.Generator], _Writer], ...] = (
    lambda rng: _convolutions(rng, 1, separable=False),
    lambda rng: _convolutions(rng, 2, separable=False),
    lambda rng: _convolutions(rng, 1, separable=True),
    lambda rng: _convolutions(rng, 2, separable=True),
    _fully_connected,
    _attention,
)


def anchor_network() -> Network:
    """A fixed small network, the same in every version: what other timings are held against."""
    writer = _Writer((1, 32, 8, 16), np.random.default_rng(0))
    for _ in range(3):
        writer.conv(32, 3)
        writer.relu()
    return writer.network()
