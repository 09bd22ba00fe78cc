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

_TOGETHER: dict[str, Callable[[Iterable[Any]], Any]] = {"peak_memory_bytes": max}
"""How the figures of stages make that of the whole, where they are not summed."""


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


def measured_stages(files: Sequence[bytes], planned: Sequence[Profile], target: Device) -> list[Profile]:
    """Return what the file of each stage costs, of which ``planned`` is known before."""
    return [target.measure(content, stage) for content, stage in zip(files, planned, strict=True)]


def whole_profile(stages: Sequence[Profile]) -> Profile:
    """Return what all stages cost, one after the other: the worst case, which a deadline has to hold.

    Memory is that of the stage that needs the most: the map between two stages is the output of one and the input of
    the next, and is in the plans of both.
    """
    figures: dict[str, Figure | None] = {}
    for name in FIGURES:
        parts = [getattr(stage, name) for stage in stages]
        figures[name] = None if None in parts else _together(name, parts)
    digest = hashlib.sha256("".join(stage.graph_digest for stage in stages).encode()).hexdigest()[:32]
    unknown = tuple(dict.fromkeys(name for stage in stages for name in stage.unknown_operators))
    return replace(stages[0], **figures, graph_digest=digest, unknown_operators=unknown)  # type: ignore[arg-type]


def _together(name: str, parts: Sequence[Figure]) -> Figure:
    together = _TOGETHER.get(name, sum)
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


def refuse_exits(space: SearchSpace, task: str, target: Device) -> None:
    """Raise :class:`UserError` where networks of the space have early exits and nothing could run them."""
    if not has_exits(space):
        return
    if task != "classification":
        raise UserError(
            f"space.exits: only classifiers have early exits, and this data is for {task} (take the key out)"
        )
    if not target.file_name.endswith(".onnx"):
        raise UserError(
            f"space.exits: stages are files of ONNX Runtime, which {target.name} does not run "
            "(name host-onnxruntime, host-onnxruntime-int8 or reference, or take the key out)"
        )
