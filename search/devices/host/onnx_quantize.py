"""Post-training static quantisation of ONNX models by ONNX Runtime: int8 weights per channel, int8 activations.

The file has QDQ form: pairs of QuantizeLinear and DequantizeLinear stand around each operator, and the runtime joins
them with it. Its inputs and outputs stay float32.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..graph import Graph, Operator, TensorInfo
from ..shipped import INPUT_NAME

_CALIBRATION_BATCH = 32


def quantise_onnx(content: bytes, samples: np.ndarray) -> bytes:
    """Return the int8 form of a float32 model; ``samples`` of shape (n, *input_shape) set its ranges."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            batches = np.array_split(samples.astype(np.float32), max(1, len(samples) // _CALIBRATION_BATCH))
            self._batches = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT_NAME: batch}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        quantize_static(
            onnx.load_from_string(content),
            path,
            Samples(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


def quantised_graph(graph: Graph) -> Graph:
    """The graph as it runs in int8: every float32 tensor but the inputs and outputs has a byte a value.

    An input is quantised first and an output dequantised last, as operators of their own. Biases are int32.
    The graph of a file that is quantised already is returned as it is.
    """
    if any(graph.tensors[name].dtype in ("int8", "uint8") for name in graph.weights):
        return graph
    ends = {*graph.inputs, *graph.outputs}
    tensors = {name: info if name in ends else _narrowed(info) for name, info in graph.tensors.items()}
    narrow = {name: f"{name}.int8" for name in ends}
    tensors.update({narrow[name]: replace(_narrowed(graph.tensors[name]), name=narrow[name]) for name in ends})
    operators = [_conversion("QuantizeLinear", name, narrow[name]) for name in graph.inputs]
    for operator in graph.operators:
        inputs = tuple(narrow.get(name, name) for name in operator.inputs)
        outputs = tuple(narrow.get(name, name) for name in operator.outputs)
        operators.append(replace(operator, inputs=inputs, outputs=outputs))
        if operator.kind in ("conv", "depthwise_conv", "linear"):
            biases = [name for name in operator.inputs if name in graph.weights and len(graph.tensors[name].shape) == 1]
            tensors.update({name: replace(graph.tensors[name], dtype="int32") for name in biases})
    operators += [_conversion("DequantizeLinear", narrow[name], name) for name in graph.outputs]
    return Graph.of(tensors, operators, graph.inputs, graph.outputs, graph.weights)


def _narrowed(info: TensorInfo) -> TensorInfo:
    return replace(info, dtype="int8", nbytes=info.elements) if info.dtype == "float32" else info


def _conversion(operator: str, source: str, result: str) -> Operator:
    return Operator("elementwise", f"{operator}.{source}", (source,), (result,), 0, (("operator", operator),))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the hint to run a preprocessing step, which the exporter's models do not need."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
