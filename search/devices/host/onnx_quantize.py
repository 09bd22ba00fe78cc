"""Post-training static quantisation of ONNX models by ONNX Runtime: int8 weights per channel, int8 activations.

The file has QDQ form: pairs of QuantizeLinear and DequantizeLinear stand around each operator, and the runtime joins
them with it. Its inputs and outputs stay float32.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..graph import Graph, Operator, TensorInfo
from ..shipped import INPUT_NAME

_CALIBRATION_BATCH = 32


def quantise_onnx(content: bytes, samples: np.ndarray) -> bytes:
    """Return the int8 form of a float32 model; ``samples`` of shape (n, *input_shape) set its ranges."""
    batches = np.array_split(samples.astype(np.float32), max(1, len(samples) // _CALIBRATION_BATCH))
    return quantise_by_feeds(content, ({INPUT_NAME: batch} for batch in batches), {})


def quantise_by_feeds(
    content: bytes, feeds: Iterator[dict[str, np.ndarray]], given_ranges: Mapping[str, tuple[float, float]]
) -> bytes:
    """Return the int8 form of a float32 model; what it computes for ``feeds`` sets its ranges but those given."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Feeds(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(feeds, None)

    overrides = {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in given_ranges.items()
    }
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        quantize_static(
            onnx.load_from_string(content),
            path,
            Feeds(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": overrides} if overrides else None,
        )
        return path.read_bytes()


def quantised_graph(graph: Graph) -> Graph:
    """The graph as it runs in int8: every float32 tensor but the inputs and outputs has a byte a value.

    An input is quantised first and an output dequantised last, as operators of their own; states come and go as bytes.
    Biases are int32.
    The graph of a file that is quantised already is returned as it is.
    """
    if any(graph.tensors[name].dtype in ("int8", "uint8") for name in graph.weights):
        return graph
    states = {name for pair in graph.states for name in pair}
    ends = {*graph.inputs, *graph.outputs} - states
    tensors = {name: info if name in ends else _narrowed(info) for name, info in graph.tensors.items()}
    narrow = {name: f"{name}.int8" for name in ends}
    tensors.update({narrow[name]: replace(_narrowed(graph.tensors[name]), name=narrow[name]) for name in ends})
    operators = [_conversion("QuantizeLinear", name, narrow[name]) for name in graph.inputs if name in ends]
    for operator in graph.operators:
        inputs = tuple(narrow.get(name, name) for name in operator.inputs)
        outputs = tuple(narrow.get(name, name) for name in operator.outputs)
        operators.append(replace(operator, inputs=inputs, outputs=outputs))
        if operator.kind in ("conv", "depthwise_conv", "linear"):
            biases = [name for name in operator.inputs if name in graph.weights and len(graph.tensors[name].shape) == 1]
            tensors.update({name: replace(graph.tensors[name], dtype="int32") for name in biases})
    operators += [_conversion("DequantizeLinear", narrow[name], name) for name in graph.outputs if name in ends]
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
