"""Timing many models on a machine that others use too.

A processor changes its clock with what its neighbours do: on a shared host the same network took 1.00, 1.14 and 1.22
times its minimum, in spells of a millisecond to seconds. A minimum whose runs all fell into a slow spell is 14 %
high, and no repeat within that spell tells. So a small fixed network, the anchor, is timed before and after each
burst of runs: a burst counts when both agree, as a multiple of the anchor, and the anchor at its best gives the scale.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

Run = Callable[[], object]

_ANCHOR_RUNS = 3
_AGREEMENT = 0.02
_BURST_SECONDS = 0.001
_PASSES = 8
_BURSTS_A_VISIT = 5
# Of all readings of the anchor: the level that it comes back to, and not one lucky reading.
_BEST_QUANTILE = 0.01
# A run longer than this is likely to be interrupted: its processor time is taken, which costs 0.3 us to read.
_LONG_SECONDS = 0.001
_NEAR_BEST = 0.05
_SEARCH_SECONDS = 3.0
_ENOUGH_READINGS = 300
# Beyond this the core is not slower but shared, which slows some work more than other work: no common scale.
_SLOWEST_CLOCK = 1.25
_ENOUGH = 4


# One level for the whole process, so that what is timed at different moments can be compared.
_best_anchors_us: dict[Run, float] = {}


@dataclass(frozen=True)
class Timings:
    """Times of one run of each model, shape (models,), in microseconds.

    ``us``: scaled to the best clock by the anchor. ``min_us``: the plain minimum. ``spread``: the median over models
    of the relative range between the quartiles of their bursts, the noise of one burst. ``calm``: the share of
    anchor readings near its best, 1 on a machine that does nothing else.
    """

    us: np.ndarray
    min_us: np.ndarray
    spread: float
    calm: float


@dataclass(frozen=True)
class Latency:
    """Timed single runs: rank models by the minimum, the median varies by 7 to 13 % on a shared machine."""

    min_us: float
    median_us: float
    runs: int


def time_single_runs(run: Run, repeats: int = 2000, seconds: float = 1.0) -> Latency:
    """Time single runs of one model: at most ``repeats`` of them and ``seconds`` in all.

    At least three runs are timed, after a warm-up of a tenth of the time.
    """
    warm_until = time.perf_counter() + seconds / 10
    run()
    while time.perf_counter() < warm_until:
        run()
    times_us: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times_us) < 3 or (len(times_us) < repeats and time.perf_counter() < stop):
        start = time.perf_counter_ns()
        run()
        times_us.append((time.perf_counter_ns() - start) / 1e3)
    return Latency(min(times_us), float(np.median(times_us)), len(times_us))


@dataclass(frozen=True)
class _Burst:
    before_us: float
    run_us: float
    after_us: float

    @property
    def ratio(self) -> float:
        return 2 * self.run_us / (self.before_us + self.after_us)

    @property
    def agrees(self) -> bool:
        return abs(self.before_us / self.after_us - 1) <= _AGREEMENT


def time_runs(runs: Sequence[Run], seconds: float, anchor: Run | None = None) -> Timings:
    """Time each of ``runs`` in turns, in eight passes of five bursts, for about ``seconds`` in all.

    Each burst is at least two runs, however long they take.
    """
    anchor = anchor or anchor_run()
    if anchor not in _best_anchors_us:
        _best_anchors_us[anchor] = _find_best_us(anchor, min(_SEARCH_SECONDS, seconds / 2))
    bursts: list[list[_Burst]] = [[] for _ in runs]
    stop = time.perf_counter() + seconds
    for number_of_pass in range(_PASSES):
        pass_stop = stop - seconds * (_PASSES - 1 - number_of_pass) / _PASSES
        for place, (run, own) in enumerate(zip(runs, bursts, strict=True)):
            share = (pass_stop - time.perf_counter()) / (len(runs) - place)
            own += _visit(run, anchor, share)
    readings = np.array([burst.after_us for own in bursts for burst in own])
    if len(readings) >= _ENOUGH_READINGS:
        _best_anchors_us[anchor] = min(_best_anchors_us[anchor], float(np.quantile(readings, _BEST_QUANTILE)))
    return _summary(bursts, _best_anchors_us[anchor])


def _find_best_us(anchor: Run, seconds: float) -> float:
    """The best level of the anchor: a machine under load is at it for some percent of the time only."""
    stop = time.perf_counter() + seconds
    readings = [_best_us(anchor, time.perf_counter_ns, 0.0, _ANCHOR_RUNS)]
    while time.perf_counter() < stop:
        readings.append(_best_us(anchor, time.perf_counter_ns, 0.0, _ANCHOR_RUNS))
    return float(np.quantile(readings, _BEST_QUANTILE))


def _visit(run: Run, anchor: Run, seconds: float) -> list[_Burst]:
    """Up to five bursts: while there is time, at least one."""
    stop = time.perf_counter() + seconds
    clock = _clock_for(run)
    burst_seconds = min(_BURST_SECONDS, seconds / _BURSTS_A_VISIT)
    before_us = _best_us(anchor, time.perf_counter_ns, 0.0, _ANCHOR_RUNS)
    bursts: list[_Burst] = []
    while not bursts or time.perf_counter() < stop:
        run()  # the anchor has taken the nearest cache
        run_us = _best_us(run, clock, burst_seconds, 2)
        after_us = _best_us(anchor, time.perf_counter_ns, 0.0, _ANCHOR_RUNS)
        bursts.append(_Burst(before_us, run_us, after_us))
        before_us = after_us
    return bursts


def _summary(bursts: Sequence[Sequence[_Burst]], best_us: float) -> Timings:
    readings = np.array([burst.after_us for own in bursts for burst in own])
    ratios = [_steady_ratios(own, best_us) for own in bursts]
    quartiles = np.array([np.quantile(own, (0.25, 0.75)) for own in ratios]).T
    return Timings(
        us=best_us * quartiles[0],
        min_us=np.array([min(burst.run_us for burst in own) for own in bursts]),
        spread=float(np.median(quartiles[1] / quartiles[0] - 1)),
        calm=float(np.mean(readings <= best_us * (1 + _NEAR_BEST))),
    )


def _steady_ratios(bursts: Sequence[_Burst], best_us: float) -> list[float]:
    """The bursts at the best clock if there are some, else at a slower one, else those with the least load."""
    agreeing = [burst for burst in bursts if burst.agrees]
    for limit in (1 + _NEAR_BEST, _SLOWEST_CLOCK):
        steady = [burst.ratio for burst in agreeing if burst.after_us <= limit * best_us]
        if len(steady) >= _ENOUGH:
            return steady
    calmest = sorted(bursts, key=lambda burst: max(burst.before_us, burst.after_us))
    return [burst.ratio for burst in calmest[:_ENOUGH]]


def _clock_for(run: Run) -> Callable[[], int]:
    start = time.perf_counter()
    run()
    return time.thread_time_ns if time.perf_counter() - start > _LONG_SECONDS else time.perf_counter_ns


def _best_us(run: Run, clock: Callable[[], int], seconds: float, least: int) -> float:
    best, count = float("inf"), 0
    stop = time.perf_counter() + seconds
    while count < least or time.perf_counter() < stop:
        start = clock()
        run()
        best = min(best, (clock() - start) / 1e3)
        count += 1
    return best


@cache
def anchor_run() -> Run:
    """One run of a fixed network in ONNX Runtime, some 50 us of convolutions that stay in the core's own cache."""
    from ..host.onnx_runtime import make_session
    from .microbenchmarks import anchor_network

    network = anchor_network()
    session = make_session(network.model)
    feed = {"features": np.ones(network.input_shape, dtype=np.float32)}
    return lambda: session.run(None, feed)
