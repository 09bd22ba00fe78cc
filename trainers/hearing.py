"""A wake word's model listening to a long sound: the word's score after each hop, and what is made of the scores.

Shape legend: b mel bands, t frames, h hops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..spaces.errors import UserError
from ..spaces.streaming import Streaming, streaming
from .data.dataset import Dataset, SoundStream
from .detection import CurvePoint, DetectionTask, Detector, ScoredStream, count, curve, operating_point
from .judgement import Judgement
from .supervised import TrainingDivergedError

WINDOW_STEP_MS = 100.0
"""How often a network without a streaming form looks at a whole window."""
FALSE_ALARM_RATES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""An hour, at which misses are told."""
SUSPECTS = 5
MOST_CORNERS = 60
"""Of a curve: it is kept in the ledger with its trial."""
_HOPS_A_PIECE = 4096
_WINDOWS_A_PIECE = 512


@dataclass(frozen=True)
class Heard:
    """Logits (h, classes) after each hop, and how many frames a hop has; what came before a whole window is left out.

    Hop i of these ends after ``first_hop + i + 1`` hops.
    """

    logits: np.ndarray
    hop_frames: int
    first_hop: int

    def word_scores(self) -> np.ndarray:
        """The probability of the first class after each hop of the sound (h,), 0 before the first whole window."""
        shifted = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        scores = shifted[:, 0] / shifted.sum(axis=1)
        return np.concatenate([np.zeros(self.first_hop), scores])


Hear = Callable[[np.ndarray], Heard]
"""Takes normalised features (b, t)."""


def window_step(front_end: Mapping[str, Any]) -> int:
    """The frames between two windows of a network that has no streaming form."""
    return max(1, round(WINDOW_STEP_MS / front_end["hop_ms"]))


def streaming_or_none(fused: nn.Module, input_shape: tuple[int, ...]) -> Streaming | None:
    """The streaming form of a fused network in eval mode, None where it has none."""
    try:
        return streaming(fused, input_shape)
    except UserError:
        return None


def hear_with(fused: nn.Module, dataset: Dataset, device: str = "cpu") -> Hear:
    """How a fused network in eval mode on ``device`` hears: hop by hop, or window by window where it must."""
    stream = streaming_or_none(fused, dataset.input_shape)
    if stream is not None:
        stream.to(device)
        return lambda features: _hear_hops(stream, features, device)
    step = window_step(dataset.front_end)

    def logits(windows: np.ndarray) -> np.ndarray:
        answer: np.ndarray = fused(torch.from_numpy(windows).to(device)).cpu().numpy()
        return answer

    return lambda features: hear_by_windows(logits, features, dataset.input_shape[-1], step)


@torch.no_grad()
def _hear_hops(stream: Streaming, features: np.ndarray, device: str) -> Heard:
    hops = features.shape[1] // stream.hop_frames
    states = tuple(state.to(device) for state in stream.silence())
    pieces = []
    for start in range(0, hops, _HOPS_A_PIECE):
        end = min(hops, start + _HOPS_A_PIECE)
        piece = features[None, :, start * stream.hop_frames : end * stream.hop_frames].astype(np.float32)
        logits, *states = stream.over(torch.from_numpy(piece).to(device), *states)  # type: ignore[assignment]
        pieces.append(logits[0].cpu().numpy())
    first = min(hops, stream.window_hops - 1)
    return Heard(np.concatenate(pieces)[first:], stream.hop_frames, first)


