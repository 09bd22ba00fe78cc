"""A causal network with early exits that listens: each stage takes what one hop brings and carries states of its own.

A stage that nobody needs does not run, and what it was not given waits: before it answers next it is given that, hop
after hop. An answer depends on so many latest hops and no more, so that no more have to wait: a stage that is further
behind starts from silence, and what that gets wrong reaches no answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..streaming import OverTime, StreamBuilder, heard_by
from .chain import ExitChain


class StreamingStage(nn.Module):
    """Takes the frames (1, *, frames) that a hop brings and the states; gives the map for the next stage, the logits
    (1, classes) and the new states, the last stage no map."""

    def __init__(self, segment: StreamBuilder, head: StreamBuilder | None) -> None:
        super().__init__()
        self.segment = nn.ModuleList(segment.layers)
        self.head = None if head is None else nn.ModuleList(head.layers)
        self.state_shapes = (*segment.state_shapes, *(() if head is None else head.state_shapes))
        """Of one stream, without the batch."""

    def forward(self, frames: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        waiting = iter(states)
        x, kept = heard_by(self.segment, frames, waiting)
        if self.head is None:
            return (x, *kept)
        logits, of_head = heard_by(self.head, x, waiting)
        return (x, logits, *kept, *of_head)


@dataclass(frozen=True)
class StreamingExits:
    """The stages of a network that listens; ``window_hops`` hops of ``hop_frames`` frames make its window."""

    stages: tuple[StreamingStage, ...]
    frame_shapes: tuple[tuple[int, ...], ...]
    """Of what a hop brings to each stage, without the batch."""
    hop_frames: int
    window_hops: int
    memory_hops: tuple[int, ...]
    """Of each stage: on how many latest hops its answer, and those of all after it, depend."""


@torch.no_grad()
def streaming_exits(network: ExitChain, input_shape: Sequence[int]) -> StreamingExits:
    """Return the streaming form of a fused network in eval mode for windows of ``input_shape`` (..., frames).

    It shares the weights. Raises :class:`UserError` as :func:`~repareto.spaces.streaming.streaming` does, for a head
    that is not a pool over the window, and for a window of no whole number of hops.
    """
    weight = next(network.parameters())
    window = torch.zeros(1, *input_shape, dtype=weight.dtype, device=weight.device)
    segments: list[StreamBuilder] = []
    for layers in network.segments:
        segments.append(StreamBuilder(window if not segments else segments[-1].window).with_all(layers))
    hop = math.prod(segment.stride for segment in segments)
    if input_shape[-1] % hop:
        raise UserError(
            f"a window of {input_shape[-1]} frames is no whole number of hops of {hop}, so that its exits have no "
            "streaming form"
        )
    stages, shapes, reaches = [], [(*input_shape[:-1], hop)], []
    frames = hop
    for place, segment in enumerate(segments):
        head = None
        frames, brought = frames // segment.stride, frames
        if place < len(network.heads):
            shapes.append((*segment.window.shape[1:-1], frames))
            head = _head(network.heads[place], segment.window, frames, place + 1)
        stages.append(StreamingStage(segment, head))
        reaches.append(_reach_hops(segment.layers, brought))
    memory = [1 + sum(reaches[place:]) for place in range(len(stages))]
    return StreamingExits(
        tuple(stage.eval() for stage in stages), tuple(shapes), hop, input_shape[-1] // hop, tuple(memory)
    )


def _head(head: nn.Module, window: Tensor, frames: int, number: int) -> StreamBuilder:
    try:
        return StreamBuilder(window, pooled_frames=frames).with_all(head)
    except UserError as error:
        raise UserError(f"the head of exit {number}: {error} (narrow space.exits.head to pool-linear)") from error


def _reach_hops(layers: Sequence[nn.Module], frames: int) -> int:
    """How many hops before the newest the layers' output depends on, at most; a hop brings ``frames`` to the first."""
    hops = 0
    for layer in layers:
        if isinstance(layer, OverTime):
            hops += -(-layer.past_frames // frames)
            frames //= _stride(layer.layer)
        elif isinstance(layer, nn.Conv1d | nn.Conv2d):
            frames //= _stride(layer)
    return hops


def _stride(layer: nn.Module) -> int:
    return layer.stride[-1] if isinstance(layer, nn.Conv1d | nn.Conv2d) else 1
