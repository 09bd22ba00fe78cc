"""What one user's own exits are worth: errors, time and the cost of training, against what else could be done.

Networks of ``benchmarks/exits.py`` (two early exits, balanced), users whom no training or validation heard: synthetic
speakers in manners, rooms and noises of their own, and with ``--data`` the real speakers of a folder of digits, for
whom networks are trained on synthetic digits alone. Each has 60 recordings with a label, others without, and others
that only test. Time is what ONNX Runtime takes on one thread, expected over the user's own exit rates. The claims are
PersEPhonEE's (arXiv 2102.01393): up to 15.9 points, training 2.2 times cheaper.
"""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.exits.training_costs import fine_tuning_memory_bytes
from repareto.spaces.exits.network import MultiExit
from repareto.trainers.data.dataset import NO_LABEL, Dataset, Split, User
from repareto.trainers.data.listing import list_recordings
from repareto.trainers.data.recordings import read_recordings
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.data.users.options import Users
from repareto.trainers.data.users.recorded import speaker_of, users_of
from repareto.trainers.exits.adapt import TAU, Adapted, adapt
from repareto.trainers.exits.answers import exit_logits, head_features, heads_of
from repareto.trainers.exits.operating_points import (
    Calibration,
    OperatingPoint,
    errors_by_exit,
    least_cost,
    point_at,
    sweep,
)
from repareto.trainers.exits.personal import STEPS, Head, fine_tuning_macs, head_training_cost
from repareto.trainers.exits.scoring import ScoredClasses
from repareto.trainers.exits.temperature import softmax
from repareto.trainers.features import LogMel, Normalisation

from .exit_networks import times_us, trained
from .exits import ALLOWED, DETACHED
from .report import Claim, arguments, over, publish

FRESH = 1
"""Seed of the synthetic data, its voices and users. How far heads may go, what counts as a loss and the guard were
chosen on users of seed 0, nothing on those of this one."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RECIPE = replace(DETACHED, backbone="balanced")
METHODS = NONE, LAST, HEAD, LABELS, PSEUDO, BOTH, ALL_LABELS, ALL = (
    "none", "none, last exit alone", "labels, last exit alone", "labels", "pseudo-labels", "labels and pseudo-labels",
    "fine-tuning by labels", "fine-tuning by labels and pseudo-labels",
)  # fmt: skip
COSTS = ("macs", "seconds", "memory_bytes")
GAIN_POINTS, WORST_POINTS, COST_RATIO = 10, 0.5, 2.2
PASSES, BATCH, RATE = 10, 16, 1e-3
"""Of fine-tuning, by Adam, from labels and the pseudo-labels that are as sure as those of the early exits."""


@dataclass(frozen=True)
class Size:
    """Of data, networks and users: the whole benchmark, or its quick form."""

    clips: int
    stages: int
    epochs: int
    runs: int
    """Of each file in a round of timing."""
    users: Users


FULL = Size(10_800, 3, 8, 100, Users(count=12, labelled=60, unlabelled=400, tested=300))
QUICK = Size(600, 1, 1, 20, Users(count=2, labelled=20, unlabelled=20, tested=20))


@dataclass(frozen=True)
class Training:
    """What it takes; seconds are the processor's, features included."""

    macs: int = 0
    seconds: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Row:
    """How one user fares by one method."""

    user: str
    network: int
    """Its seed."""
    method: str
    error: float
    expected_us: float
    rates: tuple[float, ...]
    pseudo_labelled: int
    macs: int
    seconds: float
    memory_bytes: int


