"""Tables of figures in the README and in documents say what benchmarks measured."""

from pathlib import Path

import pytest

from benchmarks.figures import Measured, measured, number, pages, told, with_figures

PAGE = Path(__file__).parents[2] / "docs" / "papers" / "page.md"
CLAIM = {"id": "a.b", "value": 0.288, "low": 0.18, "high": 0.36, "op": ">=", "target": 0.3, "holds": False}
FIGURES = {
    "a.b": Measured(CLAIM, PAGE.parents[2] / "benchmarks/results/a.json"),
    "a.c": Measured(
        CLAIM | {"value": 0.5, "low": 0.5, "high": 0.5, "holds": True}, PAGE.parents[2] / "benchmarks/results/a.json"
    ),
}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_page_says_what_was_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- figures\n") == text.count("<!-- end of figures -->")
    assert with_figures(text, page, measured()) == text, "make figures"


def test_some_pages_have_tables() -> None:
    assert sum("<!-- figures\n" in page.read_text(encoding="utf-8") for page in pages()) >= 4


def test_a_row_has_value_interval_target_verdict_and_source() -> None:
    text = "before\n<!-- figures\na.b; a.c | % | errors fewer; again\n-->\nold\n<!-- end of figures -->\nafter\n"
    made = with_figures(text, PAGE, FIGURES)
    value, source = "28.8 % (18 to 36); 50 %", "[a](../../benchmarks/results/a.json)"
    assert f"| errors fewer; again | {value} | at least 30 % | **no**; yes | {source} |" in made.splitlines()
    assert "old" not in made and made.startswith("before\n") and made.endswith("after\n")
    assert with_figures(made, PAGE, FIGURES) == made


def test_a_claim_that_nothing_published_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"no\.such"):
        with_figures("<!-- figures\nno.such | % | what\n-->\n<!-- end of figures -->", PAGE, FIGURES)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1e-17, "0"), (3.576e-7, "4e-7"), (0.0943, "0.094"), (0.8085, "0.81"), (2.0, "2"), (2.548, "2.55"),
     (-12.84, "-12.8"), (91.91, "91.9"), (100.0, "100"), (4651.2, "4,651")],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_shares_are_told_as_percent() -> None:
    assert told(0.2883, "%") == "28.8 %"
    assert told(2.3, "times") == "2.3 times"
    assert told(0.5, "") == "0.5"
