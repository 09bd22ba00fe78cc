"""Fronts over one another."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.search.compare import Comparison
from repareto.search.facts import StudyFacts
from repareto.search.records import State
from repareto.search.results import Results
from repareto.spaces.errors import UserError
from tests.search.conftest import Lab


def facts(*names: str, **fields: object) -> dict[str, StudyFacts]:
    return {name: StudyFacts(name, **fields) for name in names}


@pytest.fixture
def comparison(lab) -> Comparison:
    one = lab.results(lab.record(0, 0.1, 300, 2048), lab.record(1, 0.3, 100, 2048), lab.record(2, 0.5, 500, 4096))
    other = lab.results(lab.record(0, 0.2, 300, 2048), lab.record(1, 0.05, 900, 2048))
    return Comparison.of({"one": one, "other": other}, facts("one", "other"))


def test_what_each_covers_of_the_other(comparison: Comparison) -> None:
    assert comparison.coverage("one", "other") == 0.5
    assert comparison.coverage("other", "one") == 0
    assert comparison.coverage("one", "one") == 1


def test_the_front_of_all(comparison: Comparison) -> None:
    assert [(name, record.number) for name, record in comparison.union] == [("other", 1), ("one", 0), ("one", 1)]


def test_hypervolumes_have_one_reference(lab) -> None:
    record = lab.record(0, 0.1, 300, 2048)
    small, large = (Results(lab.objectives, (0.9, latency, 65536.0), [record]) for latency in (400.0, 1000.0))
    comparison = Comparison.of({"small": small, "large": large}, facts("small", "large"))
    assert comparison.hypervolumes["small"] == comparison.hypervolumes["large"] == large.hypervolume


def test_studies_that_differ_are_remarked_on(comparison: Comparison) -> None:
    assert comparison.remarks() == []
    results = dict(comparison.studies)
    others = {
        "one": StudyFacts("one", device="host"),
        "other": StudyFacts("other", device="cortex_m4", source={"a": 1}),
    }
    assert [remark.split(":")[0] for remark in Comparison.of(results, others).remarks()] == [
        "the studies differ in their device", "the studies differ in their data",
    ]  # fmt: skip


def test_as_json(comparison: Comparison) -> None:
    told = comparison.as_dict()
    assert told["coverage"] == {"one": {"other": 0.5}, "other": {"one": 0.0}}
    assert told["hypervolume"] == comparison.hypervolumes
    assert [(member["study"], member["trial"]) for member in told["front"]] == [("other", 1), ("one", 0), ("one", 1)]
    assert told["front"][0]["figures"] == {"error": 0.05, "latency_us": 900, "peak_memory_bytes": 2048}


def test_what_cannot_be_compared_is_refused(lab) -> None:
    front = lab.results(lab.record(0))
    with pytest.raises(UserError, match="needs two different studies or more"):
        Comparison.of({"a": front}, facts("a"))
    two = Results(lab.objectives[:2], lab.reference[:2], [lab.record(0)])
    with pytest.raises(
        UserError, match="study b minimises error, latency and study a error, latency, peak_memory; only"
    ):
        Comparison.of({"a": front, "b": two}, facts("a", "b"))
    empty = lab.results(lab.record(0, state=State.STOPPED))
    with pytest.raises(UserError, match="study b has no model on its front yet"):
        Comparison.of({"a": front, "b": empty}, facts("a", "b"))


FIGURES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8)


@given(FIGURES, FIGURES)
def test_the_front_of_all_dominates_what_each_does(ones: list[tuple], others: list[tuple]) -> None:
    lab = Lab()

    def results(figures: list[tuple]) -> Results:
        return lab.results(*(lab.record(n, e / 10, 100.0 * t, 7000.0 * m) for n, (e, t, m) in enumerate(figures)))

    comparison = Comparison.of({"a": results(ones), "b": results(others)}, facts("a", "b"))
    union = lab.results(*(replace(record, number=n) for n, (_, record) in enumerate(comparison.union)))
    assert union.hypervolume >= max(comparison.hypervolumes.values()) - 1e-12
    # All of the union's hypervolume comes from the two together.
    together = lab.results(*(replace(r, number=n) for n, r in enumerate(
        [*comparison.studies["a"].records, *comparison.studies["b"].records])))  # fmt: skip
    assert union.hypervolume == pytest.approx(together.hypervolume)
    if comparison.coverage("a", "b") == 1:
        assert comparison.hypervolumes["a"] >= comparison.hypervolumes["b"] - 1e-12
