"""How large the file of a model will be, before there are weights to put in it.

The constants are bytes for each part of a file's structure, fitted to the files of sixteen fused networks of the
built-in spaces and rounded up: none of these was larger than planned, and none smaller by more than 3 %. Labels are
not counted.
"""

from pathlib import Path

from .graph import Graph
from .profile import Figure

# Of a stage that gives a map beside its logits: what the map is called and how it lies in memory.
_MAP_BYTES = 400
# A scale and a zero point of eight bytes.
_TFLITE_SCALE_BYTES = 12


def planned_file_bytes(graph: Graph, file_name: str) -> int:
    """The size of the file of a lowered graph, in the format that the name says."""
    is_quantised = any(graph.tensors[name].dtype == "int8" for name in graph.weights)
    if Path(file_name).suffix == ".pte":
        structure = _pte_bytes(graph, is_quantised)
    elif Path(file_name).suffix == ".tflite":
        structure = _tflite_int8_bytes(graph) if is_quantised else _tflite_bytes(graph)
        structure += stream_notes_bytes(graph)
    else:
        structure = _qdq_bytes(graph) if is_quantised else _onnx_bytes(graph)
    maps = 0 if graph.states else len(graph.outputs) - 1
    return graph.weight_bytes + structure + maps * _MAP_BYTES


def planned_flash(graph: Graph, file_name: str) -> Figure:
    """That size as a figure, with the error to expect."""
    words = "weights, and the file's structure to within a few per cent of it"
    return Figure(planned_file_bytes(graph, file_name), "bytes", "planned", words)


def stream_notes_bytes(graph: Graph) -> int:
    """Of a streaming TFLite file: its notes on how states lie in memory and are carried."""
    return 480 + 175 * len(graph.states) if graph.states else 0


def _pte_bytes(graph: Graph, is_quantised: bool) -> int:
    """Of ExecuTorch with XNNPACK, which says much of each layer; fitted without rounding up."""
    layers = sum(operator.kind in ("conv", "depthwise_conv", "linear") for operator in graph.operators)
    return 2700 + (1510 if is_quantised else 600) * layers


def _onnx_bytes(graph: Graph) -> int:
    return 200 + 150 * len(graph.operators) + 56 * len(graph.weights)


def _qdq_bytes(graph: Graph) -> int:
    """With pairs of conversions around each operator that is not joined with the one before, and scales by channel."""
    operators = sum(operator.kind != "activation" for operator in graph.operators)
    channels = sum(graph.tensors[name].shape[0] for name in graph.weights)
    return max(0, 440 * operators + 380 * len(graph.weights) + round(6.3 * channels) - 700)


def _tflite_bytes(graph: Graph) -> int:
    return 660 + 205 * len(graph.operators) + 26 * len(graph.tensors)


def _tflite_int8_bytes(graph: Graph) -> int:
    """With scales for each tensor, and for each channel of a convolution's weights and biases."""
    scales = 0
    for operator in graph.operators:
        if operator.kind in ("conv", "depthwise_conv"):
            channels = graph.tensors[operator.outputs[0]].shape[-1]
            scales += channels * sum(name in graph.weights for name in operator.inputs)
    return 800 + 205 * len(graph.operators) + 59 * len(graph.tensors) + _TFLITE_SCALE_BYTES * scales
