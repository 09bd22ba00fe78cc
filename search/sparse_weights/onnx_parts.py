"""An ONNX file as two: its structure without weights, and its weights in the sparse encoding."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .encoding import TYPES, decode, encode

_WEIGHTY_BYTES = 64
"""A tensor of fewer stays in the structure: shapes, scales of one value."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of a file that ships, and of its weights, stored in each way."""

    file_bytes: int
    structure_bytes: int
    weights_bytes: int
    deflated_weights_bytes: int
    """Raw deflate (RFC 1951) at its highest level, as gzip has it."""
    sparse_weights_bytes: int
    zero_share: float
    """Of the weights."""


def taken_apart(content: bytes) -> tuple[bytes, bytes]:
    """Return the structure of an ONNX file, and its weights in the sparse encoding."""
    import onnx

    model = onnx.load_from_string(content)
    tensors = {weight.name: onnx.numpy_helper.to_array(weight) for weight in _weights(model)}
    for weight in _weights(model):
        for data in ("raw_data", "float_data", "int32_data", "int64_data"):
            weight.ClearField(data)
    return model.SerializeToString(), encode(tensors)


def put_together(structure: bytes, weights: bytes) -> bytes:
    """Return an ONNX file that has the same weights, bit for bit, as the one that was taken apart."""
    import onnx

    model, tensors = onnx.load_from_string(structure), decode(weights)
    for weight in model.graph.initializer:
        if weight.name in tensors:
            weight.raw_data = np.ascontiguousarray(tensors[weight.name]).tobytes()
    return model.SerializeToString()


def sizes_of(content: bytes, structure: bytes, weights: bytes) -> Sizes:
    """Return what a file takes, as it is and in its two parts."""
    tensors = list(decode(weights).values())
    elements = sum(tensor.size for tensor in tensors)
    zeros = elements - sum(int(np.count_nonzero(tensor)) for tensor in tensors)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    dense = b"".join(tensor.tobytes() for tensor in tensors)
    return Sizes(
        file_bytes=len(content),
        structure_bytes=len(structure),
        weights_bytes=len(dense),
        deflated_weights_bytes=len(compressor.compress(dense) + compressor.flush()),
        sparse_weights_bytes=len(weights),
        zero_share=zeros / elements if elements else 0.0,
    )


def _weights(model: Any) -> list[Any]:
    import onnx

    kept = []
    for weight in model.graph.initializer:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)
        if dtype in TYPES and dtype.itemsize * int(np.prod(weight.dims)) >= _WEIGHTY_BYTES:
            kept.append(weight)
    return kept
