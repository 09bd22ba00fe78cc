"""The int8 form of a streaming ONNX file, whose states are bytes that are carried as they are.

A float32 state would be quantised anew in each hop, all of it, to be joined to a few new frames. Quantised with the
range of what it is joined to, a state and its new value have one scale and zero point, and no conversion is left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..shipped import INPUT_NAME
from ..stream import NEW_STATE, STATE, calibration_streams
from .onnx_quantize import quantise_by_feeds
from .onnx_runtime import make_session
from .onnx_streaming import ZERO_POINTS_KEY, OnnxStream


def quantise_stream(content: bytes, samples: np.ndarray) -> bytes:
    """Return the int8 form of what ``streaming_onnx`` made; windows ``samples`` (n, *bands, frames) set its ranges.

    They are heard hop by hop, each from silence and all one after the other. Features and logits stay float32.
    """
    import onnx

    model = onnx.load_from_string(content)
    joined = {node.output[0]: name for node in model.graph.node for name in node.input if _is_state(name)}
    ranges = _joined_ranges(model, joined, samples)
    given = ranges | {state: ranges[name] for name, state in joined.items()}
    quantised = onnx.load_from_string(quantise_by_feeds(content, _feeds(content, samples), given))
    zero_points = _carry_bytes(quantised.graph)
    onnx.helper.set_model_props(
        quantised,
        {prop.key: prop.value for prop in model.metadata_props} | {ZERO_POINTS_KEY: json.dumps(zero_points)},
    )
    return quantised.SerializeToString()


def _is_state(name: str) -> bool:
    return name.removeprefix(STATE).isdigit()


def _feeds(content: bytes, samples: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """What the float32 file takes in each hop, as it hears the samples."""
    stream = OnnxStream(content)
    for hops in calibration_streams(samples.astype(np.float32), stream.hop_shape[-1], stream.window_hops):
        stream.reset()
        for hop in hops:
            states = {f"{STATE}{number}": state for number, state in enumerate(stream.states)}
            yield {INPUT_NAME: hop[None], **states}
            stream.step(hop)


def _joined_ranges(model: Any, joined: Mapping[str, str], samples: np.ndarray) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value, zero among them, of what each state is joined to new frames in."""
    import onnx

    content = model.SerializeToString()
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in joined
    )
    session = make_session(watched.SerializeToString())
    low, high = np.zeros(len(joined)), np.zeros(len(joined))
    for feed in _feeds(content, samples):
        values = session.run(list(joined), feed)
        low = np.minimum(low, [value.min() for value in values])
        high = np.maximum(high, [value.max() for value in values])
    return {name: (float(a), float(b)) for name, a, b in zip(joined, low, high, strict=True)}


def _carry_bytes(graph: Any) -> list[int]:
    """Take the conversions of the states away; return the zero point of each."""
    import onnx

    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    coming, going, renamed = {}, {}, {}
    for node in list(graph.node):
        if node.op_type == "QuantizeLinear" and _is_state(node.input[0]):
            number = int(node.input[0].removeprefix(STATE))
            renamed[node.output[0]] = node.input[0]
            coming[number] = tuple(constants[name].item() for name in node.input[1:3])
            graph.node.remove(node)
        elif node.op_type == "DequantizeLinear" and node.output[0].startswith(NEW_STATE):
            number = int(node.output[0].removeprefix(NEW_STATE))
            renamed[node.input[0]] = node.output[0]
            going[number] = tuple(constants[name].item() for name in node.input[1:3])
            graph.node.remove(node)
    count = len(graph.input) - 1
    assert coming == going and sorted(coming) == list(range(count)), (coming, going, count)
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = renamed.get(name, name)
    for end in (*graph.input[1:], *graph.output[1:]):
        end.type.tensor_type.elem_type = onnx.TensorProto.INT8
    return [int(coming[number][1]) for number in range(count)]
