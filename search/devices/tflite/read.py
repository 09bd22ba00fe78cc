"""From a ``.tflite`` file or bytes to the ``Graph`` that ``lower`` gives for the files of ours."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....spaces.errors import UserError, first_line
from ..extras import require
from ..graph import Attribute, Graph, Operator, TensorInfo
from .builtins import BUILTINS, Builtin, make_operator
from .write import ENUMS, EXTRA, SCHEMA

_IDENTIFIER = b"TFL3"
# Bits of a value by the name of its type, where the name does not end in them.
_BITS = {"bool": 8, "string": 8, "resource": 32, "variant": 32}


def read_tflite(source: str | Path | bytes) -> Graph:
    """The graph of a TFLite model. An operator that is not known here becomes "other" and stands in ``Graph.unknown``.

    Raises ``UserError`` when the file is missing or corrupt, has several subgraphs, a dynamic shape (a dynamic batch
    counts as 1), or a batch other than one.
    """
    title = "TFLite model" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else _load(Path(source))
    if content[4:8] != _IDENTIFIER:
        raise UserError(f"{title}: not a TFLite model: it does not begin as one (export it again)")
    schema = require(SCHEMA, EXTRA)
    try:
        return _Reading(schema, content, title).graph()
    except UserError:
        raise
    except Exception as error:  # offsets into nowhere raise whatever the place that they hit raises
        reason = first_line(error)
        raise UserError(f"{title}: not a valid TFLite model: {reason} (export it again)") from error


def _load(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror} (give the path of a .tflite model)") from error


class _Reading:
    """One pass over the tensors and operators of the only subgraph."""

    def __init__(self, schema: Any, content: bytes, title: str) -> None:
        self._schema, self._title, self._content = schema, title, content
        self._model = schema.Model.GetRootAs(content)
        count = self._model.SubgraphsLength()
        if count != 1:
            raise UserError(f"{title}: has {count} subgraphs; one is read (export one signature, without control flow)")
        self._subgraph = self._model.Subgraphs(0)
        self._types = _names(schema.TensorType)
        self._builtins = _names(schema.BuiltinOperator)
        self._taken: set[str] = set()
        self._tensors = [self._tensor(number) for number in self._numbers(self._subgraph.TensorsLength())]

    def graph(self) -> Graph:
        inputs, outputs = (
            [self._tensors[i].name for i in self._vector(ends)]
            for ends in (self._subgraph.InputsAsNumpy(), self._subgraph.OutputsAsNumpy())
        )
        tensors = {info.name: info for info in self._tensors}
        for name in inputs:
            shape = tensors[name].shape
            if len(shape) > 1 and shape[0] != 1:
                raise UserError(f"{self._title}: input {name}: a batch of {shape[0]}; one is read (export it with 1)")
        written: set[str] = set()
        operators: list[Operator] = []
        weights: dict[str, None] = {}
        for number in self._numbers(self._subgraph.OperatorsLength()):
            operator, read = self._operator(number, tensors)
            operators.append(operator)
            written.update(operator.outputs)
            weights |= dict.fromkeys(read)
        kept = [name for name in weights if name not in written and name not in inputs]
        return Graph.of(tensors, operators, inputs, outputs, kept)

    def _numbers(self, count: int) -> range:
        # A corrupt count would be walked for ever: no list has more members than the file has bytes.
        if not 0 <= count <= len(self._content):
            raise ValueError(f"a list of {count} members")
        return range(count)

    def _vector(self, values: Any) -> list[int]:
        return [int(value) for value in values] if isinstance(values, np.ndarray) else []

    def _tensor(self, number: int) -> TensorInfo:
        tensor = self._subgraph.Tensors(number)
        name = (tensor.Name() or b"").decode(errors="replace")
        if not name or name in self._taken:  # names need be neither there nor unique
            name = f"{name or 'tensor'}:{number}"
        self._taken.add(name)
        shape = self._vector(tensor.ShapeAsNumpy())
        signature = self._vector(tensor.ShapeSignatureAsNumpy()) or shape
        dynamic = [axis for axis, size in enumerate(signature) if size < 0 and (axis > 0 or shape[:1] != [1])]
        if dynamic or any(size < 0 for size in shape):
            raise UserError(
                f"{self._title}: tensor {name}: axis {(dynamic or [0])[0]} is dynamic (export it with a fixed size)"
            )
        dtype = self._types[tensor.Type()].lower()
        bits = _BITS.get(dtype) or int("".join(c for c in dtype if c.isdigit()))
        return TensorInfo(name, tuple(shape), dtype, -(-math.prod(shape) * bits // 8))

    def _operator(self, number: int, tensors: Mapping[str, TensorInfo]) -> tuple[Operator, list[str]]:
        """One operator, and which of its inputs may be weights."""
        stored = self._subgraph.Operators(number)
        builtin = self._builtin(stored.OpcodeIndex())
        # An input of -1 is left out: a bias that is not there.
        places = [place for place in self._vector(stored.InputsAsNumpy()) if place >= 0]
        inputs = [self._tensors[place].name for place in places]
        outputs = [self._tensors[place].name for place in self._vector(stored.OutputsAsNumpy())]
        if not outputs:
            raise ValueError(f"operator {number} ({builtin}) has no output")
        described = BUILTINS.get(builtin)
        attributes: dict[str, Attribute] = {}
        structure = set()
        if described is not None:
            attributes |= dict(self._options(stored, described))
            for place, key in (described.constants or {}).items():
                if place < len(places):
                    attributes[key] = self._integers(places[place], builtin, key)
                    structure.add(inputs[place])
            if builtin == "RESHAPE":
                structure.update(inputs[1:])
        operator = make_operator(builtin, outputs[0], inputs, outputs, tensors, attributes)
        stored_values = [name for place, name in zip(places, inputs, strict=True) if self._data(place)]
        return operator, [name for name in stored_values if name not in structure]

    def _builtin(self, index: int) -> str:
        code = self._model.OperatorCodes(self._numbers(self._model.OperatorCodesLength())[index])
        # Files from before the longer field keep the number in the shorter one.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == self._schema.BuiltinOperator.CUSTOM:
            return (code.CustomCode() or b"CUSTOM").decode(errors="replace")
        return self._builtins.get(number, f"BUILTIN_{number}")

    def _options(self, stored: Any, described: Builtin) -> Iterator[tuple[str, Attribute]]:
        table = stored.BuiltinOptions()
        if not described.fields or table is None:
            return
        options = getattr(self._schema, described.options)()
        options.Init(table.Bytes, table.Pos)
        for key, fields in described.fields.items():
            values = tuple(getattr(options, field[0].upper() + field[1:])() for field in fields)
            if key in ENUMS:
                names = {number: name for name, number in ENUMS[key].items()}
                yield key, names[values[0]]
            else:
                yield key, values[0] if len(values) == 1 else values

    def _integers(self, place: int, builtin: str, key: str) -> tuple[int, ...]:
        data = self._data(place)
        dtype = self._tensors[place].dtype
        if not data or not dtype.startswith("int"):
            raise UserError(
                f"{self._title}: {builtin}: its {key} is computed while the model runs: a dynamic shape "
                "(export it with fixed sizes)"
            )
        return tuple(int(number) for number in np.frombuffer(data, dtype))

    def _data(self, place: int) -> bytes:
        buffers = self._numbers(self._model.BuffersLength())
        buffer = self._model.Buffers(buffers[self._subgraph.Tensors(place).Buffer()])
        values = buffer.DataAsNumpy()
        if isinstance(values, np.ndarray):
            return values.tobytes()
        # Models of two gigabytes and more keep their data behind the flatbuffer.
        return self._content[buffer.Offset() : buffer.Offset() + buffer.Size()] if buffer.Offset() > 1 else b""


def _names(enum: type) -> dict[int, str]:
    return {number: name for name, number in vars(enum).items() if isinstance(number, int)}
