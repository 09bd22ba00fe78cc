"""When a score counts as a detection, and how misses and false alarms are counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.spaces.errors import UserError
from repareto.trainers.detection import (
    Counts,
    DetectionTask,
    Detector,
    ScoredStream,
    count,
    curve,
    operating_point,
)

HOP_SECONDS = 0.1


def scores(*peaks: int, hops: int = 100, height: float = 0.9) -> np.ndarray:
    """Low scores with a high one at each of these hops."""
    found = np.full(hops, 0.1)
    found[list(peaks)] = height
    return found


def one_by_one(smoothed: np.ndarray, threshold: float, pause_hops: int) -> list[int]:
    """The definition, written as slowly as it is said."""
    found: list[int] = []
    for hop, score in enumerate(smoothed):
        if score >= threshold and (not found or hop > found[-1] + pause_hops):
            found.append(hop)
    return found


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.floats(0, 1),
    st.integers(0, 12),
    st.integers(1, 8),
)
def test_detections_are_those_of_the_definition(
    values: list[float], threshold: float, pause_hops: int, smoothing: int
) -> None:
    detector = Detector(threshold, smoothing, pause_hops * HOP_SECONDS)
    smoothed = detector.smoothed(np.array(values))
    means = [np.mean(values[max(0, hop + 1 - smoothing) : hop + 1]) for hop in range(len(values))]
    assert np.allclose(smoothed, means, atol=1e-12)
    assert detector.detections(smoothed, HOP_SECONDS).tolist() == one_by_one(smoothed, threshold, pause_hops)


def test_after_a_detection_nothing_is_detected_for_a_pause() -> None:
    detector = Detector(0.5, 1, 1.0)
    assert detector.detections(scores(10, 15, 20, 21), HOP_SECONDS).tolist() == [10, 21]


def test_a_pause_ends_with_the_last_hop_within_it() -> None:
    assert Detector(pause_seconds=1.0).pause_hops(0.08) == 12  # 0.96 s; the next hop ends after 1.04
    assert Detector(pause_seconds=1.0).pause_hops(0.02) == 50
    assert Detector(pause_seconds=0.3).pause_hops(0.1) == 3  # not 2, which is what rounding down gives
    assert Detector(pause_seconds=0.0).pause_hops(0.1) == 0


def test_averaging_needs_more_than_one_high_score() -> None:
    assert len(Detector(0.5, 3, 0).detections(Detector(0.5, 3, 0).smoothed(scores(10)), HOP_SECONDS)) == 0
    smoothed = Detector(0.5, 3, 1.0).smoothed(scores(10, 11))
    assert Detector(0.5, 3, 1.0).detections(smoothed, HOP_SECONDS).tolist() == [11]


def test_a_word_is_heard_once_missed_or_elsewhere_alarmed() -> None:
    detector = Detector(0.5, 1, 0.0)
    # Words at 1 to 2 s and at 6 to 7 s. Hop 20 ends at 2.1 s, within the patience; hop 21 hears the first word again.
    stream = ScoredStream(scores(20, 21, 45), HOP_SECONDS, ((1.0, 2.0), (6.0, 7.0)), patience_seconds=0.5)
    counts = count([stream], detector)
    assert (counts.words, counts.misses, counts.false_alarms) == (2, 1, 1)
    # Of ten seconds, three belong to the words and their patience.
    assert counts.hours == pytest.approx(7 / 3600)
    assert counts.miss_rate == 0.5 and counts.false_alarms_per_hour == pytest.approx(3600 / 7)
    two = count([stream, ScoredStream(scores(), HOP_SECONDS)], detector)
    assert (two.words, two.misses, two.false_alarms) == (2, 1, 1) and two.hours == pytest.approx(17 / 3600)


def test_one_detection_is_of_one_word() -> None:
    # The second word begins while the first is still waited for: one detection leaves one of them, two leave none.
    words = ((1.0, 1.5), (1.8, 2.2))
    for peaks, misses in (((19,), 1), ((19, 24), 0)):
        counts = count([ScoredStream(scores(*peaks), HOP_SECONDS, words, patience_seconds=1.0)], Detector(0.5, 1, 0.0))
        assert (counts.misses, counts.false_alarms) == (misses, 0)
        # From 1.0 s on to 3.2 s, and not each for itself.
        assert counts.hours == pytest.approx((10 - 2.2) / 3600)


def test_thresholds_lie_between_scores_that_few_reach() -> None:
    # Two false alarms an hour may be two scores of a million, far from where most are.
    values = np.random.default_rng(0).random(100_000) * 1e-6
    highest = np.array([0.0103, 0.0102, 0.0101, 0.01])
    values[[1000, 2000, 3000, 4000]] = highest
    points = curve([ScoredStream(values, HOP_SECONDS)], Detector(smoothing_hops=1, pause_seconds=0))
    assert {1, 2, 3, 4} <= {point.counts.false_alarms for point in points}


def test_intervals_are_exact_ones() -> None:
    counts = Counts(words=20, misses=0, false_alarms=0, hours=2.0)
    # 1 - 0.025 ** (1 / 20), and -ln(0.025) / 2: what no event in so many tries still allows.
    assert counts.miss_interval() == pytest.approx((0, 0.16843), abs=1e-5)
    assert counts.false_alarm_interval() == pytest.approx((0, 1.84444), abs=1e-5)
    assert Counts(20, 5, 3, 2.0).miss_interval() == pytest.approx((0.08657, 0.49105), abs=1e-5)
    assert Counts(20, 5, 3, 2.0).false_alarm_interval() == pytest.approx((0.30934, 4.38363), abs=1e-5)
    nothing = Counts(0, 0, 0, 0.0)
    assert nothing.miss_interval() == (0, 1) and nothing.false_alarm_interval() == (0, float("inf"))


def test_a_higher_threshold_misses_no_less() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(2000)
    values[[200, 700, 1500]] = [0.95, 0.99, 0.999]
    words = tuple((hop * HOP_SECONDS - 0.5, hop * HOP_SECONDS) for hop in (200, 700, 1500))
    # With a pause, an early false alarm may hide a word: then a lower threshold may miss more.
    points = curve([ScoredStream(values, HOP_SECONDS, words)], Detector(smoothing_hops=1, pause_seconds=0))
    thresholds = [point.threshold for point in points]
    misses = [point.counts.misses for point in points]
    assert thresholds == sorted(thresholds) and len(thresholds) > 100
    assert misses == sorted(misses)
    assert points[-1].threshold == 1.0 and points[-1].counts.false_alarms == 0


def test_the_threshold_is_that_with_fewest_misses_under_the_bound() -> None:
    negatives = ScoredStream(scores(5, 50, height=0.6), HOP_SECONDS)
    positives = ScoredStream(scores(20, height=0.8), HOP_SECONDS, ((1.5, 2.0),))
    points = curve([negatives, positives], Detector(smoothing_hops=1, pause_seconds=0))
    chosen = operating_point(points, 0.0).threshold
    # As far from the alarm as from the word: in log-odds 0.41 and 1.39.
    assert chosen == pytest.approx(0.71, abs=0.01)
    assert count([negatives, positives], Detector(chosen, 1, 0)).misses == 0
    # Both alarms are allowed, and none is needed.
    assert operating_point(points, 1e6).threshold == chosen
    # Two words, one of them lower than the alarms: it is heard where they may be raised.
    low = ScoredStream(scores(70, height=0.4), HOP_SECONDS, ((6.5, 7.0),))
    points = curve([negatives, positives, low], Detector(smoothing_hops=1, pause_seconds=0))
    assert operating_point(points, 0.0).counts.misses == 1
    assert operating_point(points, 1e6).counts.misses == 0


def test_a_detector_that_always_alarms_is_never_woken() -> None:
    always = curve([ScoredStream(np.ones(50), HOP_SECONDS, ((4.0, 4.5),), 0.1)], Detector(smoothing_hops=1))
    point = operating_point(always, 2)
    assert (point.counts.misses, point.counts.words, point.counts.false_alarms) == (1, 1, 0)
    assert point.counts.miss_rate == 1.0


def test_a_task_is_the_same_for_hops_of_any_length() -> None:
    task = DetectionTask("hey", smoothing_ms=200, pause_seconds=1.2)
    assert [task.detector(seconds).smoothing_hops for seconds in (0.02, 0.08, 0.5)] == [10, 2, 1]
    assert task.detector(0.02, 0.7).threshold == 0.7 and task.detector(0.02).pause_seconds == 1.2
    for name in ("false_alarms_per_hour", "smoothing_ms"):
        with pytest.raises(UserError, match=f"data.{name} = 0: must be positive"):
            DetectionTask("hey", **{name: 0})  # type: ignore[arg-type]


def test_bad_settings_are_refused() -> None:
    for settings_, reason in (
        ({"threshold": 1.5}, "threshold 1.5: is a probability"),
        ({"smoothing_hops": 0}, "smoothing_hops 0: must be 1"),
        ({"pause_seconds": -1.0}, "pause_seconds -1.0: must be 0 or more"),
    ):
        with pytest.raises(UserError, match=reason):
            Detector(**settings_)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no scores"):
        curve([], Detector())
