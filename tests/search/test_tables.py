"""Fronts and profiles as text."""

import json

import pytest

from repareto.search.records import State
from repareto.search.tables import front_json, print_front, print_profile


@pytest.fixture
def results(lab):
    measured = {"latency_us": {"value": 123.4, "unit": "us", "method": "measured", "error": None}}
    return lab.results(
        lab.record(0, 0.2, 2000, 20480, measured=measured),
        lab.record(1, 0.1, 3000, 40960),
        lab.record(2, state=State.STOPPED),
        lab.record(3, state=State.REJECTED),
        lab.record(4, state=State.FAILED),
        lab.record(5, state=State.RUNNING),
        lab.record(6, 0.9, 9000, 90000),
    )


def test_json_for_scripts(lab, results) -> None:
    data = json.loads(front_json(results, "keywords"))
    assert data["study"] == "keywords"
    assert data["objectives"] == ["error", "latency_us", "peak_memory_bytes"]
    assert data["trials"] == {"running": 1, "finished": 3, "stopped": 1, "rejected": 1, "failed": 1}
    assert data["hypervolume"] == results.hypervolume
    assert data["reference"] == list(lab.reference)
    assert [member["trial"] for member in data["front"]] == [1, 0]
    best = data["front"][0]
    record = results.records[1]
    assert best["figures"] == record.measurement.figures
    assert best["candidate"] == dict(record.candidate)
    assert best["digest"] == record.candidate.digest
    assert best["profile"]["latency_us"]["method"] == "estimated"
    assert best["fusion"]["largest_relative_difference"] == 2e-7
    assert data["front"][1]["measured"]["latency_us"]["value"] == 123.4


def test_json_of_a_study_without_a_front(lab) -> None:
    data = json.loads(front_json(lab.results(), "empty"))
    assert data["front"] == [] and data["hypervolume"] == 0
    assert data["trials"] == dict.fromkeys([state.value for state in State], 0)


def test_the_table_for_people(results, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    print_front(results)
    text = capsys.readouterr().out
    assert "front: 2 of 3 models trained in full" in text
    rows = [line for line in text.splitlines() if " % " in line]
    assert len(rows) == 2
    assert [field.strip() for field in rows[0].strip("│").split("│")][:5] == [
        "1", "10.00 %", "3 ms", "40 KiB", "11.00 %",
    ]  # fmt: skip
    assert "123.4 us" in rows[1]
    assert "5 trained (1 stopped early, 1 failed), 1 rejected before training; hypervolume 0." in text


def test_the_table_of_no_trials(lab, capsys: pytest.CaptureFixture[str]) -> None:
    print_front(lab.results())
    assert capsys.readouterr().out.startswith("no model trained in full within the budgets yet")


def test_a_profile_says_how_every_figure_was_got(
    lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    print_profile(lab.profile(lab.candidate()))
    text = capsys.readouterr().out
    assert "hand-made (none, fp32)" in text
    for figure, method in (("latency_us", "estimated"), ("peak_memory_bytes", "planned"), ("macs", "exact")):
        row = next(line for line in text.splitlines() if figure in line)
        assert method in row
    assert "none: made up" in text
    assert "not covered by these figures: aten.erfinv" in text
