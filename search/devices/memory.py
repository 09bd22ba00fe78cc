"""How much memory the activations of one run need, planned as a runtime plans it.

TensorFlow Lite Micro (``GreedyMemoryPlanner``) lays buffers by descending size into the first gap among those alive
together, 16-byte aligned. ExecuTorch (``exir.memory_planning.greedy``) gives the large ones a place each, and puts the
small ones where they fit into those places. Weights are not counted; a kernel's workspace is where the rules know it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .fusion import Kernel, fuse_kernels
from .graph import Graph, Operator

Workspace = Callable[[Operator, Graph], tuple[int, ...]]
Planner = Literal["first_gap", "shared_objects"]


@dataclass(frozen=True)
class MemoryRules:
    """What a runtime does with the buffers of a run."""

    alignment_bytes: int = 16
    in_place_kinds: frozenset[str] = frozenset({"elementwise", "activation"})
    """The kinds of operators that may write over an input of their size which nothing reads later."""
    shares_views: bool = True
    """Whether a view is its source's buffer under another shape; if not, it is a copy."""
    fuses_activations: bool = True
    """Whether ``fuse_kernels`` tells what runs as one; if not, each operator stands alone."""
    workspace: Workspace | None = None
    """The scratch buffers, in bytes, that the kernel of an operator asks for while it runs."""
    latest_first: bool = False
    """Of buffers of one size, whether the one declared last is placed first; if not, the one that is alive first."""
    planner: Planner = "first_gap"


EXECUTORCH = MemoryRules(
    in_place_kinds=frozenset(), fuses_activations=False, planner="shared_objects", latest_first=True
)
"""ExecuTorch with its portable kernels; what a delegate keeps inside is not planned."""


