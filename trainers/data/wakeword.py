"""A wake word in streams: recordings of it, or eSpeak's, amid hours of other speech.

Windows of one stream train; two more, of recordings or parts of recordings that did not train, say how often the word
is missed and how often something else is taken for it: thresholds are chosen on "validation" and both rates reported on
"test". Speakers are disjoint where they are known: synthetic ones, and those that file names or lists tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ...spaces.errors import UserError, nearest_hint
from ..detection import DetectionTask
from ..features import LogMel
from . import espeak
from .assemble import clip_samples, log_mel_dataset
from .cache import SPLITS, load_or_make
from .dataset import Dataset, SoundStream, Split
from .labels import SILENCE, UNKNOWN
from .listing import Listing, audio_below, fingerprint, list_recordings
from .negatives import Part, named_after, split_recordings
from .scenes import Beds, in_scenes, rooms_around, with_fragments, with_words
from .splits import assign_splits
from .streams import Sound, StreamBuilder, Windows
from .synthetic import ENGINES, Engine
from .wake_notes import notes_on_streams, notes_on_words
from .wake_sounds import Assigned, WakeSounds

DATA_VERSION = 2
"""Raise it whenever the same settings come to mean other bytes."""
NOISES_IN_BANK = 384
TALKERS = 24
"""Of whom babble is made: pieces of other speech, so that the word is never in it."""
WINDOWS_A_WORD = 3
"""That train, of each time that it is heard: it stands at another place in each."""
POSITIVE_SHARE = 0.25
"""Of the training clips, as far as hearing each recording at most so often goes; every time it is in another room."""
MOST_REPEATS = 20
MOST_WINDOWS = 100_000
"""Of other speech that train, however many hours there are."""
CLIPS_OF_A_STREAM = 2000
"""At most: windows of other speech that validate and test as clips."""
_STREAM, _CLIPS = 10, 11
"""Which random numbers are drawn, apart from those of the sounds."""


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
    """After a detection nothing is detected; None: ``clip_seconds`` and ``smoothing_ms``, after which no window that is
    averaged holds the same word."""
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
        # A word is in the window for so long, and in what is averaged for so much longer.
        heard_seconds = self.clip_seconds + self.smoothing_ms / 1000
        pause_seconds = heard_seconds if self.pause_seconds is None else self.pause_seconds
        return DetectionTask(
            self.word, self.false_alarms_per_hour, self.smoothing_ms, pause_seconds, patience_seconds=heard_seconds
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
            "version": DATA_VERSION,
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
        made = load_or_make("wakeword", key, lambda: self._make(listing, negatives, seed), self.cache)
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

    def _make(self, listing: Listing | None, negatives: Sequence[Path], seed: int) -> Dataset:
        recordings, notes = self._assigned(listing, negatives)
        sounds = WakeSounds(
            self.word, recordings, self.log_mel.sample_rate_hz,
            speaks_word=listing is None, hours=self.hours, test_engine=self.test_engine, seed=seed,
        )  # fmt: skip
        words = {split: sounds.words(split) for split in SPLITS}
        heard = {split: self._heard(split, sounds, words[split], seed) for split in SPLITS}
        streams = {split: stream for split, (stream, _) in heard.items()}
        judging = {split: streams[split] for split in ("validation", "test")}
        rng = np.random.default_rng([seed, _CLIPS])
        samples = clip_samples("wakeword", self.clip_seconds, self.log_mel)
        _, beds = heard["train"]
        bank = np.stack([beds.drawn(samples, rng) for _ in range(NOISES_IN_BANK)])
        return log_mel_dataset(
            "wakeword", (self.word, UNKNOWN), {split: self._clips(split, streams[split], rng) for split in SPLITS},
            self.log_mel(bank), self.log_mel, self.clip_seconds,
            [
                *notes_on_streams(judging, self._hop_seconds, self.task()),
                *notes_on_words(self.word, words, self.log_mel.sample_rate_hz, self.clip_seconds),
                *notes,
                *sounds.notes(),
            ],
            judging,
        )  # fmt: skip

    def _assigned(
        self, listing: Listing | None, negatives: Sequence[Path]
    ) -> tuple[Mapping[str, Assigned], Sequence[str]]:
        """The recordings of each split, and what is to be said of that."""
        notes: list[str] = []
        named = named_after(self.word, negatives, self.negatives or Path())
        if named:
            notes.append(f"{len(named):,} negatives are named after the wake word and were left out, first {named[0]}")
        parts = split_recordings([path for path in negatives if path not in set(named)])
        split_of: Mapping[Path, str] = {}
        if listing is not None:
            split_of, more = assign_splits(listing, self.validation_percent, self.test_percent)
            notes += more
        of_word = set() if listing is None else set(listing.clips[self.word])
        recordings = {}
        for split in SPLITS:
            here = [path for path, its in split_of.items() if its == split]
            others = [Part(path) for path in here if path not in of_word]
            recordings[split] = Assigned([path for path in here if path in of_word], [*parts[split], *others])
        if listing is not None and not any(recordings[split].others for split in ("validation", "test")):
            notes.append(
                f"all that is heard beside recordings of {self.word!r} is synthetic: real speech may raise more "
                "false alarms than are told (give negatives)"
            )
        return recordings, notes

    def _heard(self, split: str, sounds: WakeSounds, words: Sequence[Sound], seed: int) -> tuple[SoundStream, Beds]:
        """The stream of a split, and the noise that is in it."""
        rng, rate_hz = np.random.default_rng([seed, _STREAM, SPLITS.index(split)]), self.log_mel.sample_rate_hz
        others, seconds = sounds.others(split), sounds.other_seconds(split)
        first = list(islice(others, TALKERS))
        beds = Beds([sound.waveform for sound in first], rooms_around(words, rate_hz))
        others = chain(first, others)
        if split == "train":
            others = with_fragments(others, self.clip_seconds, rate_hz, rng)
            repeats = self._repeats(len(words), seconds)
            words = [words[place] for _ in range(repeats) for place in rng.permutation(len(words))]
        builder = StreamBuilder(self.log_mel)
        for sound in in_scenes(with_words(others, words, seconds, rate_hz, rng), beds, rate_hz, rng):
            builder.add(sound)
        return builder.built(), beds

    def _repeats(self, words: int, other_seconds: float) -> int:
        """How often the word is heard in training, as much as makes it a share of what trains."""
        others = min(MOST_WINDOWS, other_seconds / (self.clip_seconds / 2))
        wanted = others * POSITIVE_SHARE / (1 - POSITIVE_SHARE)
        return int(np.clip(round(wanted / words / WINDOWS_A_WORD), 1, MOST_REPEATS))

    def _clips(self, split: str, stream: SoundStream, rng: np.random.Generator) -> Split:
        """Windows with the word, then windows without."""
        trains = split == "train"
        frames = self.log_mel.frames(clip_samples("wakeword", self.clip_seconds, self.log_mel))
        windows = Windows(stream, frames, self._hop_seconds)
        without = windows.without_word(max(1, frames // 2), MOST_WINDOWS if trains else CLIPS_OF_A_STREAM)
        if not len(without):
            seconds = stream.features.shape[1] * self._hop_seconds
            raise UserError(
                f"data: nowhere in the {seconds:.1f} s of the {split} stream is there a window of "
                f"{self.clip_seconds:g} s without the word (add negatives or synthetic_hours)"
            )
        starts = [windows.with_word(WINDOWS_A_WORD if trains else 1, rng), without]
        labels = np.repeat(np.array([0, 1], np.int64), [len(of_class) for of_class in starts])
        return Split(windows.cut(np.concatenate(starts)), labels)

    @property
    def _hop_seconds(self) -> float:
        return self.log_mel.hop_samples / self.log_mel.sample_rate_hz