class Deployed:
    """A network as all users have it: heads, temperatures, an operating point, and what it costs."""

    def __init__(self, fused: MultiExit, data: Dataset, runs: int) -> None:
        self.fused, self.heads = fused, heads_of(fused)
        logits = exit_logits(fused, data.validation.features)
        self.calibration = Calibration.of(logits, data.validation.labels, ScoredClasses())
        _, self.up_to_us = times_us(fused, data, runs)
        probabilities = self.calibration.probabilities(logits)
        errors = errors_by_exit(ScoredClasses(), logits, data.validation.labels)["error"]
        points = sweep(fused.policies, probabilities, errors, self.up_to_us)
        self.point = least_cost(points, self.calibration.errors[-1] + ALLOWED)
        graph = read_module(fused, (1, *data.input_shape))
        self.macs, self.fine_tuning_bytes = graph.macs, fine_tuning_memory_bytes(graph, BATCH)

    def test(
        self,
        user: User,
        heads: Sequence[Head],
        temperatures: Sequence[float],
        policy: str = "confidence",
        thresholds: Sequence[float | None] | None = None,
    ) -> OperatingPoint:
        """Return how heads fare on what only tests; without thresholds only the last exit answers."""
        seen = head_features(self.fused, user.test.features)
        pairs = zip(heads, seen, temperatures, strict=True)
        chances = np.stack([softmax(head(own), temperature) for head, own, temperature in pairs], 1)
        bars = [None] * (len(heads) - 1) if thresholds is None else thresholds
        return point_at(policy, bars, chances, chances.argmax(2) != user.test.labels[:, None], self.up_to_us)

    def adapted(self, user: User, labels: np.ndarray, kept: np.ndarray, seed: int) -> tuple[Adapted, Training]:
        """Return a user's own exits, by labels (n,) of the recordings that are ``kept``."""
        start = time.process_time()
        seen = head_features(self.fused, user.own.features[kept])
        found = adapt(
            self.heads, seen, self.calibration.temperatures[-1], labels[kept], rng=np.random.default_rng(seed)
        )
        seconds = time.process_time() - start
        counts = tuple(head.weight.shape[1] for head in self.heads)
        classes = len(self.heads[0].bias)
        cost = head_training_cost(counts, STEPS * found.passes, int(kept.sum()), self.macs, classes)
        return found, Training(cost.macs, seconds, cost.memory_bytes)

    def fine_tuned(self, user: User, seed: int, *, by_labels_alone: bool) -> tuple[float, Training]:
        """Return the test error of the last exit after all weights have learnt from labels, or pseudo-labels too."""
        start = time.process_time()
        labels, places = user.own.labels, np.flatnonzero(user.own.labels != NO_LABEL)
        asked = 0
        if not by_labels_alone:
            said = softmax(exit_logits(self.fused, user.own.features)[:, -1], self.calibration.temperatures[-1])
            asked, labels = len(user.own), np.where(labels == NO_LABEL, said.argmax(1), labels)
            places = np.flatnonzero((user.own.labels != NO_LABEL) | (said.max(1) >= TAU))
        features = torch.from_numpy(user.own.features[places].astype(np.float32))
        targets = torch.from_numpy(labels[places])
        network = copy.deepcopy(self.fused).requires_grad_(True)
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(PASSES):
            for batch in torch.randperm(len(places), generator=generator).split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(network(features[batch]), targets[batch]).backward()
                optimizer.step()
        seconds = time.process_time() - start
        error = float((exit_logits(network, user.test.features)[:, -1].argmax(1) != user.test.labels).mean())
        macs = fine_tuning_macs(len(places), self.macs, PASSES) + asked * self.macs
        return error, Training(macs, seconds, self.fine_tuning_bytes)


def rows_of(user: User, own: Deployed, seed: int) -> list[Row]:
    """Return how a user fares by each method."""
    rows: list[Row] = []

    def add(method: str, point: OperatingPoint, training: Training | None = None, pseudo: int = 0) -> None:
        taken = asdict(training or Training())
        rows.append(Row(user.name, seed, method, point.error, point.expected_cost, point.rates, pseudo, **taken))

    global_ = own.heads, own.calibration.temperatures
    add(NONE, own.test(user, *global_, own.point.policy, own.point.thresholds))
    add(LAST, own.test(user, *global_))
    has_label, every = user.own.labels != NO_LABEL, np.ones(len(user.own), bool)
    untold = np.full(len(user.own), NO_LABEL)
    for method, labels, kept in ((LABELS, user.own.labels, has_label), (PSEUDO, untold, every),
                                 (BOTH, user.own.labels, every)):  # fmt: skip
        found, training = own.adapted(user, labels, kept, seed)
        heads = found.heads, found.temperatures
        add(method, own.test(user, *heads, thresholds=found.thresholds), training, found.pseudo_labelled)
        if method == LABELS:
            add(HEAD, own.test(user, *heads), training)
    for method, by_labels_alone in ((ALL_LABELS, True), (ALL, False)):
        error, training = own.fine_tuned(user, seed, by_labels_alone=by_labels_alone)
        add(method, replace(own.test(user, *global_), error=error), training)
    return rows


def synthetic(size: Size) -> tuple[Dataset, tuple[User, ...]]:
    """Return keywords, and synthetic speakers."""
    data = Synthetic(clips=size.clips, users=size.users).load(seed=FRESH)
    return data, data.users


def recorded(size: Size, folder: Path) -> tuple[Dataset, tuple[User, ...]]:
    """Return synthetic digits, and all speakers of a folder of recorded ones: no network has heard any of them."""
    data = Synthetic(words=DIGITS, clips=size.clips, unknown=False, silence=False).load(seed=0)
    clips = [(path, number) for number, word in enumerate(DIGITS) for path in list_recordings(folder).clips[word]]
    log_mel = LogMel.from_front_end(data.front_end)
    samples = round(data.front_end["clip_seconds"] * log_mel.sample_rate_hz)
    read = read_recordings([path for path, _ in clips], log_mel, samples)
    features = Normalisation.from_front_end(data.front_end).apply(read.features)
    kept = [clips[place] for place in read.kept]
    labels = np.array([label for _, label in kept])
    speakers = [speaker_of(path.name) for path, _ in kept]
    return data, users_of(Split(features, labels), speakers, size.users, np.random.default_rng(0))


