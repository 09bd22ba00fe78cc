"""Lowerings of convolutions and products."""

import math
from collections.abc import Mapping

import numpy as np

from ....spaces.errors import UserError
from ..graph import Attribute, Operator
from . import layout as layouts
from .builder import Builder, Value, image_shape
from .layout import Shape
from .padding import Pair, padded, pair, spatial

# More rows than there are: only the columns bound a piece.
_MANY = 2**62


def convolution(builder: Builder, operator: Operator) -> None:
    """aten.convolution of one or two spatial axes: CONV_2D, or DEPTHWISE_CONV_2D where each channel stands alone."""
    if operator.attribute("transposed"):
        raise UserError(f"{operator.name}: a transposed convolution has no lowering (upsample, then convolve)")
    result = operator.outputs[0]
    out_shape = image_shape(builder.torch_shape(result), operator.name)
    weight = operator.inputs[1]
    if not all(builder.is_constant(name) for name in operator.inputs[1:]):
        raise UserError(f"{operator.name}: a convolution whose kernel is computed has no lowering")
    out_channels, in_channels, *kernel_sizes = builder.torch_shape(weight)
    kernel = pair((1, *kernel_sizes)[-2:])
    stride, dilation, padding = (
        spatial(operator, key, default) for key, default in (("stride", 1), ("dilation", 1), ("padding", 0))
    )
    source, before = _absorb_pad(builder, operator, padding)
    value = builder.image(source, operator.name)
    reach = pair((size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True))
    value, mode = padded(builder, operator.name, value, out_shape[2:], reach, stride, before)
    groups = int(str(operator.attribute("groups", 1)))
    depthwise = operator.kind == "depthwise_conv"
    if groups > 1 and not depthwise and value.shape[3] != in_channels * groups:
        raise UserError(f"{operator.name}: {groups} groups do not fit {value.shape[3]} channels")
    inputs = [value.tensor, _kernel(builder, weight, (out_channels, in_channels, *kernel), depthwise)]
    inputs.append(_bias(builder, operator, operator.inputs[2:], out_channels))
    shape = tuple(out_shape[axis] for axis in (0, 2, 3, 1))
    attributes: dict[str, Attribute] = {"stride": stride, "dilation": dilation, "padding": mode}
    if depthwise:
        attributes["depth_multiplier"] = out_channels // groups
    builtin = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    tensor = builder.emit(builtin, operator.name, inputs, shape, output=result, attributes=attributes)
    builder.bind(operator, builder.image_value(tensor, builder.torch_shape(result)))


def _kernel(builder: Builder, weight: str, shape: Shape, depthwise: bool) -> str:
    # torch (O, I, H, W) is (O, H, W, I) in TFLite, and (1, H, W, O) for a depthwise kernel, where I is 1.
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    return builder.weight(
        weight,
        tuple(shape[axis] for axis in order),
        lambda constants: constants[weight].reshape(shape).transpose(order),
        f"{order}",
    )


def _bias(builder: Builder, operator: Operator, names: tuple[str, ...], count: int) -> str:
    """The bias; zeros where torch has none, since some runtimes take a convolution only with one."""
    if names:
        # An int8 bias is in units of its operator's input: two operators never share one.
        key = f"bias of {operator.name}" if builder.precision == "int8" else "bias"
        return builder.weight(names[0], (count,), lambda constants: constants[names[0]].reshape(count), key)
    return builder.weight(f"{operator.name}.bias", (count,), lambda _: np.zeros(count, np.float32), "zeros")


def _absorb_pad(builder: Builder, operator: Operator, padding: Pair) -> tuple[Value, Pair]:
    """What a convolution reads and the zeros before it, those of a torch pad in front of it included."""
    name = operator.inputs[0]
    pad = builder.torch_operators.get(name)
    if pad is None or pad.attribute("operator") != "aten.constant_pad_nd" or pad.attribute("value", 0) != 0:
        return builder.value(name), padding
    amounts = pad.attribute("pad")
    assert isinstance(amounts, tuple)
    rank = len(builder.torch_shape(name))
    if len(amounts) > 2 * (rank - 2) or min(amounts) < 0 or not builder.is_read_once(name):
        return builder.value(name), padding
    amounts = (*amounts, 0, 0)[:4]
    return builder.value(pad.inputs[0]), (padding[0] + amounts[2], padding[1] + amounts[0])


