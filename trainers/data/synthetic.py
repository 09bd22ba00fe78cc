"""A keyword task from synthetic speech: no recordings needed, made in seconds, speakers disjoint between splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...spaces.errors import UserError, nearest_hint
from ..features import LogMel, Normalisation
from . import espeak, hibari, noise
from .assemble import clip_samples, log_mel_dataset
from .audio import loudest_window
from .cache import SPLITS, load_or_make
from .channels import Channels, installed_codecs, libsndfile_version, through_channels
from .dataset import Dataset, Split, User
from .labels import SILENCE, UNKNOWN, as_words, extra_labels
from .users.options import Users
from .users.synthetic import drawn_speakers
from .voices import HELD_OUT_SHARES, split_voices

SPEECH_COMMANDS_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
# The other words of Speech Commands and some more short ones, several of them close to its commands.
_OTHER_WORDS = """
backward bed bird cat dog eight five follow forward four happy house learn marvin nine one seven sheila six three tree
two visual wow zero boat cloud coffee door grow half hello lift light music nose note often orange paper pepper river
step table test thank town water white window yellow yesterday
"""
OTHER_WORDS = tuple(_OTHER_WORDS.split())
FEWEST_CLIPS_A_CLASS = 20
UTTERANCES_A_CHUNK = 400
NOISES_IN_BANK = 384
MARKS = ("", ".", "!", "?")  # eSpeak's melody follows the mark
Engine = Literal["espeak", "hibari"]
ENGINES: dict[Engine, Any] = {"espeak": espeak, "hibari": hibari}
Utterance = espeak.Utterance | hibari.Utterance


@dataclass(frozen=True)
class Synthetic:
    """English words spoken by eSpeak NG (extra ``repareto[speech]``) amid white noise, pink noise and babble."""

    words: tuple[str, ...] = SPEECH_COMMANDS_WORDS
    """What is to be recognised; any English text short enough for the clip."""
    clips: int = 10_800
    """Clips of all classes and splits together, the same number for each class."""
    unknown: bool = True
    """Add a class "unknown" of other words."""
    silence: bool = True
    """Add a class "silence" of quiet noise without speech."""
    snr_db: tuple[float, float] = (10.0, 30.0)
    """Range of the ratio of speech to noise, in mean power over the clip."""
    clip_seconds: float = 1.0
    """Length of each clip; the word stands anywhere in it."""
    log_mel: LogMel = field(default_factory=LogMel)
    """Front end."""
    test_engine: Engine = "espeak"
    """Who speaks the test split; "hibari" is an engine that is never heard in training."""
    channels: bool = False
    """Send each spoken word through a room, a band and a codec of its own before noise is added."""
    users: Users | None = None
    """Speakers whom no split hears but the test split, in manners, rooms and noises of their own; None: no users."""
    cache: Path | None = None
    """Folder where the features are kept; None: $REPARETO_CACHE, else ~/.cache/repareto."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", as_words("synthetic", self.words))
        object.__setattr__(self, "snr_db", tuple(self.snr_db))
        classes = len(self.labels())
        if self.clips < classes * FEWEST_CLIPS_A_CLASS:
            raise UserError(
                f"synthetic clips {self.clips}: too few for {classes} classes; need at least"
                f" {classes * FEWEST_CLIPS_A_CLASS} ({FEWEST_CLIPS_A_CLASS} a class)"
            )
        if self.test_engine not in ENGINES:
            raise UserError(f"synthetic test_engine {self.test_engine!r}: {nearest_hint(self.test_engine, ENGINES)}")
        low, high = self.snr_db
        if not low <= high:
            raise UserError(f"synthetic snr_db {low} to {high}: the range is reversed")
        clip_samples("synthetic", self.clip_seconds, self.log_mel)

    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the dataset's label numbers."""
        extra = extra_labels("synthetic", self.words, unknown=self.unknown, silence=self.silence)
        return (*self.words, *extra)

    def load(self, *, seed: int) -> Dataset:
        """The dataset of this ``seed``: other seeds hold out other speakers. Kept in the cache.

        Raises :class:`UserError` where the extra is missing, the cache cannot be written or a word has no sound.
        """
        key = {
            "source": "synthetic",
            "espeak": espeak.version(),
            "words": self.words,
            "clips": self.clips,
            "unknown": self.unknown,
            "silence": self.silence,
            "snr_db": [float(bound) for bound in self.snr_db],
            "clip_seconds": float(self.clip_seconds),
            "log_mel": self.log_mel.describe(),
            "seed": seed,
        }
        # Settings that came later stand in the key only where they change something: what is kept stays valid.
        if self.test_engine == "hibari":
            key["test_engine"] = ["hibari", hibari.version()]
        if self.channels:
            key["channels"] = [asdict(Channels()), installed_codecs(), libsndfile_version()]
        if self.users is not None:
            key["users"] = asdict(self.users)
        return load_or_make("synthetic", key, lambda: _Making(self, seed).dataset(), self.cache)


