"""A chosen candidate trained again in full, from several seeds: its errors on average, and the best of its models."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ..spaces.errors import UserError
from ..spaces.sparsity.space import Sparsity
from ..trainers.data.dataset import Dataset
from ..trainers.losses import TooFewStepsError
from ..trainers.supervised import TrainingDivergedError
from .config import Config
from .devices.profile import Profile
from .exits.bounds import Bounds
from .files import study_folder
from .ledger import Ledger
from .noise import share_interval
from .objectives import Objective, with_stand_ins
from .parts import Parts
from .records import TrialRecord, network_of, profile_figures
from .sampling import candidate_seed
from .shipping import Shipped, Shipping
from .tasks import task_of
from .training import begin_training
from .worker import Job

Say = Callable[[str], None]


@dataclass(frozen=True)
class Retrained:
    """The model of the seed with the least validation error, and what the manifest says of all seeds."""

    shipped: Shipped
    record: TrialRecord
    about: Mapping[str, Any]


def retrain(
    ledger: Ledger, config: Config, record: TrialRecord, dataset: Dataset, *, epochs: int, seeds: int, say: Say
) -> Retrained:
    """Train a trial's candidate for so many epochs, from the search's own seed on.

    Raises :class:`UserError` where it cannot be trained, or what comes out cannot ship.
    """
    parts = Parts(config)
    header = ledger.header()
    parts.device.use_calibration(header.get("calibration"))
    job = Job(
        space=parts.space,
        training=replace(parts.training, epochs=epochs),
        study_id=header["id"],
        study_folder=study_folder(config.store, config.study),
        seed=config.seed,
        threads=config.workers.threads,
        device="cuda" if torch.cuda.is_available() else "cpu",
        target=parts.device,
        exit_bounds=Bounds.of(config.parsed_budgets()),
    )
    trained = []
    for number in range(seeds):
        seed = candidate_seed(config.seed + number, record.number)
        trained.append((seed, _train(job, record, dataset, seed, say)))
        figures = trained[-1][1].judged.figures
        say(
            f"seed {number + 1} of {seeds}: {100 * figures['error']:.2f} % validation error, "
            f"{100 * figures['test_error']:.2f} % test error"
        )
    seed, best = min(trained, key=lambda pair: pair[1].judged.figures["error"])
    profile = task_of(dataset).form(best.fused, dataset.input_shape).profile(parts.device)
    new = with_model(record, best, profile, config.parsed_objectives())
    assert new.measurement is not None
    new = replace(new, measurement=replace(new.measurement, seed=seed, epochs=epochs))
    errors = [shipped.judged.figures["test_error"] for _, shipped in trained]
    about = {
        "epochs": epochs,
        "seeds": [own for own, _ in trained],
        "ships": seed,
        "test_error": best.judged.figures["test_error"],
        "test_errors": errors,
        "mean_test_error": statistics.fmean(errors),
        "interval": interval_of(errors, dataset),
    }
    return Retrained(best, new, about)


def _train(job: Job, record: TrialRecord, dataset: Dataset, seed: int, say: Say) -> Shipped:
    trainer = begin_training(job, record.candidate, dataset, seed, say)
    try:
        while trainer.epoch < trainer.config.epochs:
            trainer.train_epoch()
        shipping = Shipping(dataset, trainer.config, job.target, job.exit_bounds, seed, job.device)
        sparsity, network = Sparsity.of(record.candidate.sparsity()), network_of(record)
        if sparsity is None or network is None:
            return shipping.ship(trainer.model, sparsity)
        return shipping.ship(trainer.network(network), sparsity.networks()[network])
    except (TrainingDivergedError, TooFewStepsError, RuntimeError) as error:
        raise UserError(f"--retrain: trial {record.number}, seed {seed}: {error} (try other epochs)") from error


def interval_of(errors: Sequence[float], dataset: Dataset) -> tuple[float, float] | None:
    """Return between what the mean over seeds lies in nine cases of ten, by Student's t.

    Of one seed it is Wilson's interval of a share of the test examples; None where the error is no such share.
    """
    if len(errors) == 1:
        is_share = task_of(dataset).name == "classification"
        return share_interval(errors[0], len(dataset.test)) if is_share else None
    from scipy.stats import t

    spread = float(t.ppf(0.95, len(errors) - 1)) * statistics.stdev(errors) / len(errors) ** 0.5
    mean = statistics.fmean(errors)
    return max(0.0, mean - spread), mean + spread


def with_model(record: TrialRecord, shipped: Shipped, profile: Profile, objectives: Sequence[Objective]) -> TrialRecord:
    """Return a trial with the figures and the profile of another model of it, not measured yet."""
    figures = with_stand_ins({**profile_figures(asdict(profile)), **shipped.judged.figures}, objectives)
    assert record.measurement is not None
    kept = {} if shipped.kept is None else {"sparsity": {"kept": shipped.kept}}
    measurement = replace(
        record.measurement, figures=figures, fusion=asdict(shipped.fusion), details={**shipped.judged.details, **kept}
    )
    return replace(record, profile=asdict(profile), measurement=measurement, measured={})
