"""The sparse networks of :mod:`benchmarks.sparsity`: each trained, made what would ship and scored, kept on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from repareto.search.devices.readers.torch_reader import read_module
from repareto.spaces.fusion import fuse
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Candidate
from repareto.spaces.sparsity.slicing import slice_to_shipped
from repareto.spaces.sparsity.space import CHANNEL, Sparsity
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.sparsity import sparsifier_of
from repareto.trainers.sparsity.base import Sparsifier
from repareto.trainers.sparsity.l0 import HardConcrete
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig, error_rate

DENSE = "dense"
TRAINING_CLIPS = 1536
BATCH = 64
WIDTHS, BLOCKS, KERNEL = (24, 24, 24), 1, 5


@dataclass(frozen=True)
class Run:
    """One training."""

    method: str
    granularity: str
    level: float
    seed: int
    epochs: int
    clips: int
    """Of all splits of the data."""


@dataclass(frozen=True)
class Outcome:
    """What it gave. ``step_seconds`` are the processor's."""

    run: Run
    error: float
    parameters: int
    nonzero: int
    macs: int
    step_seconds: float
    kept: tuple[int, ...] = ()
    """Channels of each width, where channels go."""
    missed: float = 0.0
    """By what share of the dense network L0's gates, before they are decided, expect more than their target."""


def network(widths: Sequence[int], blocks: int, kernel: int) -> Candidate:
    """Return a RepCNN of full convolutions, each with two branches, a 1x1 and a skip; each stage halves the frames."""
    values: dict[str, Any] = {
        "form": "full", "stages": len(widths), "dropout": 0.0,
        "training.learning_rate": 4e-3, "training.weight_decay": 1e-2,
    }  # fmt: skip
    for stage, width in enumerate(widths, 1):
        own = {"width": width, "blocks": blocks, "kernel": kernel, "stride": 2, "conv_branches": 2, "pointwise": True,
               "identity": True, "average": False, "sequential": False, "small": False, "squeeze": False}  # fmt: skip
        values |= {f"stage{stage}.{name}": value for name, value in own.items()}
    return RepCNN().candidate(values)


@cache
def keywords(clips: int) -> Dataset:
    """Return few clips to train on, and all of the validation and test voices to test on: nothing is chosen by them."""
    whole = Synthetic(clips=clips).load(seed=0)
    few = np.random.default_rng(0).permutation(len(whole.train))[:TRAINING_CLIPS]
    train = Split(whole.train.features[few], whole.train.labels[few])
    features, labels = (
        np.concatenate([getattr(whole.validation, part), getattr(whole.test, part)]) for part in ("features", "labels")
    )
    return replace(whole, train=train, test=Split(features, labels))


def sparsity_of(run: Run) -> Sparsity:
    """Return what a run takes out."""
    return Sparsity(run.method, run.granularity, (run.level,))


def train(run: Run) -> Outcome:
    """Train one network, make it what would ship and score that."""
    outcome, _ = trained(run)
    return outcome


def trained(run: Run) -> tuple[Outcome, nn.Module]:
    """The same, with the model in training's form."""
    own = None if run.method == DENSE else sparsifier_of(sparsity_of(run))
    trainer, step_seconds = fitted(run, own)
    outcome = scored(run, trainer.model.eval(), step_seconds)
    if isinstance(own, HardConcrete):
        outcome = replace(outcome, missed=float((own.expected_sizes().detach() - own.target_sizes).amax()))
    return outcome, trainer.model


def fitted(run: Run, sparsifier: Sparsifier | None) -> tuple[SupervisedTrainer, float]:
    """Return what has trained a run's network, and the processor's seconds that a step took."""
    data = keywords(run.clips)
    torch.manual_seed(run.seed)
    model = RepCNN().build(network(WIDTHS, BLOCKS, KERNEL), data.input_shape, len(data.labels))
    trainer = SupervisedTrainer(
        model, data, TrainingConfig(epochs=run.epochs, batch_size=BATCH), seed=run.seed, sparsifier=sparsifier
    )
    start = time.process_time()
    for _ in range(run.epochs):
        trainer.train_epoch()
    return trainer, (time.process_time() - start) / (run.epochs * steps_an_epoch(data))


def steps_an_epoch(data: Dataset) -> int:
    """Return how many steps an epoch has."""
    return -(-len(data.train) // BATCH)


def scored(run: Run, model: nn.Module, step_seconds: float) -> Outcome:
    """Return what a trained model in eval mode is, once it is made what would ship."""
    data = keywords(run.clips)
    samples = torch.from_numpy(data.test.features[:64]).float()
    shipped, report = fuse(model, samples)
    kept: tuple[int, ...] = ()
    if run.granularity == CHANNEL:
        shipped, report, kept = slice_to_shipped(model, shipped, samples, sparsity_of(run))
    assert report.ok, report
    kernels = [parameter for parameter in shipped.parameters() if parameter.dim() > 1]
    return Outcome(
        run,
        error_rate(shipped, data.test),
        sum(parameter.numel() for parameter in shipped.parameters()),
        sum(int((kernel != 0).sum()) for kernel in kernels),
        read_module(shipped, (1, *data.input_shape)).macs,
        step_seconds,
        kept,
    )


class Kept:
    """Outcomes in a file, a line each, so that a run that was cut goes on."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "outcomes.jsonl"
        self._known: dict[Run, Outcome] = {}
        if self._path and self._path.exists():
            for line in self._path.read_text().splitlines():
                row = json.loads(line)
                run = Run(**row.pop("run"))
                self._known[run] = Outcome(run, **{**row, "kept": tuple(row["kept"])})

    def of(self, run: Run) -> Outcome:
        """Return a run's outcome, trained where it is not known."""
        (outcome,) = self.of_one_training([run], lambda: [train(run)])
        return outcome

    def of_one_training(self, runs: Sequence[Run], training: Callable[[], Sequence[Outcome]]) -> list[Outcome]:
        """Return the outcomes of runs that one training gives, where they are not known."""
        if any(run not in self._known for run in runs):
            for outcome in training():
                self._keep(outcome)
        return [self._known[run] for run in runs]

    def _keep(self, outcome: Outcome) -> None:
        run = outcome.run
        self._known[run] = outcome
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as lines:
                lines.write(json.dumps(asdict(outcome)) + "\n")
        where = f"{run.method} {run.granularity} {run.level:.0%} seed {run.seed}, {run.epochs} epochs"
        print(f"{where}: {100 * outcome.error:.2f} %", flush=True)
