"""What a model costs on a Cortex-M with TensorFlow Lite Micro: cycles from a board's table, memory planned or measured.

Graphs are those of TFLite operators (``tflite.lower`` or ``tflite.read_tflite``), int8.
"""

from dataclasses import replace
from math import prod

from ....spaces.errors import UserError
from ..file_sizes import stream_notes_bytes
from ..fusion import fuse_kernels
from ..graph import Graph, Operator, pooled_values
from ..memory import MemoryPlan, MemoryRules, Workspace, about_states, plan_memory
from ..profile import Figure, Method, Profile
from .board import CortexMBoard, OperatorCost
from .micro_arena import TFLITE_MICRO, predict_tail_bytes, reference_workspace, unmeasured_operators, with_workspace
from .skeleton import skeleton
from .tflite_micro import measure_arena

RUNTIME = "tflite-micro"
_NOTES_BYTES = 512  # labels and notes, which the graph does not tell
_GROUP_OF_KIND = {
    "conv": "CONV_2D",
    "depthwise_conv": "DEPTHWISE_CONV_2D",
    "linear": "FULLY_CONNECTED",
    "matmul": "BATCH_MATMUL",
    "pool": "AVERAGE_POOL_2D",
    "reduce": "REDUCE",
    "normalization": "REDUCE",
    "activation": "ACTIVATION",
    "softmax": "SOFTMAX",
    "elementwise": "ELEMENTWISE",
    "pad": "MOVE",
    "concat": "MOVE",
    "copy": "MOVE",
    "view": "MOVE",
    "transpose": "TRANSPOSE",
}


