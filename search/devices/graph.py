"""The small operator graph that every figure of a device is computed from."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

KINDS = (
    "conv",
    "depthwise_conv",
    "linear",  # a product with a weight
    "matmul",  # a product of two activations
    "pool",
    "reduce",
    "normalization",
    "activation",
    "softmax",
    "elementwise",
    "pad",
    "transpose",
    "concat",
    "copy",  # slices, gathers, expansions: values moved, none computed
    "view",  # the same bytes under another shape
    "other",  # what a reader does not know: listed in Graph.unknown
)

Attribute = int | float | str | bool | tuple[int, ...]


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: its ``shape``, the name of its ``dtype`` ("float32") and its size in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int

    @property
    def elements(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def is_weight(self) -> bool:
        """Whether a constant of this form is stored data: scalars and int64 (shapes, axes) are attributes."""
        return bool(self.shape) and self.dtype not in ("int64", "bool")


@dataclass(frozen=True)
class Operator:
    """One operator: a kind of ``KINDS``, the names of what it reads and writes, its multiply-accumulates.

    ``attributes`` are sorted pairs (kernel, stride, ...): whatever else its cost hangs on.
    A view writes an alias of its first input.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int = 0
    attributes: tuple[tuple[str, Attribute], ...] = ()

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind

    def attribute(self, name: str, default: Attribute | None = None) -> Attribute | None:
        """The value of one attribute, or ``default``."""
        return dict(self.attributes).get(name, default)


@dataclass(frozen=True, eq=False)
class Graph:
    """Operators in the order they run, and every tensor they touch.

    ``weights`` are the constants that operators read, after constant folding: learned parameters,
    normalisation statistics, tables. Make one with ``Graph.of``.
    """

    tensors: Mapping[str, TensorInfo]
    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, TensorInfo],
        operators: Iterable[Operator],
        inputs: Iterable[str],
        outputs: Iterable[str],
        weights: Iterable[str] = (),
    ) -> "Graph":
        """The graph without what no output needs: dead operators, unread results, unread weights."""
        inputs, outputs, weights = tuple(inputs), tuple(outputs), tuple(weights)
        needed = set(outputs)
        live: list[Operator] = []
        for operator in reversed(tuple(operators)):
            read = tuple(name for name in operator.outputs if name in needed)
            if read:
                live.append(
                    Operator(
                        operator.kind,
                        operator.name,
                        operator.inputs,
                        read,
                        operator.macs,
                        tuple(sorted(operator.attributes)),
                    )
                )
                needed.update(operator.inputs)
        kept = {name: info for name, info in tensors.items() if name in needed or name in inputs}
        read_weights = tuple(name for name in weights if name in needed and tensors[name].is_weight)
        return cls(kept, tuple(reversed(live)), inputs, outputs, read_weights)

    @cached_property
    def states(self) -> tuple[tuple[str, str], ...]:
        """Of a network that listens hop by hop: each state as it comes in and as it goes out, in the order of both.

        They are the inputs after the first, and the outputs after the first. Empty for a graph whose outputs are no
        new values, of the same shapes and types, of its inputs.
        """
        pairs = tuple(zip(self.inputs[1:], self.outputs[1:], strict=False))
        alike = all(_form(self.tensors[old]) == _form(self.tensors[new]) for old, new in pairs)
        return pairs if alike and len(self.inputs) == len(self.outputs) else ()

    @cached_property
    def state_bytes(self) -> int:
        """What is carried from one hop to the next."""
        return sum(self.tensors[name].nbytes for name, _ in self.states)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(operator.macs for operator in self.operators)

    @cached_property
    def parameters(self) -> int:
        """The number of stored values that the operators read; a shared weight counts once."""
        return sum(self.tensors[name].elements for name in self.weights)

    @cached_property
    def weight_bytes(self) -> int:
        """The bytes of these values."""
        return sum(self.tensors[name].nbytes for name in self.weights)

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """The operators that the reader did not know and counted as free of MACs, each once."""
        names = (str(op.attribute("operator", op.name)) for op in self.operators if op.kind == "other")
        return tuple(dict.fromkeys(names))

    @cached_property
    def constants(self) -> frozenset[str]:
        """The tensors that no operator writes and that are no input: weights and attributes."""
        written = {name for operator in self.operators for name in operator.outputs}
        return frozenset(self.tensors) - written - frozenset(self.inputs)

    @cached_property
    def digest(self) -> str:
        """A hash of the structure: kinds, attributes, shapes and wiring; no names, no weight values."""
        numbers: dict[str, int] = {}

        def form(name: str) -> list[object]:
            number = numbers.setdefault(name, len(numbers))
            return [number, self.tensors[name].shape, self.tensors[name].dtype]

        structure = {
            "inputs": [form(name) for name in self.inputs],
            "operators": [
                [op.kind, op.attributes, [form(n) for n in op.inputs], [form(n) for n in op.outputs], op.macs]
                for op in self.operators
            ],
            "outputs": [numbers[name] for name in self.outputs if name in numbers],
        }
        return hashlib.sha256(json.dumps(structure).encode()).hexdigest()[:32]


def pooled_values(operator: Operator, graph: Graph) -> int:
    """The values that a pool takes in; where windows overlap, each as often as one holds it.

    By the names that torch, TFLite and ONNX have for the size of a window; without one it is the whole map.
    """
    names = ("kernel_size", "kernel", "kernel_shape")
    window = next((size for size in map(operator.attribute, names) if isinstance(size, tuple)), None)
    written = graph.tensors[operator.outputs[0]]
    if window is None:
        return graph.tensors[operator.inputs[0]].elements
    axes = len(written.shape) - 2
    return written.elements * math.prod(window) ** (axes // len(window))


def _form(info: TensorInfo) -> tuple[tuple[int, ...], str]:
    return info.shape, info.dtype