@dataclass(frozen=True)
class Buffer:
    """Bytes that are alive from kernel ``first`` to kernel ``last``, both included."""

    name: str
    nbytes: int
    first: int
    last: int

    def meets(self, other: "Buffer") -> bool:
        """Whether both are alive at some kernel."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Placement:
    """Where a buffer lies in the arena."""

    buffer: Buffer
    offset_bytes: int

    @property
    def end_bytes(self) -> int:
        """The first byte after it."""
        return self.offset_bytes + self.buffer.nbytes


@dataclass(frozen=True)
class MemoryPlan:
    """An arena of ``peak_bytes``; ``lower_bound_bytes`` are alive together at ``peak_operator``, so none is smaller.

    ``steps`` names what runs, in order: the ``first`` and ``last`` of a buffer count in it.
    """

    peak_bytes: int
    lower_bound_bytes: int
    placements: tuple[Placement, ...]
    peak_operator: str
    steps: tuple[str, ...] = ()


def plan_memory(graph: Graph, rules: MemoryRules | None = None) -> MemoryPlan:
    """The arena for the activations of ``graph``, its inputs and outputs included.

    By default a view shares its source's buffer, a fused activation needs none of its own, and an operator that may
    work in place takes over an input of its size that nothing reads later; ``rules`` say what another runtime does.
    """
    rules = rules or MemoryRules()
    kernels = _kernels(graph, rules)
    buffers = _in_order([*live_buffers(graph, kernels, rules), *_workspaces(graph, kernels, rules)], graph, rules)
    lay = _shared_objects if rules.planner == "shared_objects" else _first_gap
    placements = lay(buffers, rules.alignment_bytes)
    peak_bytes = max((aligned(p.end_bytes, rules.alignment_bytes) for p in placements), default=0)
    sums = _live_bytes(buffers, len(kernels), rules.alignment_bytes)
    largest = max(range(len(sums)), key=sums.__getitem__)
    names = tuple(kernel.head.name for kernel in kernels)
    return MemoryPlan(peak_bytes, sums[largest], placements, names[largest] if names else "", names)


def about_states(graph: Graph) -> str:
    """What a figure of memory has to say of the states of a network that listens hop by hop; nothing without any."""
    if not graph.states:
        return ""
    return (
        f", among them {graph.state_bytes} bytes of states that come in and as many that go out, where they live at "
        "the same time (a copy kept between hops is not counted)"
    )


def _kernels(graph: Graph, rules: MemoryRules) -> tuple[Kernel, ...]:
    if rules.fuses_activations:
        return fuse_kernels(graph)
    return tuple(Kernel((operator,), operator.inputs, operator.outputs) for operator in graph.operators)


def live_buffers(graph: Graph, kernels: Sequence[Kernel], rules: MemoryRules) -> tuple[Buffer, ...]:
    """The buffers of a run, each alive from the kernel that writes it to the last that reads it or an alias of it."""
    owner = {name: name for name in graph.inputs}
    owner |= {name: name for kernel in kernels for name in kernel.outputs}
    for kernel in kernels:
        source = next((name for name in kernel.inputs if name in owner), None)
        if rules.shares_views and kernel.head.kind == "view" and source is not None:
            owner.update(dict.fromkeys(kernel.outputs, owner[source]))
    first = dict.fromkeys(graph.inputs, 0)
    last: dict[str, int] = {}
    for step, kernel in enumerate(kernels):
        for name in (owner[n] for n in (*kernel.inputs, *kernel.outputs) if n in owner):
            first.setdefault(name, step)
            last[name] = step
    end = max(0, len(kernels) - 1)
    last.update({owner[name]: end for name in graph.outputs if name in owner})
    merged = _merge_in_place(graph, kernels, owner, last, rules)
    groups: dict[str, list[str]] = {}
    for name in first:
        groups.setdefault(merged.get(name, name), []).append(name)
    return tuple(
        Buffer(
            name=leader,
            nbytes=max(graph.tensors[member].nbytes for member in members),
            first=min(first[member] for member in members),
            last=max(last.get(member, first[member]) for member in members),
        )
        for leader, members in groups.items()
    )


def _merge_in_place(
    graph: Graph, kernels: Sequence[Kernel], owner: dict[str, str], last: dict[str, int], rules: MemoryRules
) -> dict[str, str]:
    """For each result written over an input, the first tensor that held these bytes."""
    merged: dict[str, str] = {}
    # A caller's input is not written over, nor a result that was promised.
    kept = {*graph.inputs, *(owner[name] for name in graph.outputs if name in owner)}
    for step, kernel in enumerate(kernels):
        if kernel.head.kind not in rules.in_place_kinds or len(kernel.outputs) != 1:
            continue
        result = kernel.outputs[0]
        for name in dict.fromkeys(owner[n] for n in kernel.inputs if n in owner):
            same_size = graph.tensors[name].nbytes == graph.tensors[result].nbytes
            if name not in kept and last[name] == step and same_size:
                merged[result] = merged.get(name, name)
                break
    return merged


def _workspaces(graph: Graph, kernels: Sequence[Kernel], rules: MemoryRules) -> list[Buffer]:
    if rules.workspace is None:
        return []
    return [
        Buffer(f"{kernel.head.name}:scratch{number}", nbytes, step, step)
        for step, kernel in enumerate(kernels)
        for number, nbytes in enumerate(rules.workspace(kernel.head, graph))
        if nbytes
    ]


def _in_order(buffers: list[Buffer], graph: Graph, rules: MemoryRules) -> list[Buffer]:
    """The buffers in the order in which the planner places them."""
    if not rules.latest_first:
        return _by_size(buffers)
    # Sizes are compared as they will be laid; tensors are declared before all workspaces.
    declared = {name: number for number, name in enumerate(graph.tensors)}
    workspaces = len(declared)
    numbers = [declared.get(buffer.name, workspaces + place) for place, buffer in enumerate(buffers)]
    order = sorted(range(len(buffers)), key=lambda i: (-aligned(buffers[i].nbytes, rules.alignment_bytes), -numbers[i]))
    return [buffers[i] for i in order]


def _by_size(buffers: Iterable[Buffer]) -> list[Buffer]:
    return sorted(buffers, key=lambda b: (-b.nbytes, b.first, b.last, b.name))


def place(buffers: Iterable[Buffer], alignment_bytes: int = 16) -> tuple[Placement, ...]:
    """Offsets for all buffers: by descending size, each in the first gap among those alive with it."""
    return _first_gap(_by_size(buffers), alignment_bytes)


def _first_gap(buffers: Sequence[Buffer], alignment_bytes: int) -> tuple[Placement, ...]:
    """Offsets for buffers in this order, each in the first gap among those alive with it."""
    placed: list[Placement] = []
    for buffer in buffers:
        neighbours = [p for p in placed if p.buffer.meets(buffer)]
        offset = 0
        for neighbour in sorted(neighbours, key=lambda p: p.offset_bytes):
            if offset + buffer.nbytes <= neighbour.offset_bytes:
                break
            offset = max(offset, aligned(neighbour.end_bytes, alignment_bytes))
        placed.append(Placement(buffer, offset))
    return tuple(placed)


def _shared_objects(buffers: Sequence[Buffer], alignment_bytes: int) -> tuple[Placement, ...]:
    """Offsets for buffers in descending size: each in an object that is free while it is alive, or behind those alive
    in an object with room to spare, or in an object of its own; the objects follow each other."""
    objects: list[list[Placement]] = []  # the first placement of each is as large as the object
    for buffer in buffers:
        spot = _spot(buffer, objects, alignment_bytes)
        if spot is None:
            objects.append([Placement(buffer, 0)])
        else:
            members, offset = spot
            members.append(Placement(buffer, offset))
    start, laid = 0, []
    for members in objects:
        laid += [Placement(p.buffer, start + p.offset_bytes) for p in members]
        start += aligned(members[0].buffer.nbytes, alignment_bytes)
    return tuple(laid)


def _spot(
    buffer: Buffer, objects: Sequence[list[Placement]], alignment_bytes: int
) -> tuple[list[Placement], int] | None:
    """The object that takes a buffer, and where in it."""
    for members in objects:
        if not any(p.buffer.meets(buffer) for p in members):
            return members, 0
    for members in objects:
        offset = max(aligned(p.end_bytes, alignment_bytes) for p in members if p.buffer.meets(buffer))
        room = aligned(members[0].buffer.nbytes, alignment_bytes)
        if offset + aligned(buffer.nbytes, alignment_bytes) <= room:
            return members, offset
    return None


def _live_bytes(buffers: Iterable[Buffer], steps: int, alignment_bytes: int) -> list[int]:
    """The bytes alive at each step."""
    sums = [0] * max(1, steps)
    for buffer in buffers:
        for step in range(buffer.first, buffer.last + 1):
            sums[step] += aligned(buffer.nbytes, alignment_bytes)
    return sums


def aligned(nbytes: int, alignment_bytes: int) -> int:
    return -(-nbytes // alignment_bytes) * alignment_bytes
