"""Pages as documents: axes, and the one file that holds all."""

import re

import pytest

from repareto.search.objectives import objective
from repareto.search.pages.document import Group, objective_axis, page, parameter_axis
from tests.search.pages.documents import document_of

NAN = float("nan")


def test_an_objective_is_shown_in_the_unit_that_people_read() -> None:
    axis = objective_axis(objective("error"), [0.5, None, 0.25], bound=0.3, intervals=[(0.4, 0.6), None, None])
    assert axis.label == "error (%)"
    assert axis.values == [50, None, 25]
    assert axis.bound == 30
    assert (axis.low, axis.high) == ([40, None, None], [60, None, None])
    assert objective_axis(objective("peak_memory"), [2048.0]).values == [2]


def test_an_error_that_is_no_number_is_not_shown() -> None:
    assert objective_axis(objective("error"), [NAN, float("inf"), 0.1]).values == [None, None, 10]


def test_intervals_that_nobody_has_are_not_written() -> None:
    assert objective_axis(objective("error"), [0.1, 0.2], intervals=[None, None]).low is None


@pytest.mark.parametrize(
    ("values", "log"), [([0.001, 0.5], True), ([0.1, 0.5], False), ([0.0, 5.0], False), ([], False)]
)
def test_a_wide_range_is_logarithmic(values: list[float], log: bool) -> None:
    assert objective_axis(objective("latency"), values).log is log


def test_few_whole_numbers_words_and_truths_are_options() -> None:
    assert parameter_axis("kernel", [9, 3, None, 3]).options == ("3", "9")
    assert parameter_axis("kernel", [9, 3, None, 3]).values == [1, 0, None, 0]
    assert parameter_axis("form", ["full", "separable"]).options == ("full", "separable")
    assert parameter_axis("skip", [True, False]).options == ("false", "true")
    assert parameter_axis("mixed", ["none", 4, 2]).options == ("2", "4", "none")


def test_many_numbers_are_an_axis_of_numbers() -> None:
    assert parameter_axis("width", list(range(4, 100, 4))).options is None
    assert parameter_axis("rate", [1e-4, 1e-1]).log
    assert parameter_axis("rate", [0.123456789]).values == [0.123457]


def make(title: str, **items: list) -> str:
    columns = {"name": ["#0"], "group": [0], "note": [""], "run": [None], **items}
    axes = [objective_axis(objective("error"), [0.1])]
    return page(title, "", columns, axes, [Group("front", "#fff", 1, 5, 1)], [])


def test_a_page_is_one_file_that_may_load_nothing() -> None:
    text = make("keywords")
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", text)
    assert "default-src 'none'" in text
    assert document_of(text)["title"] == "keywords"


def test_names_cannot_break_out_of_the_page() -> None:
    evil = "</script><script>alert(1)</script><!--"
    text = make(evil, name=[evil])
    assert "<script>alert" not in text
    assert document_of(text)["items"]["name"] == [evil]


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        make("nan", group=[NAN])