class CortexM:
    """The figures of one board."""

    def __init__(self, board: CortexMBoard) -> None:
        self.board = board
        self.name = board.name

    @property
    def memory_rules(self) -> MemoryRules:
        """TensorFlow Lite Micro with the scratch buffers of this board's kernels."""
        return with_workspace(_WORKSPACES[self.board.kernels])

    def cycles(self, operator: Operator, graph: Graph) -> float:
        """The cycles of one operator, from the board's table."""
        cost = self._cost(operator)
        read = next((graph.tensors[name].elements for name in operator.inputs if name not in graph.constants), 0)
        if operator.kind == "pool":
            read = pooled_values(operator, graph)
        written = sum(graph.tensors[name].elements for name in operator.outputs)
        return (
            cost.cycles_per_mac * operator.macs
            + cost.cycles_per_input * read
            + cost.cycles_per_output * written
            + cost.cycles_per_call
        )

    def layer_times_us(self, graph: Graph) -> tuple[float, ...]:
        """The time of each kernel of ``fuse_kernels``, in microseconds."""
        return tuple(
            sum(self.cycles(operator, graph) for operator in kernel.operators) / self.board.clock_hz * 1e6
            for kernel in fuse_kernels(graph)
        )

    def latency(self, graph: Graph) -> Figure:
        """The time of one run, in microseconds; its error is a share that the board's file states.

        No interval: nine of ten are not counted out, and two models on one board are off the same way.
        """
        latency_us = sum(self.layer_times_us(graph))
        share = self.board.error_share
        return Figure(latency_us, "us", "estimated", f"about ±{share:.0%}: {self.board.error}")

    def memory_plan(self, graph: Graph) -> MemoryPlan:
        """The head of the arena with this board's kernels."""
        return plan_memory(graph, self.memory_rules)

    def profile_lowered(self, graph: Graph) -> Profile:
        """The figures of a graph of TFLite operators, before there is a file.

        Memory is the whole arena, and never less than what the package ``tflite-micro`` will measure for its file.
        """
        tail_bytes = self._tail_bytes(graph)
        return Profile(
            device=self.name,
            runtime=RUNTIME,
            precision="int8",
            graph_digest=graph.digest,
            latency_us=self.latency(graph),
            peak_memory_bytes=self._planned_arena(graph, tail_bytes),
            flash_bytes=self._planned_flash(graph),
            macs=Figure(graph.macs, "MACs", "exact", _blind(graph.unknown)),
            parameters=Figure(graph.parameters, "values", "exact", None),
            unknown_operators=graph.unknown,
            resident_bytes=tail_bytes,
        )

    def measure(self, content: bytes, planned: Profile) -> Profile:
        """``planned`` with the arena that TensorFlow Lite Micro itself asks for, and the size of the file.

        Raises ``UserError`` and ``ToolError`` as ``measure_arena`` does.
        """
        from ..tflite.read import read_tflite

        arena = measure_arena(content)
        words = (
            f"reference kernels on a 64-bit host: head {arena.head_bytes}, tail {arena.tail_bytes} bytes; "
            f"with the board's kernels {planned.peak_memory_bytes.value:.0f} bytes are planned, its tail is smaller"
        )
        return replace(
            planned,
            peak_memory_bytes=Figure(arena.total_bytes, "bytes", "measured", words),
            flash_bytes=self._flash(read_tflite(content), len(content), "measured", "the size of the .tflite file"),
            resident_bytes=arena.tail_bytes,
        )

    def _cost(self, operator: Operator) -> OperatorCost:
        name = str(operator.attribute("operator"))
        costs = self.board.costs
        if name == "CONV_2D" and operator.attribute("kernel") == (1, 1) and "CONV_2D_1X1" in costs:
            return costs["CONV_2D_1X1"]
        return costs.get(name) or costs.get(_GROUP_OF_KIND.get(operator.kind, "OTHER")) or costs["OTHER"]

    def _tail_bytes(self, graph: Graph) -> int:
        """What lives as long as the model."""
        # With several inputs the tail is predicted to one alignment either way.
        tail_bytes = predict_tail_bytes(graph) + (TFLITE_MICRO.alignment_bytes if graph.states else 0)
        if self.board.kernels == "cmsis-nn-mve":
            tail_bytes += sum(_kernel_sums_bytes(operator, graph) for operator in graph.operators)
        return tail_bytes

    def _planned_arena(self, graph: Graph, tail_bytes: int) -> Figure:
        # A greedy plan with more buffers can come out smaller: the larger of both holds with either kernels.
        head_bytes = max(self.memory_plan(graph).peak_bytes, plan_memory(graph, TFLITE_MICRO).peak_bytes)
        words = f"head {head_bytes} with {self.board.kernels} kernels, tail {tail_bytes} bytes as on a 64-bit host"
        words += about_states(graph)
        left_out = unmeasured_operators(graph)
        if left_out:
            words += f", without the kernel data of {', '.join(left_out)}"
        return Figure(head_bytes + tail_bytes, "bytes", "planned", words)

    def _planned_flash(self, graph: Graph) -> Figure:
        try:
            notes = _NOTES_BYTES + stream_notes_bytes(graph)
            nbytes = len(skeleton(graph)) + notes
        except UserError:
            return self._flash(graph, graph.weight_bytes, "exact", "weights only; the file adds its structure")
        return self._flash(graph, nbytes, "planned", f"the .tflite file, {notes} bytes of them for labels and notes")

    def _flash(self, graph: Graph, nbytes: int, method: Method, words: str) -> Figure:
        """The bytes of the model, and of the code that it links where the board's file knows them."""
        code = self.board.code_bytes
        if not code:
            return Figure(nbytes, "bytes", method, f"{words}; the code of the kernels is not counted")
        names = [
            (str(operator.attribute("operator")), _GROUP_OF_KIND.get(operator.kind, "OTHER"))
            for operator in graph.operators
        ]
        keys = {next((key for key in pair if key in code), None) for pair in names}
        linked = code.get("RUNTIME", 0) + sum(code[key] for key in keys if key is not None)
        how: Method = "measured" if method == "measured" else "estimated"
        return Figure(nbytes + linked, "bytes", how, f"{words}, and {linked} bytes of code that it links")


def _blind(unknown: tuple[str, ...]) -> str | None:
    return f"without {', '.join(unknown)}" if unknown else None


# Scratch buffers of CMSIS-NN, from its *_get_buffer_sizes_s8.c (version of 2026-03). With a Cortex-M55 "mve", with a
# Cortex-M4 or M7 "dsp"; compiled by GCC or Clang (Arm's own compiler asks for more at 1x1).
_MVE_BLOCK = 124  # channels that the depthwise kernel takes at once


