"""Lowerings of sums, products by value, activations, and of what is made of them: softmax, normalisations."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ....spaces.errors import UserError
from ..graph import Attribute, Operator
from . import layout as layouts
from .builder import Builder, Recipe, Value
from .layout import Shape
from .views import torch_name

_BINARY = {"add": "ADD", "sub": "SUB", "mul": "MUL", "div": "DIV", "maximum": "MAXIMUM", "minimum": "MINIMUM"}
_UNARY = {
    "sigmoid": "LOGISTIC", "tanh": "TANH", "hardswish": "HARD_SWISH", "elu": "ELU", "rsqrt": "RSQRT",
    "sqrt": "SQRT", "exp": "EXP", "log": "LOG", "abs": "ABS", "neg": "NEG",
}  # fmt: skip
_CLAMPS: dict[tuple[float, float], str] = {(0.0, math.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


def binary(builder: Builder, operator: Operator) -> None:
    """A sum, difference, product or quotient of two tensors, or of a tensor and a number."""
    name = torch_name(operator)
    if operator.attribute("alpha", 1) != 1:
        raise UserError(f"{operator.name}: a sum with a factor alpha has no lowering (multiply first)")
    other = operator.attribute("other")
    if other is not None:
        _with_number(builder, operator, name, float(str(other)))
        return
    if name == "div" and builder.precision == "int8":
        raise UserError(f"{operator.name}: a quotient of two activations has no int8 kernel (multiply, or use fp32)")
    first, second = (operator.inputs * 2)[:2]
    left, right, shape = _aligned(builder, operator, first, second)
    _finish(builder, operator, _BINARY[name], [left.tensor, right.tensor], left, right, shape)


def _with_number(builder: Builder, operator: Operator, name: str, number: float) -> None:
    value = builder.value(operator.inputs[0])
    if name == "div":
        name, number = "mul", 1 / number
    inputs = [value.tensor, builder.number(f"{operator.name}.other", number)]
    if name == "rsub":
        name, inputs = "sub", inputs[::-1]
    tensor = builder.emit(_BINARY[name], operator.name, inputs, value.shape, output=operator.outputs[0])
    builder.bind(operator, builder.like(value, tensor))


def _finish(
    builder: Builder, operator: Operator, builtin: str, inputs: list[str], left: Value, right: Value, shape: Shape
) -> None:
    whole = left if math.prod(left.torch_shape) == math.prod(shape) else right
    out = tuple(max(pair) for pair in zip(left.shape, right.shape, strict=True))
    tensor = builder.emit(builtin, operator.name, inputs, out, output=operator.outputs[0])
    if out == whole.shape:
        builder.bind(operator, builder.like(whole, tensor, shape))
    else:
        builder.bind(operator, Value(tensor, out, layouts.plain(shape), shape))


def _aligned(builder: Builder, operator: Operator, first: str, second: str) -> tuple[Value, Value, Shape]:
    """Both factors in one order in memory and in shapes that broadcast as torch's do."""
    shape = builder.torch_shape(operator.outputs[0])
    full = math.prod(shape)
    sizes = [math.prod(builder.torch_shape(name)) for name in (first, second)]
    constants = [builder.is_constant(name) for name in (first, second)]
    # The factor that has all the values and is no constant says how both lie.
    lead = 0 if sizes[0] == full and not constants[0] else 1
    names = (first, second)
    if sizes[lead] != full or constants[lead]:
        return *(_row_major(builder, operator, name, len(shape)) for name in names), shape  # type: ignore[return-value]
    leader = replace(builder.value(names[lead]), torch_shape=shape)
    follower = _following(builder, operator, leader, names[1 - lead])
    if follower is None:
        leader = builder.row_major(leader, operator.name)
        follower = _row_major(builder, operator, names[1 - lead], len(shape))
    return (leader, follower, shape) if lead == 0 else (follower, leader, shape)


def _row_major(builder: Builder, operator: Operator, name: str, rank: int) -> Value:
    own = builder.torch_shape(name)
    shape = (1,) * (rank - len(own)) + own
    if builder.is_constant(name):
        tensor = builder.weight(name, shape, lambda constants: constants[name].reshape(shape), "plain")
        return Value(tensor, shape, layouts.plain(shape), shape)
    return builder.row_major(replace(builder.value(name), torch_shape=shape), operator.name)