def linear(builder: Builder, operator: Operator) -> None:
    """aten.addmm, aten.mm and aten.bmm with a weight on the right: FULLY_CONNECTED.

    The values of a row may lie in any order (after a flatten they lie channels last): the weight's columns follow.
    """
    *bias, source, weight = operator.inputs
    if not all(builder.is_constant(name) for name in (weight, *bias)) or builder.is_constant(source):
        raise UserError(f"{operator.name}: a product whose left factor is a weight has no lowering (transpose it)")
    if any(operator.attribute(key, 1) != 1 for key in ("alpha", "beta")):
        raise UserError(f"{operator.name}: scaled products have no lowering (fold the factor into the weight)")
    result = operator.outputs[0]
    *copies, columns, rows = builder.torch_shape(weight)
    if math.prod(copies) != 1:
        raise UserError(f"{operator.name}: a product with {math.prod(copies)} weights at once has no lowering")
    value = _rows(builder, operator.name, builder.value(source), columns)
    parts = _last_axis(value.layout, columns)
    assert parts is not None
    prefix, suffix = parts
    index = layouts.gather_index(suffix)

    def kernel(constants: Mapping[str, np.ndarray]) -> np.ndarray:
        return constants[weight].reshape(columns, rows).T[:, index]

    inputs = [value.tensor, builder.weight(weight, (rows, columns), kernel, f"rows {suffix}")]
    inputs.append(_bias(builder, operator, tuple(bias), rows))
    shape = (*value.shape[:-1], rows) if prefix else (1, rows)
    attributes: dict[str, Attribute] = {"keep_num_dims": len(shape) != 2}
    tensor = builder.emit("FULLY_CONNECTED", operator.name, inputs, shape, output=result, attributes=attributes)
    out = layouts.canonical([*((size, stride // columns * rows) for size, stride in prefix), (rows, 1)])
    builder.bind(operator, Value(tensor, shape, out, builder.torch_shape(result)))


def _rows(builder: Builder, name: str, value: Value, columns: int) -> Value:
    """The value with each row of ``columns`` in one run of memory, and in one axis where there are several rows."""
    count = math.prod(value.torch_shape) // columns
    parts = _last_axis(value.layout, columns)
    if parts is None:
        return builder.moved(value, layouts.plain(value.torch_shape), (1, count, columns), name)
    if parts[0] and value.shape[-1] != columns:
        return builder.moved(value, value.layout, (1, count, columns), name)
    return value


def _last_axis(layout: layouts.Layout, columns: int) -> tuple[layouts.Layout, layouts.Layout] | None:
    """The pieces of the rows and those of the columns, where all columns follow all rows in memory."""
    if columns == 1:
        return layout, ()
    pieces = layouts.split(layout, (_MANY, columns))
    if pieces is None or [axis for _, _, axis in pieces] != sorted(axis for _, _, axis in pieces):
        return None
    rows = tuple((size, stride) for size, stride, axis in pieces if axis == 0)
    return rows, tuple((size, stride) for size, stride, axis in pieces if axis == 1)


def matmul(builder: Builder, operator: Operator) -> None:
    """aten.bmm of two activations: BATCH_MATMUL. With a weight it is a linear layer."""
    if builder.is_constant(operator.inputs[-1]):
        linear(builder, operator)
        return
    left, right = (builder.value(name) for name in (operator.inputs * 2)[:2])
    left = builder.row_major(left, operator.name)
    shape = right.torch_shape
    pieces = layouts.split(right.layout, shape)
    # Values that already run along the inner axis stay so.
    adj_y = bool(pieces) and pieces is not None and pieces[-1][2] == 1
    if adj_y:
        turned = layouts.of_axes(shape, (0, 2, 1))
        right = builder.moved(right, turned, (shape[0], shape[2], shape[1]), operator.name)
    else:
        right = builder.row_major(right, operator.name)
    result = operator.outputs[0]
    shape = builder.torch_shape(result)
    attributes: dict[str, Attribute] = {"adj_x": False, "adj_y": adj_y}
    tensors = [left.tensor, right.tensor]
    tensor = builder.emit("BATCH_MATMUL", operator.name, tensors, shape, output=result, attributes=attributes)
    builder.bind(operator, Value(tensor, shape, layouts.plain(shape), shape))
