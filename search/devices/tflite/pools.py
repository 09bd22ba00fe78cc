"""Lowerings of average and maximum pools."""

from ....spaces.errors import UserError
from ..graph import Attribute, Operator
from .builder import Builder, Value, image_shape
from .padding import LOWEST, Pair, pad_image, padded, pair, spatial


def pool(builder: Builder, operator: Operator) -> None:
    """Average and maximum pools, adaptive ones to one value included."""
    name = str(operator.attribute("operator")).removeprefix("aten.")
    result = operator.outputs[0]
    value = builder.image(builder.value(operator.inputs[0]), operator.name)
    out_shape = image_shape(builder.torch_shape(result), operator.name)
    in_size, out_size = pair(value.shape[1:3]), pair(out_shape[2:])
    builtin, filler = ("MAX_POOL_2D", LOWEST) if "max" in name else ("AVERAGE_POOL_2D", 0.0)
    if "adaptive" in name:
        if any(length % out for length, out in zip(in_size, out_size, strict=True)):
            raise UserError(f"{operator.name}: {name} from {in_size} to {out_size} has windows of unequal size")
        kernel = stride = pair(length // out for length, out in zip(in_size, out_size, strict=True))
        padding, dilation = (0, 0), (1, 1)
    else:
        kernel = spatial(operator, "kernel_size", 1)
        stride = spatial(operator, "stride", 1) if operator.attribute("stride") else kernel
        padding, dilation = spatial(operator, "padding", 0), spatial(operator, "dilation", 1)
    if dilation != (1, 1) or operator.attribute("divisor_override") is not None:
        raise UserError(f"{operator.name}: {name} with a dilation or a divisor has no lowering")
    if builtin == "AVERAGE_POOL_2D" and any(padding):
        value, mode = _padded_average(builder, operator, value, kernel, stride, padding, out_size)
    else:
        value, mode = padded(builder, operator.name, value, out_size, kernel, stride, padding, filler)
    shape = tuple(out_shape[axis] for axis in (0, 2, 3, 1))
    attributes: dict[str, Attribute] = {"kernel": kernel, "stride": stride, "padding": mode}
    tensor = builder.emit(builtin, operator.name, [value.tensor], shape, output=result, attributes=attributes)
    builder.bind(operator, builder.image_value(tensor, builder.torch_shape(result)))


def _padded_average(
    builder: Builder, operator: Operator, value: Value, kernel: Pair, stride: Pair, padding: Pair, out_size: Pair
) -> tuple[Value, str]:
    """torch counts the zeros around an image, TFLite does not: so they have to be real ones."""
    if not operator.attribute("count_include_pad", True):
        value, mode = padded(builder, operator.name, value, out_size, kernel, stride, padding)
        if mode != "SAME":
            raise UserError(f"{operator.name}: this padding without its zeros in the average has no lowering")
        return value, mode
    needed = [
        (out - 1) * step + size - length - lead
        for length, out, size, step, lead in zip(value.shape[1:3], out_size, kernel, stride, padding, strict=True)
    ]
    if any(trail > lead for trail, lead in zip(needed, padding, strict=True)):
        raise UserError(f"{operator.name}: an average pool with padding in ceil_mode has no lowering (ceil_mode=False)")
    height, width = ((lead, max(0, trail)) for lead, trail in zip(padding, needed, strict=True))
    return pad_image(builder, operator.name, value, height, width), "VALID"
