"""What ONNX Runtime's int8 kernels do, counted: the terms that their time is fitted to.

A convolution copies its windows into rows, channels last, and multiplies them as one matrix of bytes; depthwise ones go
through a table of pointers. Activations are 8 bits, sums 32, and each result is scaled back.
"""

import math
from collections.abc import Mapping

from ..graph import Graph, Operator, pooled_values

_LANES, _DEPTH, _ROWS = 16, 4, 6


def terms(graph: Graph, operator: Operator) -> Mapping[str, float]:
    """The terms of one operator on channels-first tensors; none for a view."""
    kind = operator.kind
    written = graph.tensors[operator.outputs[0]]
    source = next((graph.tensors[name] for name in operator.inputs if name not in graph.constants), written)
    if kind == "view":
        return {}
    if kind in ("conv", "depthwise_conv"):
        return _convolution_terms(graph, operator)
    if kind == "linear":
        inner, columns = source.shape[-1], written.shape[-1]
        return _product_terms("int8_linear", written.elements // max(1, columns), columns, inner)
    if kind == "pool":
        return {"int8_pool.values": pooled_values(operator, graph), "int8_pool.channels": source.shape[1]}
    name = str(operator.attribute("operator", kind)).removeprefix("aten.").lower()
    return {f"int8_{name}.values": source.elements, f"int8_{name}.macs": operator.macs}


def _convolution_terms(graph: Graph, operator: Operator) -> Mapping[str, float]:
    source, weight = (graph.tensors[name].shape for name in operator.inputs[:2])
    written = graph.tensors[operator.outputs[0]].shape
    taps, positions = math.prod(weight[2:]), math.prod(written[2:])
    if operator.kind == "depthwise_conv" and written[1] == source[1]:
        vectors = -(-written[1] // _LANES)
        return {
            "int8_depthwise.taps": positions * vectors * taps,
            "int8_depthwise.vectors": positions * vectors,
            "int8_depthwise.pointers": positions * taps,
            "int8_depthwise.values": math.prod(written[1:]),
            "weights.bytes": math.prod(weight),
        }
    groups = source[1] // weight[1]
    kind = "int8_product" if taps == 1 and math.prod(source[2:]) == positions else "int8_windows"
    result = dict(_product_terms(kind, positions, written[1] // groups, taps * weight[1]))
    result = {name: groups * value for name, value in result.items()}
    if kind == "int8_windows":
        result["int8_windows.copied"] = positions * taps * source[1]
        result["int8_windows.copies"] = positions * taps * groups
    return result


def _product_terms(kind: str, positions: int, columns: int, inner: int) -> Mapping[str, float]:
    vectors, deep = -(-columns // _LANES), -(-inner // _DEPTH)
    tiles = -(-positions // _ROWS) * vectors
    return {
        f"{kind}.steps": positions * vectors * deep,
        f"{kind}.tile_steps": tiles * deep,
        f"{kind}.tiles": tiles,
        f"{kind}.results": positions * columns,
        f"{kind}.packed": positions * inner,
        "weights.bytes": columns * inner,
    }
