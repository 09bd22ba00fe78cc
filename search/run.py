"""A search from a config to its end: where all parts are put together."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..spaces.errors import UserError
from ..spaces.imports import importable_folders
from ..trainers.data.cache import default_folder
from ..trainers.data.front_ends import Datasets, Variant, load_all
from .addresses import absolute, is_url
from .config import Config
from .exits.bounds import Bounds
from .exits.costs import refuse_exits
from .exits.headroom import refuse_without_users
from .files import refuse_unknown_store, study_folder, write_atomically
from .lease import Lease, hold_lease
from .ledger import Ledger
from .models import Appraiser
from .objectives import Budget
from .parts import Parts
from .progress import Progress
from .reading import read_results
from .records import TrialRecord, estimate_errors, figures_of, lacks_repeats
from .results import Results
from .rungs import ParetoRungs, default_rungs
from .sampling import STARTUP_TRIALS as OPTUNA_STARTUP_TRIALS
from .sampling import OptunaProposer
from .study import Proposer, Study, scout_reference
from .study_data import describe_data
from .tasks import task_of
from .tracking import MlflowView, connect_runs

if TYPE_CHECKING:
    from .worker import CandidateTrainable

Say = Callable[[str], None]
SUSPECTS_TOLD = 3


@dataclass(frozen=True)
class Outcome:
    """What a search came to; ``unfinished`` says in words why trials are left, "" where none are."""

    results: Results
    unfinished: str = ""
    interrupted: bool = False
    view_is_complete: bool = True
    """False where MLflow could not be written: the ledger has all, and the same command again writes the view."""


def run_search(
    config: Config, *, trials: int | None = None, time_budget_seconds: float | None = None, say: Say = print
) -> Outcome:
    """Run a search, or continue the study of that name.

    Raises :class:`UserError` for anything the user can mend; the ledger keeps what was done before.
    """
    started = time.monotonic()
    trials = trials or config.search.trials
    time_budget_seconds = time_budget_seconds or config.search.time_budget_seconds
    deadline = started + time_budget_seconds if time_budget_seconds else math.inf
    parts = Parts(config)
    parts.refuse_unclaimed()
    refuse_unknown_store(config.store)
    _refuse_lost_store(config.store)
    with hold_lease(config.ledger_address, config.study) as lease:
        return _run(parts, lease, trials, deadline, say)


def _refuse_lost_store(store: str) -> None:
    """Raise :class:`UserError` for a folder that would be thrown away with the Ray job that this process is of."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not is_url(store) and not Path(store).is_absolute():
        raise UserError(
            f"store {store}: would lie in the job's own folder, which is thrown away with it; "
            "name an absolute folder that all nodes share, or a bucket such as s3://bucket/prefix, in the config "
            "or in REPARETO_STORE"
        )


def _run(parts: Parts, lease: Lease, trials: int, deadline: float, say: Say) -> Outcome:
    config = parts.config
    ledger = Ledger.find(config.ledger_address, config.study, lease)
    if ledger is not None:
        ledger.refuse_another("identity", parts.identity())
        results = read_results(ledger)
        lacks_some = config.search.repeats > 0 and any(map(lacks_repeats, results.front))
        if results.trained >= trials and not lacks_some:
            say(f"study {config.study} has its {trials} trials already; more: --trials {2 * trials}")
            trouble = write_view(config, ledger, "FINISHED")
            if trouble:
                say(_behind(trouble))
            else:
                complete_front(config, ledger, say)
            return Outcome(read_results(ledger))
    if config.workers.address is not None:
        from .cluster import connect

        # Before anything that takes long or leaves a trace: the address may be wrong.
        connect(config.workers)
    datasets = load_data(parts, say)
    task = task_of(datasets.first)
    task.refuse_device(parts.device)
    refuse_exits(parts.space, task.name)
    refuse_without_users((*config.objectives, *config.budgets), datasets.first, parts.device)
    appraiser = appraiser_for(parts, datasets)
    if ledger is None:
        ledger = Ledger.create(config.ledger_address, config.study, new_header(parts, datasets, appraiser), lease)
    else:
        # The folder has the same name; its recordings may have changed.
        ledger.refuse_another("data", describe_data(datasets))
        parts.device.use_calibration(ledger.header().get("calibration"))
    ledger.record_goal(trials)
    outcome = train(parts, ledger, datasets, appraiser, trials=trials, deadline=deadline, say=say)
    if outcome.view_is_complete and not outcome.interrupted:
        complete_front(config, ledger, say)
    return replace(outcome, results=read_results(ledger))


