import time

import numpy as np
import pytest

from repareto.search.devices.latency import timing as module
from repareto.search.devices.latency.timing import Timings, time_runs


def summary(bursts: list[list[tuple[float, float, float]]]) -> Timings:
    return module._summary([[module._Burst(*burst) for burst in own] for own in bursts], best_us=10.0)


def test_a_slower_clock_is_scaled_away() -> None:
    fast, slow = (10.0, 20.0, 10.0), (11.4, 22.8, 11.4)
    timings = summary([[fast] * 8, [slow] * 8])
    assert timings.us == pytest.approx([20.0, 20.0])
    assert timings.min_us == pytest.approx([20.0, 22.8])
    assert timings.calm == 0.5
    assert timings.spread == pytest.approx(0)


def test_bursts_on_a_shared_core_do_not_count() -> None:
    fast, shared, changing = (10.0, 20.0, 10.0), (18.0, 24.0, 18.0), (10.0, 15.0, 12.0)
    assert summary([[fast] * 4 + [shared] * 10 + [changing] * 10]).us == pytest.approx([20.0])


def test_without_a_steady_burst_the_calmest_have_to_do() -> None:
    timings = summary([[(10.0, 20.0, 10.0)] * 8, [(20.0, 30.0, 20.0)] * 2 + [(30.0, 60.0, 30.0)] * 2])
    assert np.isfinite(timings.us).all()
    assert timings.us[1] == pytest.approx(15.0, rel=0.4)


def test_every_model_is_run_and_longer_runs_take_longer() -> None:
    counts = [0, 0]

    def run(number: int, rounds: int) -> None:
        counts[number] += 1
        sum(range(rounds))

    timings = time_runs([lambda: run(0, 100), lambda: run(1, 20_000)], 0.2, anchor=lambda: sum(range(2000)))
    assert min(counts) > 8
    assert timings.us[0] < timings.us[1]
    assert timings.min_us[0] < timings.min_us[1]


def test_a_long_run_is_timed_by_its_own_processor_time() -> None:
    assert module._clock_for(lambda: time.sleep(0.005)) is time.thread_time_ns
    assert module._clock_for(lambda: None) is time.perf_counter_ns
