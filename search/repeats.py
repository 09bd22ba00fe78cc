"""Members of the front trained again on other seeds: what their errors are in the mean, and whether they stay.

A search takes the best of many noisy errors, so that a lucky one stands on the front. Of a candidate that was trained
again the mean of those errors decides, which no luck has chosen. Whom that puts on the front is trained again as well.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from ..spaces.errors import first_line
from ..trainers.data.front_ends import Datasets
from .checkpoints import delete_checkpoints
from .cluster import Places
from .config import WorkersSection
from .files import trial_folder
from .records import TrialRecord, lacks_repeats
from .sampling import candidate_seed
from .study import Study
from .worker import Job, train_whole

FOLDER = "repeats"


def repeat_front(
    study: Study, job: Job, datasets: Datasets, workers: WorkersSection, repeats: int, say: Callable[[str], None]
) -> None:
    """Train each member of the front so many times again, until all have their repeats or the search is to stop.

    Runs on the cluster that this process is connected to. A trial with operating points has no one error, so that it
    is left out; one that cannot be trained again keeps the error that it has.
    """
    gpus = Places(workers).gpus_a_trial
    job = replace(job, device="cuda" if gpus > 0 else "cpu")
    again = ray.remote(num_cpus=workers.cpus, num_gpus=gpus)(_train_again)
    shared = ray.put(job), ray.put(datasets)
    left_out: set[int] = set()
    while not study.stopping:
        members = {record.number: record for record in study.results.front}.values()
        due = [m for m in members if lacks_repeats(m) and m.number not in left_out]
        if not due:
            break
        say(f"training {len(due)} models of the front again, on {repeats} other seeds each")
        running = {m.number: [again.remote(*shared, m, repeat) for repeat in range(1, repeats + 1)] for m in due}
        for member in due:
            if not _waited_for(study, running[member.number]):
                for answer in chain(*running.values()):
                    ray.cancel(answer)
                return
            errors = list(_errors(running[member.number], member, say))
            if len(errors) == repeats:
                study.record_repeats(member.number, errors)
                say(_told(member, errors))
            else:
                left_out.add(member.number)


def _waited_for(study: Study, answers: Sequence[Any]) -> bool:
    """Wait for all answers, and return False where the search is to stop before."""
    while ray.wait(answers, num_returns=len(answers), timeout=1.0)[1]:
        if study.stopping:
            return False
    return True


def _errors(answers: Sequence[Any], record: TrialRecord, say: Callable[[str], None]) -> Iterator[float]:
    """Yield the errors that could be had, and say of others why not."""
    for answer in answers:
        try:
            error, trouble = ray.get(answer)
        except RayError as lost:
            error, trouble = None, first_line(lost)
        if error is None:
            say(f"trial {record.number} cannot be trained again: {trouble}")
        else:
            yield error


def _train_again(job: Job, datasets: Datasets, record: TrialRecord, repeat: int) -> tuple[float | None, str]:
    """Return a candidate's error when it is trained from scratch on another seed, or why there is none."""
    torch.set_num_threads(job.threads)
    folder = job.study_folder.inside(FOLDER, str(repeat))
    own = replace(job, seed=candidate_seed(job.seed, repeat), study_folder=folder)
    result = train_whole(own, datasets, {"number": record.number, "candidate": record.candidate.to_json()})
    if "measurement" not in result:
        return None, result.get("failed") or result.get("lost") or result["fatal"]
    delete_checkpoints(trial_folder(folder, record.number))
    return json.loads(result["measurement"])["figures"]["error"], ""


def _told(record: TrialRecord, errors: Sequence[float]) -> str:
    assert record.measurement is not None
    first = record.measurement.figures["error"]
    low, high = min(errors), max(errors)
    return (
        f"trial {record.number}: {statistics.fmean(errors):.1%} errors on {len(errors)} other seeds "
        f"({low:.1%} to {high:.1%}); the first training made {first:.1%}"
    )
