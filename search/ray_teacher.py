"""The study's teacher trained on a worker of the Ray cluster, before any trial starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ray
import torch
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

from ..spaces.errors import UserError, first_line
from ..trainers.data.front_ends import Datasets
from .study import Study
from .teacher import teacher_of
from .worker import Job, ended_after


def train_teacher(
    study: Study, job: Job, datasets: Datasets, resources: Mapping[str, float], say: Callable[[str], None]
) -> None:
    """See that the store has the study's teacher; a task with the ``resources`` of a trial trains it.

    Raises :class:`UserError` where it cannot be trained. Where the search is to stop, or Ctrl-C is pressed, it goes on
    from its last epoch another time.
    """
    say("taking the study's teacher from the store, or training it first")
    answer = ray.remote(**resources)(_teach).remote(job, datasets)
    try:
        while not ray.wait([answer], timeout=1.0)[0]:
            if study.stopping:
                ray.cancel(answer)
                return
    except KeyboardInterrupt:
        ray.cancel(answer)
        study.request_stop()
        return
    try:
        notes, trouble = ray.get(answer)
    except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as error:
        # Ray has tried it several times; each went on from the last epoch.
        raise UserError(
            f"space.distillation.teacher: its worker was lost again and again ({first_line(error)})"
        ) from error
    for note in notes:
        say(note)
    if trouble:
        raise UserError(trouble)


def _teach(job: Job, datasets: Datasets) -> tuple[list[str], str]:
    """Return notes for the user, and why there is no teacher, "" where there is one."""
    torch.set_num_threads(job.threads)
    notes: list[str] = []
    try:
        with ended_after(job.epoch_timeout_seconds * job.training.epochs):
            teacher_of(job, datasets.first, notes.append)
    except UserError as error:
        return notes, str(error)
    return notes, ""
