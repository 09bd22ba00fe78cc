"""Recordings in the folder layout of Google Speech Commands: ``<word>/<file>``, WAV or FLAC, and the split lists.

The extra classes follow its published 12-class task (P. Warden, arXiv:1804.03209): about as many clips of "unknown"
words and of "silence" as of one word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...spaces.errors import UserError, nearest_hint
from ..features import LogMel
from . import noise
from .assemble import clip_samples, log_mel_dataset
from .audio import UnreadableAudio, loudest_window, read_clip
from .cache import SPLITS, load_or_make
from .dataset import Dataset, Split
from .labels import SILENCE, UNKNOWN, as_words, extra_labels
from .listing import Listing, list_recordings
from .recordings import note_unreadable, read_recordings
from .splits import assign_splits
from .users.options import Users
from .users.recorded import speaker_of, users_of

NOISES_IN_BANK = 384
# Which part of each background recording a split may hear.
NOISE_REGIONS = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}


@dataclass(frozen=True)
class SpeechCommands:
    """A folder of recorded words, one folder a word; long clips are cut to their loudest window."""

    folder: Path
    """Where the words' folders are."""
    words: tuple[str, ...] | None = None
    """What is to be recognised; None: each folder that holds recordings."""
    clip_seconds: float = 1.0
    """Length of each clip after cutting or padding."""
    unknown: bool | None = None
    """Add a class "unknown" of the other folders' clips; None: where ``words`` leaves folders over."""
    silence: bool = False
    """Add a class "silence", from ``_background_noise_`` where it is there, else of quiet generated noise."""
    log_mel: LogMel = field(default_factory=LogMel)
    """Front end; recordings at another sample rate are resampled to its own."""
    validation_percent: float = 10.0
    """Share of speakers (or files) that validate, where the folder has no validation_list.txt."""
    test_percent: float = 10.0
    """Share of speakers (or files) that test, where the folder has no testing_list.txt."""
    users: Users | None = None
    """The speakers of the test split, by the names of its files, as users; None: no users."""
    cache: Path | None = None
    """Folder where the features are kept; None: $REPARETO_CACHE, else ~/.cache/repareto."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).expanduser())
        if self.words is not None:
            object.__setattr__(self, "words", as_words("speech_commands", self.words))
        if not (self.validation_percent > 0 and self.test_percent > 0):
            raise UserError(
                f"speech_commands validation_percent {self.validation_percent}, test_percent {self.test_percent}:"
                " both must be positive"
            )
        if self.validation_percent + self.test_percent >= 100:
            raise UserError(
                f"speech_commands validation_percent {self.validation_percent} + test_percent {self.test_percent}:"
                " nothing is left to train on; together they must stay below 100"
            )
        clip_samples("speech_commands", self.clip_seconds, self.log_mel)

    def load(self, *, seed: int) -> Dataset:
        """The folder's dataset, kept in the cache until a file changes; ``seed`` draws the extra classes.

        Raises :class:`UserError` for a folder that is missing or holds fewer than two classes, for a word without
        recordings, and where no file can be read.
        """
        listing = list_recordings(self.folder)
        words = self._checked_words(listing.clips)
        others = sorted(set(listing.clips) - set(words))
        unknown = bool(others) if self.unknown is None else self.unknown
        if unknown and not others:
            raise UserError(
                f"speech_commands unknown: {self.folder} has no folders beside the words; leave unknown out"
            )
        extra = extra_labels(f"speech_commands {self.folder}", words, unknown=unknown, silence=self.silence)
        key: dict[str, Any] = {
            "source": "speech_commands",
            "words": words,
            "extra": extra,
            "clip_seconds": float(self.clip_seconds),
            "log_mel": self.log_mel.describe(),
            "percent": [float(self.validation_percent), float(self.test_percent)],
            "files": listing.fingerprint(),
            "seed": seed,
        }
        if self.users is not None:
            key["users"] = asdict(self.users)
        return load_or_make(
            "speech_commands", key, lambda: _Loading(self, listing, words, extra, seed).dataset(), self.cache
        )

    def _checked_words(self, clips: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
        if self.words is None:
            return tuple(sorted(clips))
        for word in self.words:
            if word not in clips:
                hint = nearest_hint(word, sorted(clips))
                raise UserError(f"speech_commands words {word!r}: no recordings in {self.folder / word}; {hint}")
        return self.words


class _Loading:
    """One folder in the loading; recordings of folders that are not ``words`` are "unknown" where that is a class."""

    def __init__(
        self, settings: SpeechCommands, listing: Listing, words: Sequence[str], extra: Sequence[str], seed: int
    ) -> None:
        self.settings = settings
        self.listing = listing
        self.words = tuple(words)
        self.extra = tuple(extra)
        self.labels = (*words, *extra)
        self.samples = clip_samples("speech_commands", settings.clip_seconds, settings.log_mel)
        self.rng = np.random.default_rng(seed)

    def dataset(self) -> Dataset:
        log_mel = self.settings.log_mel
        chosen, notes = self._chosen()
        read = {split: read_recordings([path for path, _ in chosen[split]], log_mel, self.samples) for split in SPLITS}
        unreadable = [failure for recordings in read.values() for failure in recordings.unreadable]
        total = sum(len(clips) for clips in chosen.values())
        if len(unreadable) == total:
            path, reason = unreadable[0]
            raise UserError(
                f"speech_commands {self.settings.folder}: none of its {total:,} clips can be read,"
                f" for instance {path.parent.name}/{path.name}: {reason}"
            )
        backgrounds, unreadable_noises = self._backgrounds()
        splits = {split: Split(read[split].features, _labels(chosen[split])[read[split].kept]) for split in SPLITS}
        if SILENCE in self.extra:
            splits = {split: self._with_silence(split, splits[split], backgrounds) for split in SPLITS}
        notes += note_unreadable(unreadable + unreadable_noises, total + len(self.listing.noises))
        notes += self._check_classes(splits)
        bank = self._noise_bank(backgrounds, read["train"].first_waveforms)
        dataset = log_mel_dataset(
            "speech_commands", self.labels, splits, log_mel(bank), log_mel, self.settings.clip_seconds, notes
        )
        if self.settings.users is None:
            return dataset
        # Clips of silence, which nobody speaks, stand behind these.
        speakers = [speaker_of(chosen["test"][place][0].name) for place in read["test"].kept]
        heard = Split(dataset.test.features[: len(speakers)], dataset.test.labels[: len(speakers)])
        return replace(dataset, users=users_of(heard, speakers, self.settings.users, self.rng))

    def _chosen(self) -> tuple[dict[str, list[tuple[Path, int]]], list[str]]:
        """Path and label of the clips of each split, in a random order, and notes on the lists."""
        split_of, notes = assign_splits(self.listing, self.settings.validation_percent, self.settings.test_percent)
        chosen = {}
        for split in SPLITS:
            paths = {
                word: [path for path in paths if split_of[path] == split] for word, paths in self.listing.clips.items()
            }
            clips = [(path, number) for number, word in enumerate(self.words) for path in paths[word]]
            if UNKNOWN in self.extra:
                others = [path for word in paths if word not in self.words for path in paths[word]]
                wanted = min(len(others), round(len(clips) / len(self.words)))
                drawn = self.rng.choice(len(others), wanted, replace=False)
                clips += [(others[index], self.labels.index(UNKNOWN)) for index in drawn]
            chosen[split] = [clips[index] for index in self.rng.permutation(len(clips))]
        return chosen, notes

    def _backgrounds(self) -> tuple[list[np.ndarray], list[tuple[Path, str]]]:
        """The recordings of noise, each at least one clip long, and the unreadable ones."""
        recordings, unreadable = [], []
        for path in self.listing.noises:
            try:
                recording = read_clip(path, self.settings.log_mel.sample_rate_hz)
            except UnreadableAudio as error:
                unreadable.append((path, str(error)))
            else:
                recordings.append(loudest_window(recording, max(len(recording), self.samples)))
        return recordings, unreadable

    def _with_silence(self, split: str, spoken: Split, backgrounds: Sequence[np.ndarray]) -> Split:
        """As many clips without speech as a word has on average, after the spoken ones."""
        count = round(np.count_nonzero(spoken.labels < len(self.words)) / len(self.words))
        if backgrounds:
            noises = noise.windows(backgrounds, count, self.samples, NOISE_REGIONS[split], self.rng)
            silent = noises * self.rng.uniform(0.0, 1.0, (count, 1)).astype(np.float32)
        else:
            silent = noise.quiet(noise.generated(count, self.samples, self.rng), self.rng)
        label = np.full(count, self.labels.index(SILENCE), np.int64)
        return Split(
            np.concatenate([spoken.features, self.settings.log_mel(silent)]),
            np.concatenate([spoken.labels, label]),
        )

    def _noise_bank(self, backgrounds: Sequence[np.ndarray], talkers: np.ndarray) -> np.ndarray:
        """Generated noise and babble of training clips; where there are recordings of noise, they are half of it."""
        recorded = NOISES_IN_BANK // 2 if backgrounds else 0
        made = noise.generated_with_babble(NOISES_IN_BANK - recorded, self.samples, talkers, self.rng)
        if not recorded:
            return made
        return np.concatenate(
            [made, noise.windows(backgrounds, recorded, self.samples, NOISE_REGIONS["train"], self.rng)]
        )

    def _check_classes(self, splits: dict[str, Split]) -> list[str]:
        notes = []
        for split in SPLITS:
            absent = [label for number, label in enumerate(self.labels) if number not in splits[split].labels]
            if absent and split == "train":
                raise UserError(
                    f"speech_commands {self.settings.folder}: no readable training clip of {', '.join(absent)};"
                    " add recordings, change the lists or leave the class out"
                )
            if absent:
                notes.append(f"the {split} split has no clip of {', '.join(absent)}")
        return notes


def _labels(clips: Sequence[tuple[Path, int]]) -> np.ndarray:
    return np.array([label for _, label in clips], np.int64)
