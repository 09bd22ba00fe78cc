"""Pictures of a front."""

import base64
import io
import json
import re
from array import array

import matplotlib.image
import pytest

from repareto.search.objectives import Budget
from repareto.search.plots import front_html, front_png
from repareto.search.records import State


@pytest.fixture
def results(lab):
    return lab.results(
        lab.record(0, 0.10, 3000, 40960),
        lab.record(1, 0.20, 2000, 20480),
        lab.record(2, 0.40, 4000, 51200),
        lab.record(3, state=State.STOPPED),
        lab.record(4, 0.01, 10, 10, feasible=False),
    )


def numbers(values: object) -> list[float]:
    """Plotly writes arrays as lists or as base64."""
    if isinstance(values, dict):
        assert values["dtype"] == "f8"
        return array("d", base64.b64decode(values["bdata"])).tolist()
    assert isinstance(values, list | tuple)
    return list(values)


def figure_of(page: str) -> tuple[list[dict], dict]:
    """Return the traces and the layout that a page draws."""
    call = page[page.rindex("Plotly.newPlot(") :]
    decoder = json.JSONDecoder()
    traces, end = decoder.raw_decode(call, call.index("["))
    layout, _ = decoder.raw_decode(call, call.index("{", end))
    return traces, layout


def test_the_page_has_every_member_and_all_it_stands_over(results) -> None:
    page = front_html(results, [Budget.parse("latency", "2.5ms")], "keywords: 2 models")
    traces, layout = figure_of(page)
    assert [(trace["name"], len(numbers(trace["x"]))) for trace in traces] == [("dominated", 1), ("front", 2)] * 2
    assert numbers(traces[1]["x"]) == [3000.0, 2000.0], "microseconds"
    assert numbers(traces[3]["x"]) == [40.0, 20.0], "KiB"
    assert numbers(traces[1]["y"]) == [10.0, 20.0], "per cent"
    for record, text in zip(results.front, traces[1]["hovertext"], strict=True):
        assert f"trial {record.number}" in text
        assert all(f"{name} = {value}" in text for name, value in record.candidate.items())
    assert layout["title"]["text"] == "keywords: 2 models"
    assert [layout[axis]["title"]["text"] for axis in ("xaxis", "xaxis2", "yaxis")] == [
        "latency (us)", "peak memory (KiB)", "error (%)",
    ]  # fmt: skip
    assert [shape["x0"] for shape in layout["shapes"]] == [2500.0]


def test_the_page_needs_no_network(results) -> None:
    page = front_html(results, [], "title")
    assert not re.search(r"<(script|link)[^>]*(src|href)=", page)
    assert 'id="front"' in page


def test_the_picture_is_a_png(results) -> None:
    picture = front_png(results, [Budget.parse("latency", "2.5ms")], "keywords")
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    pixels = matplotlib.image.imread(io.BytesIO(picture))
    assert pixels.shape[:2] == (400, 1000)
    red = (abs(pixels[..., :3] - [0xC0 / 255, 0x39 / 255, 0x2B / 255]) < 0.02).all(-1)
    assert red.any(), "members of the front are drawn"


def test_a_page_of_no_trials(lab) -> None:
    traces, _ = figure_of(front_html(lab.results(), [], "empty"))
    assert all(numbers(trace["x"]) == [] for trace in traces)


def test_a_picture_of_one_trial_with_no_error_at_all(lab) -> None:
    assert front_png(lab.results(lab.record(0, 0.0)), [], "one").startswith(b"\x89PNG")
