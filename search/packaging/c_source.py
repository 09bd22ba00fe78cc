"""A TFLite model as a byte array with its header, as TensorFlow Lite Micro takes it on a board without files."""

from __future__ import annotations

from collections.abc import Iterator

from ..devices.boards.micro_arena import predict_arena
from ..devices.graph import Graph
from ..devices.tflite.read import read_tflite

SOURCE, HEADER = "model_data.c", "model_data.h"
_BYTES_A_LINE = 16


def c_source(content: bytes) -> dict[str, str]:
    """Return the text of each file by name, for C and C++: the bytes, their length, and the arena that they need."""
    return {SOURCE: _source(content), HEADER: _header(content, read_tflite(content))}


def _source(content: bytes) -> str:
    return "\n".join([f'#include "{HEADER}"', "", "const unsigned char model_data[] = {", *_lines(content), "};", ""])


def _lines(content: bytes) -> Iterator[str]:
    for start in range(0, len(content), _BYTES_A_LINE):
        yield "    " + " ".join(f"0x{byte:02x}," for byte in content[start : start + _BYTES_A_LINE])


def _header(content: bytes, graph: Graph) -> str:
    arena = predict_arena(graph)
    operators = sorted({str(operator.attribute("operator")) for operator in graph.operators})
    return f"""#ifndef MODEL_DATA_H
#define MODEL_DATA_H

/* Operators to register: {", ".join(operators)}. */

/* What tensors need, the same on every target; the interpreter's own structures come on top. */
#define MODEL_TENSOR_ARENA_BYTES {arena.head_bytes}
/* All of it with the reference kernels where pointers have 64 bits: enough where they have 32. */
#define MODEL_ARENA_BYTES {arena.total_bytes}

#define MODEL_DATA_BYTES {len(content)}

#ifdef __cplusplus
extern "C" {{
#endif
#if defined(__GNUC__)
__attribute__((aligned(16)))
#endif
extern const unsigned char model_data[MODEL_DATA_BYTES];
#ifdef __cplusplus
}}
#endif

#endif
"""
