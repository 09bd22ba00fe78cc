"""From an ``.onnx`` file or bytes to the same ``Graph`` that ``torch_reader`` gives."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....spaces.errors import UserError, first_line
from ..graph import Attribute, Graph, Operator, TensorInfo
from .qdq import DEQUANTIZE, join_quantised

_KIND_NAMES = {
    "conv": "Conv ConvTranspose",
    "linear": "Gemm MatMul",
    "pool": "AveragePool MaxPool LpPool",
    "reduce": "GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL2 "
    "ReduceLogSumExp ArgMax ArgMin CumSum",
    "normalization": "BatchNormalization LayerNormalization InstanceNormalization GroupNormalization "
    "RMSNormalization LpNormalization",
    "activation": "Relu Clip Sigmoid Tanh Gelu HardSwish HardSigmoid LeakyRelu PRelu Elu Selu Softplus Mish "
    "Softsign ThresholdedRelu Swish",
    "softmax": "Softmax LogSoftmax",
    "elementwise": "Add Sub Mul Div Pow Sqrt Reciprocal Exp Log Abs Neg Sign Floor Ceil Round Erf Sin Cos Max Min Sum "
    "Mean Mod Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Not Cast CastLike IsNaN IsInf "
    "QuantizeLinear DequantizeLinear",
    "pad": "Pad",
    "transpose": "Transpose",
    "concat": "Concat",
    "copy": "Slice Split Gather GatherElements GatherND Expand Tile Resize DepthToSpace SpaceToDepth Upsample",
    "view": "Reshape Flatten Squeeze Unsqueeze Identity Dropout",
}
_KIND = {name: kind for kind, names in _KIND_NAMES.items() for name in names.split()}
# Their results hang on the form of what they read, which is known here, not on its values.
_FACTORIES = frozenset({"Constant", "ConstantOfShape", "Shape", "Size", "Range", "RandomNormalLike", "EyeLike"})
_LARGEST_ATTRIBUTE = 64


def read_onnx(source: str | Path | bytes) -> Graph:
    """The graph of an ONNX model, with a dynamic batch (the first axis of an input) made 1.

    One that is quantised in QDQ form has the integers that its kernels work on.

    Raises ``UserError`` when the file is missing or corrupt, when the batch is fixed to another number than 1, when
    another axis is dynamic, or when a shape cannot be inferred.
    """
    title = "ONNX model" if isinstance(source, bytes) else str(source)
    model = _load(source, title)
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    for value in inputs:
        _fix_batch(value, title)
    return _Reading(_infer_shapes(model, title), title).graph([value.name for value in inputs])


def _load(source: str | Path | bytes, title: str) -> Any:
    import onnx

    if not isinstance(source, bytes) and not Path(source).is_file():
        raise UserError(f"{title}: no such file (give the path of an .onnx model)")
    try:
        model = onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(str(source))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, the checker and the file system each raise their own
        reason = first_line(error)
        raise UserError(f"{title}: not a valid ONNX model: {reason} (export it again)") from error
    return model


def _fix_batch(value: Any, title: str) -> None:
    axes = value.type.tensor_type.shape.dim
    for number, axis in enumerate(axes):
        if axis.WhichOneof("value") == "dim_value" and axis.dim_value > 0:
            if number == 0 and axis.dim_value != 1 and len(axes) > 1:
                raise UserError(
                    f"{title}: input {value.name}: a fixed batch of {axis.dim_value}: figures are of one example "
                    "(export it with a dynamic batch, or with one of 1)"
                )
            continue
        if number:
            raise UserError(
                f"{title}: input {value.name}: axis {number} ({axis.dim_param or 'unnamed'}) is dynamic: "
                "only the batch, axis 0, may be (export it with a fixed size)"
            )
        axis.dim_value = 1


def _infer_shapes(model: Any, title: str) -> Any:
    import onnx

    del model.graph.value_info[:]  # what is noted here may still name the dynamic batch
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{title}: its shapes do not fit together: {reason}") from error


class _Reading:
    """One pass over the nodes, folding constants."""

    def __init__(self, model: Any, title: str) -> None:
        from onnx import numpy_helper

        self._title = title
        self._graph = model.graph
        self._tensors: dict[str, TensorInfo] = {}
        self._unshaped: set[str] = set()
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self._folded: set[str] = set()  # constants that a runtime computes once, at load
        for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]:
            self._declare(value)
        for name, array in self._constants.items():
            self._tensors[name] = TensorInfo(name, tuple(array.shape), _dtype_name(array.dtype), int(array.nbytes))

    def _declare(self, value: Any) -> None:
        from onnx import helper

        kind = value.type.tensor_type
        sizes = [axis.dim_value for axis in kind.shape.dim]
        if not kind.HasField("shape") or not all(axis.WhichOneof("value") == "dim_value" for axis in kind.shape.dim):
            self._unshaped.add(value.name)
            return
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        nbytes = math.prod(sizes) * dtype.itemsize
        self._tensors[value.name] = TensorInfo(value.name, tuple(sizes), _dtype_name(dtype), nbytes)

    def graph(self, inputs: Sequence[str]) -> Graph:
        outputs = [value.name for value in self._graph.output]
        read = [op for number, node in enumerate(self._graph.node) for op in self._read(number, node)]
        weights = [*self._constants, *self._folded]
        operators = list(join_quantised(read, set(weights), outputs))
        for name in {name for op in operators for name in (*op.inputs, *op.outputs)}.union(outputs):
            if name not in self._tensors:
                raise UserError(
                    f"{self._title}: tensor {name}: its shape cannot be inferred (export the model with fixed sizes, "
                    "or run onnxsim on it)"
                )
        return Graph.of(self._tensors, operators, inputs, outputs, [n for n in weights if n in self._tensors])

    def _read(self, number: int, node: Any) -> Iterator[Operator]:
        read = [name for name in node.input if name]
        if node.op_type == "Constant":
            self._read_constant(node)
        elif node.op_type in _FACTORIES or all(self._is_constant(name) for name in read):
            self._folded.update(name for name in node.output if name)
            if node.op_type == DEQUANTIZE:  # what is stored, and read by integer kernels, are the integers
                self._tensors[node.output[0]] = replace(self._tensors[node.input[0]], name=node.output[0])
        else:
            wired = tuple(dict.fromkeys(name for name in read if not self._is_attribute(name)))
            written = tuple(name for name in node.output if name)
            yield Operator(
                self._kind(node, read),
                node.name or f"{node.op_type}_{number}",
                wired,
                written,
                self._macs(node, read),
                (("operator", node.op_type), *self._attributes(node, read)),
            )

    def _read_constant(self, node: Any) -> None:
        from onnx import numpy_helper

        value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if value is None:
            self._folded.add(node.output[0])
            return
        array = numpy_helper.to_array(value)
        name = node.output[0]
        self._constants[name] = array
        self._tensors[name] = TensorInfo(name, tuple(array.shape), _dtype_name(array.dtype), int(array.nbytes))

    def _is_constant(self, name: str) -> bool:
        return name in self._constants or name in self._folded

    def _is_attribute(self, name: str) -> bool:
        if not self._is_constant(name):
            return False
        return name not in self._tensors or not self._tensors[name].is_weight

    def _kind(self, node: Any, read: list[str]) -> str:
        kind = _KIND.get(node.op_type, "other") if node.domain in ("", "ai.onnx") else "other"
        if kind == "conv":
            groups = _attribute(node, "group", 1)
            return "depthwise_conv" if 1 < groups == self._shape(read[0])[1] else "conv"
        if kind == "linear":
            return "linear" if any(self._is_constant(name) for name in read) else "matmul"
        if kind == "transpose":
            shape = self._shape(read[0])
            order = _attribute(node, "perm", tuple(reversed(range(len(shape)))))
            moved = [axis for axis in order if shape[axis] != 1]
            return "view" if moved == sorted(moved) else kind
        if node.op_type == "Expand" and math.prod(self._shape(read[0])) == math.prod(self._shape(node.output[0])):
            return "view"
        return kind

    def _macs(self, node: Any, read: list[str]) -> int:
        if node.op_type == "Conv":
            return math.prod(self._shape(node.output[0])) * math.prod(self._shape(read[1])[1:])
        if node.op_type == "ConvTranspose":
            return math.prod(self._shape(read[0])) * math.prod(self._shape(read[1])[1:])
        if node.op_type == "Gemm":
            inner = self._shape(read[0])[0 if _attribute(node, "transA", 0) else 1]
            return math.prod(self._shape(node.output[0])) * inner
        if node.op_type == "MatMul":
            return math.prod(self._shape(node.output[0])) * self._shape(read[0])[-1]
        return 0

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self._tensors:
            raise UserError(
                f"{self._title}: tensor {name}: its shape cannot be inferred (export the model with fixed sizes)"
            )
        return self._tensors[name].shape

    def _attributes(self, node: Any, read: list[str]) -> Iterator[tuple[str, Attribute]]:
        for attribute in node.attribute:
            value = _attribute(node, attribute.name, None)
            if value is not None:
                yield attribute.name, value
        for place, name in enumerate(read):
            array = self._constants.get(name)
            if array is not None and self._is_attribute(name) and array.size <= _LARGEST_ATTRIBUTE:
                yield f"input_{place}", str(array.tolist())


def _attribute(node: Any, name: str, default: Any) -> Any:
    """A plain attribute of a node; None for tensors and subgraphs."""
    from onnx import helper

    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            if isinstance(value, bytes):
                return value.decode()
            if isinstance(value, (int, float)):
                return value
            plain = isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)
            return tuple(value) if plain else None
    return default


def _dtype_name(dtype: Any) -> str:
    return str(dtype)