def _following(builder: Builder, operator: Operator, leader: Value, name: str) -> Value | None:
    """A factor that is broadcast to ``leader``, lying as that does; None where its axes are mixed with others."""
    own = builder.torch_shape(name)
    shape = (1,) * (len(leader.torch_shape) - len(own)) + own
    groups = layouts.by_axis(leader.layout, leader.shape)
    if groups is None:
        return None
    full, mine = layouts.strides(leader.torch_shape), layouts.strides(shape)
    sizes: list[int] = []
    kept: list[tuple[int, int]] = []
    for group in groups:
        pieces = layouts.split(tuple(group), leader.torch_shape)
        if pieces is None:
            return None
        varies = {shape[axis] != 1 for _, _, axis in pieces}
        if len(varies) == 2:
            return None
        here = [(n, stride // full[axis] * mine[axis]) for n, stride, axis in pieces] if True in varies else []
        kept += here
        sizes.append(math.prod(n for n, _ in here))
    layout, lowered = layouts.canonical(kept), tuple(sizes)
    if builder.is_constant(name):
        index = layouts.gather_index(layout)
        tensor = builder.weight(
            name, lowered, lambda constants: constants[name].reshape(-1)[index].reshape(lowered), f"{layout}"
        )
        return Value(tensor, lowered, layout, shape)
    return builder.moved(replace(builder.value(name), torch_shape=shape), layout, lowered, operator.name)


def activation(builder: Builder, operator: Operator) -> None:
    """An activation: fused into the operator before it where that alone feeds it, else an operator of its own."""
    name = torch_name(operator)
    source = operator.inputs[0]
    value = builder.value(source)
    if name in ("silu", "hardsigmoid", "gelu"):
        _composed(builder, operator, name, value)
    elif name in ("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max"):
        _clamp(builder, operator, value, *_limits(operator, name))
    elif name == "leaky_relu":
        slope = operator.attribute("negative_slope", 0.01)
        assert slope is not None
        _single(builder, operator, "LEAKY_RELU", value, {"alpha": slope})
    elif name == "_prelu_kernel":
        left, slopes, shape = _aligned(builder, operator, source, operator.inputs[1])
        _finish(builder, operator, "PRELU", [left.tensor, slopes.tensor], left, slopes, shape)
    else:
        if name == "elu" and any(operator.attribute(key, 1) != 1 for key in ("alpha", "scale", "input_scale")):
            raise UserError(f"{operator.name}: an ELU with other factors than 1 has no lowering")
        _single(builder, operator, _UNARY[name], value, {})


def _single(
    builder: Builder, operator: Operator, builtin: str, value: Value, attributes: Mapping[str, Attribute]
) -> None:
    tensor = builder.emit(
        builtin, operator.name, [value.tensor], value.shape, output=operator.outputs[0], attributes=attributes
    )
    builder.bind(operator, builder.like(value, tensor))


def _limits(operator: Operator, name: str) -> tuple[float, float]:
    if name in ("relu", "relu6"):
        return 0.0, math.inf if name == "relu" else 6.0
    low, high = ("min_val", "max_val") if name == "hardtanh" else ("min", "max")
    default = 1.0 if name == "hardtanh" else math.inf
    return float(str(operator.attribute(low, -default))), float(str(operator.attribute(high, default)))


def _clamp(builder: Builder, operator: Operator, value: Value, low: float, high: float) -> None:
    fused = _CLAMPS.get((low, high))
    if fused and builder.is_read_once(operator.inputs[0]) and builder.fuse(value.tensor, fused):
        builder.bind(operator, value)
        return
    if fused in ("RELU", "RELU6"):
        _single(builder, operator, fused, value, {})
        return
    tensor = value.tensor
    for builtin, limit in (("MAXIMUM", low), ("MINIMUM", high)):
        if math.isfinite(limit):
            number = builder.number(f"{operator.name}.{builtin.lower()}", limit)
            tensor = builder.emit(builtin, f"{operator.name}.{builtin.lower()}", [tensor, number], value.shape)
    builder.bind(operator, builder.like(value, tensor))


def _composed(builder: Builder, operator: Operator, name: str, value: Value) -> None:
    """Activations that the runtimes compute in steps, or have no integer kernel for."""
    near, shape = operator.name, value.shape

    def step(builtin: str, part: str, *inputs: str, **attributes: Attribute) -> str:
        return builder.emit(builtin, f"{near}.{part}", inputs, shape, attributes=attributes)

    def number(part: str, amount: float) -> str:
        return builder.number(f"{near}.{part}", amount)

    x = value.tensor
    if name == "silu":
        tensor = step("MUL", "product", x, step("LOGISTIC", "logistic", x))
    elif name == "hardsigmoid":
        clamped = step("ADD", "sum", x, number("three", 3.0), fused_activation="RELU6")
        tensor = step("MUL", "product", clamped, number("sixth", 1 / 6))
    elif builder.precision == "fp32":
        tensor = step("GELU", "gelu", x, approximate=operator.attribute("approximate", "none") == "tanh")
    else:
        # TensorFlow Lite Micro and Vela have no GELU; x * sigmoid(1.702 x) is within 0.021 of it (arXiv 1606.08415, 2).
        scaled = step("MUL", "scaled", x, number("factor", 1.702))
        tensor = step("MUL", "product", x, step("LOGISTIC", "logistic", scaled))
    builder.bind(operator, builder.like(value, tensor))


def power(builder: Builder, operator: Operator) -> None:
    """aten.pow with exponent 2 or 0.5."""
    value, exponent = builder.value(operator.inputs[0]), operator.attribute("exponent")
    if exponent == 2:
        inputs = [value.tensor, value.tensor]
        tensor = builder.emit("MUL", operator.name, inputs, value.shape, output=operator.outputs[0])
        builder.bind(operator, builder.like(value, tensor))
    elif exponent == 0.5:
        _single(builder, operator, "SQRT", value, {})
    else:
        raise UserError(f"{operator.name}: the power {exponent} has no lowering (2 and 0.5 have)")


def softmax(builder: Builder, operator: Operator) -> None:
    """Softmax and its logarithm over one axis, which TFLite takes only as the last."""
    dim = int(str(operator.attribute("dim", -1)))
    value = last_axis(builder, operator, builder.value(operator.inputs[0]), dim)
    if "log" in torch_name(operator):
        _single(builder, operator, "LOG_SOFTMAX", value, {})
    else:
        _single(builder, operator, "SOFTMAX", value, {"beta": 1.0})


def last_axis(builder: Builder, operator: Operator, value: Value, dim: int) -> Value:
    """The value with the torch axis ``dim`` as the last axis of its TFLite tensor."""
    shape = value.torch_shape
    dim %= max(1, len(shape))
    groups = layouts.by_axis(value.layout, value.shape)
    pieces = layouts.split(tuple(groups[-1]), shape) if groups else None
    if pieces is not None and value.shape[-1] == shape[dim] and all(axis == dim for _, _, axis in pieces):
        return value
    axes = [axis for axis in range(len(shape)) if axis != dim] + [dim]
    return builder.moved(value, layouts.of_axes(shape, axes), tuple(shape[axis] for axis in axes), operator.name)


def layer_norm(builder: Builder, operator: Operator) -> None:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis, in the steps that every runtime has."""
    normalized = operator.attribute("normalized_shape")
    if not isinstance(normalized, tuple) or len(normalized) != 1:
        raise UserError(f"{operator.name}: a layer norm over {normalized} has no lowering (over the last axis it has)")
    near = operator.name
    value = last_axis(builder, operator, builder.value(operator.inputs[0]), -1)
    x, shape = value.tensor, value.shape
    narrow = (*shape[:-1], 1)
    axes, keep = {"axes": (len(shape) - 1,)}, {"keep_dims": True}
    mean = builder.emit("MEAN", f"{near}.mean", [x], narrow, structure=axes, attributes=keep)
    square = builder.emit("SQUARED_DIFFERENCE", f"{near}.square", [x, mean], shape)
    variance = builder.emit("MEAN", f"{near}.variance", [square], narrow, structure=axes, attributes=keep)
    eps = builder.number(f"{near}.eps", float(str(operator.attribute("eps", 1e-5))))
    shifted = builder.emit("ADD", f"{near}.shifted", [variance, eps], narrow)
    factor = builder.emit("RSQRT", f"{near}.rsqrt", [shifted], narrow)
    centred = builder.emit("SUB", f"{near}.centred", [x, mean], shape)
    tensor = builder.emit("MUL", f"{near}.scaled", [centred, factor], shape)
    index = layouts.gather_index(layouts.plain(normalized))
    groups = layouts.by_axis(value.layout, shape)
    if groups is not None and groups[-1]:
        index = layouts.gather_index(tuple(groups[-1]))
    for builtin, name in zip(("MUL", "ADD"), operator.inputs[1:], strict=False):
        constant = builder.weight(name, normalized, _gathered(name, index), f"{index.tolist()}")
        tensor = builder.emit(builtin, f"{near}.{builtin.lower()}", [tensor, constant], shape)
    builder.bind(operator, builder.like(value, tensor))


def _gathered(name: str, index: np.ndarray) -> Recipe:
    return lambda constants: constants[name].reshape(-1)[index]


def batch_norm(builder: Builder, operator: Operator) -> None:
    """A batch normalisation that no convolution took in: a product and a sum with folded constants."""
    inputs, eps = operator.inputs, float(str(operator.attribute("eps", 1e-5)))
    if len(inputs) != 5:
        raise UserError(f"{operator.name}: a batch normalisation without weight and bias has no lowering")
    source, weight, bias, mean, variance = inputs
    channels = builder.torch_shape(source)[1]
    value = _channels_last(builder, operator, builder.value(source))

    def scale(constants: Mapping[str, np.ndarray]) -> np.ndarray:
        return constants[weight] / np.sqrt(constants[variance] + eps)

    def shift(constants: Mapping[str, np.ndarray]) -> np.ndarray:
        return constants[bias] - constants[mean] * scale(constants)

    factor = builder.weight(weight, (channels,), scale, f"scale {operator.name}")
    offset = builder.weight(bias, (channels,), shift, f"shift {operator.name}")
    scaled = builder.emit("MUL", f"{operator.name}.scaled", [value.tensor, factor], value.shape)
    tensor = builder.emit("ADD", operator.name, [scaled, offset], value.shape, output=operator.outputs[0])
    builder.bind(operator, builder.like(value, tensor))


def _channels_last(builder: Builder, operator: Operator, value: Value) -> Value:
    if len(value.torch_shape) == 2:
        return builder.row_major(value, operator.name)
    return replace(builder.image(value, operator.name), torch_shape=value.torch_shape)
