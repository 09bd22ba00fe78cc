"""What early exits are worth: the mean time of networks with exits against that of the same networks without.

On synthetic keywords, networks paired by seed. With a detached backbone the last exit is the network that it would be
without exits, bit for bit, so that one training gives both; with a joint one the layers learn for all exits. Thresholds
are set on the validation split, the cheapest whose error is within 0.5 points of the network without exits; what is
told is of the test split, whose voices were never heard. The claim is PersEPhonEE's (arXiv 2102.01393): 2.2 to 3.2.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from repareto.search.devices.host.onnx_runtime import make_session, onnx_bytes
from repareto.search.devices.host.onnx_stages import OnnxStages, stage_files
from repareto.search.exits.files import staged_difference
from repareto.spaces.exits.network import MultiExit, fuse_all_answers
from repareto.spaces.exits.space import WithExits
from repareto.spaces.space import load_space
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.exits.answers import exit_logits
from repareto.trainers.exits.operating_points import Calibration, OperatingPoint, least_cost, point_at, sweep
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig

from .report import Claim, arguments, over, publish

BACKBONES = ("detached", "joint")
ALLOWED = 0.005
TARGET = 2.2
PLACES = (0.2, 0.6)
FIXED = {
    "form": "full", "blocks": 3, "width": 48, "kernel": 9, "stride": 1, "conv_branches": 1, "pointwise": False,
    "identity": True, "average": False, "sequential": False, "small": False, "squeeze": False, "dropout": 0.1,
    "learning_rate": 4e-3, "weight_decay": 1e-2,
}  # fmt: skip


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


def network(size: Size, backbone: str, data: Dataset, seed: int) -> MultiExit:
    """Return an untrained network with two early exits."""
    exits = {"count": 2, "head": "conv", "weight": 0.5, "distillation": 0.0, "backbone": backbone}
    space = load_space({"name": "repcnn", "stages": size.stages, **FIXED, "exits": exits})
    assert isinstance(space, WithExits)
    places = {f"exits.place{number}": place for number, place in enumerate(PLACES, 1)}
    torch.manual_seed(seed)
    built = space.build(space.candidate(dict(space.middle()) | places), data.input_shape, len(data.labels))
    assert isinstance(built, MultiExit)
    return built


def train(model: MultiExit, data: Dataset, epochs: int, seed: int) -> tuple[MultiExit, float]:
    """Return the trained, fused network and the seconds of the processor that it took."""
    trainer = SupervisedTrainer(model, data, TrainingConfig(epochs=epochs, batch_size=64), seed=seed)
    start = time.process_time()
    for _ in range(epochs):
        trainer.train_epoch()
    seconds = time.process_time() - start
    fused, report = fuse_all_answers(trainer.model.eval(), torch.from_numpy(data.validation.features[:64]).float())
    assert report.ok and isinstance(fused, MultiExit), report
    return fused, seconds


def processor_us(runs: Sequence[Callable[[], Any]], count: int, rounds: int = 7) -> list[float]:
    """Return the processor's time of one call of each, in turns: the least over rounds, for others work here too."""
    least = [np.inf] * len(runs)
    for _ in range(rounds):
        for place, run in enumerate(runs):
            start = time.process_time()
            for _ in range(count):
                run()
            least[place] = min(least[place], 1e6 * (time.process_time() - start) / count)
    return least


def times_us(fused: MultiExit, data: Dataset, runs: int) -> tuple[float, tuple[float, ...]]:
    """Return the time of the network without exits, and the time up to each exit in stages of their own."""
    inputs = torch.from_numpy(data.test.features[:8].copy()).float()
    files = stage_files(fused, data.input_shape)
    assert staged_difference(OnnxStages(files), fused, inputs) < 1e-4
    x = inputs[:1].numpy()
    calls: list[Callable[[], Any]] = []
    for content in (onnx_bytes(fused, inputs[:1]), *files):
        session = make_session(content)
        feed = {session.get_inputs()[0].name: x}
        calls.append(lambda session=session, feed=feed: session.run(None, feed))
        if len(calls) > 1:
            x = session.run(None, feed)[0]
    plain, *stages = processor_us(calls, runs)
    return plain, tuple(np.cumsum(stages).tolist())


def judge(
    fused: MultiExit, data: Dataset, plain_errors: tuple[float, float], up_to_us: tuple[float, ...]
) -> tuple[OperatingPoint, OperatingPoint, Calibration]:
    """Return the point chosen on the validation split, what it comes to on the test split, and the calibration."""
    logits = exit_logits(fused, data.validation.features)
    calibration = Calibration.of(logits, data.validation.labels)
    points = sweep(fused.policies, calibration.probabilities(logits), data.validation.labels, up_to_us)
    chosen = least_cost(points, plain_errors[0] + ALLOWED)
    probabilities = calibration.probabilities(exit_logits(fused, data.test.features))
    return chosen, point_at(chosen.policy, chosen.thresholds, probabilities, data.test.labels, up_to_us), calibration


def errors_of(fused: MultiExit, data: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the error of each exit alone, of the validation and the test split."""
    both = (data.validation, data.test)
    return tuple(  # type: ignore[return-value]
        tuple((exit_logits(fused, split.features).argmax(2) != split.labels[:, None]).mean(0).tolist())
        for split in both
    )


def measure(seeds: int, size: Size) -> list[Outcome]:
    """Train, time and judge all networks; the networks without exits are the last exits of the detached ones."""
    data = Synthetic(clips=size.clips).load(seed=0)
    outcomes: list[Outcome] = []
    plain: dict[int, tuple[float, float, float]] = {}
    for backbone in BACKBONES:
        for seed in range(seeds):
            fused, seconds = train(network(size, backbone, data, seed), data, size.epochs, seed)
            validation_errors, test_errors = errors_of(fused, data)
            plain_us, up_to_us = times_us(fused, data, size.runs)
            if backbone == "detached":
                plain[seed] = (validation_errors[-1], test_errors[-1], plain_us)
            validation_plain, test_plain, _ = plain[seed]
            chosen, tested, calibration = judge(fused, data, (validation_plain, test_plain), up_to_us)
            outcomes.append(
                Outcome(
                    backbone, seed, plain_us, up_to_us, chosen.policy, chosen.thresholds, tested.rates,
                    tested.expected_cost, plain_us / tested.expected_cost, test_plain, tested.error,
                    validation_plain, chosen.error, test_errors, calibration.calibration_errors, seconds,
                )
            )  # fmt: skip
            print(asdict(outcomes[-1]), flush=True)
    return outcomes


def claims_of(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Compare each kind of backbone with the networks without exits."""
    claims = []
    for backbone in BACKBONES:
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
                target=100 * ALLOWED,
                what="points of test error above the network without exits, at thresholds set on validation",
                why="voices of the test split are others than those that the thresholds were set on",
            ),
        ]
    return claims


def main() -> None:
    """Measure and publish."""
    options = arguments(__doc__, ("--seeds", {"type": int, "default": 3}), ("--epochs", {"type": int, "default": 5}))
    torch.set_num_threads(1)
    if options.quick:
        outcomes = measure(1, Size(clips=600, stages=1, epochs=1, runs=20))
    else:
        outcomes = measure(options.seeds, Size(clips=10800, stages=3, epochs=options.epochs, runs=200))
    command = f"python -m benchmarks.exits --seeds {options.seeds} --epochs {options.epochs}"
    publish(
        "exits", command, claims_of(outcomes), [asdict(outcome) for outcome in outcomes],
        quick=options.quick, out=options.out,
    )  # fmt: skip


if __name__ == "__main__":
    main()
