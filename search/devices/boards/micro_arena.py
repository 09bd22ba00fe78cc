"""The arena that TensorFlow Lite Micro will ask for, from a graph of TFLite operators, without running it.

The head is its memory plan: every tensor that no weight fills has a buffer of its own (a RESHAPE copies, nothing is
written in place), and a few kernels ask for scratch buffers. The tail is the structures that live as long as the model.
Sizes are those of the package ``tflite-micro`` on a 64-bit host, found from its recording allocator; a board with
32-bit pointers has a smaller tail. The planner is that of ``greedy_memory_planner.cc``: buffers are taken from the
last declared to the first and sorted, stably, by descending size.
"""

from dataclasses import replace

from ..graph import Graph, Operator
from ..memory import MemoryRules, Workspace, plan_memory
from .tflite_micro import Arena

_ARENA_ALIGNMENT = 16


def reference_workspace(operator: Operator, graph: Graph) -> tuple[int, ...]:
    """The scratch buffers, in bytes, of the portable reference kernels."""
    name = operator.attribute("operator")
    output = graph.tensors[operator.outputs[0]]
    sums = (4 * output.elements,) if output.dtype == "int8" else ()
    if name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        values, axes = (graph.tensors[n] for n in operator.inputs)
        return (*(sums if name in ("MEAN", "SUM") else ()), 4 * len(values.shape), 4 * axes.elements)
    return sums if name == "TRANSPOSE_CONV" else ()


TFLITE_MICRO = MemoryRules(
    alignment_bytes=_ARENA_ALIGNMENT,
    in_place_kinds=frozenset(),
    shares_views=False,
    fuses_activations=False,
    workspace=reference_workspace,
    latest_first=True,
)
"""TensorFlow Lite Micro with its reference kernels, as the package ``tflite-micro`` has them."""


def with_workspace(workspace: Workspace) -> MemoryRules:
    """The same runtime with kernels that ask for other scratch buffers."""
    return replace(TFLITE_MICRO, workspace=workspace)


def predict_arena(graph: Graph, rules: MemoryRules = TFLITE_MICRO) -> Arena:
    """Head and tail of a graph of TFLite operators whose tensors stand in the order of the file."""
    return Arena(plan_memory(graph, rules).peak_bytes, predict_tail_bytes(graph))


# Bytes and alignment of what each operator's options become, and bytes of its kernel's data.
_OPERATOR_BYTES: dict[str, tuple[int, int, int]] = {
    "ADD": (8, 4, 60),
    "SUB": (8, 4, 60),
    "MUL": (4, 4, 36),
    "DIV": (4, 4, 28),
    "SQUARED_DIFFERENCE": (0, 1, 112),
    "CONV_2D": (28, 4, 80),
    "DEPTHWISE_CONV_2D": (28, 4, 80),
    "FULLY_CONNECTED": (32, 8, 72),
    "BATCH_MATMUL": (3, 1, 32),
    "AVERAGE_POOL_2D": (40, 4, 32),
    "MAX_POOL_2D": (40, 4, 32),
    "SOFTMAX": (4, 4, 80),
    "LOG_SOFTMAX": (0, 1, 40),
    "RESHAPE": (36, 4, 0),
    "CONCATENATION": (8, 4, 72),
    "PAD": (0, 1, 60),
    "PADV2": (0, 1, 60),
    "MEAN": (1, 1, 44),
    "SUM": (1, 1, 44),
    "REDUCE_MAX": (1, 1, 44),
    "STRIDED_SLICE": (24, 4, 88),
    "LOGISTIC": (0, 1, 16),
    "TANH": (0, 1, 16),
    "HARD_SWISH": (0, 1, 24),
    "RELU": (0, 1, 32),
    "RELU6": (0, 1, 8),
    "LEAKY_RELU": (4, 4, 24),
    "ELU": (0, 1, 256),
    "RSQRT": (0, 1, 32),
    "ABS": (0, 1, 32),
    "QUANTIZE": (0, 1, 32),
    "SQRT": (0, 1, 0),
    "NEG": (0, 1, 0),
    "MAXIMUM": (0, 1, 0),
    "MINIMUM": (0, 1, 0),
    "TRANSPOSE": (0, 1, 0),
    "SLICE": (0, 1, 0),
}
_FIXED_BYTES = 488  # the allocator, the planner and the lists of the one subgraph
_EVAL_TENSOR_BYTES = 24
_NODE_BYTES = 64
_POINTER_BYTES = 8
_TENSOR_BYTES = 64
_QUANTIZATION_BYTES = 24


def unmeasured_operators(graph: Graph) -> tuple[str, ...]:
    """The operators whose kernels' data ``predict_tail_bytes`` leaves out, each once."""
    names = (str(operator.attribute("operator")) for operator in graph.operators)
    return tuple(dict.fromkeys(name for name in names if name not in _OPERATOR_BYTES))


def predict_tail_bytes(graph: Graph) -> int:
    """What lives as long as the model: the allocations of ``MicroInterpreter::AllocateTensors``, replayed in order."""
    tail = _Tail(_FIXED_BYTES)
    tail.take(_EVAL_TENSOR_BYTES * len(graph.tensors), 8)
    tail.take(_NODE_BYTES * len(graph.operators), 8)
    known = [_OPERATOR_BYTES.get(str(op.attribute("operator")), (0, 1, 0)) for op in graph.operators]
    for options_bytes, alignment, _ in known:
        tail.take(options_bytes, alignment)
    for *_, data_bytes in known:
        tail.take(data_bytes, _ARENA_ALIGNMENT)
    for operator in graph.operators:
        for nbytes in _prepared_bytes(operator, graph):
            tail.take(nbytes, _ARENA_ALIGNMENT)
    scratch_buffers = sum(len(reference_workspace(operator, graph)) for operator in graph.operators)
    tail.take(_POINTER_BYTES * scratch_buffers, _POINTER_BYTES)
    for names in (graph.inputs, graph.outputs):
        tail.take(_POINTER_BYTES * len(names), _ARENA_ALIGNMENT)
        for name in names:
            tail.take(_TENSOR_BYTES, 8)
            if graph.tensors[name].dtype == "int8":
                tail.take(_QUANTIZATION_BYTES, 8)
                tail.take(_list_bytes(1), 4)  # its one zero point
    return tail.nbytes


def _prepared_bytes(operator: Operator, graph: Graph) -> tuple[int, ...]:
    """What a kernel asks for once it knows its tensors: multipliers and shifts by channel, transposed copies."""
    name = operator.attribute("operator")
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        channels = graph.tensors[operator.outputs[0]].shape[-1]
        return 4 * channels, 4 * channels
    if name == "BATCH_MATMUL":
        left, right = (graph.tensors[n] for n in operator.inputs[:2])
        output = graph.tensors[operator.outputs[0]]
        copies = [left] * bool(operator.attribute("adj_x")) + [right] * (not operator.attribute("adj_y"))
        transposed = [n for c in copies for n in (_EVAL_TENSOR_BYTES, _list_bytes(len(c.shape)), c.nbytes)]
        return (32 if output.dtype == "int8" else 0, *transposed, _list_bytes(len(output.shape)))
    return ()


def _list_bytes(length: int) -> int:
    """A list of int32: its length, then its values."""
    return 4 + 4 * length


class _Tail:
    """Grows from the end of the arena, downwards: an alignment is that of the lower end."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def take(self, nbytes: int, alignment: int) -> None:
        if nbytes:
            self.nbytes = -(-(self.nbytes + nbytes) // alignment) * alignment
