"""What each layer of a model costs on a target: the table that ``repareto profile --layers`` prints."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..fusion import Kernel, fuse_kernels
from ..graph import Graph, Operator
from ..memory import MemoryPlan


@dataclass(frozen=True)
class Layer:
    """One kernel of the graph that runs on the target.

    ``moved_bytes`` are read or written once each, weights among them; a view moves none. ``live_bytes`` are those of
    the activations in memory while it runs, its own included. ``time_us`` is None where only the whole can be told.
    """

    name: str
    operator: str
    output_shape: tuple[int, ...]
    macs: int
    weight_bytes: int
    moved_bytes: int
    live_bytes: int
    time_us: float | None
    makes_peak: bool


def layer_table(graph: Graph, plan: MemoryPlan, times_us: Sequence[float] | None = None) -> tuple[Layer, ...]:
    """A row for each kernel of ``graph``, in the order they run.

    ``graph`` is the lowered graph of a device, ``plan`` its memory plan, ``times_us`` the time of each kernel where
    the device can tell it.
    """
    kernels = fuse_kernels(graph)
    assert times_us is None or len(times_us) == len(kernels), (len(times_us), len(kernels))
    steps = plan_steps(graph, plan)
    live_bytes = live_bytes_by_step(plan, len(steps))
    place = {operator: number for number, step in enumerate(steps) for operator in step.operators}
    peak = peak_step(graph, plan)
    weights = frozenset(graph.weights)
    rows: list[Layer] = []
    for number, kernel in enumerate(kernels):
        taken = {place[operator] for operator in kernel.operators}
        rows.append(
            Layer(
                name=kernel_name(graph, kernel),
                operator=kernel_type(kernel),
                output_shape=graph.tensors[kernel.outputs[0]].shape,
                macs=kernel.macs,
                weight_bytes=sum(graph.tensors[name].nbytes for name in kernel.inputs if name in weights),
                moved_bytes=moved_bytes(graph, kernel),
                live_bytes=max(live_bytes[step] for step in taken),
                time_us=None if times_us is None else times_us[number],
                makes_peak=peak in taken,
            )
        )
    return tuple(rows)


def plan_steps(graph: Graph, plan: MemoryPlan) -> tuple[Kernel, ...]:
    """The steps that a plan of ``graph`` counts in: its kernels, or its operators where the runtime fuses none."""
    kernels = fuse_kernels(graph)
    if not plan.steps or plan.steps == tuple(kernel.head.name for kernel in kernels):
        return kernels
    return tuple(Kernel((operator,), operator.inputs, operator.outputs) for operator in graph.operators)


def peak_step(graph: Graph, plan: MemoryPlan) -> int | None:
    """The step at which the most is alive; None for a graph without operators."""
    names = [step.head.name for step in plan_steps(graph, plan)]
    return names.index(plan.peak_operator) if plan.peak_operator in names else None


def live_bytes_by_step(plan: MemoryPlan, steps: int) -> tuple[int, ...]:
    """The bytes of all buffers alive at each of the first ``steps`` steps of a plan."""
    live = [0] * steps
    for placement in plan.placements:
        for step in range(placement.buffer.first, min(placement.buffer.last + 1, steps)):
            live[step] += placement.buffer.nbytes
    return tuple(live)


def moved_bytes(graph: Graph, kernel: Kernel) -> int:
    """The bytes that a kernel reads and writes in memory, each once."""
    if kernel.head.kind == "view":
        return 0
    return sum(graph.tensors[name].nbytes for name in (*kernel.inputs, *kernel.outputs))


def kernel_name(graph: Graph, kernel: Kernel) -> str:
    """The module that a kernel's weights are of ("3.branches"), or else its operator's name."""
    weight = next((name for name in kernel.head.inputs if name in graph.weights and "." in name), None)
    return weight.rpartition(".")[0] if weight else kernel.head.name


def kernel_type(kernel: Kernel) -> str:
    """What a kernel runs, in the runtime's own words: "convolution + relu", "CONV_2D + RELU6"."""
    names = [type_name(operator) for operator in kernel.operators]
    fused = kernel.operators[-1].attribute("fused_activation", "NONE")
    return " + ".join(names if fused == "NONE" else [*names, str(fused)])


def type_name(operator: Operator) -> str:
    """What an operator is called where it came from, without the prefix of torch: "relu", "Relu", "RELU"."""
    return str(operator.attribute("operator", operator.name)).removeprefix("aten.").rstrip("_")
