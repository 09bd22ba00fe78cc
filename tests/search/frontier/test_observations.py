"""What ended, stopped, failed and running trials say of errors after full training."""

import numpy as np
import pytest

from repareto.search.frontier.observations import UNKNOWN_VARIANCE, Observer, to_scale
from repareto.search.records import EpochPoint, State


def curve(*errors: float) -> tuple[EpochPoint, ...]:
    return tuple(EpochPoint(error, 1.0, 1.0) for error in errors)


def test_a_stopped_curve_ends_as_others_did_from_there_on(lab) -> None:
    finished = [
        lab.record(number, error=level, curve=curve(4 * level, 2 * level, level))
        for number, level in enumerate((0.1, 0.15, 0.2, 0.12))
    ]
    stopped = lab.record(9, state=State.STOPPED, curve=curve(0.8, 0.4))
    observer = Observer(finished, reference=0.9)
    scaled, variance = observer(stopped)
    assert np.exp(scaled) * 0.9 == pytest.approx(0.2, rel=0.1)
    assert variance < 0.01
    assert observer(finished[0]) == (pytest.approx(float(to_scale(np.array(0.1 / 0.9)))), 0.0)
    running = lab.record(10, state=State.RUNNING, curve=curve(0.8, 0.4))
    assert observer(running) == (scaled, variance)


def test_with_few_whole_curves_little_is_certain(lab) -> None:
    stopped = lab.record(1, state=State.STOPPED, curve=curve(0.5))
    assert Observer([], 0.9)(stopped) == (pytest.approx(float(to_scale(np.array(0.5 / 0.9)))), UNKNOWN_VARIANCE)


def test_a_failure_is_as_good_as_guessing_and_the_untrained_say_nothing(lab) -> None:
    observer = Observer([], 0.9)
    failed = lab.record(1, state=State.FAILED)
    assert observer(failed) == (float(to_scale(np.array(1.0))), UNKNOWN_VARIANCE)
    assert observer(lab.record(2, state=State.REJECTED)) is None
    assert observer(lab.record(3, state=State.RUNNING, curve=())) is None


def test_a_curve_that_is_not_a_number_is_a_bad_one(lab) -> None:
    scaled, _ = Observer([], 0.9)(lab.record(1, state=State.STOPPED, curve=curve(float("nan"))))
    assert scaled == float(to_scale(np.array(np.inf)))
