"""A cluster that is only imagined, driven by the real searcher, scheduler, study and ledger.

Epochs, failures and lost nodes are drawn; the driver is not: each of its calls is made, and what it takes for real
passes on the simulated clock, during which all other workers that want something wait. So a thousand workers fit on one
core, and what is found is where the driver is too slow for them. Ray itself is left out, but for a constant a call.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from repareto.search.ray_backend import StudyScheduler, StudySearcher
from repareto.search.records import EpochPoint, Measurement

ERROR_TEXTS = {
    "worker": "The actor died unexpectedly: worker process has died.",
    "node": "The actor died because its node has died.",
}
"""What Ray says of a lost worker, by what was lost."""


@dataclass(frozen=True)
class Cluster:
    """What is drawn. Times are in seconds."""

    workers: int
    workers_a_node: int = 8
    epochs: int = 10
    epoch_seconds: float = 10.0
    """The median of a log-normal time."""
    spread: float = 0.3
    """The standard deviation of its logarithm."""
    deaths_an_epoch: float = 0.001
    node_life: float = 4 * 3600.0
    """The mean of an exponential time."""
    node_return: float = 120.0
    worker_start: float = 3.0
    """A new process; one that goes on with the next trial starts at once."""
    ray_a_call: float = 0.0
    """What Ray Tune itself takes for each call of the driver."""


@dataclass
class Outcome:
    """What was seen between the end of the warm-up and the end."""

    utilisation: float
    """Share of the workers' time, lost nodes apart, that went into epochs that were reported or are under way."""
    driver_load: float
    """Share of the time in which the driver was at work."""
    epochs_reported: int
    """From the beginning on."""
    lost_workers: int
    call_ms: dict[str, float] = field(default_factory=dict)
    """The median of what a call takes, by its name."""
    epochs_a_second: float = 0.0
    """How many epochs the driver can serve, trials' beginnings and ends included: at more it is what all wait for."""


@dataclass
class _Worker:
    node: int
    trial: Any = None
    run: int = 0
    """Counts what it began: an event of an earlier run is of a process that is gone."""
    began: float = 0.0


