"""What branches in training are worth: the same fused network trained with one branch and with several.

Networks of equal fused parameters and equal latency, paired by seed, at equal epochs and at equal training time. The
claim is RepCNN's (arXiv 2406.02652): 43 % fewer errors than the uni-branch model.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from repareto.search.devices.readers.torch_reader import read_module
from repareto.spaces.branches import Topology
from repareto.spaces.fusion import fuse
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Candidate
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.speech_commands import SpeechCommands
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig, error_rate

from .report import Claim, arguments, publish

UNI = "1conv"
TOPOLOGIES = {
    UNI: Topology(conv=1),
    "1conv+1x1+skip": Topology(conv=1, pointwise=True, identity=True),
    "4conv+1x1+skip": Topology(conv=4, pointwise=True, identity=True),
}
BEST = "4conv+1x1+skip"
STAGES, WIDTH, KERNEL = 2, 24, 7
TARGET = 0.3
RECORDED_TIMES = 5
"""The epochs on recordings over those on synthetic keywords: there are as many times fewer clips."""
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Run:
    """One training: what, on what, with which seed and for how long."""

    task: str
    folder: Path | None
    topology: str
    seed: int
    epochs: int
    clips: int


@dataclass(frozen=True)
class Outcome:
    """What one training gave. ``train_seconds`` are the processor's own, on one thread."""

    task: str
    topology: str
    seed: int
    epochs: int
    validation_error: float
    test_error: float
    train_seconds: float
    fused_parameters: int
    fused_macs: int


def candidate(topology: Topology) -> Candidate:
    """Return the network, the same in all but its branches."""
    values: dict[str, Any] = {
        "form": "separable", "stages": STAGES, "dropout": 0.0,
        "training.learning_rate": 4e-3, "training.weight_decay": 1e-2,
    }  # fmt: skip
    for stage in range(1, STAGES + 1):
        values |= {
            f"stage{stage}.width": WIDTH, f"stage{stage}.blocks": 2, f"stage{stage}.kernel": KERNEL,
            f"stage{stage}.stride": 2, f"stage{stage}.conv_branches": topology.conv,
            f"stage{stage}.pointwise": topology.pointwise, f"stage{stage}.identity": topology.identity,
            f"stage{stage}.average": False, f"stage{stage}.sequential": False, f"stage{stage}.small": False,
            f"stage{stage}.squeeze": False,
        }  # fmt: skip
    return RepCNN().candidate(values)


@cache
def dataset(folder: Path | None, clips: int) -> Dataset:
    """Return the synthetic keywords, or a folder of recordings; from the cache after the first time."""
    source = Synthetic(clips=clips) if folder is None else SpeechCommands(folder=folder)
    return source.load(seed=0)


def train(run: Run) -> Outcome:
    """Train one network, fuse it and score what would ship."""
    data = dataset(run.folder, run.clips)
    torch.manual_seed(run.seed)
    model = RepCNN().build(candidate(TOPOLOGIES[run.topology]), data.input_shape, len(data.labels))
    trainer = SupervisedTrainer(model, data, TrainingConfig(epochs=run.epochs, batch_size=64), seed=run.seed)
    start = time.process_time()
    for _ in range(run.epochs):
        trainer.train_epoch()
    seconds = time.process_time() - start
    fused, report = fuse(trainer.model.eval(), torch.from_numpy(data.validation.features[:64]).float())
    assert report.ok, report
    graph = read_module(fused, (1, *data.input_shape))
    return Outcome(
        run.task,
        run.topology,
        run.seed,
        run.epochs,
        error_rate(fused, data.validation),
        error_rate(fused, data.test),
        seconds,
        graph.parameters,
        graph.macs,
    )


def longer(outcomes: Sequence[Outcome], epochs: int) -> int:
    """Return the epochs that one branch gets in the time that the best topology took."""
    seconds = {
        name: statistics.median(outcome.train_seconds for outcome in outcomes if outcome.topology == name)
        for name in (UNI, BEST)
    }
    return max(1, round(epochs * seconds[BEST] / seconds[UNI]))


