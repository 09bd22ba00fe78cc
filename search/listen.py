"""An exported streaming model at work: sound goes in piece by piece, detections come out."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from ..spaces.errors import UserError
from ..trainers.data.audio import UnreadableAudio
from ..trainers.data.audio_stream import file_blocks, pcm_blocks
from ..trainers.data.labels import SILENCE, UNKNOWN
from ..trainers.detection import Detector
from ..trainers.features import FeatureStream, LogMel, Normalisation
from .devices.host.onnx_streaming import OnnxStream
from .devices.stream import Stream
from .exits.streaming import ExitStream
from .units import parse_quantity

STREAM_FILE = "streaming.onnx"
# Beyond these, something is wrong with the microphone or the file.
_CLIPPED_LEVEL, _CLIPPED_SHARE, _SILENT_LEVEL = 0.999, 0.001, 1e-4


@dataclass(frozen=True)
class Detection:
    """A word and when its score reached the threshold, in seconds from the start of the sound."""

    seconds: float
    word: str
    score: float


class Listener:
    """Hears mono samples (s,), full scale 1, at ``sample_rate_hz``, and says which words it detects.

    Scores are probabilities averaged over hops, from the first whole window on. A wake word's export says itself how it
    is detected; ``changed`` are fields of :class:`Detector` to take in place of those. Raises :class:`UserError` for a
    folder that is no export, and for an export without a streaming model.
    """

    def __init__(self, folder: Path, **changed: Any) -> None:
        manifest = _manifest(folder)
        front_end = manifest["front_end"]
        if front_end.get("kind") != "log_mel":
            raise UserError(f"{folder}: its model takes {front_end.get('kind')}, and only log_mel can be listened to")
        self._model = _open_model(folder, manifest)
        self.detector = detector_of(manifest, changed)
        log_mel = LogMel.from_front_end(front_end)
        self.sample_rate_hz = log_mel.sample_rate_hz
        self._features = FeatureStream(log_mel)
        self._normalisation = Normalisation.from_front_end(front_end)
        self._places = [i for i, label in enumerate(self._model.labels) if label not in (UNKNOWN, SILENCE)]
        self.words = tuple(self._model.labels[place] for place in self._places)
        """What can be detected."""
        self._frames = np.zeros((log_mel.bands, 0), np.float32)
        self._recent: deque[np.ndarray] = deque(maxlen=self.detector.smoothing_hops)
        self._hops = 0
        self._quiet_hops = 0
        """Hops at which nothing is detected yet."""
        self.hop_seconds = self._model.hop_shape[-1] * log_mel.hop_samples / log_mel.sample_rate_hz
        self._heard, self._clipped, self._peak = 0, 0, 0.0

    @property
    def heard_seconds(self) -> float:
        return self._heard / self.sample_rate_hz

    def listen(self, blocks: Iterable[np.ndarray]) -> Iterator[Detection]:
        """Each detection as soon as its hop is in."""
        for scores in self.scores(blocks):
            detection = self._detect(self._hops * self.hop_seconds, scores)
            if detection is not None:
                yield detection

    def scores(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The probability of each of ``words`` after each hop, not averaged; 0 before the first whole window."""
        for block in blocks:
            self._note_level(block)
            self._frames = np.concatenate([self._frames, self._features.push(block)], axis=1)
            hop_frames = self._model.hop_shape[-1]
            while self._frames.shape[1] >= hop_frames:
                hop, self._frames = self._frames[:, :hop_frames], self._frames[:, hop_frames:]
                yield self._score(hop)

    def remarks(self) -> list[str]:
        """What a user should know of the sound: nothing, where all is well."""
        if not self._heard:
            return ["nothing was heard: the sound is empty"]
        window_seconds = self._model.window_hops * self.hop_seconds
        found = [self._model.remark()] if isinstance(self._model, ExitStream) else []
        if self.heard_seconds < window_seconds:
            found.append(f"the sound lasts {self.heard_seconds:.2f} s, less than a window of {window_seconds:.2f} s")
        if self._peak < _SILENT_LEVEL:
            found.append(f"the sound is silent: its peak is {self._peak:.2g} of full scale")
        if self._clipped > _CLIPPED_SHARE * self._heard:
            found.append(f"the sound is clipped: {self._clipped / self._heard:.1%} of its samples are at full scale")
        return found

    def _note_level(self, block: np.ndarray) -> None:
        level = np.abs(block)
        self._heard += len(block)
        self._clipped += int((level >= _CLIPPED_LEVEL).sum())
        self._peak = max(self._peak, float(level.max(initial=0.0)))

    def _score(self, hop: np.ndarray) -> np.ndarray:
        logits = self._model.step(self._normalisation.apply(hop).reshape(self._model.hop_shape))
        self._hops += 1
        if self._hops < self._model.window_hops:
            return np.zeros(len(self._places))
        exponentials = np.exp(logits - logits.max())
        return (exponentials / exponentials.sum())[self._places]

    def _detect(self, seconds: float, scores: np.ndarray) -> Detection | None:
        """What :meth:`Detector.detections` finds in a whole stream, hop by hop."""
        self._recent.append(scores)
        if self._quiet_hops:
            self._quiet_hops -= 1
            return None
        smoothed = np.mean(self._recent, axis=0)
        place = int(smoothed.argmax())
        # Written so that NaN is no detection.
        if not smoothed[place] >= self.detector.threshold:
            return None
        self._quiet_hops = self.detector.pause_hops(self.hop_seconds)
        return Detection(seconds, self.words[place], float(smoothed[place]))


