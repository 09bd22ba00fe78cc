"""Wake words in a stream: when a score counts as a detection, and how often that is missed or wrong.

The measure of the field is misses at a number of false alarms an hour: the threshold is chosen on one stream and both
rates are reported on another. Shape legend: h hops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..spaces.errors import UserError

SECONDS_PER_HOUR = 3600.0
# At most: thresholds that give the same score are one.
CURVE_POINTS = 400


@dataclass(frozen=True)
class Detector:
    """Scores, averaged over the last ``smoothing_hops``, that reach ``threshold``; then a pause of ``pause_seconds``.

    The pause keeps one spoken word from being detected several times.
    """

    threshold: float = 0.5
    smoothing_hops: int = 5
    pause_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserError(f"detector threshold {self.threshold}: is a probability, 0 to 1 (try 0.5)")
        if self.smoothing_hops < 1:
            raise UserError(f"detector smoothing_hops {self.smoothing_hops}: must be 1 (none) or more")
        if not self.pause_seconds >= 0:
            raise UserError(f"detector pause_seconds {self.pause_seconds}: must be 0 or more")

    def smoothed(self, scores: np.ndarray) -> np.ndarray:
        """The mean of each score and those before it, (h,); the first have fewer before them."""
        sums = np.concatenate([[0.0], np.cumsum(scores, dtype=np.float64)])
        ends = np.arange(1, len(scores) + 1)
        starts = np.maximum(0, ends - self.smoothing_hops)
        return (sums[ends] - sums[starts]) / (ends - starts)

    def pause_hops(self, hop_seconds: float) -> int:
        """The hops after a detection at which nothing is detected: those that end within the pause."""
        # Of a quotient that is a whole number but for rounding, that number.
        return math.floor(self.pause_seconds / hop_seconds + 1e-9)

    def detections(self, smoothed: np.ndarray, hop_seconds: float) -> np.ndarray:
        """The hops, ascending, at which something is detected in smoothed scores (h,)."""
        pause_hops = self.pause_hops(hop_seconds)
        found: list[int] = []
        reached = np.flatnonzero(smoothed >= self.threshold)
        place = 0
        while place < len(reached):
            found.append(int(reached[place]))
            place = int(np.searchsorted(reached, found[-1] + pause_hops + 1))
        return np.array(found, np.int64)


@dataclass(frozen=True)
class DetectionTask:
    """What a wake word is judged by: misses at a number of false alarms an hour, however long a model's hops are."""

    word: str
    false_alarms_per_hour: float = 1.0
    smoothing_ms: float = 200.0
    """Scores are averaged over this long."""
    pause_seconds: float = 1.5
    """After a detection nothing is detected."""
    patience_seconds: float = 1.5
    """So long after its end a word still counts as detected: it is in the window that a model hears at once."""

    def __post_init__(self) -> None:
        for name in ("false_alarms_per_hour", "smoothing_ms"):
            if not getattr(self, name) > 0:
                raise UserError(f"data.{name} = {getattr(self, name)}: must be positive")
        if not self.pause_seconds >= 0:
            raise UserError(f"data.pause_seconds = {self.pause_seconds}: must be 0 or more")

    def detector(self, hop_seconds: float, threshold: float = 0.5) -> Detector:
        """The detector for scores that come each ``hop_seconds``."""
        hops = max(1, round(self.smoothing_ms / 1000 / hop_seconds))
        return Detector(min(1.0, threshold), hops, self.pause_seconds)


@dataclass(frozen=True)
class ScoredStream:
    """The scores of one stream, (h,), one each ``hop_seconds``, and when its wake words were spoken.

    A word counts as detected from its start until ``patience_seconds`` after its end, for scores are averaged and
    windows look back.
    """

    scores: np.ndarray
    hop_seconds: float
    words: tuple[tuple[float, float], ...] = ()
    """Start and end of each spoken wake word, in seconds."""
    patience_seconds: float = 1.0

    @property
    def hours(self) -> float:
        """How long nothing is to be detected: the stream without its words."""
        seconds = len(self.scores) * self.hop_seconds
        near, told = 0.0, 0.0
        for start, end in sorted(self.words):
            until = min(end + self.patience_seconds, seconds)
            near += max(0.0, until - max(start, told))
            told = max(told, until)
        return max(0.0, seconds - near) / SECONDS_PER_HOUR


