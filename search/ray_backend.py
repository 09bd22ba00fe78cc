"""Runs a study's trials on Ray Tune: thin adapters, all decisions are the study's."""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ..spaces.errors import UserError
from ..trainers.data.front_ends import Datasets
from .checkpoints import delete_checkpoints
from .cluster import Places, connect
from .config import WorkersSection
from .files import MEASUREMENT, Files, trial_folder
from .lineage import Lineage
from .ray_teacher import train_teacher
from .records import EpochPoint, Loss, Measurement, State
from .study import Study
from .teacher import has_teacher
from .worker import CandidateTrainable, Job

logger = logging.getLogger("repareto")

# Marks in Ray's messages, and what they mean. Ray has a type for neither.
NODE_LOSSES = {
    "node has died": "its node was lost",
    "preempted": "its node was taken away",
    # Of a process that ended alone its node tells at once; this is said when the node does not answer either.
    "is unavailable": "its node does not answer",
}
WORKER_DEATHS = {
    "running low on memory": "its process was killed because the node ran out of memory",
    "worker process has died": "its process was killed or crashed",
}


class _WithoutSnapshot:
    """Ray pickles searchers and schedulers for its own snapshot of an experiment, which plays no part here."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Trouble:
    """What ends the search. Ray would log an error in an adapter, or take it for the trial's; here it is kept and
    raised when the running trials have ended."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def keep(self, error: Exception) -> None:
        """Keep the first error: later ones follow from it."""
        self.error = self.error or error


