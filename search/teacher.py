"""The teacher of a study: one network, trained once, from which candidates on all workers learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..spaces.distillation import WithDistillation
from ..spaces.errors import UserError
from ..spaces.fusion import fused_copy
from ..spaces.space import Candidate, SearchSpace
from ..trainers.data.dataset import Dataset
from ..trainers.losses import TooFewStepsError
from ..trainers.supervised import SupervisedTrainer, TrainingDivergedError
from .checkpoints import Checkpoints, delete_checkpoints
from .files import WEIGHTS, BrokenFileError, Files, seal, unseal
from .sampling import candidate_seed
from .tasks import task_of

if TYPE_CHECKING:
    from .worker import Job

FOLDER = "teacher"
NUMBER = 2**31
"""In place of a trial's, which a seed is drawn by: no trial has it."""


def has_teacher(space: SearchSpace) -> bool:
    """Whether candidates of a space may learn from the study's teacher."""
    return isinstance(space, WithDistillation) and space.teacher_space is not None


def teacher_of(job: Job, dataset: Dataset, say: Callable[[str], None]) -> nn.Module:
    """Return the study's teacher, fused, in eval mode on the CPU.

    It is trained here where the store has it not, or not whole: the same from the same seed, whoever trains it. Raises
    :class:`UserError` where it cannot be trained.
    """
    space = job.space
    assert isinstance(space, WithDistillation) and space.teacher_space is not None
    candidate = space.teacher_space.middle()
    folder = job.study_folder.inside(FOLDER)
    identity = f"{job.study_id} {FOLDER} {candidate.digest}"
    weights = _kept(folder, identity, say)
    if weights is None:
        weights = _train(job, space.teacher_space, candidate, dataset, Checkpoints(folder, identity), say)
        folder.write(WEIGHTS, seal({"identity": identity, "weights": weights}))
        delete_checkpoints(folder)
    teacher = fused_copy(space.teacher_space.build(candidate, dataset.input_shape, len(dataset.labels)).eval())
    teacher.load_state_dict(weights)
    return teacher


def _kept(folder: Files, identity: str, say: Callable[[str], None]) -> dict[str, torch.Tensor] | None:
    content = folder.read(WEIGHTS)
    if content is None:
        return None
    try:
        kept = unseal(content)
    except BrokenFileError as error:
        say(f"{folder.place(WEIGHTS)}: {error}; the teacher is trained again")
        return None
    return kept["weights"] if kept["identity"] == identity else None


def _train(
    job: Job,
    space: SearchSpace,
    candidate: Candidate,
    dataset: Dataset,
    checkpoints: Checkpoints,
    say: Callable[[str], None],
) -> dict[str, torch.Tensor]:
    seed = candidate_seed(job.seed, NUMBER)
    torch.manual_seed(seed)
    model = space.build(candidate, dataset.input_shape, len(dataset.labels))
    config = job.training.overridden(candidate.training())
    trainer = SupervisedTrainer(model, dataset, config, seed=seed, device=job.device)
    saved = checkpoints.newest(say)
    if saved is not None:
        trainer.load_state_dict(saved)
    try:
        while trainer.epoch < config.epochs:
            trainer.train_epoch()
            checkpoints.save(trainer.epoch, trainer.state_dict())
    except (TrainingDivergedError, TooFewStepsError) as trouble:
        raise UserError(f"space.distillation.teacher: it cannot be trained: {trouble} (change it there)") from trouble
    error = task_of(dataset).validation_error(trainer.model, dataset, job.device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(f"the teacher makes {error:.1%} errors on the validation split ({parameters:,} parameters in training)")
    return fused_copy(trainer.model.eval().cpu()).state_dict()
