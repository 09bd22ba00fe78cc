"""What the stages of a network with early exits cost, one by one and together.

A stage is a file of its own: what any run costs a runtime is paid once a stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ...spaces.errors import UserError
from ...spaces.exits.network import MultiExit
from ...spaces.space import EXITS_PREFIX, SearchSpace
from ..devices.profile import FIGURES, Figure, Profile

if TYPE_CHECKING:
    from ..devices.base import Device
    from ..devices.graph import Graph


WITH_EXITS = ("classification", "transcription")
"""Tasks."""


def stage_graphs(network: MultiExit, input_shape: Sequence[int]) -> list[Graph]:
    """Return what each stage of a fused network in eval mode computes, its head included."""
    from ..devices.readers.torch_reader import read_module

    graphs = []
    shape = (1, *input_shape)
    for stage in network.stages():
        graph = read_module(stage, shape)
        graphs.append(graph)
        # The map that goes on comes first.
        shape = graph.tensors[graph.outputs[0]].shape
    return graphs


def stage_profiles(network: MultiExit, input_shape: Sequence[int], target: Device) -> list[Profile]:
    """Return what each stage costs on a device, before it is trained."""
    return [target.profile(graph) for graph in stage_graphs(network, input_shape)]


def whole_profile(stages: Sequence[Profile]) -> Profile:
    """Return what all stages cost, one after the other: the worst case, which a deadline has to hold.

    Memory is what all of them keep, and beside it what the stage that needs the most takes while it runs: the map
    between two stages is the output of one and the input of the next, and is in the plans of both.
    """
    figures: dict[str, Figure | None] = {}
    for name in FIGURES:
        parts = [getattr(stage, name) for stage in stages]
        figures[name] = None if None in parts else _together(parts, max if name == "peak_memory_bytes" else sum)
    resident_bytes = sum(stage.resident_bytes for stage in stages)
    if resident_bytes:
        figures["peak_memory_bytes"] = _shared_arena(stages)
    digest = hashlib.sha256("".join(stage.graph_digest for stage in stages).encode()).hexdigest()[:32]
    unknown = tuple(dict.fromkeys(name for stage in stages for name in stage.unknown_operators))
    return replace(
        stages[0],
        **figures,  # type: ignore[arg-type]
        graph_digest=digest,
        unknown_operators=unknown,
        resident_bytes=resident_bytes,
    )


def _shared_arena(stages: Sequence[Profile]) -> Figure:
    """The memory of stages whose interpreters live side by side in one arena, where one runs at a time."""
    kept = [stage.resident_bytes for stage in stages]
    running = max(stage.value("peak_memory_bytes") - own for stage, own in zip(stages, kept, strict=True))
    words = (
        f"one arena for {len(stages)} stages: {running:.0f} bytes for the one that runs, {sum(kept):.0f} kept by all"
    )
    return replace(stages[0].peak_memory_bytes, value=running + sum(kept), error=words)


def _together(parts: Sequence[Figure], together: Callable[[Iterable[Any]], Any]) -> Figure:
    low, high = [part.low for part in parts], [part.high for part in parts]
    return replace(
        parts[0],
        value=together(part.value for part in parts),
        low=None if None in low else together(low),
        high=None if None in high else together(high),
    )


def costs_up_to(stages: Sequence[Profile], figure: str) -> tuple[float, ...]:
    """Return what an example has cost at each exit, heads included."""
    return tuple(accumulate(stage.value(figure) for stage in stages))


def has_exits(space: SearchSpace) -> bool:
    """Whether networks of a space may have early exits."""
    return any(parameter.name.startswith(EXITS_PREFIX) for parameter in space.parameters())


def refuse_exits(space: SearchSpace, task: str) -> None:
    """Raise :class:`UserError` where networks of the space have early exits and the task has none."""
    if has_exits(space) and task not in WITH_EXITS:
        raise UserError(
            f"space.exits: only classifiers and transcribers have early exits, and this data is for {task} "
            "(take the key out)"
        )