class _Driver:
    """One thread that serves one call at a time."""

    def __init__(self, ray_a_call: float) -> None:
        self.free_at = 0.0
        self.calls: list[tuple[str, float, float]] = []
        """Name, simulated begin and seconds of each call."""
        self._ray_a_call = ray_a_call

    def call(self, now: float, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call that is wanted at ``now`` as soon as the driver is free, and return its answer."""
        begin = time.perf_counter()
        answer = function(*arguments)
        seconds = time.perf_counter() - begin + self._ray_a_call
        start = max(now, self.free_at)
        self.free_at = start + seconds
        self.calls.append((name, start, seconds))
        return answer


class Simulation:
    """Runs a study's trials on an imagined cluster, for a while."""

    def __init__(
        self, searcher: StudySearcher, scheduler: StudyScheduler, cluster: Cluster, scratch: Path, seed: int = 0
    ) -> None:
        """``scratch`` is a folder for the texts that Ray would leave of its errors."""
        self._searcher, self._scheduler, self._cluster, self._scratch = searcher, scheduler, cluster, scratch
        self._rng = random.Random(seed)
        self._driver = _Driver(cluster.ray_a_call)
        self._workers = [_Worker(index // cluster.workers_a_node) for index in range(cluster.workers)]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._idle = list(self._workers)
        self._no_more = False
        self._epochs_done: defaultdict[int, int] = defaultdict(int)
        self._useful: list[tuple[float, float]] = []
        self._down: list[tuple[float, float]] = []
        self._nodes_down: set[int] = set()
        self._losses = 0

    def run(self, seconds: float, *, warm_up: float = 0.0) -> Outcome:
        """Run until the simulated clock shows ``seconds``, or until the study has no more trials."""
        for node in range(self._workers[-1].node + 1):
            self._at(self._rng.expovariate(1 / self._cluster.node_life), partial(self._lose_node, node))
        self._fill(0.0)
        now = 0.0
        while self._events and now < seconds and not (self._no_more and len(self._idle) == len(self._workers)):
            now, _, event = heapq.heappop(self._events)
            event(now)
        return self._outcome(warm_up, min(now, seconds))

    def _at(self, moment: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), event))

    def _fill(self, now: float) -> None:
        """Ask for trials while workers are idle; "not now" is asked again at the next event, as Ray Tune does."""
        while self._idle and not self._no_more:
            trial_id = f"{next(self._order):08d}"
            config = self._driver.call(now, "suggest", self._searcher.suggest, trial_id)
            if config is None:
                return
            if config == Searcher.FINISHED:
                self._no_more = True
                return
            worker = self._idle.pop(0)
            worker.trial = SimpleNamespace(trial_id=trial_id, config=config, error_file=None)
            self._scheduler.on_trial_add(None, worker.trial)
            first_start = 0.0 if worker.run else self._cluster.worker_start
            self._begin_epoch(worker, self._driver.free_at + first_start)

    def _begin_epoch(self, worker: _Worker, now: float) -> None:
        worker.run, worker.began = worker.run + 1, now
        seconds = self._cluster.epoch_seconds * self._rng.lognormvariate(0.0, self._cluster.spread)
        if self._rng.random() < self._cluster.deaths_an_epoch:
            self._at(now + seconds * self._rng.random(), partial(self._lose_worker, worker, worker.run, "worker"))
        else:
            self._at(now + seconds, partial(self._end_epoch, worker, worker.run, seconds))

    def _end_epoch(self, worker: _Worker, run: int, seconds: float, now: float) -> None:
        if worker.run != run:
            return
        trial = worker.trial
        self._useful.append((now - seconds, now))
        number = trial.config["number"]
        self._epochs_done[number] += 1
        epochs = self._epochs_done[number]
        result: dict[str, Any] = {"curve": json.dumps(curve(trial.config["candidate"], epochs))}
        if epochs == self._cluster.epochs:
            result |= {"measurement": json.dumps(asdict(measurement(trial.config["candidate"], epochs))), "done": True}
        elif self._driver.call(now, "result", self._scheduler.on_trial_result, None, trial, result) != (
            TrialScheduler.STOP
        ):
            self._begin_epoch(worker, self._driver.free_at)
            self._fill(now)
            return
        self._driver.call(now, "complete", self._searcher.on_trial_complete, trial.trial_id, result)
        self._release(worker, now)

    def _release(self, worker: _Worker, now: float) -> None:
        worker.trial = None
        self._idle.append(worker)
        self._fill(now)

    def _lose_worker(self, worker: _Worker, run: int, what: str, now: float) -> None:
        if worker.run != run:
            return
        self._report_loss(worker, what, now)
        self._at(now + self._cluster.worker_start, partial(self._return, [worker]))

    def _lose_node(self, node: int, now: float) -> None:
        back = now + self._cluster.node_return
        self._nodes_down.add(node)
        workers = [worker for worker in self._workers if worker.node == node]
        for worker in workers:
            self._down.append((now, back))
            if worker.trial is not None:
                self._report_loss(worker, "node", now)
            elif worker in self._idle:
                self._idle.remove(worker)
        self._at(back, partial(self._return_node, node, workers))
        self._at(back + self._rng.expovariate(1 / self._cluster.node_life), partial(self._lose_node, node))

    def _report_loss(self, worker: _Worker, what: str, now: float) -> None:
        """Tell of a lost worker as Ray does: the scheduler has the cause, then the searcher hears of an error."""
        self._losses += 1
        path = self._scratch / f"{what}.txt"
        path.write_text(ERROR_TEXTS[what])
        worker.trial.error_file = str(path)
        self._driver.call(now, "lost", self._scheduler.on_trial_error, None, worker.trial)
        self._driver.call(now, "complete", self._searcher.on_trial_complete, worker.trial.trial_id, None, True)
        worker.trial, worker.run = None, worker.run + 1

    def _return_node(self, node: int, workers: list[_Worker], now: float) -> None:
        self._nodes_down.remove(node)
        self._return(workers, now)

    def _return(self, workers: list[_Worker], now: float) -> None:
        self._idle += [worker for worker in workers if worker.node not in self._nodes_down and worker not in self._idle]
        self._fill(now)

    def _outcome(self, begin: float, end: float) -> Outcome:
        def within(spans: Iterable[tuple[float, float]]) -> float:
            return sum(max(0.0, min(end, last) - max(begin, first)) for first, last in spans)

        calls: defaultdict[str, list[float]] = defaultdict(list)
        for name, start, seconds in self._driver.calls:
            if start >= begin:
                calls[name].append(seconds)
        epochs = sum(begin <= last < end for _, last in self._useful)
        served = sum(map(sum, calls.values()))
        under_way = [(worker.began, end) for worker in self._workers if worker.trial is not None]
        capacity = (end - begin) * len(self._workers) - within(self._down)
        return Outcome(
            utilisation=within([*self._useful, *under_way]) / capacity,
            driver_load=within((start, start + seconds) for _, start, seconds in self._driver.calls) / (end - begin),
            epochs_reported=len(self._useful),
            lost_workers=self._losses,
            call_ms={name: 1000 * statistics.median(seconds) for name, seconds in sorted(calls.items())},
            epochs_a_second=epochs / served if served else 0.0,
        )


def curve(candidate: str, epochs: int) -> list[EpochPoint]:
    """Return a learning curve that falls from 0.9 to a level of the candidate's own, the same whenever it is asked."""
    level = random.Random(candidate).uniform(0.05, 0.6)
    return [EpochPoint(level + (0.9 - level) * 0.7**epoch, 1 / epoch, 1.0) for epoch in range(1, epochs + 1)]


def measurement(candidate: str, epochs: int) -> Measurement:
    """Return what a worker reports of a trained candidate."""
    error = curve(candidate, epochs)[-1].error
    return Measurement(
        figures={"error": error, "test_error": error},
        fusion={"largest_relative_difference": 0.0},
        seed=0,
        epochs=epochs,
        train_seconds=float(epochs),
        branched_parameters=0,
    )