@dataclass(frozen=True)
class _Chunk:
    """Utterances that are rendered together, all of one split."""

    split: str
    engine: Engine
    utterances: tuple[Utterance, ...]
    labels: np.ndarray


class _Making:
    """One dataset in the making; all that is drawn follows from the seed, nothing from the number of cores."""

    def __init__(self, settings: Synthetic, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self.labels = settings.labels()
        self.samples = clip_samples("synthetic", settings.clip_seconds, settings.log_mel)
        self.clips_a_class = _clips_of_each_split(settings.clips // len(self.labels))

    def dataset(self) -> Dataset:
        log_mel = self.settings.log_mel
        features: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        labels: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        for split, waveforms, chunk_labels in self._clips():
            features[split].append(log_mel(waveforms))
            labels[split].append(chunk_labels)
        dataset = log_mel_dataset(
            "synthetic",
            self.labels,
            {split: Split(np.concatenate(features[split]), np.concatenate(labels[split])) for split in SPLITS},
            log_mel(self._noise(NOISES_IN_BANK, self._rng("bank"))),
            log_mel,
            self.settings.clip_seconds,
            (),
        )
        options = self.settings.users
        return dataset if options is None else replace(dataset, users=tuple(self._users(options, dataset.front_end)))

    def _users(self, options: Users, front_end: Mapping[str, Any]) -> Iterator[User]:
        rng, log_mel = self._rng("users"), self.settings.log_mel
        normalisation = Normalisation.from_front_end(front_end)
        spoken_classes = len(self.labels) - self.settings.silence  # silence comes last
        speakers = drawn_speakers(options.count, self.voices["test"], log_mel.sample_rate_hz, rng)
        said = [options.classes_of(options.clips, len(self.labels), rng) for _ in speakers]
        chunks = [
            [speaker.utterance(self._text(label, rng), rng) for label in own if label < spoken_classes]
            for speaker, own in zip(speakers, said, strict=True)
        ]
        for number, words in enumerate(espeak.render(chunks, log_mel.sample_rate_hz)):
            is_spoken = said[number] < spoken_classes
            clips = noise.quiet(noise.generated(len(is_spoken), self.samples, rng), rng)
            clean = np.stack([self._placed(*spoken, rng) for spoken in zip(chunks[number], words, strict=True)])
            clips[is_spoken] = speakers[number].heard(clean, log_mel.sample_rate_hz, self.talkers, rng)
            features = normalisation.apply(log_mel(clips)).astype(np.float16)
            yield options.user(f"speaker{number}", features, said[number])

    def _clips(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Split, waveforms (n, s) and labels (n,) of one chunk after the other, spoken ones first."""
        chunks = self._chunks()
        for index, (chunk, words) in enumerate(zip(chunks, self._rendered(chunks), strict=True)):
            rng = self._rng("mix", index)
            speech = np.stack([self._placed(*spoken, rng) for spoken in zip(chunk.utterances, words, strict=True)])
            if index == 0:
                # The first chunk trains, so nothing of the held-out speakers is heard in any babble.
                assert chunk.split == "train"
                self.talkers = speech
            if self.settings.channels:
                # Before the noise: else clips of silence alone would lack what codecs leave, and be known by that.
                rate_hz = self.settings.log_mel.sample_rate_hz
                speech = through_channels(speech, rate_hz, self._rng("channels", index))
            snr_db = rng.uniform(*self.settings.snr_db, len(speech))
            mixed = noise.add_at_snr(speech, self._noise(len(speech), rng), snr_db)
            yield chunk.split, np.clip(mixed, -1.0, 1.0), chunk.labels
        if self.settings.silence:
            for split, count in self.clips_a_class.items():
                rng = self._rng("silence", SPLITS.index(split))
                silent = noise.quiet(noise.generated(count, self.samples, rng), rng)
                yield split, silent, np.full(count, self.labels.index(SILENCE), np.int64)

    def _chunks(self) -> list[_Chunk]:
        """The layout, fixed by settings and seed: all chunks of train, then validation, then test."""
        rng = self._rng("utterances")
        self.voices = split_voices(espeak.variants(), rng)
        spoken = np.arange(len(self.labels) - self.settings.silence)  # silence comes last
        chunks = []
        for split in SPLITS:
            engine = self.settings.test_engine if split == "test" else "espeak"
            numbers = rng.permutation(np.repeat(spoken, self.clips_a_class[split]))
            for start in range(0, len(numbers), UTTERANCES_A_CHUNK):
                part = numbers[start : start + UTTERANCES_A_CHUNK]
                utterances = tuple(self._utterance(number, engine, self.voices[split], rng) for number in part)
                chunks.append(_Chunk(split, engine, utterances, part.astype(np.int64)))
        return chunks

    def _rendered(self, chunks: Sequence[_Chunk]) -> Iterator[list[np.ndarray]]:
        rate_hz = self.settings.log_mel.sample_rate_hz
        by_engine = groupby(chunks, key=lambda chunk: chunk.engine)
        return chain.from_iterable(
            ENGINES[engine].render([chunk.utterances for chunk in group], rate_hz) for engine, group in by_engine
        )

    def _utterance(self, label: int, engine: Engine, voices: Sequence[str], rng: np.random.Generator) -> Utterance:
        if engine == "hibari":
            return hibari.drawn_utterance(self._text(label, rng, hibari.MARKS), rng)
        return espeak.drawn_utterance(self._text(label, rng), voices, rng)

    def _text(self, label: int, rng: np.random.Generator, marks: Sequence[str] = MARKS) -> str:
        word = self.labels[label]
        if word == UNKNOWN and self.settings.unknown:
            known = {word.casefold() for word in self.settings.words}
            word = _one_of([other for other in OTHER_WORDS if other not in known], rng)
        return word + _one_of(marks, rng)

    def _placed(self, utterance: Utterance, word: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not word.any():
            engine = "eSpeak NG" if isinstance(utterance, espeak.Utterance) else "hibari"
            raise UserError(f"synthetic: {engine} makes no sound of {utterance.text!r}; leave that word out")
        word = loudest_window(word, min(len(word), self.samples))
        start = rng.integers(self.samples - len(word) + 1)
        clip = np.zeros(self.samples, np.float32)
        clip[start : start + len(word)] = word / np.float32(32768)
        return clip

    def _noise(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return noise.generated_with_babble(count, self.samples, self.talkers, rng)

    def _rng(self, purpose: str, index: int = 0) -> np.random.Generator:
        purposes = ("utterances", "mix", "silence", "bank", "channels", "users")
        return np.random.default_rng([self.seed, purposes.index(purpose), index])


def _clips_of_each_split(clips: int) -> dict[str, int]:
    held_out = {split: round(share * clips) for split, share in HELD_OUT_SHARES.items()}
    return {"train": clips - sum(held_out.values()), **held_out}


def _one_of(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
