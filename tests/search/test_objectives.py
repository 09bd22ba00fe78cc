"""Objectives and budgets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.search.devices.profile import FIGURES
from repareto.search.objectives import OBJECTIVES, Budget, objective
from repareto.search.units import KINDS
from repareto.spaces.errors import UserError


def test_every_figure_of_a_profile_is_an_objective_and_what_needs_training_may_have_a_stand_in() -> None:
    known_before = {o.key for o in OBJECTIVES.values() if not o.needs_training}
    assert known_before == set(FIGURES)
    known_keys = {o.name: o.known_key for o in OBJECTIVES.values() if o.needs_training}
    stand_ins = {"expected_latency": "latency_us", "expected_macs": "macs"}
    assert known_keys == {"error": None, "personal_error": None, **stand_ins}
    assert {o.kind for o in OBJECTIVES.values()} <= set(KINDS)
    assert all(objective(name).name == name for name in OBJECTIVES)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("latncy", r"objective 'latncy' is unknown \(did you mean latency\?\)"),
        ("joules", r"objective 'joules' is unknown \(known: error, latency, .*parameters\)"),
        ("", r"objective '' is unknown \(known: "),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_the_list(name: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        objective(name)


@pytest.mark.parametrize(
    ("name", "text", "bound"),
    [("latency", "2ms", 2000), ("peak_memory", "64KiB", 65536), ("error", "15%", 0.15), ("macs", 1000, 1000)],
)
def test_a_budget_in_base_units(name: str, text: object, bound: float) -> None:
    budget = Budget.parse(name, text)
    assert budget.objective is OBJECTIVES[name]
    assert budget.bound == pytest.approx(bound)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("latency", "2 mss", r'^budget latency "2 mss": not a duration \(try "2 ms"\)$'),
        ("latency", "2 KiB", r'^budget latency "2 KiB": not a duration'),
        ("peak_memory", 64, r'^budget peak_memory "64": not a size \(try "64 KiB"\)$'),
        ("error", "0%", r'^budget error "0%": a fraction must be positive'),
        ("speed", "2ms", "objective 'speed' is unknown"),
    ],
)
def test_a_wrong_budget_names_itself(name: str, text: object, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Budget.parse(name, text)


def test_what_exceeds_a_budget_says_by_how_much() -> None:
    budget = Budget.parse("latency", "2ms")
    assert budget.excess({"latency_us": 3000.0}) == pytest.approx(0.5)
    assert budget.excess({"latency_us": 1000.0}) == pytest.approx(-0.5)
    assert budget.explain({"latency_us": 2300.0}) == "latency 2.3 ms > 2 ms"


@given(st.floats(0, 1e12), st.floats(1e-3, 1e12))
def test_the_sign_of_the_excess_is_the_verdict(value: float, bound: float) -> None:
    excess = Budget(OBJECTIVES["macs"], bound).excess({"macs": value})
    assert (excess <= 0) == (value / bound <= 1)
    if value == bound:
        assert excess == 0