class StudySearcher(_WithoutSnapshot, Searcher):
    """Hands the study's trials to Ray and Ray's results to the study.

    A trial whose worker was lost comes again, under the same number, as another of Ray's trials.
    """

    def __init__(
        self,
        study: Study,
        study_folder: Files,
        trouble: Trouble,
        places: Callable[[], int] = lambda: sys.maxsize,
        lineage: Lineage | None = None,
    ) -> None:
        """``places`` says how many trials may run at once now; ``lineage``, who inherits from whom."""
        # No metric: a candidate that fails reports none.
        super().__init__(metric=None, mode=None)
        self._study, self._study_folder, self._trouble, self._places = study, study_folder, trouble, places
        self._lineage = lineage
        self._given_out: dict[str, int] = {}
        # A bucket takes its time.
        self._tidying = ThreadPoolExecutor(max_workers=2, thread_name_prefix="tidy")

    def suggest(self, trial_id: str) -> Any:
        # None is "ask again"; FINISHED is final, and a running trial may yet have to be given out again.
        nothing_now = None if self._given_out else Searcher.FINISHED
        if self._trouble.error is not None or self._study.stopping or not self._study.unfinished:
            return nothing_now
        if len(self._given_out) >= self._places():
            return None
        try:
            record = self._study.next_trial()
        except Exception as error:
            self._trouble.keep(error)
            return nothing_now
        if record is None:
            return nothing_now
        self._given_out[trial_id] = record.number
        relatives = [] if self._lineage is None else self._lineage.relatives(record.candidate, self._study.results)
        return {
            "number": record.number,
            "candidate": record.candidate.to_json(),
            "attempt": len(record.losses),
            # As text, for Ray flattens what it can.
            "relatives": json.dumps([relative.to_json() for relative in relatives]),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take over a trial's last result. Of an ``error`` the scheduler was told before, with its cause."""
        number = self._given_out.pop(trial_id)
        try:
            if self._study.state_of(number) is State.RUNNING and not error:
                self._end(number, result or {})
            if self._study.state_of(number) is not State.RUNNING:
                # Not before the ledger has the end: a driver killed in between would train it all again.
                self._tidying.submit(_tidy, trial_folder(self._study_folder, number))
        except Exception as failure:
            self._trouble.keep(failure)

    def _end(self, number: int, result: dict[str, Any]) -> None:
        if "fatal" in result:
            self._trouble.keep(UserError(result["fatal"]))
        elif "lost" in result:
            self._study.lose_worker(number, Loss(result["lost"], is_charged=False))
        elif "failed" in result:
            self._study.fail(number, result["failed"])
        elif "measurement" in result:
            # Ray tells the scheduler of no result that is a trial's last.
            report_curve(self._study, number, result)
            if self._study.state_of(number) is State.RUNNING:
                self._study.finish(number, Measurement.from_dict(json.loads(result["measurement"])))
        # Otherwise it was interrupted: it stays running in the ledger and is continued by the next driver.

    def close(self) -> None:
        """Wait until nothing is left of ended trials but their weights."""
        self._tidying.shutdown()

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the state."""


def _tidy(folder: Files) -> None:
    """Delete what an ended trial no longer needs."""
    try:
        delete_checkpoints(folder)
        folder.delete(MEASUREMENT)
    except UserError as error:
        # It takes place and harms nobody.
        logger.warning("%s: a checkpoint that nobody needs is left behind (%s)", folder.place(""), error)


class StudyScheduler(_WithoutSnapshot, FIFOScheduler):
    """Asks the study after each epoch whether a trial goes on, and tells it of lost workers."""

    def __init__(
        self,
        study: Study,
        trouble: Trouble,
        say: Callable[[str], None] = print,
        epoch_timeout_seconds: float = math.inf,
    ) -> None:
        super().__init__()
        self._study, self._trouble, self._say = study, trouble, say
        self._epoch_timeout_seconds = epoch_timeout_seconds
        self._heard: dict[int, float] = {}

    def on_trial_result(self, _controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        self._heard[number] = time.monotonic()
        try:
            for note in json.loads(result.get("notes", "[]")):
                self._say(f"trial {number}: {note}")
            goes_on = report_curve(self._study, number, result)
        except Exception as error:
            self._trouble.keep(error)
            goes_on = False
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_complete(self, _controller: Any, trial: Any, _result: dict[str, Any]) -> None:
        self._heard.pop(trial.config["number"], None)

    def choose_trial_to_run(self, controller: Any) -> Any:
        """Return the next trial to start; when the search ends, give back those for which there was no place yet."""
        live = controller.get_live_trials()
        for trial in live:
            # Ray calls this all the time, so it sees a trial's start soon after.
            if trial.status == trial.RUNNING:
                self._heard.setdefault(trial.config["number"], time.monotonic())
        waiting = [trial for trial in live if trial.status == trial.PENDING]
        if not waiting:
            return None
        if self._study.stopping or self._trouble.error is not None:
            for trial in waiting:
                # Ray sums up its trials in the end, and wants a folder of each for that.
                trial.init_local_path()
                controller.stop_trial(trial)
            return None
        return min(waiting, key=lambda trial: trial.config["number"])

    def on_trial_error(self, _controller: Any, trial: Any) -> None:
        number = trial.config["number"]
        try:
            if self._study.state_of(number) is State.RUNNING:
                silent_seconds = time.monotonic() - self._heard.pop(number, math.inf)
                loss = loss_of(error_text(trial), silent_seconds, self._epoch_timeout_seconds)
                self._say(f"trial {number} lost its worker ({loss.cause})")
                self._study.lose_worker(number, loss)
        except Exception as error:
            self._trouble.keep(error)


def error_text(trial: Any) -> str:
    """Return what Ray says of the end of a trial's worker, from the file that it keeps in this process's folder."""
    path = trial.error_file
    return Path(path).read_text(errors="replace") if path else ""


def loss_of(text: str, silent_seconds: float = 0.0, epoch_timeout_seconds: float = math.inf) -> Loss:
    """Return why a worker was lost, and whether its candidate may be the reason.

    ``text`` is Ray's, which does not tell a process that the watchdog ended from any other; the time does.
    """
    for mark, cause in NODE_LOSSES.items():
        if mark in text:
            return Loss(cause, is_charged=False)
    if silent_seconds >= epoch_timeout_seconds:
        return Loss(
            f"its process ended {silent_seconds:.0f} s after it was last heard of; "
            f"an epoch may take {epoch_timeout_seconds:.0f} s (workers.epoch_timeout)",
            is_charged=True,
        )
    for mark, cause in WORKER_DEATHS.items():
        if mark in text:
            return Loss(cause, is_charged=True)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Loss(lines[-1][:300] if lines else "for a reason that Ray does not tell", is_charged=True)


def report_curve(study: Study, number: int, result: dict[str, Any]) -> bool:
    """Report the epochs of a result that the study has not heard of, and return whether the trial goes on."""
    goes_on = True
    for epoch, point in enumerate(json.loads(result.get("curve", "[]")), 1):
        if epoch > study.epochs_of(number) and goes_on:
            goes_on = study.report_epoch(number, epoch, EpochPoint(*point))
    return goes_on


def run_on_ray(
    study: Study,
    job: Job,
    datasets: Datasets,
    workers: WorkersSection,
    trainable: type[CandidateTrainable] = CandidateTrainable,
    say: Callable[[str], None] = print,
) -> None:
    """Run the study until it has no more trials or time, or is asked to stop.

    Raises :class:`UserError` for a cluster that cannot be reached or a full disk; the study can be continued.
    """
    connect(workers)
    places = Places(workers)
    gpus = places.gpus_a_trial
    job = replace(job, device="cuda" if gpus > 0 else "cpu")
    if has_teacher(job.space):
        train_teacher(study, job, datasets, {"num_cpus": workers.cpus, "num_gpus": gpus}, say)
    trouble = Trouble()
    lineage = Lineage(job.space) if job.inherits else None
    searcher = StudySearcher(study, job.study_folder, trouble, places.now, lineage)
    with tempfile.TemporaryDirectory(prefix="repareto-ray-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trainable, job=job, datasets=datasets),
                {"cpu": workers.cpus, "gpu": gpus},
            ),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=StudyScheduler(study, trouble, say, job.epoch_timeout_seconds),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                # The study decides whether a trial that lost its worker is run again.
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            with _ended_by_sigterm(study):
                tuner.fit()
        finally:
            searcher.close()
    if trouble.error is not None:
        raise trouble.error


@contextmanager
def _ended_by_sigterm(study: Study) -> Iterator[None]:
    """Take SIGTERM, which cluster managers send before they take a machine away, as the wish to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: study.request_stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _name(trial: Any) -> str:
    return f"{trial.config['number']:05d}-{trial.config['attempt']}"
