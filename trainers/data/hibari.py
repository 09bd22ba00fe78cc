"""Spoken English from hibari (Apache-2.0, extra ``repareto[speech]``), the same bytes every time.

A small neural network that learned from a large one: no voice of it is eSpeak NG's, so it tests what was trained on
those. Its voice is in the package; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np

from ...spaces.errors import UserError
from .audio import without_silence

VOICE = "heart"
"""The one voice that is in the package: an American woman's."""
MARKS = ("", ",", "!", "?")
"""What may end a text; its melody follows the mark. No full stop: it makes abbreviations ("No." is read "number")."""


@dataclass(frozen=True)
class Utterance:
    """One text and how it is said."""

    text: str
    speed: float
    """1 is the voice's own; 0.5 to 2."""
    pitch: float
    """Factor on all frequencies, of the voice and of the mouth alike; 1 is the voice's own, 0.7 to 1.3 sounds human."""
    gain_db: float
    """Loudness; 0 is the voice's own."""
    seed: int
    """Of the noise in breath and consonants."""


def version() -> str:
    """The package's version, for instance "0.2.1". Raises :class:`UserError` without the extra."""
    _speaker()
    return metadata.version("hibari-tts")


def drawn_utterance(text: str, rng: np.random.Generator) -> Utterance:
    """``text`` at any speed and pitch that sounds human, as loud as eSpeak's drawn utterances are."""
    return Utterance(
        text=text,
        speed=float(rng.uniform(0.7, 1.2)),
        pitch=float(rng.uniform(0.75, 1.15)),
        gain_db=float(rng.uniform(0.0, 10.0)),
        seed=int(rng.integers(2**31)),
    )


def render(chunks: Sequence[Sequence[Utterance]], sample_rate_hz: int) -> Generator[list[np.ndarray], None, None]:
    """The waveforms of each chunk in turn, int16 of shape (samples,), silence around the words cut off.

    A text that has no sound gives an empty waveform. Raises :class:`UserError` without the extra.
    """
    for chunk in chunks:
        yield [_say(utterance, sample_rate_hz) for utterance in chunk]


def _say(utterance: Utterance, sample_rate_hz: int) -> np.ndarray:
    import soxr

    speaker = _speaker()
    # Played faster by the factor of the pitch, as a record is, so it has to be spoken slower by as much.
    waveform = speaker(utterance.text, speed=utterance.speed / utterance.pitch, seed=utterance.seed)
    waveform = waveform * 10.0 ** (utterance.gain_db / 20.0)
    samples = np.clip(np.round(waveform * 32767.0), -32768, 32767).astype(np.int16)
    trimmed = without_silence(samples)
    resampled: np.ndarray = soxr.resample(trimmed, speaker.sample_rate * utterance.pitch, sample_rate_hz)
    return resampled


@cache
def _speaker() -> Any:
    try:
        from hibari import Hibari
    except ImportError as error:
        raise UserError(
            "synthetic speech: hibari is not installed; add it with `pip install 'repareto[speech]'`"
        ) from error
    return Hibari(voice=VOICE)
