"""The rows of a study: how each looks, what is known of it, and the tables of them."""

import csv
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from repareto.search.facts import StudyFacts
from repareto.search.noise import share_interval
from repareto.search.objectives import objective
from repareto.search.pages.rows import (
    FRONT,
    FULL,
    OVER,
    RUNNING,
    STOPPED,
    Row,
    as_csv,
    as_json,
    front_table,
    rows_of,
    trials_table,
)
from repareto.search.records import State

ERROR, LATENCY = objective("error"), objective("latency")


@pytest.fixture
def records(lab):
    return (
        lab.record(0, 0.2, 2000, 20480),
        lab.record(1, 0.1, 3000, 40960),
        lab.record(2, 0.4, 4000, 51200),
        lab.record(3, state=State.STOPPED, reason="dominated at the rung of epoch 3"),
        lab.record(4, state=State.REJECTED, reason="latency 3 ms > 2 ms"),
        lab.record(5, state=State.RUNNING),
        lab.record(6, 0.01, 10, 10, feasible=False),
        lab.record(7, state=State.FAILED, curve=()),
    )


def with_exits(record, count: int = 3):
    """A trial whose operating points trade error against expected latency."""
    points = [{"error": 0.1 + 0.1 * place, "latency_us": 3000.0 - 1000 * place} for place in range(count)]
    details = {"exits": {"points": points, "chosen": 1}}
    return replace(record, measurement=replace(record.measurement, details=details))


def test_each_row_says_what_came_of_it(lab, records) -> None:
    rows = rows_of(lab.results(*records))
    assert [row.record.number for row in rows] == list(range(8))
    assert [row.group for row in rows] == [FRONT, FRONT, FULL, STOPPED, OVER, RUNNING, OVER, STOPPED]


def test_what_is_known_of_a_trial_without_an_end(lab, records) -> None:
    rows = rows_of(lab.results(*records))
    stopped, rejected, failed = rows[3], rows[4], rows[7]
    assert stopped.figure(ERROR) == stopped.record.curve[-1].error
    assert stopped.figure(LATENCY) == stopped.record.profile["latency_us"]["value"]
    assert rejected.figure(ERROR) is None
    assert failed.figure(ERROR) is None
    assert stopped.interval(ERROR, StudyFacts("s")) is None


def test_operating_points_of_the_front_are_rows_of_their_own(lab, records) -> None:
    results = lab.results(with_exits(records[0]), records[2])
    rows = rows_of(results)
    assert sum(row.is_on_front for row in rows) == len(results.front) == 3
    assert [(row.record.number, row.point) for row in rows] == [(0, 1), (2, None), (0, 0), (0, 2)]
    assert rows[0].name.endswith(", point 1")


def test_a_share_of_examples_has_an_interval_and_a_miss_rate_has_none(lab) -> None:
    row = Row(lab.record(0, 0.1), True)
    data = {"examples": {"validation": 400}}
    low, high = row.interval(ERROR, StudyFacts("s", data=data))
    assert low < 0.1 < high
    assert row.interval(ERROR, StudyFacts("s", data={**data, "task": "wakeword"})) is None
    assert row.interval(ERROR, StudyFacts("s")) is None


def test_an_estimate_has_the_interval_of_its_profile(lab) -> None:
    record = lab.record(0)
    assert Row(record, True).interval(LATENCY, StudyFacts("s")) is None
    profile = {**record.profile, "latency_us": {**record.profile["latency_us"], "low": 90.0, "high": 120.0}}
    assert Row(replace(record, profile=profile), True).interval(LATENCY, StudyFacts("s")) == (90, 120)


@given(st.integers(1, 2000), st.data())
def test_the_interval_of_a_share_is_wilsons(examples: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, examples))
    expected = binomtest(wrong, examples).proportion_ci(0.9, method="wilson")
    assert share_interval(wrong / examples, examples) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_the_table_of_a_front(lab, records) -> None:
    table = front_table(lab.results(*records))
    assert table["columns"][:5] == ["trial", "name", "error", "latency_us", "peak_memory_bytes"]
    assert [[row[0], *row[2:5]] for row in table["data"]] == [[1, 0.1, 3000, 40960], [0, 0.2, 2000, 20480]]
    first = dict(zip(table["columns"], table["data"][0], strict=True))
    assert {name: first[name] for name in records[1].candidate} == dict(records[1].candidate)


def test_the_table_of_a_front_has_what_was_measured(lab, records) -> None:
    measured = {"latency_us": {"value": 12.5, "unit": "us", "method": "measured"}}
    table = front_table(lab.results(replace(records[0], measured=measured), records[1]))
    column = table["columns"].index("measured.latency_us")
    assert [row[column] for row in table["data"]] == [None, 12.5]


def test_the_table_of_all_trials_is_the_same_as_json_and_as_csv(lab, records) -> None:
    table = trials_table(lab.results(*records))
    assert [row[0] for row in table["data"]] == list(range(8))
    assert json.loads(as_json(table)) == table
    lines = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [line["state"] for line in lines] == [record.state.value for record in records]
    assert [line["on_front"] for line in lines] == ["True", "True"] + ["False"] * 6
    assert lines[4]["reason"] == "latency 3 ms > 2 ms"
    assert lines[4]["error"] == ""


def test_tables_of_no_trials(lab) -> None:
    assert front_table(lab.results())["data"] == []
    assert as_csv(trials_table(lab.results())).count("\n") == 1