@torch.no_grad()
def hear_by_windows(
    logits: Callable[[np.ndarray], np.ndarray], features: np.ndarray, window_frames: int, step: int
) -> Heard:
    """Look at a whole window (n, b, window_frames), float32, each ``step`` frames."""
    ends = np.arange(step, features.shape[1] + 1, step)
    ends = ends[ends >= window_frames]
    windows = np.lib.stride_tricks.sliding_window_view(features, window_frames, axis=1)
    pieces = [
        logits(windows[:, ends[start : start + _WINDOWS_A_PIECE] - window_frames].transpose(1, 0, 2).astype(np.float32))
        for start in range(0, len(ends), _WINDOWS_A_PIECE)
    ]
    return Heard(np.concatenate(pieces), step, features.shape[1] // step - len(ends))


def scored(hear: Hear, dataset: Dataset, split: str) -> ScoredStream:
    """What a model makes of the stream "validation" or "test"."""
    stream, front_end, task = dataset.streams[split], dataset.front_end, dataset.detection
    assert task is not None
    heard = hear(stream.features)
    words = tuple((float(start), float(end)) for start, end in stream.words)
    hop_seconds = heard.hop_frames * front_end["hop_samples"] / front_end["sample_rate_hz"]
    scores = heard.word_scores()
    if not np.isfinite(scores).all():
        # The candidate has failed, the search has not.
        raise TrainingDivergedError(f"scores of the {split} stream are no numbers")
    return ScoredStream(scores, hop_seconds, words, task.patience_seconds)


def misses(hear: Hear, dataset: Dataset) -> float:
    """The share of the calibration stream's words that are missed at the task's rate of false alarms."""
    assert dataset.detection is not None
    stream = scored(hear, dataset, "validation")
    points = curve([stream], dataset.detection.detector(stream.hop_seconds))
    return operating_point(points, dataset.detection.false_alarms_per_hour).counts.miss_rate


def judge(hear: Hear, dataset: Dataset) -> Judgement:
    """Choose thresholds on the calibration stream, and count on the test stream."""
    task = dataset.detection
    assert task is not None
    calibration = scored(hear, dataset, "validation")
    test = scored(hear, dataset, "test")
    detector = task.detector(calibration.hop_seconds)
    points, test_points = curve([calibration], detector), curve([test], detector)
    chosen = operating_point(points, task.false_alarms_per_hour)
    tested = count([test], task.detector(calibration.hop_seconds, chosen.threshold))
    low, high = tested.miss_interval()
    alarms_low, alarms_high = tested.false_alarm_interval()
    figures = {
        "error": chosen.counts.miss_rate,
        "test_error": tested.miss_rate,
        "test_error_low": low,
        "test_error_high": high,
        "test_false_alarms_per_hour": tested.false_alarms_per_hour,
        "test_false_alarms_per_hour_low": alarms_low,
        "test_false_alarms_per_hour_high": alarms_high,
        "threshold": chosen.threshold,
    }
    details = {
        "detector": {
            "threshold": chosen.threshold,
            "smoothing_hops": detector.smoothing_hops,
            "pause_seconds": detector.pause_seconds,
            "hop_seconds": calibration.hop_seconds,
            "false_alarms_per_hour": task.false_alarms_per_hour,
        },
        "misses": _misses_at_rates(points, test, task),
        "curves": {"validation": _corners(points), "test": _corners(test_points)},
        "suspects": _suspects(calibration, dataset.streams["validation"], detector),
    }
    return Judgement(figures, details)


def _misses_at_rates(points: tuple[CurvePoint, ...], test: ScoredStream, task: DetectionTask) -> list[dict[str, Any]]:
    rows = []
    for rate in FALSE_ALARM_RATES:
        chosen = operating_point(points, rate)
        tested = count([test], task.detector(test.hop_seconds, chosen.threshold))
        rows.append(
            {
                "false_alarms_per_hour": rate,
                "threshold": chosen.threshold,
                "validation_misses": chosen.counts.miss_rate,
                "test_misses": tested.miss_rate,
                "test_misses_interval": tested.miss_interval(),
                "test_false_alarms_per_hour": tested.false_alarms_per_hour,
                "test_false_alarms_per_hour_interval": tested.false_alarm_interval(),
            }
        )
    return rows


def _corners(points: tuple[CurvePoint, ...]) -> list[dict[str, Any]]:
    """The corners of a curve: where more false alarms leave fewer misses; of many, some that are spread evenly."""
    best: dict[int, CurvePoint] = {}
    for point in points:
        known = best.get(point.counts.false_alarms)
        if known is None or point.counts.misses <= known.counts.misses:
            best[point.counts.false_alarms] = point
    corners: list[CurvePoint] = []
    for _, point in sorted(best.items()):
        if not corners or point.counts.misses < corners[-1].counts.misses:
            corners.append(point)
    kept = np.linspace(0, len(corners) - 1, min(len(corners), MOST_CORNERS)).round().astype(int)
    return [
        {
            "threshold": point.threshold,
            "false_alarms_per_hour": point.counts.false_alarms_per_hour,
            "false_alarms_interval": point.counts.false_alarm_interval(),
            "misses": point.counts.miss_rate,
            "misses_interval": point.counts.miss_interval(),
        }
        for point in (corners[index] for index in kept)
    ]


def _suspects(heard: ScoredStream, stream: SoundStream, detector: Detector) -> list[dict[str, Any]]:
    """The highest scores in recordings without the word: the worst confusions, or recordings that contain it."""
    smoothed = detector.smoothed(heard.scores)
    times = (np.arange(len(smoothed)) + 1) * heard.hop_seconds
    for start, end in heard.words:
        smoothed[(times >= start) & (times <= end + heard.patience_seconds)] = 0.0
    # A window and what is averaged look back: the middle of what was heard tells the recording.
    middles = np.maximum(0.0, times - heard.patience_seconds / 2)
    smoothed[stream.is_made(middles)] = 0.0
    found = []
    for _ in range(SUSPECTS):
        place = int(smoothed.argmax())
        if smoothed[place] <= 0:
            break
        found.append({"score": float(smoothed[place]), "where": stream.source_at(float(middles[place]))})
        smoothed[np.abs(times - times[place]) <= detector.pause_seconds] = 0.0
    return found
