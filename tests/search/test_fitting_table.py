"""What a table leaves out to fit a terminal, and in which order."""

import io

import pytest
from rich.console import Console

from repareto.search.fitting_table import Column, print_fitting

LENGTHY = "a word, and what is to be said of it"
COLUMNS = {
    "name": Column[int](lambda row: f"number {row}"),
    "a long header": Column[int](lambda row: f"{LENGTHY} {row}", lambda row: f"a word {row}", "what is said of it"),
    "least": Column[int](lambda row: f"least {row}"),
    "less": Column[int](lambda row: f"less {row}"),
}


def printed(width: int) -> tuple[list[str], list[str]]:
    """The rows' lines at a width, and what was left out."""
    console = Console(file=io.StringIO(), width=width)
    left_out = print_fitting(console, "title", COLUMNS, [3, 7], ["least", "absent", "less"])
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line for line in lines if "number" in line], left_out


@pytest.mark.parametrize(
    ("width", "cells", "left_out"),
    [
        (100, ["│", LENGTHY, "least", "less"], []),
        (70, [LENGTHY, "least", "less"], []),
        (40, ["a word", "least", "less"], ["what is said of it"]),
        (30, ["a word", "less"], ["what is said of it", "least"]),
        (22, ["a word"], ["what is said of it", "least", "less"]),
    ],
)
def test_rows_of_one_line_with_all_that_has_room(width: int, cells: list[str], left_out: list[str]) -> None:
    rows, missing = printed(width)
    assert len(rows) == 2 and missing == left_out
    for text in ("│", LENGTHY, "a word", "least", "less"):
        assert (text in rows[0]) == (text in cells or (text == "a word" and LENGTHY in cells))


def test_too_narrow_for_what_must_stand_is_still_printed() -> None:
    console = Console(file=io.StringIO(), width=12)
    assert print_fitting(console, "title", COLUMNS, [3], ["least", "less"]) == ["what is said of it", "least", "less"]
