"""Fronts and profiles as text."""

import json
from dataclasses import replace

import pytest

from repareto.search.devices.latency.roofline import REFERENCE, Conditions, HeldOutError
from repareto.search.devices.memory import MemoryPlan
from repareto.search.devices.profile import Figure
from repareto.search.devices.report.advice import Advice
from repareto.search.devices.report.layers import Layer
from repareto.search.front_table import front_data, print_front
from repareto.search.records import State
from repareto.search.tables import (
    print_advice,
    print_calibration,
    print_devices,
    print_layers,
    print_peak,
    print_profile,
)
from repareto.spaces.space import Candidate


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
    data = json.loads(json.dumps(front_data(results, "keywords")))
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
    data = front_data(lab.results(), "empty")
    assert data["front"] == [] and data["hypervolume"] == 0
    assert data["trials"] == dict.fromkeys([state.value for state in State], 0)


def test_the_table_for_people(results, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    print_front(results)
    text = capsys.readouterr().out
    assert "front: 2 of 3 models trained in full" in text
    rows = [line for line in text.splitlines() if " % " in line]
    assert len(rows) == 2
    assert [field.strip() for field in rows[0].strip("│").split("│")][:6] == [
        "1", "10.00 %", "3 ms", "", "40 KiB", "11.00 %",
    ]  # fmt: skip
    assert "123.4 us" in rows[1]
    assert "5 trained (1 stopped early, 1 failed), 1 rejected before training; hypervolume 0." in text


def test_the_table_says_which_members_are_sparse(
    lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    dense, sparse = lab.record(0, 0.1, 2000), lab.record(1, 0.2, 1000)
    print_front(lab.results(dense))
    assert "sparse" not in capsys.readouterr().out
    values = {"sparsity.method": "l0", "sparsity.level": 0.613}
    print_front(lab.results(dense, replace(sparse, candidate=Candidate.of("repcnn", values))))
    rows = [line.strip("│").split("│") for line in capsys.readouterr().out.splitlines() if " % " in line]
    assert [row[5].strip() for row in rows] == ["", "61 %"]


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


def test_an_interval_stands_beside_the_error(
    lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    estimate = Figure(1200.0, "us", "estimated", "of a fit", 1000.0, 1500.0)
    print_profile(replace(lab.profile(lab.candidate()), latency_us=estimate))
    assert "of a fit; 90 % between 1 ms and 1.5 ms" in capsys.readouterr().out


def layer(name: str, time_us: float | None, makes_peak: bool = False) -> Layer:
    return Layer(name, "CONV_2D + RELU", (1, 4, 4, 8), 1500, 64, 2048, 1024, time_us, makes_peak)


def rows_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[0] == "│"]


def test_layers_with_and_without_times(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    print_layers([layer("a", 30.0), layer("[b]", 10.0, makes_peak=True)])
    first, second = rows_of(capsys.readouterr().out)
    assert first == ["0", "a", "CONV_2D + RELU", "1x4x4x8", "1.5 k", "2 KiB", "1 KiB", "30 us", "75%"]
    assert second[1] == "[b]" and second[6] == "peak 1 KiB" and second[8] == "25%"
    print_layers([layer("a", None)])
    assert rows_of(capsys.readouterr().out) == [first[:7]]


def test_layers_that_take_no_time(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    print_layers([layer("a", 0.0)])
    assert rows_of(capsys.readouterr().out)[0][7:] == ["0 us", ""]


def test_the_peak_and_the_advice(capsys: pytest.CaptureFixture[str]) -> None:
    print_peak(MemoryPlan(4096, 2048, (), "a"), layer("a", None, makes_peak=True))
    assert capsys.readouterr().out == (
        "memory peak: a (CONV_2D + RELU); activations take 4 KiB, at least 2 KiB however arranged\n"
    )
    print_peak(MemoryPlan(4096, 2048, (), "a"), layer("a", None, makes_peak=True), " (a note)")
    assert capsys.readouterr().out.startswith("memory peak (a note): a (CONV_2D")
    print_peak(MemoryPlan(0, 0, (), ""), None)
    print_advice([], "cortex-m4")
    assert capsys.readouterr().out == ""
    print_advice([Advice("rule", ("a",), "why", "instead")], "cortex-m4")
    assert capsys.readouterr().out == "what does not run well on cortex-m4:\n- a: why; instead\n"


def test_devices_with_what_is_known_of_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_devices(
        [{"name": "cortex-m4", "runtime": "tflite-micro", "precision": "int8", "error": None, "latency": "x"}]
    )
    assert rows_of(capsys.readouterr().out) == [["cortex-m4", "tflite-micro", "int8", "x", "", "", "", ""]]


def test_devices_that_are_missing_say_how_to_get_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_devices([{"name": name, "missing": 'needs the extra "mcu"'} for name in ("cortex-m4", "cortex-m7")])
    assert capsys.readouterr().out.endswith('not here: cortex-m4, cortex-m7: needs the extra "mcu"\n')


def test_a_calibration_says_how_far_it_is_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    print_calibration(REFERENCE)
    assert rows_of(capsys.readouterr().out) == []
    errors = {"held_out": HeldOutError(40, 0.041, 0.093, 0.9912), "held_out_layers": HeldOutError(60, 0.08, 0.21, 0.95)}
    fitted = replace(REFERENCE, **errors, interval=(0.9, 1.08), conditions=Conditions("2026-11-23", 0.01, 0.9))
    print_calibration(fitted)
    text = capsys.readouterr().out
    assert rows_of(text) == [
        ["layers", "60", "8.0%", "21.0%", "0.950"],
        ["networks", "40", "4.1%", "9.3%", "0.991"],
    ]
    assert "90 % of those networks took 0.90 to 1.08 times their estimate\n" in text
    assert "timed on 2026-11-23; noise of one timing 1.0%\n" in text and "under load" not in text
    print_calibration(replace(fitted, conditions=Conditions("2026-11-23", 10.0, 0.0)))
    assert "timed under load" in capsys.readouterr().out


def test_the_front_shows_intervals_and_what_quantising_cost(
    lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    record = lab.record(0, 0.2, 2000, 20480)
    latency = {**record.profile["latency_us"], "low": 1000.0, "high": 3000.0}
    figures = {**record.measurement.figures, "float32_test_error": 0.125}
    record = replace(
        record,
        profile={**record.profile, "latency_us": latency},
        measurement=replace(record.measurement, figures=figures),
    )
    print_front(lab.results(record))
    text = capsys.readouterr().out
    assert "2 ms (1 ms to 3 ms)" in text
    assert "in float32" in text and "12.50 %" in text
    assert "measured" not in text


@pytest.mark.parametrize("columns", ["80", None])
def test_at_eighty_columns_a_member_takes_a_line(
    columns: str | None, lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal, and where the output goes to a file, whose width nobody knows."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    measured = {"latency_us": {"value": 23.4, "unit": "us", "method": "measured", "error": None}}
    records = []
    for number in range(3):
        record = lab.record(number, 0.1 + 0.01 * number, 3000 - 500 * number, measured=measured)
        interval = {**record.profile["latency_us"], "low": 1000.0, "high": 4000.0}
        records.append(replace(record, profile={**record.profile, "latency_us": interval}))
    print_front(lab.results(*records), examples=100)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if " % " in line]
    assert [row[:7] for row in rows] == [
        ["0", "10.00", "%", "3", "ms", "23.4", "us"],
        ["1", "11.00", "%", "2.5", "ms", "23.4", "us"],
        ["2", "12.00", "%", "2", "ms", "23.4", "us"],
    ]
    assert "not shown at this width: the latency's interval (repareto front --json has all)" in lines
