"""What LiteRT's XNNPACK kernels do, counted: the terms that their time is fitted to.

Activations are channels-last. A convolution is a matrix product of positions by output channels, a few positions
by a vector of channels in registers; a depthwise one takes a vector of channels at one position, over all its taps.
"""

import math
from collections.abc import Mapping

from ..graph import Graph, Operator, pooled_values
from .nchwc import Axis

_ROWS = (5, 7, 14)  # positions at a time, for the tiles that its kernels have
_NARROW_LANES, _WIDE_LANES = 16, 32
_NARROW_COLUMNS = 31  # up to so many columns the narrow tile is taken
_HELD_TAPS = (3, 4, 9, 25)  # kernels of these sizes; fewer taps are filled up
_NARROW_MAPS = (2, 5, 10)
_DEPTH = {"float32": 1, "int8": 8}  # values that are multiplied together in one lane


def terms(graph: Graph, operator: Operator) -> Mapping[str, float]:
    """The terms of one operator; none for a view."""
    kind = operator.kind
    written = graph.tensors[operator.outputs[0]]
    if kind == "view":
        return {}
    if kind in ("conv", "linear", "matmul"):
        return _product_terms(graph, operator)
    if kind == "depthwise_conv":
        return _depthwise_terms(graph, operator)
    source = next((graph.tensors[n] for n in operator.inputs if n not in graph.constants), written)
    if kind == "pool":
        channels = source.shape[-1]
        vectors = -(-channels // 16)
        return {
            "pool.vectors": pooled_values(operator, graph) // channels * vectors,
            "pool.results": written.elements / 16,
        }
    name = str(operator.attribute("operator", kind)).lower()
    return {f"{name}.values": source.elements, f"{name}.bytes": source.nbytes + written.nbytes}


def _product_terms(graph: Graph, operator: Operator) -> Mapping[str, float]:
    source, weight = (graph.tensors[name] for name in operator.inputs[:2])
    written = graph.tensors[operator.outputs[0]]
    columns = written.shape[-1]
    positions = max(1, written.elements // max(1, columns))
    inner = weight.elements // max(1, columns) if operator.kind != "matmul" else source.shape[-1]
    taps = math.prod(weight.shape[1:3]) if operator.kind == "conv" else 1
    kind = "product" if taps == 1 and positions * inner == source.elements else "indirect"
    kind = "vector" if positions == 1 else kind
    channels = max(1, inner // taps)
    depth = _DEPTH.get(source.dtype, 1)
    deep = taps * depth * -(-channels // depth)
    result: dict[str, float] = {f"{kind}.results": positions * columns}
    lanes = _NARROW_LANES if columns <= _NARROW_COLUMNS or depth > 1 else _WIDE_LANES
    vectors = -(-columns // lanes)
    result[f"{kind}.{lanes}.vectors"] = positions * vectors * deep
    for rows in _ROWS if positions > 1 else (1,):
        tiles = -(-positions // rows) * vectors
        result[f"{kind}.{rows}x{lanes}.tiles"] = tiles
        result[f"{kind}.{rows}x{lanes}.depth"] = tiles * deep
    if kind == "indirect":
        result["indirect.pointers"] = positions * taps
    result["weights.bytes"] = weight.nbytes
    return result


def _depthwise_terms(graph: Graph, operator: Operator) -> Mapping[str, float]:
    weight, written = graph.tensors[operator.inputs[1]], graph.tensors[operator.outputs[0]]
    channels = max(1, written.shape[-1])
    taps = weight.elements // channels
    positions = written.elements // channels
    vectors = -(-channels // 16)
    held = next((size for size in _HELD_TAPS if taps <= size), None)
    if held is None:
        # Too many taps for the vector kernels: one after another in a plain loop. Those in the padding, each a branch
        # taken, last longer than a multiplication, and all last longer on narrow maps.
        narrow = next((width for width in _NARROW_MAPS if written.shape[2] <= width), "wide")
        used = math.prod(axis.total_taps() for axis in _axes(operator, graph))
        return {
            f"depthwise.long.{narrow}.macs": used * channels,
            "depthwise.long.skipped": (positions * taps - used) * channels,
            "depthwise.long.results": written.elements,
            "depthwise.long.calls": 1,
            "weights.bytes": weight.nbytes,
        }
    return {
        "depthwise.taps": positions * vectors * held,
        "depthwise.vectors": positions * vectors,
        "depthwise.positions": positions,
        "depthwise.pointers": positions * taps,
        "weights.bytes": weight.nbytes,
    }


def _axes(operator: Operator, graph: Graph) -> tuple[Axis, Axis]:
    """Rows and columns of a convolution of channels-last tensors."""
    read, weight = (graph.tensors[name].shape for name in operator.inputs[:2])
    written = graph.tensors[operator.outputs[0]].shape

    def axis(number: int) -> Axis:
        stride, dilation = (operator.attribute(name, (1, 1)) for name in ("stride", "dilation"))
        assert isinstance(stride, tuple) and isinstance(dilation, tuple)
        step, gap, size, count = stride[number], dilation[number], read[1 + number], written[1 + number]
        kernel = weight[1 + number]
        span = gap * (kernel - 1) + 1
        padding = max(0, (count - 1) * step + span - size) if operator.attribute("padding") == "SAME" else 0
        return Axis(size, kernel, step, gap, padding // 2, count)

    return axis(0), axis(1)