def load_data(parts: Parts, say: Say, variants: Sequence[Variant] = ()) -> Datasets:
    """Load the data, all of its ``variants`` by default, and say what was noticed on the way."""
    datasets = load_all(variants or parts.variants, seed=parts.config.seed)
    # What is noticed of a file is noticed for each front end.
    for note in dict.fromkeys(note for _, dataset in datasets.variants for note in dataset.notes):
        say(note)
    first, count = datasets.first, len(datasets.variants)
    sizes = ", ".join(f"{len(getattr(first, name))} {name}" for name in ("train", "validation", "test"))
    front_ends = f", {count} front ends" if count > 1 else ""
    labels = "tokens" if first.transcription else "classes"
    say(f"data: {first.name}, {len(first.labels)} {labels}, {sizes}{front_ends}")
    return datasets


def appraiser_for(parts: Parts, datasets: Datasets) -> Appraiser:
    """Return what profiles the candidates of a study."""
    return Appraiser(
        parts.space,
        parts.device,
        lambda candidate: datasets.of(candidate.front_end()).input_shape,
        len(datasets.first.labels),
        task_of(datasets.first),
    )


def new_header(parts: Parts, datasets: Datasets, appraiser: Appraiser) -> dict[str, Any]:
    """Return what the ledger keeps of a study from its creation on; scouts for its reference point."""
    config = parts.config
    reference = scout_reference(
        parts.space,
        appraiser,
        config.parsed_objectives(),
        config.parsed_budgets(),
        classes=len(datasets.first.labels),
        rng=random.Random(config.seed),
    )
    return {
        "config": config.model_dump(mode="json"),
        "identity": parts.identity(),
        "reference": reference,
        "data": describe_data(datasets),
        "versions": versions(),
        "import_folders": importable_folders(),
        "calibration": parts.device.calibration_text(),
        "board": Path(config.device).read_text() if config.device.endswith(".toml") else None,
    }


def versions() -> dict[str, str]:
    """Return the versions that a study's figures come from."""
    names = ("torch", "ray", "optuna", "mlflow", "onnx", "onnxruntime", "numpy")
    # Nodes that got the code with a job have no metadata of it.
    versions = {"python": platform.python_version(), "repareto": __version__}
    return {**versions, **{name: metadata.version(name) for name in names}}


def stored_config(ledger: Ledger, store: str | Path | None = None, tracking: str | None = None) -> Config:
    """Return the config that a study was created with, its store and its tracking server where they are now.

    Without a ``store``, that is the folder of an SQLite ledger, or where the study was made.
    """
    if store is None and isinstance(ledger.address, Path):
        store = ledger.address
    header = ledger.header()
    now = {"store": None if store is None else str(store), "tracking": tracking, "device": _board_now(header)}
    return Config(**{**header["config"], **{name: place for name, place in now.items() if place is not None}})


def _board_now(header: Mapping[str, Any]) -> str | None:
    """Return where the study's own board file is: a copy, where it is no longer where the study was made."""
    text = header.get("board")
    if text is None or Path(header["config"]["device"]).is_file():
        return None
    device = header["config"]["device"]
    path = default_folder() / "boards" / hashlib.sha256(text.encode()).hexdigest()[:16] / Path(device).name
    write_atomically(path, text.encode())
    return str(path)


def train(
    parts: Parts,
    ledger: Ledger,
    datasets: Datasets,
    appraiser: Appraiser,
    *,
    trials: int,
    deadline: float = math.inf,
    say: Say,
    trainable: type[CandidateTrainable] | None = None,
) -> Outcome:
    """Train until the study has ``trials`` trained candidates, watched by MLflow and the progress line."""
    from .ray_backend import run_on_ray
    from .worker import CandidateTrainable, Job

    config, epochs = parts.config, parts.training.epochs
    study = Study(
        ledger,
        appraiser,
        make_proposer(parts, appraiser, ledger.header()["reference"]),
        objectives=config.parsed_objectives(),
        budgets=config.parsed_budgets(),
        reference=ledger.header()["reference"],
        trials=trials,
        epochs=epochs,
        rungs=_rungs(config, epochs),
        deadline=deadline,
        stop_requested=ledger.stop_requested,
    )
    header = ledger.header()
    view = MlflowView(lambda: connect_runs(config, header), _texts(ledger), study.results)
    progress = Progress(study.results, trials=trials, epochs=epochs, deadline=deadline)
    study.watched_by(view, progress)
    job = Job(
        space=parts.space,
        training=parts.training,
        study_id=header["id"],
        study_folder=study_folder(absolute(config.store), config.study),
        seed=config.seed,
        threads=config.workers.threads,
        epoch_timeout_seconds=config.workers.epoch_timeout_seconds,
        inherits=config.search.inherit,
        target=parts.device,
        exit_bounds=Bounds.of(config.parsed_budgets()),
    )
    try:
        with progress:
            run_on_ray(study, job, datasets, config.workers, trainable or CandidateTrainable, progress.say)
            if config.search.repeats and not study.unfinished:
                from .repeats import repeat_front

                repeat_front(study, job, datasets, config.workers, config.search.repeats, progress.say)
    except BaseException:
        _close_view(view, "KILLED", say)
        raise
    complete = _close_view(view, "KILLED" if study.unfinished else "FINISHED", say)
    if study.exhausted:
        say(f"the space has no more candidates: {study.results.trained} of {trials} trials were trained")
    if not study.unfinished:
        return Outcome(study.results, view_is_complete=complete)
    if study.stopping:
        reason = "the time is up" if study.out_of_time else "stopped"
        return Outcome(study.results, reason, view_is_complete=complete)
    return Outcome(study.results, "interrupted", interrupted=True, view_is_complete=complete)


