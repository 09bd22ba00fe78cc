"""A wake word in streams: recordings of it, or eSpeak's, amid hours of other speech.

Clips of one window train; two streams, of recordings or parts of recordings that did not train, say how often the word
is missed and how often something else is taken for it: thresholds are chosen on "validation" and both rates reported on
"test". Speakers are disjoint where they are known: synthetic ones, and those that file names or lists tell apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...spaces.errors import UserError, nearest_hint
from ..detection import Counts, DetectionTask
from ..features import LogMel
from . import espeak, hibari, noise
from .assemble import clip_samples, log_mel_dataset
from .audio import UnreadableAudio, loudest_window, read_clip
from .cache import SPLITS, load_or_make
from .dataset import PAUSE, SYNTHETIC_SPEECH, Dataset, SoundStream, Split
from .labels import SILENCE, UNKNOWN
from .listing import Listing, audio_below, fingerprint, list_recordings
from .negatives import Part, split_recordings
from .other_speech import sentences
from .recordings import note_unreadable
from .splits import assign_splits
from .streams import StreamBuilder, windows
from .synthetic import ENGINES, Engine, Utterance
from .voices import split_voices

FEW_WORDS = 20
NOISES_IN_BANK = 384
SPOKEN_WORDS = {"train": 1050, "validation": 225, "test": 225}
"""Of the synthetic wake word."""
TRAIN_HOURS_SHARE = 2.0
"""Hours of synthetic speech that train, for each that calibrates and each that tests."""
POSITIVE_SHARE = 0.25
"""Of the training clips, as far as repeating each at most so often goes; every repeat is augmented in another way."""
MOST_REPEATS = 20
CLIPS_OF_A_STREAM = 2000
"""At most: windows of other speech that validate and test as clips."""
FRAGMENT_EVERY_SECONDS = 6.0
GAP_SECONDS = (1.0, 2.0)
"""Between two spoken wake words of a stream."""
Spoken = tuple[np.ndarray, tuple[int, int]]
"""A waveform (samples,), and from which to which of its samples the wake word is spoken."""
_CLIPPED_LEVEL, _CLIPPED_SHARE, _SILENT_LEVEL = 0.999, 0.001, 1e-4


@dataclass(frozen=True)
class WakeWord:
    """Recordings of a wake word and of other speech; what is not given is spoken by eSpeak NG."""

    word: str
    """The wake word: the folder of its recordings, or what eSpeak says."""
    folder: Path | None = None
    """Recordings, a folder a word; words that are not the wake word are other speech. None: eSpeak speaks."""
    negatives: Path | None = None
    """A folder of other speech, recordings of any length in it or in folders below it."""
    synthetic_hours: float | None = None
    """Hours of synthetic other speech in each of the two streams, and twice as much to train; None: 1 where there are
    no ``negatives``, else 0."""
    test_engine: Engine = "espeak"
    """Who speaks what is synthetic in the test stream; "hibari" is an engine that is never heard before."""
    clip_seconds: float = 1.5
    """The window that a model hears at once."""
    false_alarms_per_hour: float = 1.0
    """At which misses are compared."""
    smoothing_ms: float = 200.0
    """Scores are averaged over this long."""
    pause_seconds: float | None = None
    """After a detection nothing is detected; None: ``clip_seconds``, after which no window holds the same word."""
    log_mel: LogMel = field(default_factory=LogMel)
    """Front end; recordings at another sample rate are resampled to its own."""
    validation_percent: float = 15.0
    """Share of speakers (or files) that calibrate, where the folder has no validation_list.txt."""
    test_percent: float = 15.0
    """Share of speakers (or files) that test, where the folder has no testing_list.txt."""
    cache: Path | None = None
    """Folder where the features are kept; None: $REPARETO_CACHE, else ~/.cache/repareto."""

    def __post_init__(self) -> None:
        for name in ("folder", "negatives"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)).expanduser())
        if not self.word.strip():
            raise UserError("data.word: is empty (name the wake word)")
        if self.word in (UNKNOWN, SILENCE):
            raise UserError(f"data.word {self.word!r}: is what everything else is called (rename the folder)")
        if self.test_engine not in ENGINES:
            hint = nearest_hint(self.test_engine, ENGINES)
            raise UserError(f"data.test_engine {self.test_engine!r}: is no engine ({hint})")
        if not (self.validation_percent > 0 and self.test_percent > 0):
            raise UserError("data.validation_percent, data.test_percent: both must be positive")
        if self.validation_percent + self.test_percent >= 100:
            raise UserError("data.validation_percent + data.test_percent: nothing is left to train on (below 100)")
        if self.synthetic_hours is not None and self.synthetic_hours < 0:
            raise UserError(f"data.synthetic_hours = {self.synthetic_hours}: must be 0 (none) or more")
        if self.folder is None and self.negatives is None and self.synthetic_hours == 0:
            raise UserError("data.synthetic_hours = 0: there is no other speech (give negatives, or some hours)")
        clip_samples("wakeword", self.clip_seconds, self.log_mel)
        self.task()

    def task(self) -> DetectionTask:
        """What models are judged by."""
        pause_seconds = self.clip_seconds if self.pause_seconds is None else self.pause_seconds
        return DetectionTask(
            self.word, self.false_alarms_per_hour, self.smoothing_ms, pause_seconds, patience_seconds=self.clip_seconds
        )

    @property
    def hours(self) -> float:
        """Of synthetic speech in each stream."""
        if self.synthetic_hours is None:
            return 1.0 if self.negatives is None else 0.0
        return self.synthetic_hours

    def load(self, *, seed: int) -> Dataset:
        """Clips to train on and streams to listen to, kept in the cache until a file changes.

        Raises :class:`UserError` for a folder that is missing or has no recording of the word, for a split without one,
        and without the extra ``speech`` where eSpeak is to speak.
        """
        listing = None if self.folder is None else self._listing(self.folder)
        negatives = () if self.negatives is None else self._recorded_negatives(self.negatives)
        speaks = listing is None or self.hours > 0
        key = {
            "source": "wakeword",
            "word": self.word,
            "clip_seconds": float(self.clip_seconds),
            "log_mel": self.log_mel.describe(),
            "percent": [float(self.validation_percent), float(self.test_percent)],
            "files": None if listing is None else listing.fingerprint(),
            "negatives": fingerprint(negatives),
            "espeak": espeak.version() if speaks else None,
            "test_engine": self.test_engine if speaks else None,
            "hours": float(self.hours),
            "seed": seed,
        }
        made = load_or_make("wakeword", key, lambda: _Making(self, listing, negatives, seed).dataset(), self.cache)
        return replace(made, detection=self.task())

    def _listing(self, folder: Path) -> Listing:
        listing = list_recordings(folder, "wakeword")
        if self.word not in listing.clips:
            hint = nearest_hint(self.word, sorted(listing.clips))
            raise UserError(f"data.word {self.word!r}: no recordings in {folder / self.word}; {hint}")
        return listing

    def _recorded_negatives(self, folder: Path) -> tuple[Path, ...]:
        if not folder.is_dir():
            raise UserError(f"data.negatives {folder}: there is no such folder")
        paths = audio_below(folder)
        if not paths:
            raise UserError(f"data.negatives {folder}: no WAV or FLAC file in it")
        return paths


class _Making:
    """One dataset in the making; all that is drawn follows from the seed."""

    def __init__(self, settings: WakeWord, listing: Listing | None, negatives: Sequence[Path], seed: int) -> None:
        self.settings, self.listing = settings, listing
        self.seed = seed
        self.samples = clip_samples("wakeword", settings.clip_seconds, settings.log_mel)
        self.rate_hz = settings.log_mel.sample_rate_hz
        self.frames = settings.log_mel.frames(self.samples)
        self.notes: list[str] = []
        self.unreadable: list[tuple[Path, str]] = []
        self.read = 0
        self.voices = self._voices() if listing is None or settings.hours else {}
        self.recordings = self._assigned_clips()
        self.parts = self._assigned_negatives(negatives)

    def dataset(self) -> Dataset:
        log_mel = self.settings.log_mel
        words = {split: list(self._words(split)) for split in SPLITS}
        self._check_words(words)
        talkers = np.stack([self._clip(word) for word, _ in words["train"][:400]])
        others = self._stream("train", [], talkers)
        streams = {split: self._stream(split, words[split], talkers) for split in ("validation", "test")}
        splits = {"train": self._split(words["train"], others, repeats=True)}
        splits |= {split: self._split(words[split], streams[split]) for split in streams}
        bank = noise.generated_with_babble(NOISES_IN_BANK, self.samples, talkers, self._rng("bank"))
        self.notes += note_unreadable(self.unreadable, self.read)
        return log_mel_dataset(
            "wakeword", (self.settings.word, UNKNOWN), splits, log_mel(bank), log_mel, self.settings.clip_seconds,
            [*self._what_is_heard(streams), *self.notes], streams,
        )  # fmt: skip

    def _voices(self) -> Mapping[str, Sequence[str]]:
        return split_voices(espeak.variants(), self._rng("voices"))

    def _assigned_clips(self) -> Mapping[str, Mapping[str, Sequence[Path]]]:
        """The files of each word, by split."""
        if self.listing is None:
            return {split: {} for split in SPLITS}
        settings = self.settings
        split_of, notes = assign_splits(self.listing, settings.validation_percent, settings.test_percent)
        self.notes += notes
        return {
            split: {
                word: [path for path in paths if split_of[path] == split] for word, paths in self.listing.clips.items()
            }
            for split in SPLITS
        }

    def _assigned_negatives(self, paths: Sequence[Path]) -> Mapping[str, Sequence[Part]]:
        word = self.settings.word.casefold()
        folder = self.settings.negatives or Path()
        named = [path for path in paths if word in _names(path.relative_to(folder))]
        if named:
            self.notes.append(
                f"{len(named):,} negatives are named after the wake word and were left out, first {named[0]}"
            )
        return split_recordings([path for path in paths if path not in set(named)])

    def _words(self, split: str) -> Iterator[Spoken]:
        """Waveforms of any length with the wake word."""
        if self.listing is None:
            yield from self._spoken_words(split)
            return
        for path in self.recordings[split][self.settings.word]:
            waveform = self._waveform(path)
            if waveform is not None:
                yield waveform, (0, len(waveform))

    def _spoken_words(self, split: str) -> Iterator[Spoken]:
        rng = self._rng("words", SPLITS.index(split))
        drawn = [self._utterance(split, rng) for _ in range(SPOKEN_WORDS[split])]
        chunks = [drawn[start : start + 100] for start in range(0, len(drawn), 100)]
        for chunk in ENGINES[self._engine(split)].render(chunks, self.rate_hz):
            for spoken in chunk:
                if not spoken.any():
                    raise UserError(f"data.word {self.settings.word!r}: the voice makes no sound of it; write it out")
                word = spoken / np.float32(32768)
                # Its own room, in which it stands alone for a moment.
                around = rng.integers(self.rate_hz // 10, self.rate_hz // 2, 2)
                placed = np.pad(word, tuple(around))[None]
                bed = noise.generated(1, placed.shape[1], rng)
                heard = noise.add_at_snr(placed, bed, rng.uniform(5.0, 30.0, 1))[0]
                yield np.clip(heard, -1.0, 1.0), (int(around[0]), int(around[0]) + len(word))

    def _engine(self, split: str) -> Engine:
        return self.settings.test_engine if split == "test" else "espeak"

    def _utterance(self, split: str, rng: np.random.Generator) -> Utterance:
        if self._engine(split) == "hibari":
            return hibari.drawn_utterance(self.settings.word, rng)
        return espeak.drawn_utterance(self.settings.word, self.voices[split], rng)

    def _waveform(self, path: Path, part: tuple[float, float] = (0.0, 1.0)) -> np.ndarray | None:
        """What a file holds, None where that is nothing; the reasons are kept."""
        self.read += 1
        try:
            waveform = read_clip(path, self.rate_hz)
            if np.abs(waveform).max() < _SILENT_LEVEL:
                raise UnreadableAudio("is silent")
        except UnreadableAudio as error:
            self.unreadable.append((path, str(error)))
            return None
        start, end = (round(share * len(waveform)) for share in part)
        return waveform[start:end]

    def _check_words(self, words: Mapping[str, Sequence[Spoken]]) -> None:
        for split in SPLITS:
            if not words[split]:
                raise UserError(
                    f"data.word {self.settings.word!r}: no readable recording of it in the {split} split; "
                    "add recordings or change the lists"
                )
        tested = len(words["test"])
        if tested < FEW_WORDS:
            low, high = Counts(tested, 0, 0, 0.0).miss_interval()
            self.notes.append(
                f"only {tested} recordings of {self.settings.word!r} test: even without a miss the rate may be "
                f"{low:.0%} to {high:.0%} (95 %)"
            )
        clipped = sum(
            (np.abs(word) >= _CLIPPED_LEVEL).mean() > _CLIPPED_SHARE for of in words.values() for word, _ in of
        )
        if clipped:
            total = sum(len(of) for of in words.values())
            self.notes.append(f"{clipped:,} of {total:,} recordings of {self.settings.word!r} are clipped")

    def _stream(self, split: str, words: Sequence[Spoken], talkers: np.ndarray) -> SoundStream:
        rng = self._rng("stream", SPLITS.index(split))
        builder = StreamBuilder(self.settings.log_mel)
        for waveform, source in self._other_speech(split, talkers, rng):
            builder.add(waveform, source)
            if split == "train":
                for fragment in self._fragments(waveform, rng):
                    builder.add(fragment, source)
        for waveform, word in words:
            builder.add(self._pause(GAP_SECONDS, rng), PAUSE)
            builder.add(waveform, "the wake word", word)
        return builder.built()

    def _fragments(self, waveform: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Pieces as long as a word, alone in a quiet room: else whatever stands alone would pass for the wake word."""
        for _ in range(rng.poisson(len(waveform) / self.rate_hz / FRAGMENT_EVERY_SECONDS)):
            length = min(len(waveform), round(rng.uniform(0.2, 0.8) * self.samples))
            start = int(rng.integers(len(waveform) - length + 1))
            before, after = (round(share * self.samples) for share in rng.uniform(0.1, 1.0, 2))
            spoken = np.pad(waveform[start : start + length], (before, after))
            bed = noise.quiet(noise.generated(1, len(spoken), rng), rng)[0]
            yield np.clip(spoken + bed, -1.0, 1.0)

    def _pause(self, seconds: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
        """The noise of a room in which nobody speaks."""
        return noise.quiet(noise.generated(1, round(rng.uniform(*seconds) * self.rate_hz), rng), rng)[0]

    def _other_speech(
        self, split: str, talkers: np.ndarray, rng: np.random.Generator
    ) -> Iterator[tuple[np.ndarray, str]]:
        for part in self.parts[split]:
            waveform = self._waveform(part.path, (part.start, part.end))
            if waveform is not None:
                yield waveform, part.name
        for word, paths in self.recordings[split].items():
            if word == self.settings.word:
                continue
            for path in paths:
                waveform = self._waveform(path)
                if waveform is not None:
                    yield waveform, f"{word}/{path.name}"
        hours = self.settings.hours * (TRAIN_HOURS_SHARE if split == "train" else 1.0)
        if hours:
            voices, engine = self.voices[split], self._engine(split)
            spoken = sentences(self.settings.word, voices, 3600 * hours, self.rate_hz, rng, engine)
            for sentence in spoken:
                bed = self._bed(len(sentence), talkers, rng)
                heard = noise.add_at_snr(sentence[None], bed, rng.uniform(5.0, 30.0, 1))[0]
                yield np.clip(heard, -1.0, 1.0), SYNTHETIC_SPEECH

    def _bed(self, samples: int, talkers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Noise (1, samples) for other speech to stand in: babble, white or pink."""
        if rng.random() < 1 / 3:
            fitted = np.tile(talkers[:32], (1, 1 + samples // talkers.shape[1]))[:, :samples]
            return noise.babble(fitted, 1, rng)
        return noise.generated(1, samples, rng)

    def _clip(self, waveform: np.ndarray) -> np.ndarray:
        return loudest_window(waveform, self.samples)

    def _split(self, words: Sequence[Spoken], stream: SoundStream, repeats: bool = False) -> Split:
        """Windows with the word, then windows without: of a stream, but for what of it is near a word."""
        spoken = self.settings.log_mel(np.stack([self._clip(waveform) for waveform, _ in words]))
        first_word = stream.words[0, 0] if len(stream.words) else np.inf
        hop_seconds = self.settings.log_mel.hop_samples / self.rate_hz
        without = replace(stream, features=stream.features[:, : int(min(first_word / hop_seconds, 1e12))])
        others = windows(without, self.frames, self.frames // 2)
        if not len(others):
            raise UserError("data: no other speech in one of the splits; add negatives or synthetic_hours")
        if repeats:
            wanted = POSITIVE_SHARE / (1 - POSITIVE_SHARE) * len(others)
            spoken = np.tile(spoken, (int(np.clip(round(wanted / len(spoken)), 1, MOST_REPEATS)), 1, 1))
        else:
            others = others[:: 1 + len(others) // CLIPS_OF_A_STREAM]
        labels = np.repeat(np.array([0, 1], np.int64), [len(spoken), len(others)])
        return Split(np.concatenate([spoken, others]), labels)

    def _what_is_heard(self, streams: Mapping[str, SoundStream]) -> list[str]:
        frames_an_hour = 3600 * self.rate_hz / self.settings.log_mel.hop_samples
        told = ", ".join(
            f"{split} {stream.features.shape[1] / frames_an_hour:.2f} h with {len(stream.words)} words"
            for split, stream in streams.items()
        )
        return [f"streams: {told}"]

    def _rng(self, purpose: str, index: int = 0) -> np.random.Generator:
        purposes = ("voices", "words", "stream", "bank")
        return np.random.default_rng([self.seed, purposes.index(purpose), index])


def _names(path: Path) -> set[str]:
    """The folders and the file that a path names, the file also without a number at its end."""
    stem = re.sub(r"[ _-]?\d+$", "", path.stem)
    return {part.casefold() for part in (*path.parts[:-1], path.stem, stem)}
