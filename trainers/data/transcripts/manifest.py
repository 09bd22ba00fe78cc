"""A user's own corpus: a manifest of recordings and what is said in them, as JSON lines.

Each line is an object with ``path`` (relative to the manifest) and ``text``, and may have ``speaker`` and ``split``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ....spaces.errors import UserError
from ...features import LogMel
from ...tokens import BLANK_LABEL, Tokens, TranscriptionTask, Unit, padded, steps_needed
from .. import noise
from ..assemble import clip_samples, log_mel_dataset
from ..audio import UnreadableAudio, read_clip
from ..cache import SPLITS, load_or_make
from ..dataset import Dataset, Split
from ..listing import fingerprint
from ..splits import hash_split

FILES_A_CHUNK = 256
NOISES_IN_BANK = 192
LINES_NAMED = 3


@dataclass(frozen=True)
class Utterance:
    """One line of a manifest."""

    line: int
    path: Path
    text: str
    split: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Recorded utterances with their transcripts. Batches of training hold utterances of like length."""

    manifest: Path
    """A file of JSON lines, each with ``path`` and ``text``; where a line has no ``split``, its speaker draws one."""
    unit: Unit = "character"
    """What a token is."""
    symbols: tuple[str, ...] | None = None
    """The tokens that transcripts may have; None: those of the training transcripts."""
    window_seconds: float = 8.0
    """What the network hears at once: shorter utterances end in silence, longer ones are left out."""
    frames_a_step: int = 4
    """At most so many frames become one step of the network: utterances of fewer steps than tokens are left out."""
    log_mel: LogMel = field(default_factory=LogMel)
    """Front end; recordings at another sample rate are resampled to its own."""
    validation_percent: float = 10.0
    """Share of speakers (or files) that validate, of lines without a ``split``."""
    test_percent: float = 10.0
    """Share of speakers (or files) that test, of lines without a ``split``."""
    cache: Path | None = None
    """Folder where the features are kept; None: $REPARETO_CACHE, else ~/.cache/repareto."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "manifest", Path(self.manifest).expanduser())
        if self.symbols is not None:
            object.__setattr__(self, "symbols", tuple(self.symbols))
        if self.frames_a_step < 1:
            raise UserError(f"manifest frames_a_step {self.frames_a_step}: must be 1 or more (try 4)")
        TranscriptionTask(self.unit)
        clip_samples("manifest", self.window_seconds, self.log_mel)

    def load(self, *, seed: int) -> Dataset:
        """The corpus, kept in the cache until a file changes; nothing but the bank of noise hangs on ``seed``.

        Lines that cannot be used are left out, counted and named in the notes. Raises :class:`UserError` for a manifest
        that is missing or has a line of another form, and where a split is left without utterances.
        """
        utterances = self._read_lines()
        key = {
            "source": "manifest",
            "lines": [[u.path.as_posix(), u.text, u.split] for u in utterances],
            "files": fingerprint([u.path for u in utterances if u.path.is_file()]),
            "unit": self.unit,
            "symbols": self.symbols,
            "window_seconds": float(self.window_seconds),
            "frames_a_step": self.frames_a_step,
            "log_mel": self.log_mel.describe(),
            "seed": seed,
        }
        made = load_or_make("manifest", key, lambda: _Loading(self, utterances, seed).dataset(), self.cache)
        return replace(made, transcription=TranscriptionTask(self.unit))

    def _read_lines(self) -> list[Utterance]:
        try:
            lines = self.manifest.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UserError(f"manifest {self.manifest}: cannot be read ({reason})") from error
        utterances = [self._utterance(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        if not utterances:
            raise UserError(f'manifest {self.manifest}: is empty (a line is {{"path": "a.wav", "text": "one two"}})')
        return utterances

    def _utterance(self, number: int, line: str) -> Utterance:
        place = f"{self.manifest}:{number}"
        try:
            fields: Any = json.loads(line)
        except ValueError as error:
            raise UserError(f"{place}: is not JSON: {error}") from error
        if not isinstance(fields, dict) or not all(isinstance(fields.get(key), str) for key in ("path", "text")):
            raise UserError(f'{place}: must be an object with the texts "path" and "text"')
        split = fields.get("split")
        if split is None:
            who = str(fields.get("speaker") or fields["path"])
            split = hash_split(who, self.validation_percent, self.test_percent)
        if split not in SPLITS:
            raise UserError(f"{place}: split {split!r} must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
        return Utterance(number, self.manifest.parent / fields["path"], fields["text"], split)


class _Loading:
    """One manifest in the loading."""

    def __init__(self, settings: Manifest, utterances: Sequence[Utterance], seed: int) -> None:
        self._settings, self._utterances, self._seed = settings, utterances, seed
        self._task = TranscriptionTask(settings.unit)
        self._samples = clip_samples("manifest", settings.window_seconds, settings.log_mel)
        self._symbols = settings.symbols or self._symbols_of_training()
        self._numbers = {symbol: number for number, symbol in enumerate(self._symbols, 1)}
        self._faults: dict[str, list[str]] = {}
        """What was left out, by why."""

    def dataset(self) -> Dataset:
        splits = {split: self._split([u for u in self._utterances if u.split == split]) for split in SPLITS}
        notes = [self._note(fault, named) for fault, named in self._faults.items()]
        for split, held in splits.items():
            if not len(held):
                raise UserError(
                    "; ".join([f"manifest {self._settings.manifest}: no utterances to {_use(split)}", *notes])
                )
        rng = np.random.default_rng(self._seed)
        log_mel = self._settings.log_mel
        return log_mel_dataset(
            "manifest",
            (BLANK_LABEL, *self._symbols),
            splits,
            log_mel(noise.generated(NOISES_IN_BANK, self._samples, rng)),
            log_mel,
            self._settings.window_seconds,
            notes,
        )

    def _symbols_of_training(self) -> tuple[str, ...]:
        texts = [u.text for u in self._utterances if u.split == "train"]
        return tuple(sorted({symbol for text in texts for symbol in self._task.symbols_of(text)}))

    def _split(self, utterances: Sequence[Utterance]) -> Split:
        log_mel = self._settings.log_mel
        features = np.empty((len(utterances), log_mel.bands, log_mel.frames(self._samples)), np.float32)
        tokens: list[Tokens] = []
        frames: list[int] = []
        for waveforms, found in self._usable(utterances):
            features[len(tokens) : len(tokens) + len(found)] = log_mel(waveforms)
            tokens += [one for one, _ in found]
            frames += [count for _, count in found]
        return Split(features[: len(tokens)], padded(tokens), np.array(frames, np.int64))

    def _usable(self, utterances: Sequence[Utterance]) -> Iterator[tuple[np.ndarray, list[tuple[Tokens, int]]]]:
        """Waveforms (n, samples), and tokens and frames of each, a chunk at a time."""
        spelled = [(u, tokens) for u in utterances if (tokens := self._spelled(u)) is not None]
        for start in range(0, len(spelled), FILES_A_CHUNK):
            chunk = spelled[start : start + FILES_A_CHUNK]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                read = list(pool.map(self._read, [u.path for u, _ in chunk]))
            waveforms = np.zeros((len(chunk), self._samples), np.float32)
            found: list[tuple[Tokens, int]] = []
            for (utterance, tokens), waveform in zip(chunk, read, strict=True):
                if self._is_admitted(utterance, tokens, waveform):
                    waveforms[len(found), : len(waveform)] = waveform
                    found.append((tokens, self._settings.log_mel.frames(len(waveform))))
            yield waveforms[: len(found)], found

    def _spelled(self, utterance: Utterance) -> Tokens | None:
        symbols = self._task.symbols_of(utterance.text)
        if not symbols:
            self._leave_out("have an empty transcript", utterance, "")
            return None
        unknown = next((symbol for symbol in symbols if symbol not in self._numbers), None)
        if unknown is not None:
            self._leave_out(f"have a {self._settings.unit} that is no symbol", utterance, f"{unknown!r}")
            return None
        return tuple(self._numbers[symbol] for symbol in symbols)

    def _read(self, path: Path) -> np.ndarray | str:
        try:
            return read_clip(path, self._settings.log_mel.sample_rate_hz)
        except UnreadableAudio as error:
            return str(error)

    def _is_admitted(self, utterance: Utterance, tokens: Tokens, waveform: np.ndarray | str) -> bool:
        settings = self._settings
        if isinstance(waveform, str):
            self._leave_out("cannot be read", utterance, waveform)
            return False
        if len(waveform) > self._samples:
            seconds = len(waveform) / settings.log_mel.sample_rate_hz
            self._leave_out(
                f"are longer than window_seconds ({settings.window_seconds:g})", utterance, f"{seconds:.1f} s"
            )
            return False
        steps, needed = (
            settings.log_mel.frames(len(waveform)) // settings.frames_a_step,
            int(steps_needed(padded([tokens]))[0]),
        )
        if steps < needed:
            fault = f"are shorter than their transcript at {settings.frames_a_step} frames_a_step"
            self._leave_out(fault, utterance, f"{steps} steps, {needed} needed")
            return False
        return True

    def _leave_out(self, fault: str, utterance: Utterance, detail: str) -> None:
        told = f"line {utterance.line} ({': '.join(part for part in (utterance.path.name, detail) if part)})"
        self._faults.setdefault(fault, []).append(told)

    def _note(self, fault: str, named: Sequence[str]) -> str:
        more = f" and {len(named) - LINES_NAMED:,} more" if len(named) > LINES_NAMED else ""
        return (
            f"{len(named):,} of {len(self._utterances):,} utterances {fault} and were left out: "
            f"{', '.join(named[:LINES_NAMED])}{more}"
        )


def _use(split: str) -> str:
    uses: Mapping[str, str] = {"train": "train on", "validation": "validate with", "test": "test with"}
    return uses[split]
