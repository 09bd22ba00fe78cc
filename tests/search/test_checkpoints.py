"""The last two epochs of a trial: one that was cut short, or is another's, is not used."""

from pathlib import Path
from typing import Any

import pytest

from repareto.search.checkpoints import SLOTS, Checkpoints, delete_checkpoints
from repareto.search.files import Files


@pytest.fixture
def folder(tmp_path: Path) -> Files:
    return Files(str(tmp_path))


def newest(checkpoints: Checkpoints) -> tuple[dict[str, Any] | None, list[str]]:
    warnings: list[str] = []
    return checkpoints.newest(warnings.append), warnings


def test_the_newest_epoch_comes_back(folder: Files) -> None:
    checkpoints = Checkpoints(folder, "a")
    assert newest(checkpoints) == (None, [])
    for epoch in (1, 2, 3):
        checkpoints.save(epoch, {"epoch": epoch})
        assert newest(checkpoints) == ({"epoch": epoch}, [])


@pytest.mark.parametrize("kept", [0, 10, 200])
def test_one_that_was_cut_short_costs_an_epoch(folder: Files, kept: int) -> None:
    checkpoints = Checkpoints(folder, "a")
    checkpoints.save(1, {"epoch": 1})
    checkpoints.save(2, {"epoch": 2})
    slot = SLOTS[0]
    folder.write(slot, (folder.read(slot) or b"")[:kept])
    state, warnings = newest(checkpoints)
    assert state == {"epoch": 1}
    assert warnings == [f"{folder.place(slot)}: its checksum is wrong; the epoch before is used"]


def test_those_of_others_are_left_alone(folder: Files) -> None:
    Checkpoints(folder, "another study").save(5, {"epoch": 5})
    checkpoints = Checkpoints(folder, "a")
    assert newest(checkpoints) == (None, [])
    checkpoints.save(1, {"epoch": 1})
    assert newest(checkpoints)[0] == {"epoch": 1}


def test_they_are_gone_when_the_trial_has_ended(folder: Files) -> None:
    checkpoints = Checkpoints(folder, "a")
    checkpoints.save(1, {})
    checkpoints.save(2, {})
    delete_checkpoints(folder)
    delete_checkpoints(folder)
    assert [folder.read(slot) for slot in SLOTS] == [None, None]
