"""What early exits are worth: the mean time of networks with exits against that of the same networks without.

On synthetic keywords, networks paired by seed. With a detached backbone the last exit is trained as the network without
exits is, so that one training gives both; with the others the layers learn for all exits. Thresholds are set on the
validation split, the cheapest that lose ``ALLOWED`` there against the network without exits; what is told is of the
test split, whose voices were never heard. The claim is PersEPhonEE's (arXiv 2102.01393): 2.2 to 3.2 times.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from repareto.spaces.exits.network import MultiExit
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.exits.answers import exit_logits
from repareto.trainers.exits.operating_points import (
    Calibration,
    OperatingPoint,
    errors_by_exit,
    least_cost,
    point_at,
    sweep,
)
from repareto.trainers.exits.scoring import scoring_of

from .exit_networks import Recipe, times_us, trained
from .report import Claim, arguments, over, publish

DETACHED = Recipe((0.2, 0.6), "detached")
BACKBONES = ("detached", "joint", "balanced")
"""The first of a seed is the network without exits, too."""
EQUAL_POINTS = 0.5
ALLOWED = 0.0025
"""On the validation split: half, for thresholds flatter the split that they were set on."""
TARGET = 2.2


@dataclass(frozen=True)
class Size:
    """Of the data and the networks: the whole benchmark, or its quick form."""

    clips: int
    stages: int
    epochs: int
    runs: int
    """Of each file in a round of timing."""


@dataclass(frozen=True)
class Outcome:
    """What one network gave. Times are of the processor, of single runs in ONNX Runtime on one thread; errors without a
    prefix are of the test split."""

    backbone: str
    seed: int
    plain_us: float
    up_to_us: tuple[float, ...]
    policy: str
    thresholds: tuple[float | None, ...]
    rates: tuple[float, ...]
    expected_us: float
    speed_up: float
    plain_error: float
    error: float
    validation_plain_error: float
    validation_error: float
    exit_errors: tuple[float, ...]
    calibration_errors: tuple[float, ...]
    train_seconds: float


def judge(
    fused: MultiExit, data: Dataset, plain_error: float, up_to_us: tuple[float, ...]
) -> tuple[OperatingPoint, OperatingPoint, Calibration]:
    """Return the point chosen on the validation split, what it comes to on the test split, and the calibration."""
    scoring = scoring_of(data)
    logits, test_logits = (exit_logits(fused, split.features) for split in (data.validation, data.test))
    calibration = Calibration.of(logits, data.validation.labels, scoring)
    errors = errors_by_exit(scoring, logits, data.validation.labels)["error"]
    chosen = least_cost(
        sweep(fused.policies, calibration.probabilities(logits), errors, up_to_us), plain_error + ALLOWED
    )
    probabilities = calibration.probabilities(test_logits)
    test_errors = errors_by_exit(scoring, test_logits, data.test.labels)["error"]
    return chosen, point_at(chosen.policy, chosen.thresholds, probabilities, test_errors, up_to_us), calibration


def errors_of(fused: MultiExit, data: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the error of each exit alone, of the validation and the test split."""
    scoring = scoring_of(data)

    def errors(split: Split) -> tuple[float, ...]:
        return tuple(
            errors_by_exit(scoring, exit_logits(fused, split.features), split.labels)["error"].mean(0).tolist()
        )

    return errors(data.validation), errors(data.test)


def measure(backbones: Sequence[str], seeds: int, size: Size, keep: Path) -> list[Outcome]:
    """Train, time and judge all networks; the networks without exits are the last exits of the detached ones."""
    data = Synthetic(clips=size.clips).load(seed=0)
    outcomes: list[Outcome] = []
    for seed in range(seeds):
        plain = (0.0, 0.0, 0.0)
        for backbone in backbones:
            recipe = replace(DETACHED, backbone=backbone, stages=size.stages, epochs=size.epochs)
            network = trained(recipe, data, seed, keep)
            fused = network.exits
            validation_errors, test_errors = errors_of(fused, data)
            plain_us, up_to_us = times_us(fused, data, size.runs)
            if backbone == "detached":
                plain = (validation_errors[-1], test_errors[-1], plain_us)
            chosen, tested, calibration = judge(fused, data, plain[0], up_to_us)
            outcomes.append(
                Outcome(
                    backbone, seed, plain_us, up_to_us, chosen.policy, chosen.thresholds, tested.rates,
                    tested.expected_cost, plain_us / tested.expected_cost, plain[1], tested.error, plain[0],
                    chosen.error, test_errors, calibration.calibration_errors, network.train_seconds,
                )
            )  # fmt: skip
            print(asdict(outcomes[-1]), flush=True)
    return outcomes


def claims_of(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Compare each kind of backbone with the networks without exits."""
    claims = []
    for backbone in dict.fromkeys(outcome.backbone for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.backbone == backbone]
        rates = ", ".join(f"{100 * rate:.0f} %" for rate in np.mean([outcome.rates for outcome in own], axis=0))
        times = ", ".join(f"{value:.0f}" for value in np.mean([outcome.up_to_us for outcome in own], axis=0))
        lost = [100 * (outcome.error - outcome.plain_error) for outcome in own]
        claims += [
            Claim(
                f"exits.{backbone}.speed_up",
                **over([outcome.speed_up for outcome in own], statistics.mean),
                op=">=",
                target=TARGET,
                what=f"mean time without exits over that with two, {len(own)} seeds, ONNX Runtime, range of seeds",
                why=f"of the test split {rates} leave at the three exits, which take {times} us; "
                f"without exits {np.mean([o.plain_us for o in own]):.0f} us",
            ),
            Claim(
                f"exits.{backbone}.lost_points",
                **over(lost, statistics.mean),
                op="<=",
                target=EQUAL_POINTS,
                what="points of test error above the network without exits, at thresholds set on validation",
                why="voices of the test split are others than those that the thresholds were set on",
            ),
        ]
    return claims


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 5}),
        ("--backbones", {"nargs": "+", "choices": BACKBONES, "default": BACKBONES}),
        ("--keep", {"type": Path, "help": "folder of what is trained: a run that was cut off goes on there"}),
    )
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as own:
        keep = options.keep or Path(own)
        if options.quick:
            outcomes = measure(BACKBONES, 1, Size(clips=600, stages=1, epochs=1, runs=20), keep)
        else:
            size = Size(clips=10800, stages=3, epochs=8, runs=200)
            backbones = [name for name in BACKBONES if name == "detached" or name in options.backbones]
            outcomes = measure(backbones, options.seeds, size, keep)
    command = f"python -m benchmarks.exits --seeds {options.seeds} --backbones {' '.join(options.backbones)}"
    rows = [asdict(outcome) for outcome in outcomes]
    publish("exits", command, claims_of(outcomes), rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
