"""Where exits stand, and how many trainings one training with many operating points saves.

Exits are added to trained networks of ``benchmarks/exits.py`` without exits, whose layers stay as they are: so heads
do not touch one another, and those at all places, trained once, answer as those of any placement would. Every placement
of up to three exits is evaluated; the one of the largest hypervolume on the validation split is what a search would
find. What is told is of the test split, at thresholds that were set on the validation split.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from repareto.search.devices.host.onnx_runtime import make_session, onnx_bytes
from repareto.search.front import hypervolume
from repareto.spaces.exits.chain import ExitChain
from repareto.spaces.exits.heads import head
from repareto.spaces.exits.places import chain_of, places_of
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.exits.operating_points import Calibration
from repareto.trainers.exits.policies import confidence
from repareto.trainers.exits.scoring import ScoredClasses
from repareto.trainers.exits.thresholds import Threshold, exits_taken

from .exit_networks import processor_us, trained
from .exits import DETACHED, Size
from .report import Claim, arguments, over, publish

MOST_EXITS = 3
LEVELS = 16
PRICES = np.geomspace(0.003, 1.0, 12)
"""Errors that the whole time of the network without exits is worth, for which thresholds are looked for in turn."""
ERROR_ROOM, TIME_ROOM = 0.1, 1.25
"""The reference point: so many more errors than the last exit makes, so many times its time."""
ORDERS, MOST_TRAININGS = 20, 30
DECAY = 1e-4
Placement = tuple[int, ...]
Thresholds = tuple[Threshold, ...]


@dataclass(frozen=True)
class Answers:
    """Of one split: probabilities by the calibrated exits, (n, e, c) with the last exit, and labels (n,)."""

    probabilities: np.ndarray
    labels: np.ndarray

    def at(self, placement: Placement) -> tuple[np.ndarray, np.ndarray]:
        """Return how sure the exits of a placement and the last one are, and whether they are right, both (n, e)."""
        kept = self.probabilities[:, [*placement, -1]]
        return confidence(kept), kept.argmax(2) == self.labels[:, None]


@dataclass(frozen=True)
class Row:
    """How one placement fares; hypervolumes are shares of the box up to the reference."""

    seed: int
    kind: str
    placement: Placement
    places: int
    points: int
    hypervolume: float
    validation_hypervolume: float
    trainings: float | None = None
    """A training a point that reach the same, of evenly spaced exits; ``MOST_TRAININGS`` where they do not."""


@torch.no_grad()
def pooled(layers: Sequence[nn.Module], cuts: Sequence[int], split: Split) -> tuple[list[torch.Tensor], np.ndarray]:
    """Return the mean maps (n, channels) at each cut of a chain, and the last logits (n, c)."""
    means: list[list[torch.Tensor]] = [[] for _ in cuts]
    logits = []
    for part in np.array_split(split.features, max(1, len(split) // 256)):
        x = torch.from_numpy(part.astype(np.float32))
        for index, layer in enumerate(layers):
            if index in cuts:
                means[cuts.index(index)].append(x.mean((2, 3)))
            x = layer(x)
        logits.append(x.double().numpy())
    return [torch.cat(own) for own in means], np.concatenate(logits)


def fitted(features: torch.Tensor, labels: torch.Tensor, classes: int) -> nn.Linear:
    """Return a linear layer that was trained on features (n, d), by L-BFGS with a small decay."""
    layer = nn.Linear(features.shape[1], classes)
    mean, scale = features.mean(0), features.std(0) + 1e-6
    inputs = (features - mean) / scale
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(layer(inputs), labels) + DECAY * layer.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        layer.weight /= scale
        layer.bias -= layer.weight @ mean
    return layer


class Placements:
    """A trained network with exits at all places: what every placement of them answers, and takes."""

    def __init__(self, network: ExitChain, data: Dataset, runs: int) -> None:
        layers = chain_of(nn.Sequential(*network.segments), "repcnn")
        places = places_of(layers, data.input_shape)
        cuts = [place.index for place in places]
        classes = len(data.labels)
        means, _ = pooled(layers, cuts, data.train)
        heads = [fitted(own, torch.from_numpy(data.train.labels), classes) for own in means]
        logits = {}
        for name in ("validation", "test"):
            means, last = pooled(layers, cuts, getattr(data, name))
            with torch.no_grad():
                early = [layer(own).double().numpy() for layer, own in zip(heads, means, strict=True)]
            logits[name] = np.stack([*early, last], 1)
        calibration = Calibration.of(logits["validation"], data.validation.labels, ScoredClasses())
        self.validation = Answers(calibration.probabilities(logits["validation"]), data.validation.labels)
        self.test = Answers(calibration.probabilities(logits["test"]), data.test.labels)
        self.count = len(places)

        segments = [nn.Sequential(*layers[a:b]) for a, b in pairwise([0, *cuts, len(layers)])]
        shapes = [data.input_shape, *(place.shape for place in places)]
        alone = [head("pool-linear", place.shape, classes) for place in places]
        parts = [(nn.Sequential(*layers), shapes[0]), *zip(segments, shapes, strict=True)]
        parts += zip(alone, shapes[1:], strict=True)
        whole, *times = processor_us([_run(part.eval(), shape) for part, shape in parts], runs)
        self.plain_us = whole
        self.start_us = max(0.0, (sum(times[: len(segments)]) - whole) / (len(segments) - 1))
        """What any run costs, however little it computes: in the parts' sum once a part."""
        self.segment_us = np.maximum(0.0, np.array(times[: len(segments)]) - self.start_us)
        self.head_us = np.maximum(0.0, np.array(times[len(segments) :]) - self.start_us)
        last_error = float((~self.validation.at(())[1]).mean())
        self.reference = np.array([last_error + ERROR_ROOM, TIME_ROOM * whole])

    def up_to_us(self, placement: Placement) -> np.ndarray:
        """Return the time to each exit of a placement, the last one included; a stage runs from exit to exit."""
        stages = [self.segment_us[a:b].sum() for a, b in pairwise([0, *(place + 1 for place in placement), None])]
        return np.cumsum(self.start_us + np.array(stages) + np.array([*self.head_us[list(placement)], 0.0]))

    def points(self, placement: Placement) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return errors and mean times on validation and test of what thresholds set on validation allow."""
        costs = self.up_to_us(placement)
        scores, right = self.validation.at(placement)
        bars = _thresholds(scores, right, costs)
        told = [_error_and_cost(*self.test.at(placement), own, costs) for own in bars]
        return [_error_and_cost(scores, right, own, costs) for own in bars], told

    def hypervolume(self, points: Sequence[np.ndarray]) -> float:
        """Return the share of the box up to the reference that errors and times dominate."""
        return hypervolume(np.array(points).reshape(-1, 2), self.reference)


def _run(module: nn.Module, shape: Sequence[int]) -> Callable[[], Any]:
    inputs = torch.zeros(1, *shape)
    session = make_session(onnx_bytes(module, inputs))
    feed = {session.get_inputs()[0].name: inputs.numpy()}
    return lambda: session.run(None, feed)


def _error_and_cost(scores: np.ndarray, right: np.ndarray, bars: Thresholds, costs: np.ndarray) -> np.ndarray:
    taken = exits_taken(scores, bars)
    return np.array([1 - right[np.arange(len(taken)), taken].mean(), costs[taken].mean()])


def _thresholds(scores: np.ndarray, right: np.ndarray, costs: np.ndarray) -> list[Thresholds]:
    """For each price of time the best thresholds found in turns: the same way for three exits and for all places."""
    shares = np.linspace(0, 1, LEVELS)
    early = scores.shape[1] - 1
    levels = [[*np.unique(np.quantile(scores[:, place], shares)).tolist(), None] for place in range(early)]
    known: dict[Thresholds, np.ndarray] = {}

    def loss(bars: Thresholds, price: float) -> float:
        if bars not in known:
            known[bars] = _error_and_cost(scores, right, bars, costs)
        return float(known[bars] @ (1.0, price / costs[-1]))

    bars: Thresholds = (None,) * early
    found = [bars]
    for price in PRICES:
        for _ in range(2):
            for place in range(early):
                tries = [(*bars[:place], level, *bars[place + 1 :]) for level in levels[place]]
                bars = min(tries, key=lambda own: loss(own, price))
        found.append(bars)
    return list(dict.fromkeys(found))


def trainings_needed(
    reached: float, points: Sequence[tuple[list[np.ndarray], list[np.ndarray]]], own: Placements, seed: int
) -> float:
    """Return how many trainings of one point each reach a hypervolume, the median over orders of placements.

    Each gives the point that adds most on the validation split to what those before it gave.
    """
    rng, counts = np.random.default_rng(seed), []
    for _ in range(ORDERS):
        validation: list[np.ndarray] = []
        test: list[np.ndarray] = []
        for place in rng.permutation(len(points))[:MOST_TRAININGS]:
            tried, told = points[place]
            best = max(range(len(tried)), key=lambda index: own.hypervolume([*validation, tried[index]]))
            validation.append(tried[best])
            test.append(told[best])
            if own.hypervolume(test) >= reached:
                break
        counts.append(len(test))
    return statistics.median(counts)


def even(count: int, places: int) -> Placement:
    """Return exits that are spaced evenly among the places."""
    return tuple(dict.fromkeys(round((number + 1) * (places + 1) / (count + 1)) - 1 for number in range(count)))


def measure(seeds: int, size: Size, keep: Path) -> list[Row]:
    """Return the rows of all networks and placements that are compared."""
    data = Synthetic(clips=size.clips).load(seed=0)
    rows: list[Row] = []
    for seed in range(seeds):
        recipe = replace(DETACHED, stages=size.stages, epochs=size.epochs)
        torch.manual_seed(seed)
        own = Placements(trained(recipe, data, seed, keep).exits, data, size.runs)
        most = min(MOST_EXITS, own.count)
        tried = [found for count in range(1, most + 1) for found in combinations(range(own.count), count)]
        points = [own.points(placement) for placement in tried]
        volumes = {placement: own.hypervolume(found[0]) for placement, found in zip(tried, points, strict=True)}
        kinds = {f"even {count}": even(count, own.count) for count in range(1, most + 1)}
        kinds |= {"all places": tuple(range(own.count)), "searched": max(volumes, key=volumes.__getitem__)}
        for kind, placement in kinds.items():
            validation, test = own.points(placement)
            reached = own.hypervolume(test)
            needed = trainings_needed(reached, points, own, seed) if kind == f"even {most}" else None
            row = Row(seed, kind, placement, own.count, len(test), reached, own.hypervolume(validation), needed)
            print(row, flush=True)
            rows.append(row)
    return rows


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Compare placements, and one training with a training a point."""

    def volumes(kind: str) -> list[float]:
        return [row.hypervolume for row in rows if row.kind == kind]

    def ratios(others: Sequence[float]) -> dict[str, float]:
        return over([a / b for a, b in zip(volumes("searched"), others, strict=True)], statistics.mean)

    kinds = list(dict.fromkeys(row.kind for row in rows if row.kind.startswith("even")))
    best_even = [max(own) for own in zip(*(volumes(kind) for kind in kinds), strict=True)]
    needed = [row.trainings for row in rows if row.trainings is not None]
    what = "hypervolume of error and mean time, searched placement over"
    return [
        Claim("exit_places.searched_over_even", **ratios(best_even), op=">=", target=1.0,
              what=f"{what} the best of the evenly spaced ones by the test split"),
        Claim("exit_places.searched_over_all_places", **ratios(volumes("all places")), op=">=", target=1.0,
              what=f"{what} exits at all places"),
        Claim("exit_places.trainings_saved", **over(needed), op=">=", target=2.0,
              what=f"trainings of one point each for the hypervolume of one training; {MOST_TRAININGS}: or more"),
    ]  # fmt: skip


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 3}),
        ("--keep", {"type": Path, "help": "folder of what is trained: that of benchmarks/exits.py saves the training"}),
    )
    torch.set_num_threads(1)
    size, seeds = Size(clips=10800, stages=3, epochs=8, runs=100), options.seeds
    if options.quick:
        size, seeds = Size(clips=600, stages=1, epochs=1, runs=20), 1
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(seeds, size, options.keep or Path(temporary))
    command = f"python -m benchmarks.exit_places --seeds {seeds}"
    publish(
        "exit_places", command, claims_of(rows), [asdict(row) for row in rows], quick=options.quick, out=options.out
    )


if __name__ == "__main__":
    main()
