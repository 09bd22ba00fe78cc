"""What a folder of recordings holds: ``<word>/<file>`` and ``_background_noise_/<file>``, WAV or FLAC."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...spaces.errors import UserError

VALIDATION_LIST = "validation_list.txt"
TESTING_LIST = "testing_list.txt"
NOISE_FOLDER = "_background_noise_"
SUFFIXES = (".flac", ".wav")


@dataclass(frozen=True)
class Listing:
    """The audio files below ``folder``, all sorted by name."""

    folder: Path
    clips: Mapping[str, tuple[Path, ...]]
    """The files of each word that has some."""
    noises: tuple[Path, ...]
    """Recordings of background noise, none where the folder for them is missing."""

    def fingerprint(self) -> str:
        """A digest of names, sizes and times of change of all files and lists, not of where the folder is."""
        lists = [path for name in (VALIDATION_LIST, TESTING_LIST) if (path := self.folder / name).is_file()]
        clips = [path for paths in self.clips.values() for path in paths]
        return fingerprint((*lists, *self.noises, *clips))


def fingerprint(paths: Sequence[Path]) -> str:
    """A digest of names, sizes and times of change, not of where the files are."""
    digest = hashlib.sha256()
    for path in paths:
        facts = path.stat()
        digest.update(f"{path.parent.name}/{path.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def list_recordings(folder: Path, source: str = "speech_commands") -> Listing:
    """Words are the folders that hold audio and whose names begin with neither "_" nor ".".

    Raises :class:`UserError` where ``folder`` is missing or holds no word.
    """
    if not folder.is_dir():
        raise UserError(f"{source} folder {folder}: there is no such folder")
    clips = {}
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(("_", ".")) and (paths := _audio_files(child)):
            clips[child.name] = paths
    if not clips:
        raise UserError(
            f"{source} folder {folder}: no folder in it holds {' or '.join(SUFFIXES)} files"
            " (expected: <word>/<file>.wav)"
        )
    noises = folder / NOISE_FOLDER
    return Listing(folder, clips, _audio_files(noises) if noises.is_dir() else ())


def audio_below(folder: Path) -> tuple[Path, ...]:
    """All audio files in a folder and the folders in it, sorted by name."""
    return tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()))


def _audio_files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES))
