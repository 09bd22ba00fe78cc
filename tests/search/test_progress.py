"""The live line."""

import math
import time

import pytest

from repareto.search.progress import Progress
from repareto.search.records import State


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def line(progress: Progress) -> str:
    return progress._line().plain


def test_all_counts_the_front_and_the_hypervolume(lab) -> None:
    results = lab.results(
        lab.record(0),
        lab.record(1, state=State.STOPPED),
        lab.record(2, state=State.REJECTED),
        lab.record(3, state=State.FAILED),
        lab.record(4, state=State.RUNNING),
    )
    text = line(Progress(results, trials=12, epochs=9))
    assert text.startswith(
        "3/12 trials: 1 in full, 1 running, 1 rejected before training, 1 stopped early, 1 failed | front 1 | "
        f"hypervolume {results.hypervolume:.4f} | "
    )
    assert text.endswith("time left unknown yet"), "no epoch was seen yet, and there is no deadline"


def test_a_study_without_trials(lab) -> None:
    assert line(Progress(lab.results(), trials=3, epochs=9)).startswith("0/3 trials: 0 in full, 0 running")


def test_the_time_left_follows_the_epochs_seen(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress(lab.results(lab.record(0)), trials=4, epochs=9)
    now += 90
    progress.trial_changed(lab.record(1), lab.results(lab.record(0), lab.record(1)))
    # Nine epochs in 90 s; two trials of nine epochs to come.
    assert line(progress).endswith("about 3:00 left")


def test_a_deadline_bounds_the_time_left(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    assert line(Progress(lab.results(), trials=3, epochs=9, deadline=1065.0)).endswith("about 1:05 left")
    assert line(Progress(lab.results(), trials=3, epochs=9, deadline=900.0)).endswith("about 0:00 left")
    assert line(Progress(lab.results(), trials=3, epochs=9, deadline=math.inf)).endswith("unknown yet")


def test_without_a_terminal_a_line_is_printed_at_an_end(lab, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(lab.results(), trials=3, epochs=9) as progress:
        running = lab.record(0, state=State.RUNNING)
        progress.trial_changed(running, lab.results(running))
        assert capsys.readouterr().out == ""
        progress.trial_changed(lab.record(0), lab.results(lab.record(0)))
        assert "1/3 trials: 1 in full" in capsys.readouterr().out
        stopped = lab.record(1, state=State.STOPPED)
        progress.trial_changed(stopped, lab.results(lab.record(0), stopped))
        assert capsys.readouterr().out == "", "not at once again"
    assert "2/3 trials: 1 in full" in capsys.readouterr().out


@pytest.mark.parametrize(
    "reason",
    [
        "the loss is NaN in epoch 2",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
        "KeyError: 'a' (see [/home/me/runs/error.txt])",
        "expected shape [2, -1]",
        "unexpected token :x: in the input",
    ],
)
def test_a_failure_is_printed_word_for_word(lab, capsys: pytest.CaptureFixture[str], reason: str) -> None:
    failed = lab.record(0, state=State.FAILED, reason=reason)
    with Progress(lab.results(), trials=3, epochs=9) as progress:
        progress.trial_changed(failed, lab.results(failed))
    assert f"trial 0 failed: {reason}\n" in capsys.readouterr().out
