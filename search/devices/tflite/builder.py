"""What a lowering is made with: TFLite tensors and operators, and for each torch tensor the one that holds it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ....spaces.errors import UserError
from ..graph import Attribute, Graph, Operator, TensorInfo
from . import layout as layouts
from .builtins import BUILTINS, FUSABLE, make_operator
from .layout import Layout, Shape
from .views import VIEWS, count_readers, permutation, roots_of, torch_name

# From the constants of the torch graph, by name and as its operators see them, to the values of one TFLite constant.
Recipe = Callable[[Mapping[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Value:
    """A torch activation: the TFLite tensor that holds it, that tensor's shape, the layout, the shape in torch."""

    tensor: str
    shape: Shape
    layout: Layout
    torch_shape: Shape


class Builder:
    """The TFLite graph of a torch graph as it grows, in float32.

    ``input_forms`` say how each input lies in memory: its layout and its TFLite shape. Lowerings call ``value``,
    ``image`` and the like for their inputs, ``emit`` for their operators, and ``bind`` for their results.
    """

    def __init__(self, graph: Graph, precision: str, input_forms: Sequence[tuple[Layout, Shape]]) -> None:
        self.graph = graph
        self.precision = precision
        self.tensors: dict[str, TensorInfo] = {}
        self.operators: list[Operator] = []
        self.weights: list[str] = []
        self.recipes: dict[str, Recipe] = {}
        self.torch_operators = {name: op for op in graph.operators for name in op.outputs}
        self._recipe_keys: dict[str, str] = {}
        self._values: dict[str, Value] = {}
        self._shared: set[str] = set()
        self._moved: dict[tuple[str, Layout, Layout, Shape], Value] = {}
        self._roots = roots_of(graph)
        self._readers = count_readers(graph, self._roots)
        for source, (layout, shape) in zip(graph.inputs, input_forms, strict=True):
            self.declare(source, shape)
            self._values[source] = Value(source, shape, layout, graph.tensors[source].shape)

    # What the torch graph says

    def is_constant(self, name: str) -> bool:
        """Whether a torch tensor is a weight or another constant."""
        return name in self.graph.constants

    def torch_shape(self, name: str) -> Shape:
        """The shape in torch."""
        return self.graph.tensors[name].shape

    def value(self, name: str) -> Value:
        """Where a torch activation is held. Raises ``UserError`` for a constant."""
        if name not in self._values:
            raise UserError(f"{name}: a constant where TFLite wants an activation (swap the factors, or fold it)")
        return replace(self._values[name], torch_shape=self.torch_shape(name))

    def bind(self, operator: Operator, value: Value, place: int = 0) -> None:
        """Say where an output of a torch operator is held, when anybody wants it."""
        if place < len(operator.outputs):
            self._values[operator.outputs[place]] = value

    def is_read_once(self, name: str) -> bool:
        """Whether one operator at most reads a torch tensor, or what is a view of it."""
        return self._readers[self._roots.get(name, name)] == 1

    # Tensors and operators

    def declare(self, name: str, shape: Sequence[int], dtype: str = "float32") -> str:
        """A new tensor of four-byte values; a taken name gets a number."""
        unique, number = name, 1
        while unique in self.tensors:
            number += 1
            unique = f"{name}#{number}"
        self.tensors[unique] = TensorInfo(unique, tuple(shape), dtype, 4 * math.prod(shape))
        return unique

    def weight(self, name: str, shape: Sequence[int], recipe: Recipe, key: str) -> str:
        """A constant of the file, named after the torch constant it is made of.

        ``key`` says how it is made: the same constant made in the same way for two operators is stored once.
        """
        key = f"{name}|{key}|{tuple(shape)}"
        if key not in self._recipe_keys:
            unique = self.declare(name, shape)
            self._recipe_keys[key] = unique
            self.recipes[unique] = recipe
            self.weights.append(unique)
        return self._recipe_keys[key]

    def number(self, name: str, number: float) -> str:
        """A constant of one value and no axis."""
        return self.weight(name, (), lambda _: np.array(number, np.float32), repr(float(number)))

    def emit(
        self,
        builtin: str,
        name: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        output: str | None = None,
        structure: Mapping[str, Shape] | None = None,
        last: Sequence[str] = (),
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        """Add one operator and return the name of its result, of ``shape``.

        ``structure`` holds attributes that TFLite wants as constant int32 inputs (axes, paddings), in this order; the
        inputs ``last`` follow them.
        """
        wired = list(inputs)
        for key, numbers in (structure or {}).items():
            wired.append(self.declare(f"{name}.{key}", _structure_shape(key, numbers), "int32"))
        wired += last
        result = self.declare(output or name, shape)
        known = BUILTINS[builtin].fields or {}
        described: dict[str, Attribute] = {"fused_activation": "NONE"} if "fused_activation" in known else {}
        described |= attributes or {}
        # A new shape is that of the result.
        described |= {key: numbers for key, numbers in (structure or {}).items() if key != "shape"}
        self.operators.append(make_operator(builtin, name, wired, (result,), self.tensors, described))
        return result

    def share(self, tensor: str) -> None:
        """Note that a tensor stands for two torch tensors, one of which is no view of the other."""
        self._shared.add(tensor)

    def fuse(self, tensor: str, activation: str) -> bool:
        """Give the operator that wrote a tensor this activation, where it can take one."""
        if tensor in self._shared:
            return False
        for place, operator in enumerate(self.operators):
            fusable = operator.attribute("operator") in FUSABLE and operator.attribute("fused_activation") == "NONE"
            if tensor in operator.outputs and fusable:
                attributes = dict(operator.attributes) | {"fused_activation": activation}
                self.operators[place] = replace(operator, attributes=tuple(sorted(attributes.items())))
                return True
        return False

    # Values in the order in memory that somebody wants

    def moved(self, value: Value, layout: Layout, shape: Sequence[int], near: str) -> Value:
        """The same values in another order and TFLite shape, at the price of a TRANSPOSE where they have to move."""
        shape = tuple(shape)
        if value.layout == layout and value.shape == shape:
            return value
        key = (value.tensor, value.layout, layout, shape)
        if key not in self._moved:
            self._moved[key] = self._move(value, layout, shape, near)
        return replace(self._moved[key], torch_shape=value.torch_shape)

    def _move(self, value: Value, layout: Layout, shape: Shape, near: str) -> Value:
        if value.layout == layout:
            tensor = self.emit("RESHAPE", f"{near}.reshape", [value.tensor], shape, structure={"shape": shape})
            return replace(value, tensor=tensor, shape=shape)
        order = _direct_order(value, layout, shape)
        if order is not None:
            tensor = self._transpose(value.tensor, shape, order, near)
            return replace(value, tensor=tensor, shape=shape, layout=layout)
        step = layouts.transposition(value.layout, layout)
        if step is None:
            row_major = layouts.plain((math.prod(value.shape),))
            value = self.moved(value, row_major, (math.prod(value.shape),), near)
            return self.moved(value, layout, shape, near)
        seen, order = step
        before = self.moved(value, value.layout, seen, near)
        between = tuple(seen[axis] for axis in order)
        tensor = self._transpose(before.tensor, between, order, near)
        return self.moved(replace(value, tensor=tensor, shape=between, layout=layout), layout, shape, near)

    def _transpose(self, tensor: str, shape: Shape, order: Shape, near: str) -> str:
        return self.emit("TRANSPOSE", f"{near}.transpose", [tensor], shape, structure={"permutation": order})

    def row_major(self, value: Value, near: str) -> Value:
        """The values as torch keeps them, in torch's shape."""
        return self.moved(value, layouts.plain(value.torch_shape), value.torch_shape, near)

    def image(self, value: Value, near: str) -> Value:
        """A torch image (1, C, H, W) or sequence (1, C, L) as (1, H, W, C); a sequence has height 1."""
        shape = image_shape(value.torch_shape, near)
        value = replace(value, torch_shape=shape)
        channels_last = tuple(shape[axis] for axis in (0, 2, 3, 1))
        return self.moved(value, layouts.of_axes(shape, (0, 2, 3, 1)), channels_last, near)

    def image_value(self, tensor: str, torch_shape: Shape) -> Value:
        """A result (1, H, W, C) as the torch image or sequence that it is."""
        shape = image_shape(torch_shape, tensor)
        return Value(tensor, self.tensors[tensor].shape, layouts.of_axes(shape, (0, 2, 3, 1)), torch_shape)

    def like(self, value: Value, tensor: str, torch_shape: Shape | None = None) -> Value:
        """A result that lies as ``value`` does."""
        return replace(value, tensor=tensor, torch_shape=torch_shape or value.torch_shape)

    # Views

    def view(self, operator: Operator) -> bool:
        """Lower a torch operator that computes nothing; False for any other."""
        name = torch_name(operator)
        if name not in VIEWS:
            return False
        source, result = self.value(operator.inputs[0]), operator.outputs[0]
        shape = self.torch_shape(result)
        if math.prod(shape) != math.prod(source.torch_shape) or self.graph.tensors[result].dtype != "float32":
            return False
        order = permutation(operator, len(source.torch_shape))
        if order is not None:
            moved = layouts.permuted(source.layout, source.torch_shape, order)
            if moved is None:
                source = self.row_major(source, operator.name)
                moved = layouts.permuted(source.layout, source.torch_shape, order)
            assert moved is not None
            source = replace(source, layout=moved)
        self.bind(operator, replace(source, torch_shape=shape))
        return True


def image_shape(shape: Shape, near: str) -> Shape:
    """(1, C, H, W) for the torch shape of an image or a sequence."""
    if len(shape) == 3:
        shape = (shape[0], shape[1], 1, shape[2])
    if len(shape) != 4 or shape[0] != 1:
        raise UserError(f"{near}: takes (1, channels, height, width) or (1, channels, length), not {shape}")
    return shape


def _direct_order(value: Value, layout: Layout, shape: Shape) -> Shape | None:
    """The permutation of the axes as they are that makes the wanted layout and shape; None where they must be cut."""
    before, after = layouts.by_axis(value.layout, value.shape), layouts.by_axis(layout, shape)
    if before is None or after is None or len(before) != len(after):
        return None
    left = [layouts.canonical(group) for group in before]
    order: list[int] = []
    for group in after:
        wanted = layouts.canonical(group)
        axis = next((a for a, pieces in enumerate(left) if pieces == wanted and a not in order), None)
        if axis is None:
            return None
        order.append(axis)
    return tuple(order)


def _structure_shape(key: str, numbers: Shape) -> Shape:
    return (len(numbers) // 2, 2) if key == "paddings" else (len(numbers),)