def cmsis_nn_dsp_workspace(operator: Operator, graph: Graph) -> tuple[int, ...]:
    """The scratch buffers, in bytes, of CMSIS-NN's int8 kernels for the DSP extension."""
    name, source, kernel = _shape_of(operator, graph)
    if name == "CONV_2D":
        # Two columns of 16-bit values.
        return () if _is_1x1(operator, graph) else (2 * 2 * _ceil(source[3] * prod(kernel), 4),)
    if name == "DEPTHWISE_CONV_2D":
        is_3x3 = kernel == (3, 3) and max(_padding(operator, graph)) <= 1
        return () if is_3x3 or not _is_plain_depthwise(operator, graph) else (2 * source[3] * prod(kernel),)
    if name == "AVERAGE_POOL_2D":
        return (4 * source[3],)
    return reference_workspace(operator, graph)


def cmsis_nn_mve_workspace(operator: Operator, graph: Graph) -> tuple[int, ...]:
    """The scratch buffers, in bytes, of CMSIS-NN's int8 kernels for Helium."""
    name, source, kernel = _shape_of(operator, graph)
    if name == "CONV_2D":
        if _is_1x1(operator, graph):
            return ()
        columns = 4 * _ceil(source[3] * prod(kernel), 16)
        return (max(columns, _one_by_n_bytes(operator, graph)),)
    if name == "DEPTHWISE_CONV_2D":
        return (4 * _MVE_BLOCK * prod(kernel),) if _is_plain_depthwise(operator, graph) else ()
    return reference_workspace(operator, graph)


_WORKSPACES: dict[str, Workspace] = {
    "reference": reference_workspace,
    "cmsis-nn-dsp": cmsis_nn_dsp_workspace,
    "cmsis-nn-mve": cmsis_nn_mve_workspace,
}


def _kernel_sums_bytes(operator: Operator, graph: Graph) -> int:
    """Helium's fully connected kernel takes an int32 sum for each output channel.

    CMSIS-NN's ``arm_fully_connected_s8_get_buffer_size_mve``; kept in the arena's tail as TensorFlow Lite Micro does
    when its kernels are built for speed.
    """
    if operator.attribute("operator") != "FULLY_CONNECTED":
        return 0
    return _ceil(4 * graph.tensors[operator.outputs[0]].shape[-1], 16)


def _shape_of(operator: Operator, graph: Graph) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The name, the input's shape (batch, height, width, channels) and the kernel; nothing for a float graph."""
    name = str(operator.attribute("operator"))
    source = graph.tensors[operator.inputs[0]] if operator.inputs else None
    if source is None or source.dtype != "int8" or len(source.shape) != 4:
        return "", (), ()
    return name, source.shape, _pair(operator, "kernel")


def _pair(operator: Operator, name: str) -> tuple[int, int]:
    value = operator.attribute(name, (1, 1))
    assert isinstance(value, tuple)
    return int(value[0]), int(value[1])


def _padding(operator: Operator, graph: Graph) -> tuple[int, int]:
    """The rows above and the columns to the left that SAME adds."""
    if operator.attribute("padding") != "SAME":
        return 0, 0
    source, result = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    steps = zip(_pair(operator, "kernel"), _pair(operator, "stride"), _pair(operator, "dilation"), strict=True)
    added = [
        max(0, (result[axis] - 1) * stride + (kernel - 1) * dilation + 1 - source[axis]) // 2
        for axis, (kernel, stride, dilation) in enumerate(steps, start=1)
    ]
    return added[0], added[1]


def _is_1x1(operator: Operator, graph: Graph) -> bool:
    return (
        _pair(operator, "kernel") == (1, 1)
        and _pair(operator, "dilation") == (1, 1)
        and _padding(operator, graph) == (0, 0)
    )


def _is_plain_depthwise(operator: Operator, graph: Graph) -> bool:
    """One output channel an input channel, not dilated: the others have no kernel of their own."""
    channels = graph.tensors[operator.inputs[0]].shape[3], graph.tensors[operator.outputs[0]].shape[3]
    return channels[0] == channels[1] and _pair(operator, "dilation") == (1, 1)


def _one_by_n_bytes(operator: Operator, graph: Graph) -> int:
    """The most that Helium's kernel for flat convolutions asks for: a padded window."""
    source, kernel = graph.tensors[operator.inputs[0]].shape, _pair(operator, "kernel")
    if source[1] != 1 or kernel[0] != 1:
        return 0
    stride = _pair(operator, "stride")[1]
    padding = _padding(operator, graph)[1] + 1
    return source[3] * (kernel[1] + max(padding, -(-padding // stride)))


def _ceil(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