def gain(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return by how much lower the mean of the second errors is, relative to that of the first, with 95 % bootstrap."""
    rng = random.Random(0)

    def of(sample: Sequence[tuple[float, float]]) -> float:
        return 1 - sum(second for _, second in sample) / max(1e-9, sum(first for first, _ in sample))

    resampled = sorted(of(rng.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    value, low, high = of(pairs), resampled[int(0.025 * _RESAMPLES)], resampled[int(0.975 * _RESAMPLES)]
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def claims_of(task: str, outcomes: Sequence[Outcome], long: Sequence[Outcome]) -> list[Claim]:
    """Compare by seed, at equal epochs and at equal training time."""
    by_seed = {(outcome.topology, outcome.seed): outcome.test_error for outcome in outcomes}
    seeds = sorted({outcome.seed for outcome in outcomes})
    equal_epochs = [(by_seed[UNI, seed], by_seed[BEST, seed]) for seed in seeds]
    by_long_seed = {outcome.seed: outcome.test_error for outcome in long}
    equal_time = [(by_long_seed[seed], by_seed[BEST, seed]) for seed in seeds]
    cost = [
        outcome.train_seconds / other.train_seconds
        for outcome in outcomes
        for other in outcomes
        if outcome.topology == BEST and other.topology == UNI and outcome.seed == other.seed
    ]
    means = ", ".join(
        f"{name} {100 * statistics.mean(o.test_error for o in outcomes if o.topology == name):.1f} %"
        for name in TOPOLOGIES
    )
    return [
        Claim(
            f"repcnn.{task}.fewer_errors", **gain(equal_epochs), op=">=", target=TARGET,
            what=f"share of test errors that {BEST} takes away at equal fused size and epochs, {len(seeds)} seeds",
            why=f"mean test errors: {means}",
        ),
        Claim(
            f"repcnn.{task}.fewer_errors_equal_time", **gain(equal_time), op=">=", target=0,
            what="the same against one branch trained as long in seconds of the processor",
            why="the one branch used the time better",
        ),
        Claim(
            f"repcnn.{task}.training_cost", statistics.median(cost), min(cost), max(cost), op="<=", target=3,
            what=f"times the training seconds of one branch that {BEST} takes",
            why="batch normalisation of each branch dominates",
        ),
    ]  # fmt: skip


def measure(tasks: dict[str, Path | None], seeds: int, epochs: int, clips: int) -> tuple[list[Claim], list[Outcome]]:
    """Train all networks, a process a core, and compare them."""
    claims: list[Claim] = []
    rows: list[Outcome] = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for task, folder in tasks.items():
            dataset(folder, clips)  # made once, before two processes make it at once
            equal = epochs * (1 if folder is None else RECORDED_TIMES)
            runs = [Run(task, folder, topology, seed, equal, clips) for seed in range(seeds) for topology in TOPOLOGIES]
            outcomes = list(pool.map(train, runs))
            more = longer(outcomes, equal)
            long = list(pool.map(train, [Run(task, folder, UNI, seed, more, clips) for seed in range(seeds)]))
            claims += claims_of(task, outcomes, long)
            rows += [*outcomes, *long]
    return claims, rows


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--data", {"type": Path, "help": "folder that holds digits/, real recordings"}),
        ("--seeds", {"type": int, "default": 5}),
        ("--epochs", {"type": int, "default": 8}),
    )
    torch.set_num_threads(1)
    tasks: dict[str, Path | None] = {"keywords": None}
    if options.data:
        tasks["digits"] = options.data / "digits"
    if options.quick:
        claims, rows = measure(tasks, seeds=2, epochs=1, clips=600)
    else:
        claims, rows = measure(tasks, options.seeds, options.epochs, clips=10800)
    command = f"python -m benchmarks.repcnn --seeds {options.seeds} --epochs {options.epochs}"
    command += " --data FOLDER" if options.data else ""
    publish("repcnn", command, claims, [asdict(row) for row in rows], quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
