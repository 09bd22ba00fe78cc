"""How much memory the activations of one run need, planned as TensorFlow Lite Micro plans it.

Buffers are laid by descending size into the first gap among those alive together, 16-byte aligned
(``GreedyMemoryPlanner`` of TensorFlow Lite Micro). Weights and a kernel's own workspace are not counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .fusion import Kernel, fuse_kernels
from .graph import Graph


@dataclass(frozen=True)
class MemoryRules:
    """What a runtime does: its alignment, and the kinds of operators that may write over their input."""

    alignment_bytes: int = 16
    in_place_kinds: frozenset[str] = frozenset({"elementwise", "activation"})


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
    """An arena of ``peak_bytes``; ``lower_bound_bytes`` are alive together at ``peak_operator``, so none is smaller."""

    peak_bytes: int
    lower_bound_bytes: int
    placements: tuple[Placement, ...]
    peak_operator: str


def plan_memory(graph: Graph, rules: MemoryRules | None = None) -> MemoryPlan:
    """The arena for the activations of ``graph``, its inputs and outputs included.

    A view shares its source's buffer, a fused activation needs none of its own, and an operator that may work in
    place (``rules``) takes over an input of its size that nothing reads later.
    """
    rules = rules or MemoryRules()
    kernels = fuse_kernels(graph)
    buffers = live_buffers(graph, kernels, rules)
    placements = place(buffers, rules.alignment_bytes)
    peak_bytes = max((_aligned(p.end_bytes, rules.alignment_bytes) for p in placements), default=0)
    sums = [0] * max(1, len(kernels))
    for buffer in buffers:
        for step in range(buffer.first, buffer.last + 1):
            sums[step] += _aligned(buffer.nbytes, rules.alignment_bytes)
    largest = max(range(len(sums)), key=sums.__getitem__)
    peak_operator = kernels[largest].head.name if kernels else ""
    return MemoryPlan(peak_bytes, sums[largest], placements, peak_operator)


def live_buffers(graph: Graph, kernels: Sequence[Kernel], rules: MemoryRules) -> tuple[Buffer, ...]:
    """The buffers of a run, each alive from the kernel that writes it to the last that reads it or an alias of it."""
    owner = {name: name for name in graph.inputs}
    owner |= {name: name for kernel in kernels for name in kernel.outputs}
    for kernel in kernels:
        source = next((name for name in kernel.inputs if name in owner), None)
        if kernel.head.kind == "view" and source is not None:
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


def place(buffers: Iterable[Buffer], alignment_bytes: int = 16) -> tuple[Placement, ...]:
    """Offsets for all buffers: by descending size, each in the first gap among those alive with it."""
    placed: list[Placement] = []
    for buffer in sorted(buffers, key=lambda b: (-b.nbytes, b.first, b.last, b.name)):
        neighbours = [p for p in placed if p.buffer.meets(buffer)]
        offset = 0
        for neighbour in sorted(neighbours, key=lambda p: p.offset_bytes):
            if offset + buffer.nbytes <= neighbour.offset_bytes:
                break
            offset = max(offset, _aligned(neighbour.end_bytes, alignment_bytes))
        placed.append(Placement(buffer, offset))
    return tuple(placed)


def _aligned(nbytes: int, alignment_bytes: int) -> int:
    return -(-nbytes // alignment_bytes) * alignment_bytes