@dataclass(frozen=True)
class Counts:
    """What a detector did on some streams."""

    words: int
    misses: int
    false_alarms: int
    hours: float

    @property
    def miss_rate(self) -> float:
        return self.misses / self.words if self.words else math.nan

    @property
    def false_alarms_per_hour(self) -> float:
        return self.false_alarms / self.hours if self.hours else math.nan

    def miss_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Between what the miss rate lies (Clopper and Pearson 1934)."""
        from scipy.stats import binomtest

        if not self.words:
            return 0.0, 1.0
        found = binomtest(self.misses, self.words).proportion_ci(confidence, method="exact")
        return float(found.low), float(found.high)

    def false_alarm_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Between what the false alarms an hour lie, if they come as a Poisson process (Garwood 1936)."""
        from scipy.stats import chi2

        if not self.hours:
            return 0.0, math.inf
        tail = (1 - confidence) / 2
        low = chi2.ppf(tail, 2 * self.false_alarms) / 2 if self.false_alarms else 0.0
        return float(low) / self.hours, float(chi2.ppf(1 - tail, 2 * self.false_alarms + 2)) / 2 / self.hours


def count(streams: Sequence[ScoredStream], detector: Detector) -> Counts:
    """What the detector does on the streams: each word is missed or not; what is near no word is a false alarm."""
    return _count([(stream, detector.smoothed(stream.scores)) for stream in streams], detector)


def _count(smoothed: Sequence[tuple[ScoredStream, np.ndarray]], detector: Detector) -> Counts:
    words = misses = false_alarms = 0
    for stream, scores in smoothed:
        # A score is known when its hop has ended.
        times = (detector.detections(scores, stream.hop_seconds) + 1) * stream.hop_seconds
        spans = np.array(sorted(stream.words), np.float64).reshape(-1, 2)
        firsts = np.searchsorted(times, spans[:, 0], "left")
        ends = np.searchsorted(times, spans[:, 1] + stream.patience_seconds, "right")
        words += len(spans)
        misses += _missed(firsts.tolist(), ends.tolist())
        opened = np.zeros(len(times) + 1, np.int64)
        np.add.at(opened, firsts, 1)
        np.add.at(opened, np.maximum(firsts, ends), -1)
        false_alarms += int((np.cumsum(opened)[:-1] == 0).sum())
    return Counts(words, misses, false_alarms, sum(stream.hours for stream, _ in smoothed))


def _missed(firsts: Sequence[int], ends: Sequence[int]) -> int:
    """How many words get none of the detections from ``first`` to before ``end``; each detection is of one word."""
    misses = free = 0
    for first, end in zip(firsts, ends, strict=True):
        taken = max(first, free)
        if taken < end:
            free = taken + 1
        else:
            misses += 1
    return misses


@dataclass(frozen=True)
class CurvePoint:
    """One threshold of a detection error trade-off."""

    threshold: float
    counts: Counts


def curve(streams: Sequence[ScoredStream], detector: Detector) -> tuple[CurvePoint, ...]:
    """Misses over false alarms: what the detector does at each of many thresholds, ascending, its own aside."""
    smoothed = [(stream, detector.smoothed(stream.scores)) for stream in streams]
    pooled = np.sort(np.concatenate([scores for _, scores in smoothed])) if smoothed else np.zeros(0)
    if not len(pooled):
        raise UserError("no scores: a stream of at least one hop is needed")
    # False alarms are few because few scores are as high: of those that occur the highest, then every so many; those
    # between, and among the highest those close to 1.
    third = CURVE_POINTS // 3
    ranks = np.geomspace(1, len(pooled), third).astype(np.int64)
    candidates = [pooled[-ranks], np.linspace(0, 1, third), _near_one(third)]
    thresholds = np.unique(np.clip(np.concatenate(candidates), 0, 1))
    return tuple(
        CurvePoint(float(value), _count(smoothed, replace(detector, threshold=float(value)))) for value in thresholds
    )


def _near_one(count: int) -> np.ndarray:
    return 1 - np.logspace(-1, -6, count)


def operating_point(points: Sequence[CurvePoint], false_alarms_per_hour: float) -> CurvePoint:
    """The point with the fewest misses among those with at most so many false alarms an hour, then the fewest of these.

    Of thresholds that are alike in both, the middle one in log-odds: another stream's words score somewhat lower and
    its other sounds somewhat higher than those that were counted. Where even the highest threshold alarms more often, a
    detector that is never woken: every word is missed.
    """
    held = [point for point in points if point.counts.false_alarms_per_hour <= false_alarms_per_hour]
    if not held:
        counts = points[-1].counts
        return CurvePoint(1.0, Counts(counts.words, counts.words, 0, counts.hours))
    fewest = min((point.counts.misses, point.counts.false_alarms) for point in held)
    alike = [point for point in held if (point.counts.misses, point.counts.false_alarms) == fewest]
    middle = (_log_odds(alike[0].threshold) + _log_odds(alike[-1].threshold)) / 2
    return min(alike, key=lambda point: abs(_log_odds(point.threshold) - middle))


def _log_odds(probability: float) -> float:
    held = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(held / (1 - held))
