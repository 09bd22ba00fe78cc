"""What each way to take weights or channels out costs in errors, and what it buys on a device.

Images of digits, few to train on, so that the dense network makes errors; equal epochs, paired by seed. *Excess* errors
are those beyond the dense network's of the same seed.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.sparsity.kernels import kernel_sites
from repareto.spaces.sparsity.slicing import slice_to_shipped, sliced_to_levels
from repareto.spaces.sparsity.space import CHANNEL, WEIGHT, Sparsity
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.data.digits import Digits
from repareto.trainers.sparsity import sparsifier_of
from repareto.trainers.sparsity.base import Sparsifier
from repareto.trainers.sparsity.l0 import HardConcrete
from repareto.trainers.sparsity.reconstruction import gram_matrices, reconstructed
from repareto.trainers.sparsity.schedule import OneShot
from repareto.trainers.sparsity.weights import CompressedSensing, kept_count, largest
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig, error_rate

from .network_costs import costs
from .report import Claim, arguments, over, publish

DENSE = "dense"
CSP_AT_ONCE = "csp_one_shot"
WEIGHT_METHODS = ("magnitude", "one_shot", "admm", "csp")
ONLY_AT = {"csp_weights": (0.8, 0.9), CSP_AT_ONCE: (0.8, 0.9), "random": (0.8, 0.9)}
BASELINES = ("magnitude", "one_shot", "admm")
CHANNEL_METHODS = ("magnitude", "group_lasso", "random", "l0")
WEIGHT_LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95)
CHANNEL_LEVELS = (0.5, 0.7, 0.85)
TRAINING_IMAGES = 400
KEYWORDS_SHAPE = (40, 51)
_RESAMPLES = 5000


@dataclass(frozen=True)
class Run:
    """One training."""

    method: str
    granularity: str
    level: float
    seed: int
    epochs: int


@dataclass(frozen=True)
class Outcome:
    """What it gave. ``step_seconds`` are the processor's; ``expected`` are L0's levels before gates are decided."""

    run: Run
    error: float
    parameters: int
    nonzero: int
    step_seconds: float
    expected: tuple[float, ...] = ()


def network(widths: Sequence[int], kernel: int, stride: int) -> Any:
    """Return a RepCNN candidate of full convolutions, each with two branches, a 1x1 and a skip."""
    values: dict[str, Any] = {
        "form": "full", "stages": len(widths), "dropout": 0.0,
        "training.learning_rate": 4e-3, "training.weight_decay": 1e-2,
    }  # fmt: skip
    for stage, width in enumerate(widths, 1):
        own = {"width": width, "blocks": 1, "kernel": kernel, "stride": stride, "conv_branches": 2, "pointwise": True,
               "identity": True, "average": False, "sequential": False, "small": False, "squeeze": False}  # fmt: skip
        values |= {f"stage{stage}.{name}": value for name, value in own.items()}
    return RepCNN().candidate(values)


@cache
def digits() -> Dataset:
    """Return few images to train on and all others to test on."""
    whole = Digits().load(seed=0)
    features, labels = (
        np.concatenate([getattr(split, part) for split in (whole.train, whole.validation, whole.test)])
        for part in ("features", "labels")
    )
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = (Split(features[part], labels[part]) for part in (order[:TRAINING_IMAGES], order[TRAINING_IMAGES:]))
    return replace(whole, name="few digits", train=train, validation=test, test=test)


def sparsifier(run: Run) -> Sparsifier | None:
    """Return what a run trains with."""
    if run.method == DENSE:
        return None
    if run.method == CSP_AT_ONCE:
        return CompressedSensing((run.level,), OneShot())
    return sparsifier_of(Sparsity(run.method, run.granularity, (run.level,)))


def train(run: Run) -> Outcome:
    """Train one network, make it what would ship and score that."""
    outcome, _ = trained(run)
    return outcome


def trained(run: Run) -> tuple[Outcome, nn.Module]:
    """The same, with the model in training's form."""
    data, own = digits(), sparsifier(run)
    torch.manual_seed(run.seed)
    model = RepCNN().build(network((32, 48), 3, 2), data.input_shape, len(data.labels))
    trainer = SupervisedTrainer(
        model, data, TrainingConfig(epochs=run.epochs, batch_size=32), seed=run.seed, sparsifier=own
    )
    start = time.process_time()
    for _ in range(run.epochs):
        trainer.train_epoch()
    steps = run.epochs * -(-len(data.train) // 32)
    seconds = (time.process_time() - start) / steps
    samples = torch.from_numpy(data.test.features[:64]).float()
    shipped, report = fuse(trainer.model.eval(), samples)
    if run.granularity == CHANNEL:
        shipped, report = slice_to_shipped(trainer.model, shipped, samples, (run.level,))
    assert report.ok, report
    kernels = [parameter for parameter in shipped.parameters() if parameter.dim() > 1]
    outcome = Outcome(
        run,
        error_rate(shipped, data.test),
        sum(parameter.numel() for parameter in shipped.parameters()),
        sum(int((kernel != 0).sum()) for kernel in kernels),
        seconds,
        tuple(own.expected_levels) if isinstance(own, HardConcrete) else (),
    )
    return outcome, trainer.model


class Kept:
    """Outcomes in a file, a line each, so that a run that was cut goes on."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "outcomes.jsonl"
        self._known: dict[Run, Outcome] = {}
        if self._path and self._path.exists():
            for line in self._path.read_text().splitlines():
                row = json.loads(line)
                run = Run(**row.pop("run"))
                self._known[run] = Outcome(run, **{**row, "expected": tuple(row["expected"])})

    def of(self, run: Run) -> Outcome:
        """Return a run's outcome, trained where it is not known."""
        if run not in self._known:
            outcome = self._known[run] = train(run)
            if self._path:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a") as lines:
                    lines.write(json.dumps(asdict(outcome)) + "\n")
            where = f"{run.method} {run.granularity} {run.level:.0%} seed {run.seed}"
            print(f"{where}: {100 * outcome.error:.2f} %", flush=True)
        return self._known[run]


def runs(seeds: int, epochs: int, weight_levels: Sequence[float], channel_levels: Sequence[float]) -> list[Run]:
    """Return all trainings, the dense ones first, each level of a seed before the next seed."""
    found = []
    for seed in range(seeds):
        found.append(Run(DENSE, "", 0.0, seed, epochs))
        for level in weight_levels:
            methods = (*WEIGHT_METHODS, *(name for name, levels in ONLY_AT.items() if level in levels))
            found += [Run(method, WEIGHT, level, seed, epochs) for method in methods]
        found += [Run(method, CHANNEL, level, seed, epochs) for level in channel_levels for method in CHANNEL_METHODS]
    return found


class Table:
    """Excess errors by method and level."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = outcomes
        self.dense = {o.run.seed: o.error for o in outcomes if o.run.method == DENSE}

    def of(self, method: str, granularity: str, level: float) -> list[Outcome]:
        """Return the outcomes of a method in the order of the seeds."""
        return [
            o for o in self.outcomes if (o.run.method, o.run.granularity, o.run.level) == (method, granularity, level)
        ]

    def excess(self, method: str, granularity: str, level: float) -> list[float]:
        """Return by how much more errors a method makes than the dense network, by seed."""
        return [outcome.error - self.dense[outcome.run.seed] for outcome in self.of(method, granularity, level)]

    def ratio(self, method: str, others: Sequence[str], granularity: str, level: float) -> tuple[str, dict[str, float]]:
        """Return the best of the others, and a method's excess over its, with 95 % bootstrap over the seeds."""
        best = min(others, key=lambda other: statistics.mean(self.excess(other, granularity, level)))
        pairs = list(zip(self.excess(method, granularity, level), self.excess(best, granularity, level), strict=True))
        return best, bootstrapped(pairs)


def bootstrapped(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return the ratio of the means of the first and the second, with 95 % bootstrap over pairs."""
    rng = random.Random(0)

    def of(sample: Sequence[tuple[float, float]]) -> float:
        return sum(first for first, _ in sample) / max(1e-3, sum(second for _, second in sample))

    resampled = sorted(of(rng.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    value, low, high = of(pairs), resampled[int(0.025 * _RESAMPLES)], resampled[int(0.975 * _RESAMPLES)]
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def error_claims(table: Table, weight_levels: Sequence[float], channel_level: float) -> list[Claim]:
    """Compare excess errors."""
    seeds = len(table.dense)
    dense = 100 * statistics.mean(table.dense.values())
    claims = []
    for level in weight_levels:
        best, ratio = table.ratio("csp", BASELINES, WEIGHT, level)
        claims.append(
            Claim(
                f"sparsity.csp_{100 * level:.0f}", **ratio, op="<=", target=0.7,
                what=f"excess errors of CSP over those of the best baseline ({best}) at {level:.0%}, {seeds} seeds",
                why=f"the dense network makes {dense:.1f} % errors, {best} "
                f"{100 * statistics.mean(table.excess(best, WEIGHT, level)):.1f} points more",
            )
        )  # fmt: skip
    _, ratio = table.ratio("l0", ("magnitude",), CHANNEL, channel_level)
    found = table.of("l0", CHANNEL, channel_level)
    missed = [100 * abs(statistics.mean(o.expected) - o.run.level) for o in found]
    claims += [
        Claim(
            f"sparsity.l0_{100 * channel_level:.0f}", **ratio, op="<=", target=0.8,
            what=f"excess errors of L0 over those of magnitude, {channel_level:.0%} of channels removed, {seeds} seeds",
            why="all widths keep the same share, so that what L0 may choose is only which channels",
        ),
        Claim(
            "sparsity.l0_expected_points", **over(missed), op="<=", target=3,
            what="points between L0's expected level, before gates are decided, and its target",
            why="a few hundred steps are few for the gates to settle in",
        ),
    ]  # fmt: skip
    return claims


def cost_claims(table: Table) -> list[Claim]:
    """Compare what a step of training takes; CPU seconds, for others may be using the machine."""
    dense = statistics.median(o.step_seconds for o in table.outcomes if o.run.method == DENSE)
    claims = []
    for method in ("magnitude", "admm", "csp_weights"):
        ratios = [
            o.step_seconds / dense for o in table.outcomes if (o.run.method, o.run.granularity) == (method, WEIGHT)
        ]
        if ratios:
            claims.append(
                Claim(
                    f"sparsity.step_{method}", **over(ratios), op="<=", target=1.15,
                    what=f"times the CPU seconds of a dense step that one with {method} takes",
                    why="the fused kernel of each block is computed anew at each step, which is much for a step of "
                    f"{1e3 * dense:.1f} ms",
                )
            )  # fmt: skip
    return claims


def reconstruction_claims(seeds: int, epochs: int) -> list[Claim]:
    """Take 80 % out of the kernels of dense networks, and compare what is left of each layer's outputs."""
    ratios, seconds = [], []
    examples = torch.from_numpy(digits().train.features[:256])
    for seed in range(seeds):
        _, model = trained(Run(DENSE, "", 0.0, seed, epochs))
        sites = kernel_sites(model, digits().input_shape)
        start = time.process_time()
        grams = gram_matrices(model, sites, examples)
        losses = []
        for site, gram in zip(sites, grams, strict=True):
            kernel = site.kernel().flatten(1)
            kept = kept_count(kernel.numel(), 0.8)
            pruned = kernel * largest(kernel.abs(), kept)
            losses.append([_loss(found - kernel, gram) for found in (reconstructed(kernel, gram, kept), pruned)])
        seconds.append(time.process_time() - start)
        ratios += [ours / theirs for ours, theirs in losses]
    return [
        Claim(
            "sparsity.reconstruction", **over(ratios, statistics.mean), op="<=", target=0.6,
            what="squared error of a layer's outputs, CSP over magnitude at 80 %, mean of layers and seeds",
            why="little of what the smallest weights did can be taken over by the others",
        ),
        Claim(
            "sparsity.layer_set_seconds", **over(seconds), op="<=", target=2,
            what="CPU seconds for all layers of the network at one step of CSP's schedule",
            why="least squares are solved for each output",
        ),
    ]  # fmt: skip


def _loss(change: torch.Tensor, gram: torch.Tensor) -> float:
    return float((change @ gram * change).sum())


def runtime_rows(rounds: int, seconds_a_visit: float) -> list[dict[str, Any]]:
    """Return what each granularity costs on each device: one network, dense, with zeros, with fewer channels."""
    torch.manual_seed(0)
    built = RepCNN().build(network((48, 48, 48), 7, 2), KEYWORDS_SHAPE, 12)
    dense = fused_copy(built.eval())
    zeroed = fused_copy(built)
    for kernel in (parameter for parameter in zeroed.parameters() if parameter.dim() > 1):
        kernel.data *= largest(kernel.abs(), kept_count(kernel.numel(), 0.9))
    forms: dict[str, nn.Module] = {"dense": dense, "weights 90 %": zeroed}
    for level in (0.5, 0.85):
        forms[f"channels {level:.0%}"] = sliced_to_levels(dense, KEYWORDS_SHAPE, (level,))[0]
    rng = np.random.default_rng(0)
    split = Split(rng.standard_normal((500, *KEYWORDS_SHAPE)).astype(np.float32), rng.integers(0, 12, 500))
    data = Dataset("noise", tuple("abcdefghijkl"), split, split, split, {"kind": "log_mel"})
    rows = []
    for cost in costs(forms, data, rounds, seconds_a_visit):
        row = asdict(cost)
        del row["test_error"], row["rounds_us"]
        rows.append({"table": "runtimes", **row})
    return rows


def error_rows(table: Table) -> list[dict[str, Any]]:
    """Return a row for each method, granularity and level."""
    rows = []
    for key in sorted({(o.run.granularity, o.run.level, o.run.method) for o in table.outcomes}):
        granularity, level, method = key
        found = table.of(method, granularity, level)
        errors = [outcome.error for outcome in found]
        rows.append(
            {
                "table": "errors", "granularity": granularity, "level": level, "method": method, "seeds": len(found),
                "error": statistics.mean(errors), "least": min(errors), "most": max(errors),
                "excess": statistics.mean(table.excess(method, granularity, level)),
                "parameters": found[0].parameters, "nonzero_weights": found[0].nonzero,
                "step_seconds": statistics.median(outcome.step_seconds for outcome in found),
            }
        )  # fmt: skip
    return rows


def measure(
    seeds: int, epochs: int, weight_levels: Sequence[float], channel_levels: Sequence[float],
    outcome_of: Callable[[Run], Outcome], rounds: int, seconds_a_visit: float,
) -> tuple[list[Claim], list[dict[str, Any]]]:  # fmt: skip
    """Train everything and compare it."""
    table = Table([outcome_of(run) for run in runs(seeds, epochs, weight_levels, channel_levels)])
    claimed = [level for level in weight_levels if level in (0.8, 0.9)]
    claims = error_claims(table, claimed, channel_levels[-1]) + cost_claims(table)
    claims += reconstruction_claims(min(seeds, 3), epochs)
    return claims, [*error_rows(table), *runtime_rows(rounds, seconds_a_visit)]


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 5}),
        ("--epochs", {"type": int, "default": 20}),
        ("--keep", {"type": Path, "help": "folder for what is trained; a run that was cut goes on there"}),
    )
    torch.set_num_threads(1)
    outcome_of = Kept(options.keep).of
    if options.quick:
        claims, rows = measure(2, 1, (0.8,), (0.85,), outcome_of, rounds=1, seconds_a_visit=0.01)
    else:
        claims, rows = measure(
            options.seeds, options.epochs, WEIGHT_LEVELS, CHANNEL_LEVELS, outcome_of, rounds=15, seconds_a_visit=0.1
        )
    command = f"python -m benchmarks.sparsity --seeds {options.seeds} --epochs {options.epochs}"
    publish("sparsity", command, claims, rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
