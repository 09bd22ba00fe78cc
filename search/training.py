"""How the training of a candidate begins: its model, what makes it sparse, what it learns from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ..spaces.distillation import SELF, TEACHER, Distillation
from ..spaces.space import Candidate
from ..spaces.sparsity.space import Sparsity
from ..trainers.data.dataset import Dataset
from ..trainers.distillation import SELF_SCHEDULE, distiller_of
from ..trainers.sparsity import sparsifier_of
from ..trainers.sparsity.schedule import Gradual
from ..trainers.supervised import SupervisedTrainer
from .teacher import teacher_of

if TYPE_CHECKING:
    from .worker import Job


def begin_training(
    job: Job, candidate: Candidate, dataset: Dataset, seed: int, say: Callable[[str], None]
) -> SupervisedTrainer:
    """Return a candidate's trainer before its first epoch: the same for the same seed.

    The study's teacher is trained first where the store has it not, and said.
    """
    distillation = Distillation.of(candidate)
    distiller = None
    if distillation is not None:
        # Before anything is drawn for the candidate: a teacher that is lost is trained again.
        teacher = teacher_of(job, dataset, say) if distillation.source == TEACHER else None
        distiller = distiller_of(distillation, teacher)
    torch.manual_seed(seed)
    model = job.space.build(candidate, dataset.input_shape, len(dataset.labels))
    config = job.training.overridden(candidate.training())
    sparsity = Sparsity.of(candidate.sparsity())
    learns_from_itself = distillation is not None and distillation.source == SELF
    schedule = SELF_SCHEDULE if learns_from_itself else Gradual()
    sparsifier = None if sparsity is None else sparsifier_of(sparsity, schedule)
    return SupervisedTrainer(
        model, dataset, config, seed=seed, device=job.device, sparsifier=sparsifier, distiller=distiller
    )
