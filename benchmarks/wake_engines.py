"""The wake word in voices of engines that no training heard: hibari's, and flite's where Debian's package is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from repareto.trainers.data import espeak, hibari
from repareto.trainers.data.dataset import SYNTHETIC_SPEECH, Dataset, SoundStream
from repareto.trainers.data.other_speech import sentences
from repareto.trainers.data.scenes import Beds, in_scenes, with_words
from repareto.trainers.data.streams import Sound, StreamBuilder
from repareto.trainers.features import LogMel, Normalisation

from .engines import flite_voices, flite_waveforms

WORDS = 100
STRETCHES = (0.8, 0.9, 1.0, 1.1, 1.25)
"""Of flite, which says a text the same each time: as fast and as slow as hibari's are drawn."""
SECONDS_A_WORD = 4.0
"""Of other speech between them; misses are counted, false alarms not."""


def flite_words(word: str, sample_rate_hz: int, _rng: np.random.Generator) -> list[np.ndarray]:
    """Each voice at each speed, int16, repeated to be as many."""
    said = [
        flite_waveforms([word], voice, sample_rate_hz, stretch)[0] for voice in flite_voices() for stretch in STRETCHES
    ]
    return [said[place % len(said)] for place in range(WORDS)]


def hibari_words(word: str, sample_rate_hz: int, rng: np.random.Generator) -> list[np.ndarray]:
    """At speeds and pitches that sound human, int16."""
    return next(hibari.render([[hibari.drawn_utterance(word, rng) for _ in range(WORDS)]], sample_rate_hz))


def engines() -> Mapping[str, Callable[[str, int, np.random.Generator], list[np.ndarray]]]:
    """Those that are there."""
    return {"hibari": hibari_words} | ({"flite": flite_words} if shutil.which("flite") else {})


def unheard_streams(word: str, data: Dataset) -> dict[str, SoundStream]:
    """By engine, a stream in which it says the wake word amid other speech, in the features of ``data``."""
    log_mel = LogMel.from_front_end(data.front_end)
    normalisation, rate_hz = Normalisation.from_front_end(data.front_end), log_mel.sample_rate_hz
    streams = {}
    for name, words in engines().items():
        rng = np.random.default_rng(0)
        seconds = WORDS * SECONDS_A_WORD
        others = [
            Sound(waveform, SYNTHETIC_SPEECH)
            for waveform in sentences(word, espeak.variants(), seconds, rate_hz, rng)
        ]  # fmt: skip
        said = [
            Sound(spoken / np.float32(32768), name, word=(0, len(spoken))) for spoken in words(word, rate_hz, rng)
        ]  # fmt: skip
        builder = StreamBuilder(log_mel)
        beds = Beds([sound.waveform for sound in others[:24]])
        for sound in in_scenes(with_words(others, said, seconds, rate_hz, rng), beds, rate_hz, rng):
            builder.add(sound)
        stream = builder.built()
        streams[name] = replace(stream, features=normalisation.apply(stream.features).astype(np.float16))
    return streams
