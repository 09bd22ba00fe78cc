"""How families of targets run what others run well, or do not.

Sources: the tables of operators that Vela 5.2 prints (``vela --supported-ops-report``); kernels of TensorFlow Lite
Micro and CMSIS-NN; which layouts ONNX Runtime takes is inferred from timings (see ``workload.py``).
"""

from dataclasses import dataclass, replace

from ..boards.board import Board, EthosUBoard

_ETHOS_U55_NAMES = (
    "ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D ELU EXP EXPAND_DIMS "
    "FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG PACK "
    "PAD PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR "
    "RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SLICE SOFTMAX SPLIT SPLIT_V SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB "
    "SUM TANH TILE TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK"
)
_ETHOS_U85_NAMES = (
    "ASSIGN_VARIABLE CAST DIV EQUAL GATHER GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_NOT LOGICAL_OR "
    "NOT_EQUAL READ_VARIABLE REDUCE_ALL REDUCE_ANY SCATTER_ND SELECT SELECT_V2"
)
_ETHOS_U55_OPERATORS = frozenset(_ETHOS_U55_NAMES.split())
_ETHOS_U85_OPERATORS = _ETHOS_U55_OPERATORS | frozenset(_ETHOS_U85_NAMES.split())


@dataclass(frozen=True)
class ChannelSteps:
    """In what steps kernels take channels: what is left over costs as much as a whole step."""

    read: int = 1
    written: int = 1
    depthwise: int = 1
    joins_windows: bool = False
    """Whether a convolution lays its windows out first, so that only their whole length is rounded up."""

    @property
    def largest(self) -> int:
        return max(self.read, self.written, self.depthwise)


@dataclass(frozen=True)
class Traits:
    """How a family of targets runs what others run well: for each construct why it is dear, or None where it is not."""

    mean: str | None = None
    pad: str | None = None
    layer_norm: str | None = None
    one_dimensional: str | None = None
    transpose: str | None = None
    channels: str | None = None
    steps: ChannelSteps = ChannelSteps()
    operators: frozenset[str] | None = None
    """The operators that run on the target's accelerator, by TFLite's names; None where there is no accelerator."""


_TFLITE = Traits(
    mean="MEAN runs in a plain reference kernel",
    pad="a PAD of its own copies the whole tensor into a second buffer",
    layer_norm="TFLite has no layer normalisation and runs it as a chain of operators, each with a buffer of its own",
    transpose="a TRANSPOSE moves every byte and computes nothing",
)
_ONNX_RUNTIME = Traits(
    pad="a Pad of its own copies the whole tensor",
    one_dimensional="one-dimensional convolutions get no blocked layout and run as matrix products of copied windows",
    transpose="a Transpose moves every byte and computes nothing",
    channels="convolutions of such widths leave the blocked layout and run as matrix products of copied windows",
    steps=ChannelSteps(4, 4, 4),
)
# Its XNNPACK has fast kernels for MEAN, in float and in int8 (seen with LiteRT 2.3).
_LITERT = replace(
    _TFLITE,
    mean=None,
    channels="XNNPACK computes output channels in tiles and pads what is left over",
    steps=ChannelSteps(written=8, depthwise=8),
)
_EXECUTORCH = Traits(
    layer_norm="XNNPACK has none: ExecuTorch's portable kernel runs it, between two delegated parts",
    channels=_LITERT.channels,
    steps=_LITERT.steps,
)
_CORTEX_M = replace(
    _TFLITE,
    channels="CMSIS-NN takes four int8 values and two outputs at a time, and what is left over one by one",
    steps=ChannelSteps(read=4, written=2, depthwise=4, joins_windows=True),
)
_HELIUM = replace(
    _TFLITE,
    channels="vectors hold 16 int8 values, and one that is partly filled takes as long",
    steps=ChannelSteps(read=16, written=4, depthwise=4, joins_windows=True),
)


def _ethos(operators: frozenset[str]) -> Traits:
    return replace(
        _TFLITE,
        mean=None,
        pad=None,
        channels="feature maps lie in bricks of 16 channels",
        steps=ChannelSteps(16, 16, 16),
        operators=operators,
    )


def traits_of_board(board: Board) -> Traits:
    """The traits of a board, by the accelerator or the kernels that its file states."""
    if isinstance(board, EthosUBoard):
        return _ethos(_ETHOS_U85_OPERATORS if board.accelerator.startswith("ethos-u85") else _ETHOS_U55_OPERATORS)
    return {"cmsis-nn-dsp": _CORTEX_M, "cmsis-nn-mve": _HELIUM}.get(board.kernels, _TFLITE)


def traits_of(runtime: str) -> Traits:
    """The traits of a runtime that is not a board's; those of another one find only unknown operators."""
    return {"litert": _LITERT, "onnxruntime": _ONNX_RUNTIME, "executorch": _EXECUTORCH}.get(runtime, Traits())
