"""The published hash and the folder's own lists."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.trainers.data.listing import Listing
from repareto.trainers.data.splits import assign_splits, hash_percent, hash_split

# Speakers that the lists of Speech Commands put there, with 10 % each.
PUBLISHED = {
    "test": ["bb05582b", "97f4c236", "f2e59fea", "893705bb", "0c40e715", "c7dc7278", "ffb86d3c"],
    "validation": ["a69b9b3e", "439c84f4", "409c962a", "3903b558", "067f61e2", "ff2b842e", "0e17f595"],
}


@pytest.mark.parametrize(("split", "speaker"), [(split, name) for split in PUBLISHED for name in PUBLISHED[split]])
def test_speakers_of_speech_commands_fall_where_its_lists_put_them(split: str, speaker: str) -> None:
    assert hash_split(f"right/{speaker}_nohash_0.wav", 10, 10) == split
    assert hash_split(f"left/{speaker}_nohash_7.wav", 10, 10) == split


def test_a_name_without_a_speaker_is_hashed_whole() -> None:
    digest = int(hashlib.sha1(b"0042.flac").hexdigest(), 16)
    assert hash_percent("alexa/0042.flac") == pytest.approx(digest % 2**27 * 100 / (2**27 - 1))


@given(st.text(min_size=1), st.floats(0, 50), st.floats(0, 50))
def test_hash_is_a_percentage_cut_at_the_shares(name: str, validation: float, test: float) -> None:
    percent = hash_percent(name)
    assert 0 <= percent <= 100
    split = hash_split(name, validation, test)
    expected = "validation" if percent < validation else "test" if percent < validation + test else "train"
    assert split == expected


def listing(folder: Path, count: int = 300) -> Listing:
    return Listing(folder, {"yes": tuple(folder / "yes" / f"{speaker}_nohash_0.wav" for speaker in range(count))}, ())


def members(splits: dict[Path, str], split: str) -> set[str]:
    return {path.name for path, its in splits.items() if its == split}


def test_without_lists_the_hash_decides(tmp_path: Path) -> None:
    splits, notes = assign_splits(listing(tmp_path), 10, 20)
    assert notes == []
    assert splits == {path: hash_split(path.name, 10, 20) for path in splits}
    assert 15 < len(members(splits, "validation")) < 45
    assert 40 < len(members(splits, "test")) < 80


def test_lists_decide_against_the_hash_and_oddities_are_noted(tmp_path: Path) -> None:
    (tmp_path / "validation_list.txt").write_text("yes/1_nohash_0.wav\r\n\n./yes/2_nohash_0.wav\nyes/gone.wav\n")
    (tmp_path / "testing_list.txt").write_text("yes\\3_nohash_0.wav\nyes/2_nohash_0.wav\n")
    splits, notes = assign_splits(listing(tmp_path), 10, 10)
    assert members(splits, "validation") == {"1_nohash_0.wav"}
    assert members(splits, "test") == {"2_nohash_0.wav", "3_nohash_0.wav"}
    assert notes == [
        "validation_list.txt names 1 clips that are not there, first yes/gone.wav",
        "1 clips stand in both lists; they test",
    ]


@pytest.mark.parametrize(
    ("present", "listed", "hashed"),
    [("testing_list.txt", "test", "validation"), ("validation_list.txt", "validation", "test")],
)
def test_one_missing_list_is_made_up_for_by_the_hash(tmp_path: Path, present: str, listed: str, hashed: str) -> None:
    by_hash, _ = assign_splits(listing(tmp_path), 10, 10)
    (tmp_path / present).write_text("".join(f"yes/{name}\n" for name in members(by_hash, listed)))
    splits, (note,) = assign_splits(listing(tmp_path), 10, 10)
    assert splits == by_hash  # as the published lists come from the hash, losing one loses nothing
    assert "is missing" in note
    (tmp_path / present).write_text("yes/0_nohash_0.wav\n")
    splits, _ = assign_splits(listing(tmp_path), 10, 10)
    assert members(splits, listed) == {"0_nohash_0.wav"}
    assert members(splits, hashed) == members(by_hash, hashed) - {"0_nohash_0.wav"}