def detector_of(manifest: Mapping[str, Any], changed: Mapping[str, Any]) -> Detector:
    """The detector of an export, or the usual one, with some fields changed."""
    kept = manifest.get("detector", {})
    fields = {field.name: kept[field.name] for field in dataclasses.fields(Detector) if field.name in kept}
    return dataclasses.replace(Detector(**fields), **changed)


def pause_seconds(text: str) -> float:
    """What ``--pause`` means: a duration, or none."""
    if text.strip() in ("0", "0s"):
        return 0.0
    try:
        return parse_quantity(text, "duration") / 1e6
    except UserError as error:
        raise UserError(f"--pause: {error}") from error


def blocks_of(sound: str, rate_hz: int | None, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks of a file, or with "-" of raw samples at ``rate_hz`` from standard input, at ``sample_rate_hz``.

    Raises :class:`UserError` where the file does not decode, and for a rate beside a file, which has its own.
    """
    if sound == "-":
        pipe = sys.stdin.buffer
        assert isinstance(pipe, BufferedIOBase)
        yield from pcm_blocks(pipe, rate_hz or sample_rate_hz, sample_rate_hz)
        return
    if rate_hz is not None:
        raise UserError(f"--rate {rate_hz}: {sound} says its own rate (leave it out, or pipe raw samples to -)")
    try:
        yield from file_blocks(Path(sound), sample_rate_hz)
    except UnreadableAudio as error:
        raise UserError(f"{sound}: {error}") from error


def _open_model(folder: Path, manifest: Mapping[str, Any]) -> Stream | ExitStream:
    """The device's own file that listens, where there is one, or the stages that do; else the one in float32."""
    streaming = manifest.get("streaming", {})
    if "stages" in streaming:
        return ExitStream.of(folder, manifest)
    path = folder / streaming.get("ships", {}).get("file", STREAM_FILE)
    if not path.exists():
        reason = streaming.get("refused", "it was exported by an older version")
        raise UserError(f"{folder}: has no {path.name}: {reason}")
    try:
        if path.suffix == ".tflite":
            from .devices.tflite.streams import TfliteStream

            return TfliteStream(path.read_bytes())
        return OnnxStream(path.read_bytes())
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: is no export (its manifest.json cannot be read)") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("front_end"), dict):
        raise UserError(f"{folder}: is no export (its manifest.json has no front_end)")
    return manifest
