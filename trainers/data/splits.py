"""Which split a recording belongs to: the folder's own lists, else the hash of Speech Commands.

Source: P. Warden, "Speech Commands", arXiv:1804.03209, and ``which_set`` in the dataset's README. The hash takes the
name up to ``_nohash_``, so all recordings of one speaker share a split and more recordings never move old ones.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from pathlib import Path

from .listing import TESTING_LIST, VALIDATION_LIST, Listing

MOST_CLIPS_A_CLASS = 2**27 - 1


def hash_percent(name: str) -> float:
    """Where "word/file" falls between 0 and 100 by the speaker in the file's name, or by all of that where none is."""
    speaker = re.sub(r"_nohash_.*$", "", posixpath.basename(name))
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    return (digest % (MOST_CLIPS_A_CLASS + 1)) * (100.0 / MOST_CLIPS_A_CLASS)


def hash_split(name: str, validation_percent: float, test_percent: float) -> str:
    """The published ``which_set``: "validation", "test" or "train"."""
    percent = hash_percent(name)
    if percent < validation_percent:
        return "validation"
    return "test" if percent < validation_percent + test_percent else "train"


def assign_splits(
    listing: Listing, validation_percent: float, test_percent: float
) -> tuple[dict[Path, str], list[str]]:
    """The split of each clip of ``listing``, and notes on what was not as it should be.

    Lists that are there decide. A list that is missing is made up for by the hash, among what the other does not name.
    """
    names = {path: f"{word}/{path.name}" for word, paths in listing.clips.items() for path in paths}
    listed = {  # test first: what stands in both lists tests
        "test": _read_list(listing.folder / TESTING_LIST),
        "validation": _read_list(listing.folder / VALIDATION_LIST),
    }

    def split_of(name: str) -> str:
        for split, members in listed.items():
            if members is not None and name in members:
                return split
        hashed = hash_split(name, validation_percent, test_percent)
        # A list that is there is complete: the hash adds nothing to its split.
        return hashed if hashed == "train" or listed[hashed] is None else "train"

    splits = {path: split_of(name) for path, name in names.items()}
    return splits, _notes(frozenset(names.values()), listed["validation"], listed["test"])


def _read_list(path: Path) -> frozenset[str] | None:
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return frozenset(posixpath.normpath(line.strip().replace("\\", "/")) for line in lines if line.strip())


def _notes(clips: frozenset[str], validation: frozenset[str] | None, test: frozenset[str] | None) -> list[str]:
    notes = []
    for name, listed in ((VALIDATION_LIST, validation), (TESTING_LIST, test)):
        absent = sorted((listed or frozenset()) - clips)
        if absent:
            notes.append(f"{name} names {len(absent):,} clips that are not there, first {absent[0]}")
    if (validation is None) != (test is None):
        missing = VALIDATION_LIST if validation is None else TESTING_LIST
        notes.append(f"{missing} is missing: its split was drawn by the hash of the file names")
    if validation and test and validation & test:
        notes.append(f"{len(validation & test):,} clips stand in both lists; they test")
    return notes
