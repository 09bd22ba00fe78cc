"""One training for networks of many sparsities (a supernet) against a training for each.

The data and the network of :mod:`benchmarks.sparsity`, channels by magnitude, paired by seed. The others train each
network alone: for as many epochs as the supernet does; for as many as make the same in all; and for as many as take the
processor as long in all, which is more, for a step of the supernet trains three networks.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repareto.search.front import hypervolume
from repareto.spaces.sparsity.space import CHANNEL, SUPERNET
from repareto.trainers.sparsity.schedule import Gradual
from repareto.trainers.sparsity.supernet import Supernet

from .report import Claim, arguments, over, publish
from .sparse_networks import DENSE, Kept, Outcome, Run, fitted, keywords, scored, steps_an_epoch

LEVELS = (0.0, 0.3, 0.45, 0.7, 0.85)
NETWORKS_A_STEP = 3
"""Of the supernet: the widest, the narrowest and one in between."""
ALONE, EQUAL_EPOCHS, EQUAL_TIME = "each as long", "epochs in all", "time in all"


@dataclass(frozen=True)
class Size:
    """How much is trained."""

    seeds: int
    epochs: int
    clips: int = 10_800
    levels: tuple[float, ...] = LEVELS

    def epochs_of(self, kind: str) -> int:
        """Return for how many epochs each network is trained alone."""
        share = {ALONE: 1.0, EQUAL_EPOCHS: 1 / len(self.levels), EQUAL_TIME: NETWORKS_A_STEP / len(self.levels)}
        return max(1, round(share[kind] * self.epochs))

    def alone(self, kind: str, seed: int) -> list[Run]:
        """Return the trainings of one network each."""
        epochs = self.epochs_of(kind)
        return [
            Run("magnitude" if level else DENSE, CHANNEL if level else "", level, seed, epochs, self.clips)
            for level in self.levels
        ]

    def together(self, seed: int) -> list[Run]:
        """Return what one training of the supernet gives."""
        return [Run(SUPERNET, CHANNEL, level, seed, self.epochs, self.clips) for level in self.levels]


def supernet(runs: Sequence[Run]) -> list[Outcome]:
    """Train all networks of one supernet."""
    trainer, step_seconds = fitted(runs[0], Supernet([run.level for run in runs], Gradual()))
    return [scored(run, trainer.network(place), step_seconds) for place, run in enumerate(runs)]


Front = list[Outcome]
"""Of one seed, by level."""


def points(ours: Front, theirs: Front) -> list[float]:
    """Return by how many points of error more each network of ours makes than the one as sparse of theirs."""
    return [100 * (own.error - other.error) for own, other in zip(ours, theirs, strict=True)]


def volume(front: Front, dense_macs: int) -> float:
    """Return the hypervolume in errors, up to guessing's, and MACs, up to a tenth more than the dense network's."""
    values = np.array([(outcome.error, outcome.macs) for outcome in front], dtype=float)
    return hypervolume(values, np.array([11 / 12, 1.1 * dense_macs]))


def seconds(front: Front, size: Size) -> float:
    """Return the processor's seconds of training: once for a supernet, else for each network."""
    trainings = front[:1] if front[0].run.method == SUPERNET else front
    return sum(o.step_seconds * o.run.epochs * steps_an_epoch(keywords(size.clips)) for o in trainings)


def claims_of(ours: list[Front], others: dict[str, list[Front]], size: Size) -> list[Claim]:
    """Compare errors, fronts and times."""
    claims = []
    for kind, theirs in others.items():
        name = kind.replace(" ", "_")
        more = [statistics.mean(points(own, other)) for own, other in zip(ours, theirs, strict=True)]
        ratios = [
            volume(own, own[0].macs) / volume(other, own[0].macs) for own, other in zip(ours, theirs, strict=True)
        ]
        epochs = f"each alone for {size.epochs_of(kind)} epochs, {len(ours)} seeds"
        claims += [
            Claim(
                f"supernet.points_{name}", **over(more, statistics.mean), op="<=", target=1.0 if kind == ALONE else 0.0,
                what=f"points of error, mean of {len(size.levels)} levels, of one training beyond {epochs}",
                why="weights that all networks share are the best of none",
            ),
            Claim(
                f"supernet.hypervolume_{name}", **over(ratios, statistics.mean), op=">=",
                target=0.98 if kind == ALONE else 1.0,
                what=f"hypervolume in errors and MACs of one training over that of {epochs}",
                why="weights that all networks share are the best of none",
            ),
        ]  # fmt: skip
    ratios = [seconds(own, size) / seconds(other, size) for own, other in zip(ours, others[ALONE], strict=True)]
    claims.append(
        Claim(
            "supernet.training_time", **over(ratios), op="<=", target=0.7,
            what=f"times the processor's time of {len(size.levels)} trainings of {size.epochs} epochs that one takes",
            why=f"each step trains {NETWORKS_A_STEP} networks, none of them smaller than the dense one while it trains",
        )
    )  # fmt: skip
    return claims


def rows_of(kind: str, fronts: list[Front], size: Size) -> list[dict[str, Any]]:
    """Return a row for each level."""
    return [
        {
            "trained": kind, "level": outcomes[0].run.level, "epochs": outcomes[0].run.epochs, "seeds": len(outcomes),
            "error": statistics.mean(o.error for o in outcomes), "errors": [o.error for o in outcomes],
            "parameters": statistics.mean(o.parameters for o in outcomes),
            "macs": statistics.mean(o.macs for o in outcomes),
            "training_seconds": statistics.mean(seconds(front, size) for front in fronts),
            "hypervolume": statistics.mean(volume(front, front[0].macs) for front in fronts),
        }
        for outcomes in zip(*fronts, strict=True)
    ]  # fmt: skip


def measure(size: Size, kept: Kept) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Train everything and compare it."""
    ours: list[Front] = []
    others: dict[str, list[Front]] = {ALONE: [], EQUAL_EPOCHS: [], EQUAL_TIME: []}
    for seed in range(size.seeds):
        runs = size.together(seed)
        ours.append(kept.of_one_training(runs, lambda runs=runs: supernet(runs)))  # type: ignore[misc]
        for kind, fronts in others.items():
            fronts.append([kept.of(run) for run in size.alone(kind, seed)])
    rows = [row for kind, fronts in {SUPERNET: ours, **others}.items() for row in rows_of(kind, fronts, size)]
    return claims_of(ours, others, size), rows


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 3}),
        ("--epochs", {"type": int, "default": 20}),
        ("--keep", {"type": Path, "help": "folder for what is trained; a run that was cut goes on there"}),
    )
    torch.set_num_threads(1)
    size = Size(options.seeds, options.epochs)
    if options.quick:
        size = Size(2, 2, clips=600, levels=(0.0, 0.5))
    claims, rows = measure(size, Kept(options.keep))
    command = f"python -m benchmarks.supernet --seeds {options.seeds} --epochs {options.epochs}"
    publish("supernet", command, claims, rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
