"""Runs a study's trials on Ray Tune: thin adapters, all decisions are the study's."""

from __future__ import annotations

import json
import logging
import math
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ..spaces.errors import UserError
from ..trainers.data.dataset import Dataset
from .config import WorkersSection
from .files import CHECKPOINT, trial_folder
from .records import EpochPoint, Measurement, State
from .study import Study
from .worker import CandidateTrainable, Job

WORKER_RESTARTS = 2


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
    """Hands the study's trials to Ray and Ray's results to the study."""

    def __init__(self, study: Study, study_folder: Path, trouble: Trouble) -> None:
        # No metric: a candidate that fails reports none.
        super().__init__(metric=None, mode=None)
        self._study, self._study_folder, self._trouble = study, study_folder, trouble
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        if self._trouble.error is not None:
            return Searcher.FINISHED
        try:
            record = self._study.next_trial()
        except Exception as error:
            self._trouble.keep(error)
            return Searcher.FINISHED
        if record is None:
            return Searcher.FINISHED
        self._numbers[trial_id] = record.number
        return {"number": record.number, "candidate": record.candidate.to_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._numbers[trial_id]
        try:
            if self._study.state_of(number) is State.RUNNING:
                self._end(number, result or {}, error)
            if self._study.state_of(number) is not State.RUNNING:
                # Not before the ledger has the end: a driver killed in between would train it all again.
                (trial_folder(self._study_folder, number) / CHECKPOINT).unlink(missing_ok=True)
        except Exception as failure:
            self._trouble.keep(failure)

    def _end(self, number: int, result: dict[str, Any], error: bool) -> None:
        if "fatal" in result:
            self._trouble.keep(UserError(result["fatal"]))
        elif error:
            self._study.fail(number, f"its worker died {WORKER_RESTARTS + 1} times")
        elif "failed" in result:
            self._study.fail(number, result["failed"])
        elif "measurement" in result:
            # Ray tells the scheduler of no result that is a trial's last.
            report_curve(self._study, number, result)
            if self._study.state_of(number) is State.RUNNING:
                self._study.finish(number, Measurement(**json.loads(result["measurement"])))
        # Otherwise it was interrupted: it stays running in the ledger and is continued by the next driver.

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the state."""


class StudyScheduler(_WithoutSnapshot, FIFOScheduler):
    """Asks the study after each epoch whether a trial goes on."""

    def __init__(self, study: Study, trouble: Trouble) -> None:
        super().__init__()
        self._study, self._trouble = study, trouble

    def on_trial_result(self, _controller: Any, trial: Any, result: dict[str, Any]) -> str:
        try:
            goes_on = report_curve(self._study, trial.config["number"], result)
        except Exception as error:
            self._trouble.keep(error)
            goes_on = False
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP


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
    dataset: Dataset,
    workers: WorkersSection,
    trainable: type[CandidateTrainable] = CandidateTrainable,
) -> None:
    """Run the study until it has no more trials or time.

    Raises :class:`UserError` for a cluster that cannot be reached or a full disk; the study can be continued.
    """
    connect(workers)
    resources = ray.cluster_resources()
    places, gpus = share_resources(workers, resources.get("CPU", 0), resources.get("GPU", 0))
    job = replace(job, device="cuda" if gpus > 0 else "cpu")
    trouble = Trouble()
    with tempfile.TemporaryDirectory(prefix="repareto-ray-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trainable, job=job, dataset=dataset),
                {"cpu": workers.cpus, "gpu": gpus},
            ),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(study, job.study_folder, trouble),
                scheduler=StudyScheduler(study, trouble),
                num_samples=-1,
                # Without a bound Ray would ask for candidates long before it can run them.
                max_concurrent_trials=places,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=WORKER_RESTARTS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    if trouble.error is not None:
        raise trouble.error


def share_resources(workers: WorkersSection, cpus: float, gpus: float) -> tuple[int, float]:
    """Return how many trials ``cpus`` and ``gpus`` hold at once, and the GPUs of each.

    Raises :class:`UserError` where not even one trial fits.
    """
    places = int(cpus // workers.cpus)
    gpus_a_trial = workers.gpus
    if gpus_a_trial is None:
        # Ray counts fractions in ten-thousandths.
        share = gpus / max(1, workers.count or places)
        gpus_a_trial = min(1.0, math.floor(share * 10_000) / 10_000)
    if gpus_a_trial > 0:
        places = min(places, int(gpus // gpus_a_trial))
    if places < 1:
        raise UserError(
            f"workers: a trial wants {workers.cpus:g} CPUs and {gpus_a_trial:g} GPUs, "
            f"the cluster has {cpus:g} and {gpus:g}"
        )
    return workers.count or places, gpus_a_trial


def _name(trial: Any) -> str:
    return f"{trial.config['number']:05d}"


def connect(workers: WorkersSection) -> None:
    """Connect to the cluster of ``workers.address``, or start a quiet local one."""
    if ray.is_initialized():
        return
    environment = {"OMP_NUM_THREADS": str(workers.threads)}
    options: dict[str, Any] = {"address": workers.address}
    if workers.address is None:
        options = {"include_dashboard": False, "address": "local"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(
                **options,
                runtime_env={"env_vars": environment},
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"workers.address {workers.address!r}: no Ray cluster answers there ({error})") from error
