"""Lowerings of what reduces, pads, joins and cuts."""

import math
from dataclasses import replace

from ....spaces.errors import UserError
from ..graph import Operator
from . import layout as layouts
from .builder import Builder, Value
from .layout import Shape
from .padding import pad_image
from .views import torch_name


def reduce(builder: Builder, operator: Operator) -> None:
    """A mean or a maximum over some axes.

    Over both spatial axes of an image it becomes a pool, which every runtime has fast and Vela keeps on the NPU.
    """
    pools, reducers = ("AVERAGE_POOL_2D", "MAX_POOL_2D"), ("MEAN", "REDUCE_MAX")
    which = 0 if torch_name(operator) == "mean" else 1
    value = builder.value(operator.inputs[0])
    shape = value.torch_shape
    dims = operator.attribute("dim", tuple(range(len(shape))))
    axes = {axis % len(shape) for axis in (dims if isinstance(dims, tuple) else (int(str(dims)),))}
    reduced = _lowered_axes(value, axes)
    if reduced is None:
        value = builder.row_major(value, operator.name)
        reduced = _lowered_axes(value, axes)
    assert reduced is not None
    out = tuple(1 if axis in reduced else size for axis, size in enumerate(value.shape))
    # Without the axes that are gone, the strides of those that are left shrink.
    left = [1 if axis in axes else size for axis, size in enumerate(shape)]
    pieces = layouts.split(value.layout, shape) or []
    old, new = layouts.strides(shape), layouts.strides(left)
    layout = layouts.canonical((n, step // old[a] * new[a]) for n, step, a in pieces if a not in axes)
    result = operator.outputs[0]
    if not reduced:
        tensor = value.tensor
        builder.share(tensor)
    elif len(value.shape) == 4 and set(reduced) <= {1, 2}:
        kernel = (value.shape[1] if 1 in reduced else 1, value.shape[2] if 2 in reduced else 1)
        tensor = builder.emit(
            pools[which], operator.name, [value.tensor], out, output=result,
            attributes={"kernel": kernel, "stride": kernel, "padding": "VALID"},
        )  # fmt: skip
    else:
        tensor = builder.emit(
            reducers[which], operator.name, [value.tensor], out, output=result,
            structure={"axes": reduced}, attributes={"keep_dims": True},
        )  # fmt: skip
    builder.bind(operator, Value(tensor, out, layout, builder.torch_shape(result)))


def _lowered_axes(value: Value, axes: set[int]) -> Shape | None:
    """The axes of the TFLite tensor that hold these torch axes and no others; None where they are mixed."""
    groups = layouts.by_axis(value.layout, value.shape)
    found: list[int] = []
    for place, group in enumerate(groups or []):
        pieces = layouts.split(tuple(group), value.torch_shape)
        if pieces is None:
            return None
        inside = {axis in axes for _, _, axis in pieces}
        if len(inside) == 2:
            return None
        if inside == {True}:
            found.append(place)
    return None if groups is None else tuple(found)


def _axis_of(value: Value, dim: int) -> int | None:
    """The axis of the TFLite tensor that is the torch axis ``dim`` and lies as torch counts it; else None."""
    axis = _lowered_axes(value, {dim})
    groups = layouts.by_axis(value.layout, value.shape)
    if axis is None or len(axis) != 1 or groups is None:
        return None
    step = layouts.strides(value.torch_shape)[dim]
    return axis[0] if layouts.canonical(groups[axis[0]]) == ((value.torch_shape[dim], step),) else None


def pad(builder: Builder, operator: Operator) -> None:
    """aten.constant_pad_nd. Zeros in front of a convolution are the convolution's: then nobody reads this."""
    amounts, filler = operator.attribute("pad"), float(str(operator.attribute("value", 0.0)))
    value = builder.value(operator.inputs[0])
    assert isinstance(amounts, tuple)
    if min(amounts) < 0:
        raise UserError(f"{operator.name}: a negative pad has no lowering (cut with a slice)")
    shape = value.torch_shape
    result = operator.outputs[0]
    if len(shape) in (3, 4) and len(amounts) <= 2 * (len(shape) - 2):
        image = builder.image(value, operator.name)
        width, height = amounts[:2], (*amounts[2:], 0, 0)[:2]
        padded = pad_image(builder, operator.name, image, height, width, filler)  # type: ignore[arg-type]
        builder.bind(operator, builder.image_value(padded.tensor, builder.torch_shape(result)))
        return
    value = builder.row_major(value, operator.name)
    pairs = [(0, 0)] * (len(shape) - len(amounts) // 2)
    pairs += list(zip(amounts[-2::-2], amounts[-1::-2], strict=True))
    out = builder.torch_shape(result)
    paddings = {"paddings": tuple(number for pair in pairs for number in pair)}
    builtin, last = ("PAD", []) if filler == 0 else ("PADV2", [builder.number(f"{operator.name}.filler", filler)])
    tensor = builder.emit(builtin, operator.name, [value.tensor], out, output=result, structure=paddings, last=last)
    builder.bind(operator, Value(tensor, out, layouts.plain(out), out))


def concat(builder: Builder, operator: Operator) -> None:
    """aten.cat along one axis, in the order in memory of its first part where the others can follow."""
    shape = builder.torch_shape(operator.outputs[0])
    dim = int(str(operator.attribute("dim", 0))) % len(shape)
    names = list(operator.inputs)
    if any(builder.is_constant(name) for name in names):
        raise UserError(f"{operator.name}: joins a constant to an activation, which has no lowering")
    if len(names) == 1:  # the graph names a tensor that is joined to itself once
        names *= shape[dim] // builder.torch_shape(names[0])[dim]
    if sum(builder.torch_shape(name)[dim] for name in names) != shape[dim]:
        raise UserError(f"{operator.name}: joins one tensor several times, which has no lowering")
    values = [builder.value(name) for name in names]
    axis = _axis_of(values[0], dim)
    order = _order_of(values[0]) if axis is not None else None
    if axis is None or order is None:
        order, axis = tuple(range(len(shape))), dim
        values = [builder.row_major(value, operator.name) for value in values]
    leader = values[0]
    lowered = [*leader.shape]
    for place, value in enumerate(values):
        lowered[axis] = value.torch_shape[dim]
        layout = layouts.of_axes(value.torch_shape, order)
        values[place] = builder.moved(value, layout, lowered, operator.name)
    lowered[axis] = shape[dim]
    inputs = [value.tensor for value in values]
    tensor = builder.emit(
        "CONCATENATION",
        operator.name,
        inputs,
        lowered,
        output=operator.outputs[0],
        attributes={"axis": axis},
    )
    builder.bind(operator, Value(tensor, tuple(lowered), layouts.of_axes(shape, order), shape))


def _order_of(value: Value) -> Shape | None:
    """The order of the torch axes in memory; None where an axis lies in several places."""
    pieces = layouts.split(value.layout, value.torch_shape)
    if pieces is None:
        return None
    axes = [axis for _, _, axis in pieces]
    if len(set(axes)) != len(axes):
        return None
    return (*(axis for axis, size in enumerate(value.torch_shape) if size == 1), *axes)


def cut(builder: Builder, operator: Operator) -> None:
    """aten.slice, select, split and chunk: one SLICE for each part."""
    name = torch_name(operator)
    value = builder.value(operator.inputs[0])
    shape = value.torch_shape
    dim = int(str(operator.attribute("dim", 0))) % len(shape)
    for place, (begin, size) in enumerate(_parts(operator, name, shape[dim])):
        _slice(builder, operator, place, value, dim, begin, size)


def _parts(operator: Operator, name: str, length: int) -> list[tuple[int, int]]:
    if name in ("slice", "select"):
        if operator.attribute("step", 1) != 1:
            raise UserError(f"{operator.name}: a slice with a step has no lowering")
        begin = int(str(operator.attribute("index" if name == "select" else "start", 0)))
        begin = begin + length if begin < 0 else min(begin, length)
        if name == "select":
            return [(begin, 1)]
        end = int(str(operator.attribute("end", length)))
        end = end + length if end < 0 else min(end, length)
        return [(begin, end - begin)]
    # Outputs that nobody reads are not in the graph; their places are told by their names.
    sizes = operator.attribute("split_sizes")
    if not isinstance(sizes, tuple):
        step = int(str(operator.attribute("split_size", length)))
        sizes = tuple(min(step, length - start) for start in range(0, length, step))
    kept = [int(output.rpartition(".")[2]) for output in operator.outputs]
    return [(sum(sizes[:place]), sizes[place]) for place in kept]


def _slice(builder: Builder, operator: Operator, place: int, value: Value, dim: int, begin: int, size: int) -> None:
    result = operator.outputs[place]
    shape = value.torch_shape
    if shape[dim] == size:
        builder.share(value.tensor)
        builder.bind(operator, replace(value, torch_shape=builder.torch_shape(result)), place)
        return
    run = _run_of(value, dim)
    if run is None:
        value = builder.row_major(value, operator.name)
        run = _run_of(value, dim)
    assert run is not None
    axis, length = run
    starts, sizes = [0] * len(value.shape), [*value.shape]
    starts[axis], sizes[axis] = begin * length, sizes[axis] // shape[dim] * size
    structure = {"begin": tuple(starts), "size": tuple(sizes)}
    name = operator.name if len(operator.outputs) == 1 else f"{operator.name}.{place}"
    tensor = builder.emit("SLICE", name, [value.tensor], sizes, output=result, structure=structure)
    old, new = layouts.strides(shape), layouts.strides((*shape[:dim], size, *shape[dim + 1 :]))
    pieces = layouts.split(value.layout, shape) or []
    layout = layouts.canonical((size if a == dim else n, step // old[a] * new[a]) for n, step, a in pieces)
    builder.bind(operator, Value(tensor, tuple(sizes), layout, builder.torch_shape(result)), place)


def _run_of(value: Value, dim: int) -> tuple[int, int] | None:
    """The axis of the TFLite tensor whose slowest piece is the torch axis ``dim``, and the values of each index."""
    for place, group in enumerate(layouts.by_axis(value.layout, value.shape) or []):
        pieces = layouts.split(tuple(group), value.torch_shape)
        if pieces and pieces[0][0] == value.torch_shape[dim] and pieces[0][2] == dim:
            return place, math.prod(size for size, _, _ in pieces[1:])
    return None


def upsample(builder: Builder, operator: Operator) -> None:
    """aten.upsample_nearest2d and upsample_bilinear2d."""
    bilinear = "bilinear" in torch_name(operator)
    corners = bool(operator.attribute("align_corners", False))
    value = builder.image(builder.value(operator.inputs[0]), operator.name)
    shape = builder.torch_shape(operator.outputs[0])
    out = (1, shape[2], shape[3], shape[1])
    if not bilinear and any(new % old for new, old in zip(out[1:3], value.shape[1:3], strict=True)):
        raise UserError(f"{operator.name}: nearest upsampling by other than a whole factor has no lowering")
    tensor = builder.emit(
        "RESIZE_BILINEAR" if bilinear else "RESIZE_NEAREST_NEIGHBOR",
        operator.name, [value.tensor], out, output=operator.outputs[0], structure={"size": out[1:3]},
        attributes={"align_corners": corners, "half_pixel_centers": bilinear and not corners},
    )  # fmt: skip
    builder.bind(operator, builder.image_value(tensor, shape))
