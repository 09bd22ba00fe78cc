"""Learning from another network, or from what the network itself was: its answers, and layer by layer.

``L = task + a T^2 KL + b mean_l |W h - h'|^2 / |h'|^2``, T = 2: logits as in Hinton et al. (arXiv 1503.02531); layers
with learnt projections W, each beside the teacher's nearest layer, after the structured pruning of the Conformer (arXiv
2305.19549, of which the abstract alone could be read). Distances are relative to the teacher's layer, so that none
counts for more because its values are larger.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spaces.distillation import SELF, Distillation
from ..spaces.errors import UserError
from ..spaces.fusion import fused_copy
from ..spaces.hidden import HiddenLayers, nearest_layers
from .losses import Loss, answers_of
from .sparsity.schedule import Gradual

SELF_SCHEDULE = Gradual(begin=0.4, end=0.7)
"""Of sparsity where a network learns from what it was at its begin: later than else, so that it has learnt by then."""


class Distiller:
    """A student's part of a teacher's knowledge, in training.

    ``teacher`` is a fused network in eval mode, which may have other widths, depths and strides.
    """

    def __init__(self, teacher: nn.Module | None, *, logits: float, layers: float) -> None:
        self._teacher, self._logits_weight, self._layers_weight = teacher, logits, layers
        self._student_layers: HiddenLayers | None = None
        self._teacher_layers: HiddenLayers | None = None
        self._projections = nn.ModuleList()

    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        """Make projections for a student (after its sparsifier has started), of some examples (n, *input_shape).

        Raises :class:`UserError` for a teacher that takes other inputs or answers otherwise, and for networks whose
        layers cannot be compared.
        """
        del steps
        assert self._teacher is not None
        self._teacher.to(examples.device).eval().requires_grad_(False)
        self._refuse_another_task(model, examples)
        if self._layers_weight:
            self._make_projections(model, examples)

    @torch.no_grad()
    def _refuse_another_task(self, model: nn.Module, examples: Tensor) -> None:
        assert self._teacher is not None
        takes = tuple(examples.shape[1:])
        try:
            theirs = self._teacher(examples)
        except RuntimeError as error:
            raise UserError(f"distillation: the teacher does not take inputs of shape {takes} ({error})") from error
        ours = _in_eval_mode(model, examples)
        if theirs.dim() != ours.dim() or theirs.shape[-1] != ours.shape[-1]:
            raise UserError(
                f"distillation: the teacher answers {tuple(theirs.shape[1:])} and the student {tuple(ours.shape[1:])}: "
                "both must have the same classes"
            )

    @torch.no_grad()
    def _make_projections(self, model: nn.Module, examples: Tensor) -> None:
        assert self._teacher is not None
        self._student_layers, self._teacher_layers = HiddenLayers(model), HiddenLayers(self._teacher)
        with self._student_layers.recorded() as ours:
            _in_eval_mode(model, examples)
        with self._teacher_layers.recorded() as theirs:
            self._teacher(examples)
        self._nearest = nearest_layers(len(self._student_layers), len(self._teacher_layers))
        for place, nearest in enumerate(self._nearest):
            if ours[place].dim() != theirs[nearest].dim():
                raise UserError(
                    "space.distillation.layers: the teacher's layers have other axes than the student's (set layers: 0)"
                )
            projection = nn.Linear(ours[place].shape[1], theirs[nearest].shape[1], bias=False)
            # Channel by channel at first: all that there is to say where the teacher was the student.
            nn.init.eye_(projection.weight)
            self._projections.append(projection.to(examples.device))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups of what is learnt here."""
        return [{"params": list(self._projections.parameters()), "weight_decay": 0.0}] if self._projections else []

    def loss(self, task: Loss, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        """Return what a step minimises in place of ``task``."""
        if self._teacher is None:
            return task(model, features, labels)
        with _recorded(self._student_layers) as ours:
            answers = answers_of(model, features)
        with torch.no_grad(), _recorded(self._teacher_layers) as theirs:
            aims = self._teacher(features)
        loss = task.of_answers(model, answers, labels)
        loss = loss + self._logits_weight * task.divergence(answers[0][1], aims, labels)
        # Stochastic depth may have passed all layers by.
        return loss + self._layers_weight * self._of_layers(ours, theirs) if ours else loss

    def _of_layers(self, ours: dict[int, Tensor], theirs: dict[int, Tensor]) -> Tensor:
        """Return the mean over the layers that were run."""
        distances = [
            relative_distance(self._projections[place], hidden, theirs[self._nearest[place]])
            for place, hidden in ours.items()
        ]
        return torch.stack(distances).mean()

    def after_step(self) -> None:
        """Called after each step of the optimiser, before the sparsifier is."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that is learnt here."""
        return {"projections": self._projections.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`, after :meth:`start`."""
        self._projections.load_state_dict(state["projections"])


class SelfDistiller(Distiller):
    """Learns from what the network was when pruning began (``SELF_SCHEDULE``), and from labels alone until then."""

    def __init__(self, *, logits: float, layers: float) -> None:
        super().__init__(None, logits=logits, layers=layers)

    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        self._model, self._step, self._begin = model, 0, round(SELF_SCHEDULE.begin * steps)
        # Projections are there from the first step on, for the optimiser is made once.
        self._take_teacher()
        super().start(model, examples, steps)
        self._teacher = None

    def _take_teacher(self) -> None:
        teacher = fused_copy(copy.deepcopy(self._model).eval()).requires_grad_(False)
        self._teacher = teacher
        if self._layers_weight:
            self._teacher_layers = HiddenLayers(teacher)

    def after_step(self) -> None:
        self._step += 1
        if self._step == self._begin:
            self._take_teacher()

    def state_dict(self) -> dict[str, Any]:
        teacher = None if self._teacher is None else self._teacher.state_dict()
        return {**super().state_dict(), "step": self._step, "teacher": teacher}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._step = state["step"]
        if state["teacher"] is not None:
            self._take_teacher()
            assert self._teacher is not None
            self._teacher.load_state_dict(state["teacher"])


def distiller_of(distillation: Distillation, teacher: nn.Module | None) -> Distiller:
    """Return what a candidate asks for, ready to start; ``teacher`` is the study's, where it asks for that."""
    if distillation.source == SELF:
        return SelfDistiller(logits=distillation.logits, layers=distillation.layers)
    return Distiller(teacher, logits=distillation.logits, layers=distillation.layers)


def relative_distance(projection: nn.Module, ours: Tensor, theirs: Tensor) -> Tensor:
    """Return ``|W h - h'|^2 / |h'|^2`` of two maps (batch, channels, ...), averaged over the larger one's grid."""
    if ours.dim() > 2:
        grid = [min(sizes) for sizes in zip(ours.shape[2:], theirs.shape[2:], strict=True)]
        ours, theirs = _on_grid(ours, grid), _on_grid(theirs, grid)
    projected = projection(ours.float().movedim(1, -1))
    aims = theirs.float().movedim(1, -1)
    return F.mse_loss(projected, aims) / aims.square().mean().clamp_min(1e-8)


def _recorded(layers: HiddenLayers | None) -> AbstractContextManager[dict[int, Tensor]]:
    return nullcontext({}) if layers is None else layers.recorded()


def _on_grid(values: Tensor, grid: Sequence[int]) -> Tensor:
    if tuple(values.shape[2:]) == tuple(grid):
        return values
    return (
        F.adaptive_avg_pool1d(values, grid[0]) if len(grid) == 1 else F.adaptive_avg_pool2d(values, (grid[0], grid[1]))
    )


def _in_eval_mode(model: nn.Module, examples: Tensor) -> Tensor:
    was_training = model.training
    answer = model.eval()(examples)
    model.train(was_training)
    return answer
