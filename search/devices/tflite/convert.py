"""From a fused torch module to the bytes of a ``.tflite`` file."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from ....spaces.errors import UserError
from ..graph import Graph, TensorInfo
from ..memory import MemoryRules
from ..readers.torch_reader import Shapes, read_module
from ..shipped import LABELS_KEY
from ..stream import refuse_other_samples
from .builder import Value
from .constants import read_constants
from .equalize import Observed, equalize
from .lower import Lowered, lower_with_recipes
from .quantize import quantize
from .runtime import ENDS_KEY, observe, to_file_order
from .write import Quantization, write_tflite

_SEED = 0


def convert(
    module: nn.Module,
    input_shape: Sequence[int],
    precision: str,
    samples: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    rules: MemoryRules | None = None,
) -> bytes:
    """The ``.tflite`` file of a fused ``module`` in evaluation mode, for inputs of ``input_shape`` with a batch of 1.

    ``samples`` of shape (n, *input_shape[1:]), training features as torch takes them, set the ranges of an int8 file.
    ``labels`` are kept as JSON in the metadata "repareto.labels". ``rules`` are the target's, by which operators are
    ordered.

    A module on ``meta`` gets seeded random weights, and an int8 file made-up ranges where there are no samples: what it
    costs is what the real one costs, what it answers means nothing. Raises ``UserError`` for what ``lower`` and
    ``read_module`` refuse, for weights that are not finite, and for samples of another shape.
    """
    prepared = prepare(module, input_shape, precision, rules)
    notes = {} if labels is None else {LABELS_KEY: json.dumps(list(labels))}
    return write(prepared, observe_samples(prepared, samples), notes)


@dataclass(frozen=True)
class Prepared:
    """A lowered module and its constants in float, made up where the module has none."""

    lowered: Lowered
    constants: dict[str, np.ndarray]
    is_made_up: bool

    def float_file(self) -> tuple[bytes, set[str]]:
        """The file in float even where it is to be int8, and the names of its activations."""
        twin = float_twin(self.lowered.graph)
        names = {*twin.inputs, *(name for operator in twin.operators for name in operator.outputs)}
        return write_tflite(twin, self.constants, {}, {}), names


def prepare(module: nn.Module, shapes: Shapes, precision: str, rules: MemoryRules | None) -> Prepared:
    """Lower a module in evaluation mode for inputs of ``shapes``; raises ``UserError`` as :func:`convert` does."""
    graph = read_module(module, shapes)
    lowered = lower_with_recipes(graph, precision, rules)
    is_made_up = any(tensor.is_meta for tensor in module.state_dict().values())
    values = random_constants(graph) if is_made_up else read_constants(module, shapes)
    return Prepared(lowered, _lowered_constants(lowered, values), is_made_up)


def write(prepared: Prepared, observed: Mapping[str, Observed], metadata: Mapping[str, str]) -> bytes:
    """The file, quantised where it was lowered to int8 by what its activations were observed to hold."""
    lowered = prepared.lowered
    constants, scales = in_precision(prepared, observed)
    notes = {ENDS_KEY: described_ends(lowered.inputs, lowered.outputs), **metadata}
    return write_tflite(lowered.graph, constants, scales, notes)


def in_precision(
    prepared: Prepared, observed: Mapping[str, Observed]
) -> tuple[dict[str, np.ndarray], dict[str, Quantization]]:
    """The constants in the precision that a module was lowered to, and the scales of its tensors where that is int8."""
    graph, constants = prepared.lowered.graph, prepared.constants
    if all(info.dtype != "int8" for info in graph.tensors.values()):
        return constants, {}
    if observed:
        constants, observed = equalize(graph, constants, observed)
    ranges = {name: (float(seen.low.min()), float(seen.high.max())) for name, seen in observed.items()}
    return quantize(graph, constants, ranges)


def random_constants(graph: Graph) -> dict[str, np.ndarray]:
    """Seeded random weights for a module that has none, of about the size that trained ones have."""
    rng = np.random.default_rng(_SEED)
    values: dict[str, np.ndarray] = {}
    for name in sorted(graph.constants):
        shape = graph.tensors[name].shape
        random = rng.standard_normal(shape)
        # What has one axis may be a variance.
        values[name] = (random / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else abs(random)).astype(np.float32)
    return values


def _lowered_constants(lowered: Lowered, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    constants: dict[str, np.ndarray] = {}
    for name, recipe in lowered.recipes.items():
        constant = np.ascontiguousarray(recipe(values), dtype=np.float32).reshape(lowered.graph.tensors[name].shape)
        if not np.isfinite(constant).all():
            raise UserError(f"weight {name}: holds values that are not finite (train the model again)")
        constants[name] = constant
    return constants


def observe_samples(prepared: Prepared, samples: np.ndarray | None) -> dict[str, Observed]:
    """What the activations hold on samples, as LiteRT computes them in float; nothing without samples or weights."""
    if samples is None or prepared.is_made_up:
        return {}
    (source,) = prepared.lowered.inputs
    refuse_other_samples(samples, source.torch_shape[1:])
    content, names = prepared.float_file()
    return observe(content, to_file_order(samples, source.layout, source.shape), names)


def float_twin(graph: Graph) -> Graph:
    """An int8 graph in float, without the QUANTIZE operators that only integers need."""
    same: dict[str, str] = {}
    operators = []
    for operator in graph.operators:
        if operator.attribute("operator") == "QUANTIZE":
            same[operator.outputs[0]] = operator.inputs[0]
            continue
        inputs = tuple(same.get(name, name) for name in operator.inputs)
        operators.append(type(operator)(operator.kind, operator.name, inputs, operator.outputs, 0, operator.attributes))
    structure = {name for name in graph.constants if graph.tensors[name].dtype == "int32" and name not in graph.weights}
    tensors = {
        name: info if name in structure else TensorInfo(name, info.shape, "float32", 4 * info.elements)
        for name, info in graph.tensors.items()
        if name not in same
    }
    return Graph.of(tensors, operators, graph.inputs, graph.outputs, graph.weights)


def described_ends(inputs: Sequence[Value], outputs: Sequence[Value]) -> str:
    """How the inputs and the outputs lie in memory, for whoever runs the file on values as torch has them."""

    def described(value: Value) -> dict[str, object]:
        return {"layout": value.layout, "torch_shape": value.torch_shape}

    return json.dumps({"inputs": [described(v) for v in inputs], "outputs": [described(v) for v in outputs]})
