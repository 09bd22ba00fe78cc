"""The MLflow view: it may fall behind the ledger, it loses nothing."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from repareto.search import tracking
from repareto.search.records import State, TrialRecord
from repareto.search.results import Results
from repareto.search.tracking import MlflowView, default_artifacts, default_tracking_uri


class FakeRuns:
    """An MLflow server in memory, of which any call may be made to fail a number of times."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.trials: dict[int, TrialRecord] = {}
        self.members: set[int] = set()
        self.fronts: list[tuple[int, ...]] = []
        self.complete: list[bool] = []
        self.statuses: list[str] = []
        self.failures: dict[str, int] = {}
        self.connections = 0

    def connect(self) -> "FakeRuns":
        self._may_fail("connect")
        self.connections += 1
        return self

    def _may_fail(self, call: str) -> None:
        if self.failures.get(call, 0) > 0:
            self.failures[call] -= 1
            raise ConnectionError(f"{call}: the server is down\nwith more lines")

    def write_texts(self, texts: Mapping[str, str]) -> None:
        self._may_fail("write_texts")
        self.texts.update(texts)

    def write_trials(self, records: Sequence[TrialRecord]) -> None:
        for record in records:
            self._may_fail("write_trials")
            self.trials[record.number] = record

    def write_progress(self, results: Results) -> None:
        self._may_fail("write_progress")
        self.members = {record.number for record in results.front}

    def write_front(self, results: Results, *, complete: bool = False) -> None:
        self._may_fail("write_front")
        self.complete.append(complete)
        self.fronts.append(tuple(record.number for record in results.front))

    def write_status(self, status: str) -> None:
        self._may_fail("write_status")
        self.statuses.append(status)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(tracking, "SECONDS_BEFORE_START", 0.0)


@pytest.fixture
def runs() -> FakeRuns:
    return FakeRuns()


def settled(condition: Callable[[], bool]) -> None:
    """Wait for the view's thread."""
    waiter = threading.Event()
    for _ in range(3000):
        if condition():
            return
        waiter.wait(0.001)
    raise AssertionError("the view did not get there")


def feed(lab, view: MlflowView, count: int) -> tuple[TrialRecord, ...]:
    records: list[TrialRecord] = []
    for number in range(count):
        for state in (State.RUNNING, State.FINISHED):
            record = lab.record(number, 0.5 / (number + 1), 100.0 * (number + 1), state=state)
            records[number:] = [record]
            view.trial_changed(record, lab.results(*records))
    return tuple(records)


def test_everything_is_written_by_the_close(lab, runs: FakeRuns) -> None:
    view = MlflowView(runs.connect, {"config.json": "{}"}, lab.results())
    records = feed(lab, view, 5)
    assert view.close("FINISHED") == ""
    assert runs.texts == {"config.json": "{}"}
    assert runs.trials == dict(enumerate(records))
    assert runs.members == {record.number for record in lab.results(*records).front}
    assert runs.fronts[-1] == tuple(record.number for record in lab.results(*records).front)
    assert runs.complete[-1], "with its pictures"
    assert runs.statuses == ["RUNNING", "FINISHED"]
    assert runs.connections == 1


def test_what_an_earlier_driver_left_is_written_first(lab, runs: FakeRuns) -> None:
    before = tuple(lab.record(number) for number in range(3))
    view = MlflowView(runs.connect, {}, lab.results(*before))
    settled(lambda: len(runs.trials) == 3)
    assert view.close("KILLED") == ""
    assert runs.trials == dict(enumerate(before))
    assert runs.statuses == ["RUNNING", "KILLED"]


def test_a_study_without_trials_has_no_front_page(lab, runs: FakeRuns) -> None:
    assert MlflowView(runs.connect, {}, lab.results()).close("FINISHED") == ""
    assert runs.fronts == []


@pytest.mark.parametrize(
    "call", ["connect", "write_texts", "write_status", "write_trials", "write_progress", "write_front"]
)
def test_a_call_that_fails_twice_loses_nothing(lab, runs: FakeRuns, call: str) -> None:
    runs.failures[call] = 2
    view = MlflowView(runs.connect, {"config.json": "{}"}, lab.results(lab.record(0)))
    settled(lambda: runs.failures[call] == 0)
    records = feed(lab, view, 4)
    settled(lambda: len(runs.trials) == 4)
    assert view.close("FINISHED") == ""
    assert runs.texts == {"config.json": "{}"}
    assert runs.trials == dict(enumerate(records))
    assert runs.members == {record.number for record in lab.results(*records).front}
    assert runs.fronts[-1] == tuple(record.number for record in lab.results(*records).front)
    assert set(runs.statuses[:-1]) == {"RUNNING"} and runs.statuses[-1] == "FINISHED"


def test_a_newer_state_is_not_overwritten_by_the_one_that_failed(lab, runs: FakeRuns) -> None:
    """The trial ends while its beginning is being written, and that write then fails."""
    ended = lab.record(0)
    plainly = runs.write_trials

    def interrupted(_records: Sequence[TrialRecord]) -> None:
        runs.write_trials = plainly
        view.trial_changed(ended, lab.results(ended))
        raise ConnectionError("down")

    view = MlflowView(runs.connect, {}, lab.results())
    runs.write_trials = interrupted
    running = lab.record(0, state=State.RUNNING)
    view.trial_changed(running, lab.results(running))
    settled(lambda: 0 in runs.trials)
    assert view.close("FINISHED") == ""
    assert runs.trials == {0: ended}


def test_a_server_that_stays_down_is_said_in_one_line_and_stops_nothing(
    lab, runs: FakeRuns, caplog: pytest.LogCaptureFixture
) -> None:
    runs.failures["connect"] = 10**9
    view = MlflowView(runs.connect, {}, lab.results())
    feed(lab, view, 3)
    settled(lambda: runs.failures["connect"] < 10**9 - 3)
    assert view.close("FINISHED") == "connect: the server is down"
    assert runs.trials == {}
    assert [record.getMessage() for record in caplog.records] == [
        "the MLflow view is behind, the ledger is not: connect: the server is down"
    ], "once, not at each try"


def test_an_error_without_a_text_has_a_name(lab) -> None:
    def connect() -> FakeRuns:
        raise TimeoutError

    assert MlflowView(connect, {}, lab.results()).close("FINISHED") == "TimeoutError"


def test_the_front_page_is_not_written_for_each_trial(lab, runs: FakeRuns) -> None:
    view = MlflowView(runs.connect, {}, lab.results(lab.record(0)))
    settled(lambda: len(runs.fronts) == 1)
    records = [lab.record(0)]
    for number in range(1, 6):
        records.append(lab.record(number, 0.1 / number))
        view.trial_changed(records[-1], lab.results(*records))
        settled(lambda: len(runs.trials) == len(records))
    assert len(runs.fronts) == 1, "pages are seconds apart"
    view.close("FINISHED")
    assert len(runs.fronts) == 2, "and the last one is always written"


def test_where_the_default_store_lies(tmp_path: Path) -> None:
    assert default_tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert default_artifacts(tmp_path) == f"file://{tmp_path}/mlartifacts"
    assert default_tracking_uri(Path("runs")).startswith("sqlite:////"), "absolute, wherever it is opened"
