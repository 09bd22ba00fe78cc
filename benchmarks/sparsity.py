"""What each way to take weights or channels out costs in errors, and what it buys on a device.

Synthetic keywords in voices never heard, a network that is not too large for them and enough epochs to recover in; all
methods train as long, paired by seed. *Excess* errors are those beyond the dense network's of the same seed.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.sparsity.kernels import kernel_sites
from repareto.spaces.sparsity.slicing import sliced_to_levels
from repareto.spaces.sparsity.space import CHANNEL, WEIGHT
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.sparsity.choice import kept_count, largest
from repareto.trainers.sparsity.reconstruction import look_at, reconstructed, removal_losses

from .network_costs import costs
from .report import Claim, arguments, over, publish
from .sparse_networks import DENSE, Kept, Outcome, Run, keywords, network, trained

WEIGHT_METHODS = {
    "magnitude": (0.5, 0.7, 0.8, 0.9, 0.95), "csp": (0.5, 0.7, 0.8, 0.9, 0.95), "global_magnitude": (0.8, 0.9),
    "one_shot": (0.8, 0.9), "admm": (0.8, 0.9), "csp_weights": (0.9,), "random": (0.9,),
}  # fmt: skip
OF_EACH_KERNEL = ("magnitude", "one_shot", "admm")
"""Baselines that leave each kernel the same share."""
CHANNEL_METHODS = {
    "magnitude": (0.3, 0.45, 0.7), "l0": (0.3, 0.45, 0.7),
    "global_magnitude": (0.7,), "group_lasso": (0.7,), "random": (0.7,), "l0_constrained": (0.7,),
}  # fmt: skip
KEYWORDS_SHAPE = (40, 51)
_RESAMPLES = 5000


@dataclass(frozen=True)
class Size:
    """How much is trained and timed."""

    seeds: int
    epochs: int
    clips: int = 10_800
    weight_levels: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9, 0.95)
    channel_levels: tuple[float, ...] = (0.3, 0.45, 0.7)
    """Half, 70 % and 86 % of the parameters."""
    rounds: int = 15
    seconds_a_visit: float = 0.1

    def run(self, method: str, granularity: str, level: float, seed: int) -> Run:
        """Return a training of this size."""
        return Run(method, granularity, level, seed, self.epochs, self.clips)

    def runs(self) -> list[Run]:
        """Return all trainings, those of a seed before those of the next."""
        found = []
        for seed in range(self.seeds):
            found.append(self.run(DENSE, "", 0.0, seed))
            for granularity, methods in ((WEIGHT, WEIGHT_METHODS), (CHANNEL, CHANNEL_METHODS)):
                for level in self.levels[granularity]:
                    able = [method for method, levels in methods.items() if level in levels]
                    found += [self.run(method, granularity, level, seed) for method in able]
        return found

    @property
    def levels(self) -> dict[str, tuple[float, ...]]:
        """By granularity."""
        return {WEIGHT: self.weight_levels, CHANNEL: self.channel_levels}


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
        for suffix, baselines in (("", OF_EACH_KERNEL), ("_global", ("global_magnitude",))):
            best, ratio = table.ratio("csp", baselines, WEIGHT, level)
            claims.append(
                Claim(
                    f"sparsity.csp_{100 * level:.0f}{suffix}", **ratio, op="<=", target=0.7,
                    what=f"excess errors of CSP over those of {best} at {level:.0%}, {seeds} seeds",
                    why=f"the dense network makes {dense:.1f} % errors, {best} "
                    f"{100 * statistics.mean(table.excess(best, WEIGHT, level)):.1f} points more",
                )
            )  # fmt: skip
    best, ratio = table.ratio("l0", ("magnitude", "global_magnitude"), CHANNEL, channel_level)
    claims += [
        Claim(
            "sparsity.l0", **ratio, op="<=", target=0.8,
            what=f"excess errors of L0 over those of {best}, at most the parameters and MACs of {channel_level:.0%} "
            f"fewer channels, {seeds} seeds",
            why=f"the dense network makes {dense:.1f} % errors, {best} "
            f"{100 * statistics.mean(table.excess(best, CHANNEL, channel_level)):.1f} points more",
        ),
        *size_claims(table, channel_level),
    ]  # fmt: skip
    return claims


def size_claims(table: Table, level: float) -> list[Claim]:
    """Compare the sizes that gates are expected to leave, and those that ship, with the target."""
    dense = next(o for o in table.outcomes if o.run.method == DENSE)
    even = table.of("magnitude", CHANNEL, level)[0]
    claims = []
    for method in ("l0", "l0_constrained"):
        found = table.of(method, CHANNEL, level)
        # What binds of the two: no network has both to the last weight.
        smaller = [
            100 * min((even.parameters - o.parameters) / dense.parameters, (even.macs - o.macs) / dense.macs)
            for o in found
        ]
        claims += [
            Claim(
                f"sparsity.{method}_expected_points", **over([100 * abs(o.missed) for o in found]), op="<=", target=3,
                what=f"points of the dense size between what {method} expects before gates are decided and its target",
                why="a few hundred steps are few for the gates to settle in",
            ),
            Claim(
                f"sparsity.{method}_shipped_points", **over(smaller), op="<=", target=1,
                what=f"points of the dense size by which what {method} ships is smaller than its target",
                why="no channel of the rest is small enough to fit in",
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


def reconstruction_claims(size: Size) -> list[Claim]:
    """Take 80 % out of the kernels of dense networks, and compare what is left of each layer's outputs."""
    ratios, seconds = [], []
    data = keywords(size.clips)
    examples = torch.from_numpy(data.train.features[:256]).float()
    for seed in range(min(size.seeds, 3)):
        _, model = trained(size.run(DENSE, "", 0.0, seed))
        sites = kernel_sites(model, data.input_shape)
        start = time.process_time()
        losses = []
        for site, layer in zip(sites, look_at(model, sites, examples), strict=True):
            kernel, gram = site.kernel().flatten(1), layer.gram
            kept = kept_count(kernel.numel(), 0.8)
            ours = reconstructed(kernel, gram, largest(removal_losses(kernel, gram), kept))
            pruned = kernel * largest(kernel.abs(), kept)
            losses.append([_loss(found - kernel, gram) for found in (ours, pruned)])
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
    built = RepCNN().build(network((48, 48, 48), 1, 7), KEYWORDS_SHAPE, 12)
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
                "parameters": statistics.mean(o.parameters for o in found),
                "macs": statistics.mean(o.macs for o in found),
                "nonzero_weights": statistics.mean(o.nonzero for o in found), "kept": [o.kept for o in found],
                "step_seconds": statistics.median(outcome.step_seconds for outcome in found),
            }
        )  # fmt: skip
    return rows


def measure(size: Size, outcome_of: Callable[[Run], Outcome]) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Train everything and compare it."""
    table = Table([outcome_of(run) for run in size.runs()])
    claimed = [level for level in size.weight_levels if level in (0.8, 0.9)]
    claims = error_claims(table, claimed, size.channel_levels[-1]) + cost_claims(table)
    claims += reconstruction_claims(size)
    return claims, [*error_rows(table), *runtime_rows(size.rounds, size.seconds_a_visit)]


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 5}),
        ("--epochs", {"type": int, "default": 20}),
        ("--keep", {"type": Path, "help": "folder for what is trained; a run that was cut goes on there"}),
    )
    torch.set_num_threads(1)
    size = Size(options.seeds, options.epochs)
    if options.quick:
        size = Size(2, 1, clips=600, weight_levels=(0.9,), channel_levels=(0.7,), rounds=1, seconds_a_visit=0.01)
    claims, rows = measure(size, Kept(options.keep).of)
    command = f"python -m benchmarks.sparsity --seeds {options.seeds} --epochs {options.epochs}"
    publish("sparsity", command, claims, rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
