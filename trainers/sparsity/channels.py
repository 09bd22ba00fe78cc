"""Channels taken out of each width of a network: gates that are closed one after the other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...spaces.fusion import fused_copy
from ...spaces.sparsity.allocation import Allocation, EachWidth
from ...spaces.sparsity.costs import Costs
from ...spaces.sparsity.gates import Gates, fused_skeleton_of, gate
from ...spaces.sparsity.scores import channel_norms
from ...spaces.sparsity.walk import flow_of
from ...spaces.sparsity.widths import CHANNEL, Width, widths_of
from .base import Sparsifier
from .schedule import Schedule


class ChannelPruning(Sparsifier):
    """Closes the gates of the channels with the smallest weights, or of any where ``is_random`` (a baseline).

    A channel's weights are all that make it and all that read it (DepGraph's group norm, arXiv 2301.12900). How many
    channels each width keeps is the allocation's to say.
    """

    def __init__(
        self,
        levels: Sequence[float],
        schedule: Schedule,
        *,
        granularity: str = CHANNEL,
        allocation: type[Allocation] = EachWidth,
        is_random: bool = False,
    ) -> None:
        self._levels, self._schedule, self._allocation_kind = levels, schedule, allocation
        self._granularity, self._is_random = granularity, is_random
        self._step = 0

    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        self._model, self._input_shape, self._steps = model, tuple(examples.shape[1:]), steps
        skeleton = fused_skeleton_of(model)
        flow = flow_of(skeleton, self._input_shape)
        widths = widths_of(flow, self._granularity)
        self._allocation = self._allocation_kind(Costs(skeleton, flow, widths), widths, self._levels)
        self._gates = self._new_gates(widths).to(examples.device)
        gate(model, self._input_shape, self._gates, self._granularity)
        self._random_scores = torch.rand(sum(self._gates.sizes)) if self._is_random else None

    def _new_gates(self, widths: Sequence[Width]) -> Gates:
        return Gates(widths)

    def after_step(self) -> None:
        self._step += 1
        if self._schedule.is_due(self._step, self._steps):
            self._close(self._schedule.share(self._step, self._steps))

    def _close(self, share: float) -> None:
        """Leave open as many gates as may be by now, those of the highest scores."""
        mask = self._gates.mask
        # What is closed stays so.
        scores = torch.where(mask.cpu() > 0, self._channel_scores().cpu(), -torch.inf)
        mask.copy_(self._allocation.kept(scores, share))

    def _channel_scores(self) -> Tensor:
        if self._random_scores is not None:
            return self._random_scores
        fused = fused_copy(copy.deepcopy(self._model).eval())
        return channel_norms(fused, self._input_shape, self._granularity)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "scores": self._random_scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step, self._random_scores = state["step"], state["scores"]
