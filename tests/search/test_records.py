"""What the ledger keeps of a trial."""

from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from repareto.search.devices.profile import FIGURES
from repareto.search.records import State, estimate_errors, figures_of, profile_figures


def test_states_that_count_as_trained() -> None:
    assert {state for state in State if state.was_trained} == {State.FINISHED, State.STOPPED, State.FAILED}
    assert [str(state) for state in State] == ["running", "finished", "stopped", "rejected", "failed"]


def test_the_figures_of_a_profile(lab) -> None:
    profile = lab.profile(lab.candidate())
    assert profile_figures(asdict(profile)) == {name: profile.value(name) for name in FIGURES}
    assert profile_figures({}) == {}


def test_how_far_off_estimates_were(lab) -> None:
    planned = asdict(lab.profile(lab.candidate()))
    estimated_us = planned["latency_us"]["value"]
    measured = {**planned, "latency_us": {**planned["latency_us"], "value": estimated_us / 1.25, "method": "measured"}}
    assert estimate_errors(planned, measured) == pytest.approx({"latency_us": 0.25})
    assert estimate_errors(planned, planned) == {}, "nothing was measured"


def test_a_record_cannot_be_changed(lab) -> None:
    record = lab.record(0)
    with pytest.raises(FrozenInstanceError):
        record.state = State.FAILED


def test_measured_figures_count_and_a_plan_that_is_larger(lab) -> None:
    record = lab.record(0, 0.1, 2000, 20480)

    def measured(latency_us: float, memory_bytes: int):
        figures = {"latency_us": latency_us, "peak_memory_bytes": memory_bytes}
        return {name: {"value": value, "method": "measured"} for name, value in figures.items()}

    assert record.profile["peak_memory_bytes"]["method"] == "planned"
    smaller = figures_of(replace(record, measured=measured(1500, 10000)))
    larger = figures_of(replace(record, measured=measured(2500, 30000)))
    assert (smaller["latency_us"], smaller["peak_memory_bytes"]) == (1500, 20480)
    assert (larger["latency_us"], larger["peak_memory_bytes"]) == (2500, 30000)
    assert smaller["error"] == record.measurement.figures["error"]