def measure(
    people: str, data: Dataset, users: Sequence[User], seeds: int, size: Size, keep: Path, *, data_seed: int = 0
) -> list[Row]:
    """Return the rows of all users and networks, those as they are that a run before this one kept."""
    rows = []
    for seed in range(seeds):
        kept = keep / f"{people}-{seed}.json"
        if kept.exists():
            rows += [Row(**row) for row in json.loads(kept.read_text())]
            continue
        recipe = replace(RECIPE, stages=size.stages, epochs=size.epochs)
        network = trained(recipe, data, seed, keep, data_seed=data_seed)
        own = Deployed(network.exits, data, size.runs)
        own_rows = []
        for user in users:
            found = rows_of(replace(user, name=f"{people} {user.name}"), own, seed)
            own_rows += found
            print(user.name, seed, {row.method: (row.error, round(row.expected_us)) for row in found}, flush=True)
        kept.write_text(json.dumps([asdict(row) for row in own_rows]))
        rows += own_rows
    return rows


def claims_of(people: str, rows: Sequence[Row]) -> list[Claim]:
    """Compare what a user gets with what all users have; ranges are of users, each the mean of all networks.

    The worst user's range is of single networks.
    """
    users = sorted({row.user for row in rows})
    prefix = f"personalization.{people}"

    def mean(method: str, figure: str, user: str) -> float:
        return statistics.mean(getattr(row, figure) for row in rows if (row.user, row.method) == (user, method))

    def points(method: str, before: str) -> list[float]:
        return [100 * (mean(method, "error", user) - mean(before, "error", user)) for user in users]

    def worst(before: str) -> dict[str, float]:
        had = {(row.user, row.network): row.error for row in rows if row.method == before}
        single = [100 * (row.error - had[row.user, row.network]) for row in rows if row.method == PSEUDO]
        return {"value": max(points(PSEUDO, before)), "low": min(single), "high": max(single)}

    def cost_claim(name: str, figure: str, dear: str, cheap: str) -> Claim:
        ratios = [mean(dear, figure, user) / mean(cheap, figure, user) for user in users]
        what = f"{figure} of training in {PASSES} passes, {dear}, over own exits, {cheap}; median"
        return Claim(f"{prefix}.{name}", **over(ratios), op=">=", target=COST_RATIO, what=what)

    errors = {method: 100 * statistics.mean(mean(method, "error", user) for user in users) for method in METHODS}
    told = ", ".join(f"{method} {error:.1f} %" for method, error in errors.items())
    unlabelled = points(PSEUDO, LAST)
    speed_ups = [mean(LAST, "expected_us", user) / mean(BOTH, "expected_us", user) for user in users]
    return [
        Claim(f"{prefix}.gain_points", **over([-lost for lost in points(BOTH, NONE)], statistics.mean), op=">=",
              target=GAIN_POINTS, what=f"points fewer errors, {len(users)} users, labels and pseudo-labels", why=told),
        Claim(f"{prefix}.unlabelled_points", **worst(LAST), op="<=", target=WORST_POINTS,
              what="points more errors than the last exit of all users without labels, worst user",
              why="half a point is one recording in 200"),
        Claim(f"{prefix}.unlabelled_points_over_exits", **worst(NONE), op="<=", target=WORST_POINTS,
              what="points more errors than the exits of all users without labels, worst user",
              why="where early exits happen to be right more often than the last, nothing without a label says so"),
        Claim(f"{prefix}.unlabelled_mean_points", **over(unlabelled, statistics.mean), op="<=", target=WORST_POINTS,
              what="the same in the mean of all users"),
        Claim(f"{prefix}.speed_up", **over(speed_ups, statistics.mean), op=">=", target=1.3,
              what="time of the last exit over that with labels and pseudo-labels",
              why="of few recordings without a label little is trusted to the early exits"),
        *(cost_claim(f"{figure}_ratio", figure, ALL, BOTH) for figure in COSTS),
        *(cost_claim(f"{figure}_ratio_by_labels", figure, ALL_LABELS, LABELS) for figure in COSTS),
    ]  # fmt: skip


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 5}),
        ("--data", {"type": Path, "help": "folder of recorded digits: their speakers are users as well"}),
        ("--recorded-seeds", {"type": int, "default": 5, "help": "networks for recorded speakers"}),
        ("--keep", {"type": Path, "help": "folder of what is trained: a run that was cut off goes on there"}),
    )
    torch.set_num_threads(1)
    size, seeds, recorded_seeds = (QUICK, 1, 1) if options.quick else (FULL, options.seeds, options.recorded_seeds)
    with tempfile.TemporaryDirectory() as temporary:
        keep = options.keep or Path(temporary)
        found = {"synthetic": measure("synthetic", *synthetic(size), seeds, size, keep, data_seed=FRESH)}
        if options.data:
            found["recorded"] = measure("recorded", *recorded(size, options.data), recorded_seeds, size, keep)
    claims = [claim for people, own_rows in found.items() for claim in claims_of(people, own_rows)]
    rows = [asdict(row) for own_rows in found.values() for row in own_rows]
    command = f"python -m benchmarks.personalization --seeds {seeds}"
    command += f" --data folder --recorded-seeds {recorded_seeds}" if options.data else ""
    publish("personalization", command, claims, rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