def write_view(config: Config, ledger: Ledger, status: str) -> str:
    """Make the MLflow view equal to the ledger; return "" or why that cannot be."""
    header = ledger.header()
    return MlflowView(lambda: connect_runs(config, header), _texts(ledger), read_results(ledger)).close(status)


def _close_view(view: MlflowView, status: str, say: Say) -> bool:
    """Let the view be written to its end, and return whether it was."""
    trouble = view.close(status)
    if trouble:
        say(_behind(trouble))
    return not trouble


def _behind(trouble: str) -> str:
    return f"the MLflow view is behind the ledger ({trouble}); the same command again, or `repareto sync`, mends it"


def make_proposer(parts: Parts, appraiser: Appraiser, reference: Sequence[float]) -> Proposer:
    """Return the sampler that the config names."""
    config, search = parts.config, parts.config.search
    if search.sampler == "frontier":
        from .frontier.proposer import STARTUP_TRIALS, FrontierProposer

        return FrontierProposer(
            parts.space,
            appraiser,
            objectives=config.parsed_objectives(),
            budgets=config.parsed_budgets(),
            reference=reference,
            startup_trials=search.startup_trials or STARTUP_TRIALS,
            seed=config.seed,
        )
    return OptunaProposer(
        parts.space,
        len(config.objectives),
        sampler=search.sampler,
        startup_trials=search.startup_trials or OPTUNA_STARTUP_TRIALS,
        seed=config.seed,
    )


def _rungs(config: Config, epochs: int) -> ParetoRungs | None:
    search = config.search
    if not search.early_stopping:
        return None
    return ParetoRungs(default_rungs(epochs, search.reduction, search.first_rung), search.reduction)


def _texts(ledger: Ledger) -> dict[str, str]:
    header = ledger.header()
    return {
        "config.json": json.dumps(header["config"], indent=2),
        "environment.json": json.dumps({"machine": platform.platform(), **header["versions"]}, indent=2),
    }


def complete_front(config: Config, ledger: Ledger, say: Say) -> None:
    """Measure the members of the front that were only estimated, and log their models. The machine is quiet now."""
    members = read_results(ledger).front
    if members:
        from .finish import complete_members

        complete_members(ledger, config, members, say)
        members = read_results(ledger).front
        budgets = config.parsed_budgets()
        for line in (*_estimate_lines(members), *_budget_lines(members, budgets), *_suspect_lines(members)):
            say(line)


def _budget_lines(members: Sequence[TrialRecord], budgets: Sequence[Budget]) -> list[str]:
    """Say which members were estimated to hold a budget and were measured not to."""
    return [
        f"trial {record.number} breaks a budget as it was measured ({budget.explain(figures_of(record))}); "
        "export takes it only by its number"
        for record in members
        for budget in budgets
        if budget.excess(figures_of(record)) > 0
    ]


def _suspect_lines(members: Sequence[TrialRecord]) -> list[str]:
    """Say where the best model of a wake word hears it though it should not: such a recording may contain the word."""
    best = min(members, key=lambda record: figures_of(record)["error"])
    assert best.measurement is not None
    details = best.measurement.details
    if not details.get("suspects"):
        return []
    threshold = details["detector"]["threshold"]
    heard = [f"{suspect['where']} (score {suspect['score']:.2f})" for suspect in details["suspects"][:SUSPECTS_TOLD]]
    return [
        f"trial {best.number}, threshold {threshold:.2f}: of other sound it scores highest {', '.join(heard)}; "
        "listen whether the word is in it"
    ]


def _estimate_lines(members: Sequence[TrialRecord]) -> list[str]:
    """Say of each figure that was estimated in the search and measured at its end how far off it was."""
    errors: dict[str, list[float]] = {}
    for record in members:
        for name, error in estimate_errors(record.profile, record.measured).items():
            if record.profile[name]["method"] in ("estimated", "simulated") or name == "flash_bytes":
                errors.setdefault(name, []).append(error)
    return [
        f"{name}: estimates were {median(map(abs, values)):.1%} off in the median, {max(map(abs, values)):.1%} "
        f"at most, on {len(values)} measured models"
        for name, values in errors.items()
    ]
