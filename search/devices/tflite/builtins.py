"""The TFLite operators that are known here: what kind each is, what its options are called, which version it has.

One table serves the lowering, the writer and the reader, so that a file read back is the graph that was written.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import Attribute, Operator, TensorInfo

# What can apply an activation to its result.
FUSABLE = frozenset(
    ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D", "ADD", "SUB", "MUL")
)

_STRIDE = {"stride": ("strideH", "strideW")}
_DILATION = {"dilation": ("dilationHFactor", "dilationWFactor")}
_PADDING = {"padding": ("padding",)}
_FUSED = {"fused_activation": ("fusedActivationFunction",)}
_POOL = {"kernel": ("filterHeight", "filterWidth"), **_STRIDE, **_PADDING, **_FUSED}
_RESIZE = {"align_corners": ("alignCorners",), "half_pixel_centers": ("halfPixelCenters",)}
_KEEP_DIMS = {"keep_dims": ("keepDims",)}


@dataclass(frozen=True)
class Builtin:
    """One operator of TFLite: its kind of ``graph.KINDS``, the class of its options, their fields, its versions.

    ``fields`` names an attribute of ours and the fields that hold it. ``constants`` names the attributes that stand in
    a constant int32 input, by the place of that input. The versions are the lowest that a runtime must know.
    """

    kind: str
    options: str = ""
    fields: Mapping[str, tuple[str, ...]] | None = None
    constants: Mapping[int, str] | None = None
    version: int = 1
    int8_version: int = 2


BUILTINS: dict[str, Builtin] = {
    "CONV_2D": Builtin("conv", "Conv2DOptions", {**_STRIDE, **_DILATION, **_PADDING, **_FUSED}, int8_version=3),
    "DEPTHWISE_CONV_2D": Builtin(
        "depthwise_conv",
        "DepthwiseConv2DOptions",
        {**_STRIDE, **_DILATION, **_PADDING, **_FUSED, "depth_multiplier": ("depthMultiplier",)},
        version=2,
        int8_version=3,
    ),
    "TRANSPOSE_CONV": Builtin("conv", "TransposeConvOptions", {**_STRIDE, **_PADDING, **_FUSED}),
    "FULLY_CONNECTED": Builtin(
        "linear", "FullyConnectedOptions", {**_FUSED, "keep_num_dims": ("keepNumDims",)}, version=5, int8_version=5
    ),
    "BATCH_MATMUL": Builtin("matmul", "BatchMatMulOptions", {"adj_x": ("adjX",), "adj_y": ("adjY",)}),
    "AVERAGE_POOL_2D": Builtin("pool", "Pool2DOptions", _POOL),
    "MAX_POOL_2D": Builtin("pool", "Pool2DOptions", _POOL),
    "L2_POOL_2D": Builtin("pool", "Pool2DOptions", _POOL),
    "MEAN": Builtin("reduce", "ReducerOptions", _KEEP_DIMS, {1: "axes"}),
    "SUM": Builtin("reduce", "ReducerOptions", _KEEP_DIMS, {1: "axes"}),
    "REDUCE_MAX": Builtin("reduce", "ReducerOptions", _KEEP_DIMS, {1: "axes"}),
    "REDUCE_MIN": Builtin("reduce", "ReducerOptions", _KEEP_DIMS, {1: "axes"}),
    "ARG_MAX": Builtin("reduce", constants={1: "axes"}),
    "L2_NORMALIZATION": Builtin("normalization", "L2NormOptions", _FUSED),
    "ADD": Builtin("elementwise", "AddOptions", _FUSED),
    "SUB": Builtin("elementwise", "SubOptions", _FUSED),
    "MUL": Builtin("elementwise", "MulOptions", _FUSED),
    "DIV": Builtin("elementwise", "DivOptions", _FUSED, int8_version=1),
    "SQUARED_DIFFERENCE": Builtin("elementwise", "SquaredDifferenceOptions"),
    "MINIMUM": Builtin("elementwise", "MaximumMinimumOptions"),
    "MAXIMUM": Builtin("elementwise", "MaximumMinimumOptions"),
    "RSQRT": Builtin("elementwise"),
    "SQRT": Builtin("elementwise", int8_version=1),
    "EXP": Builtin("elementwise", "ExpOptions"),
    "LOG": Builtin("elementwise"),
    "ABS": Builtin("elementwise", "AbsOptions"),
    "NEG": Builtin("elementwise", "NegOptions", int8_version=1),
    "QUANTIZE": Builtin("elementwise", "QuantizeOptions"),
    "DEQUANTIZE": Builtin("elementwise", "DequantizeOptions"),
    "CAST": Builtin("elementwise", "CastOptions"),
    "RELU": Builtin("activation"),
    "RELU6": Builtin("activation"),
    "RELU_N1_TO_1": Builtin("activation", int8_version=1),
    "LOGISTIC": Builtin("activation"),
    "TANH": Builtin("activation"),
    "HARD_SWISH": Builtin("activation", "HardSwishOptions", int8_version=1),
    "LEAKY_RELU": Builtin("activation", "LeakyReluOptions", {"alpha": ("alpha",)}),
    "ELU": Builtin("activation", int8_version=1),
    "PRELU": Builtin("activation", int8_version=1),
    "GELU": Builtin("activation", "GeluOptions", {"approximate": ("approximate",)}),
    "SOFTMAX": Builtin("softmax", "SoftmaxOptions", {"beta": ("beta",)}),
    "LOG_SOFTMAX": Builtin("softmax", "LogSoftmaxOptions"),
    "PAD": Builtin("pad", "PadOptions", constants={1: "paddings"}),
    "PADV2": Builtin("pad", "PadV2Options", constants={1: "paddings"}),
    "MIRROR_PAD": Builtin("pad", "MirrorPadOptions", constants={1: "paddings"}),
    "TRANSPOSE": Builtin("transpose", "TransposeOptions", constants={1: "permutation"}),
    "CONCATENATION": Builtin("concat", "ConcatenationOptions", {"axis": ("axis",), **_FUSED}),
    "PACK": Builtin("concat", "PackOptions", {"axis": ("axis",)}),
    "SLICE": Builtin("copy", "SliceOptions", constants={1: "begin", 2: "size"}),
    "STRIDED_SLICE": Builtin(
        "copy",
        "StridedSliceOptions",
        {"begin_mask": ("beginMask",), "end_mask": ("endMask",), "shrink_axis_mask": ("shrinkAxisMask",)},
        {1: "begin", 2: "end", 3: "strides"},
    ),
    "SPLIT": Builtin("copy", "SplitOptions", constants={0: "axes"}),
    "GATHER": Builtin("copy", "GatherOptions", {"axis": ("axis",)}),
    "EMBEDDING_LOOKUP": Builtin("copy"),
    "UNPACK": Builtin("copy", "UnpackOptions", {"axis": ("axis",)}),
    "TILE": Builtin("copy", "TileOptions"),
    "BROADCAST_TO": Builtin("copy", "BroadcastToOptions"),
    "DEPTH_TO_SPACE": Builtin("copy", "DepthToSpaceOptions"),
    "SPACE_TO_DEPTH": Builtin("copy", "SpaceToDepthOptions"),
    "RESIZE_NEAREST_NEIGHBOR": Builtin("copy", "ResizeNearestNeighborOptions", _RESIZE, {1: "size"}),
    "RESIZE_BILINEAR": Builtin("copy", "ResizeBilinearOptions", _RESIZE, {1: "size"}),
    # The new shape is that of the output: as an attribute it would say it twice.
    "RESHAPE": Builtin("view", "ReshapeOptions", int8_version=1),
    "SQUEEZE": Builtin("view", "SqueezeOptions", int8_version=1),
    "EXPAND_DIMS": Builtin("view", "ExpandDimsOptions", int8_version=1),
}


def make_operator(
    builtin: str,
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    tensors: Mapping[str, TensorInfo],
    attributes: Mapping[str, Attribute],
) -> Operator:
    """One operator, with its kind, its multiply-accumulates and the kernel that its weight's shape tells."""
    known = {key: _as_stored(value) for key, value in attributes.items()} | {"operator": builtin}
    if builtin in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        known["kernel"] = tensors[inputs[1]].shape[1:3]
    kind = BUILTINS[builtin].kind if builtin in BUILTINS else "other"
    macs = _macs(builtin, [tensors[i] for i in inputs], tensors[outputs[0]], known)
    return Operator(kind, name, tuple(inputs), tuple(outputs), macs, tuple(sorted(known.items())))


def _macs(builtin: str, inputs: Sequence[TensorInfo], output: TensorInfo, attributes: Mapping[str, Attribute]) -> int:
    if builtin == "CONV_2D":
        return output.elements * math.prod(inputs[1].shape[1:])
    if builtin == "DEPTHWISE_CONV_2D":
        return output.elements * math.prod(inputs[1].shape[1:3])
    if builtin == "TRANSPOSE_CONV":  # its inputs are the output's shape, the weight and the values
        return inputs[2].elements * math.prod(inputs[1].shape[:3])
    if builtin == "FULLY_CONNECTED":
        return output.elements * inputs[1].shape[-1]
    if builtin == "BATCH_MATMUL":
        return output.elements * inputs[0].shape[-2 if attributes.get("adj_x") else -1]
    return 0


def _as_stored(value: Attribute) -> Attribute:
    """A file holds floats in 32 bits."""
    return float(np.float32(value)) if isinstance(value, float) else value
