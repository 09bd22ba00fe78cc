"""A graph of TFLite operators as the bytes of a ``.tflite`` file.

Written with the classes that the TFLite schema generates; weights are aligned as the schema asks, so that a
microcontroller reads them where they lie in flash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..extras import require
from ..graph import Graph, Operator
from ..shipped import INPUT_NAME, OUTPUT_NAME
from ..stream import NEW_STATE, STATE, state_names
from .builtins import BUILTINS

SCHEMA = "ai_edge_litert.schema_py_generated"
EXTRA = "litert"
DTYPES = {"float32": "FLOAT32", "int8": "INT8", "int32": "INT32"}
PADDINGS = {"SAME": 0, "VALID": 1}
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3, "TANH": 4, "SIGN_BIT": 5}
ENUMS: dict[str, dict[str, int]] = {"padding": PADDINGS, "fused_activation": ACTIVATIONS}
Ends = tuple[Sequence[str], Sequence[str]]
"""Names of inputs, and of outputs."""
_ALIGNMENT = 16  # bytes; the schema's force_align of buffers


@dataclass(frozen=True)
class Quantization:
    """real = scale * (integer - zero_point); one scale, or one for each index of ``axis`` with zero points of 0."""

    scales: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0


def write_tflite(
    graph: Graph,
    constants: Mapping[str, np.ndarray],
    quantization: Mapping[str, Quantization],
    metadata: Mapping[str, str],
    names: Ends | None = None,
) -> bytes:
    """The file of a lowered ``graph``.

    ``constants`` hold the values of its weights by name, ``quantization`` the scales of its tensors where they are
    int8, ``metadata`` texts that are kept in the file under their names. ``names`` are those of the signature's inputs
    and outputs, in the order of the file: by default "features" to "logits"; with states, "features", "state0",
    "state1", … to "logits", "new_state0", ….
    """
    schema = require(SCHEMA, EXTRA)
    flatbuffers = require("flatbuffers", EXTRA)
    structure = {name: values for op in graph.operators for name, values in _structure(graph, op).items()}
    # Buffer 0 is empty by convention: activations have it.
    buffers = [_buffer(schema, None)]
    place = {name: number for number, name in enumerate(graph.tensors)}
    tensors = []
    for name, info in graph.tensors.items():
        values = structure.get(name, constants.get(name))
        tensor = schema.TensorT(shape=list(info.shape), name=name.encode(), hasRank=True)
        tensor.type = getattr(schema.TensorType, DTYPES[info.dtype])
        if values is not None:
            assert values.shape == info.shape and values.dtype == info.dtype, (name, values.shape, info)
            tensor.buffer = len(buffers)
            buffers.append(_buffer(schema, values.tobytes()))
        if name in quantization:
            tensor.quantization = _parameters(schema, quantization[name])
        tensors.append(tensor)
    codes: dict[tuple[str, int], int] = {}
    operators = [_operator(schema, graph, op, place, codes) for op in graph.operators]
    subgraph = schema.SubGraphT(
        tensors=tensors,
        inputs=[place[name] for name in graph.inputs],
        outputs=[place[name] for name in graph.outputs],
        operators=operators,
        name=b"main",
    )
    notes = []
    for name, text in metadata.items():
        notes.append(schema.MetadataT(name=name.encode(), buffer=len(buffers)))
        buffers.append(_buffer(schema, text.encode()))
    model = schema.ModelT(
        version=3,
        operatorCodes=[_code(schema, builtin, version) for builtin, version in codes],
        subgraphs=[subgraph],
        description=b"repareto",
        buffers=buffers,
        metadata=notes,
        signatureDefs=[_signature(schema, subgraph, names or _names(graph))],
    )
    builder = flatbuffers.Builder(1024 + sum(info.nbytes for info in graph.tensors.values() if info.name in constants))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _buffer(schema: Any, content: bytes | None) -> Any:
    """A buffer whose data start at a multiple of 16 bytes; the generated class aligns them to one."""

    class Aligned(schema.BufferT):
        def Pack(self, builder: Any) -> Any:
            data = None
            if content:
                builder.StartVector(1, len(content), _ALIGNMENT)
                builder.head = builder.Head() - len(content)
                builder.Bytes[builder.Head() : builder.Head() + len(content)] = content
                data = builder.EndVector()
            schema.BufferStart(builder)
            if data is not None:
                schema.BufferAddData(builder, data)
            return schema.BufferEnd(builder)

    return Aligned()


def _structure(graph: Graph, operator: Operator) -> dict[str, np.ndarray]:
    """The int32 constants that an operator's attributes become: axes, paddings, a permutation, a new shape."""
    builtin = str(operator.attribute("operator"))
    numbers = {place: operator.attribute(key) for place, key in (BUILTINS[builtin].constants or {}).items()}
    if builtin == "RESHAPE":
        numbers[1] = graph.tensors[operator.outputs[0]].shape
    names = {operator.inputs[place]: values for place, values in numbers.items()}
    return {name: np.array(values, np.int32).reshape(graph.tensors[name].shape) for name, values in names.items()}


def _operator(
    schema: Any, graph: Graph, operator: Operator, place: Mapping[str, int], codes: dict[tuple[str, int], int]
) -> Any:
    builtin = str(operator.attribute("operator"))
    described = BUILTINS[builtin]
    is_int8 = graph.tensors[operator.outputs[0]].dtype == "int8"
    code = (builtin, described.int8_version if is_int8 else described.version)
    written = schema.OperatorT(
        opcodeIndex=codes.setdefault(code, len(codes)),
        inputs=[place[name] for name in operator.inputs],
        outputs=[place[name] for name in operator.outputs],
    )
    if described.options:
        options = getattr(schema, f"{described.options}T")()
        for key, fields in (described.fields or {}).items():
            value = operator.attribute(key)
            values = value if isinstance(value, tuple) else (value,)
            for field, part in zip(fields, values, strict=True):
                setattr(options, field, ENUMS[key][str(part)] if key in ENUMS else part)
        if builtin == "RESHAPE":
            options.newShape = list(graph.tensors[operator.outputs[0]].shape)
        written.builtinOptionsType = getattr(schema.BuiltinOptions, described.options)
        written.builtinOptions = options
    return written


def _code(schema: Any, builtin: str, version: int) -> Any:
    number = getattr(schema.BuiltinOperator, builtin)
    # Old readers know the first 127 only, by a field of one byte.
    return schema.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=version)


def _parameters(schema: Any, quantization: Quantization) -> Any:
    scales = quantization.scales
    return schema.QuantizationParametersT(
        scale=np.array(scales, np.float32),
        zeroPoint=np.full(len(scales), quantization.zero_point, np.int64),
        quantizedDimension=quantization.axis,
    )


def _names(graph: Graph) -> Ends:
    if graph.states:
        count = len(graph.inputs)
        return state_names(INPUT_NAME, STATE, count), state_names(OUTPUT_NAME, NEW_STATE, count)
    return _numbered(INPUT_NAME, len(graph.inputs)), _numbered(OUTPUT_NAME, len(graph.outputs))


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{number}" for number in range(count)]


def _signature(schema: Any, subgraph: Any, names: Ends) -> Any:
    inputs, outputs = (
        [schema.TensorMapT(name=text.encode(), tensorIndex=place) for text, place in zip(texts, places, strict=True)]
        for texts, places in zip(names, (subgraph.inputs, subgraph.outputs), strict=True)
    )
    return schema.SignatureDefT(inputs=inputs, outputs=outputs, signatureKey=b"serving_default")
