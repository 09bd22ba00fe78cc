"""The one ledger: what it says happened, happened, also for the next driver."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import psycopg
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from repareto.search.addresses import LedgerAddress, without_password
from repareto.search.database import open_storage
from repareto.search.lease import LeaseLostError, hold_lease
from repareto.search.ledger import Ledger, constraint_attributes
from repareto.search.patience import AwayError
from repareto.search.read_trials import read_trials
from repareto.search.records import EpochPoint, Loss, State
from repareto.search.results import objective_values
from repareto.spaces.errors import UserError
from repareto.spaces.space import Int

BUDGET = {"latency": -0.5, "peak_memory": -0.1}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with no study: making its tables costs a tenth of a second."""
    store = tmp_path_factory.mktemp("store")
    assert Ledger.find(store, "none") is None
    return store


@pytest.fixture
def sqlite_store(empty_store: Path, tmp_path: Path) -> Path:
    (tmp_path / "ledger.db").write_bytes((empty_store / "ledger.db").read_bytes())
    return tmp_path


@pytest.fixture(params=["sqlite_store", "database"])
def store(request: pytest.FixtureRequest) -> LedgerAddress:
    """Where a ledger may be: what holds in one place holds in the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def ledger(lab, store: Path) -> Ledger:
    return lab.ledger(store)


def plain(profile: Any) -> dict[str, Any]:
    data = asdict(profile)
    return {**data, "unknown_operators": list(data["unknown_operators"])}


def start(lab, ledger: Ledger, seed: int = 0) -> int:
    candidate = lab.candidate(seed)
    return ledger.start(candidate, lab.distributions(candidate), asdict(lab.profile(candidate)))


def finish(lab, ledger: Ledger, number: int, constraints: dict[str, float]) -> None:
    record = next(record for record in ledger.records() if record.number == number)
    measurement = lab.measurement(record.candidate, complete=True)
    values = [measurement.figures[objective.key] for objective in lab.objectives]
    ledger.finish(number, measurement, values, constraints)


@pytest.fixture
def reopened(store: Path):
    """Return what another process finds in the same file."""
    return lambda: Ledger.open(store, "study")


@pytest.mark.parametrize("seed", range(4))
def test_every_state_comes_back(lab, ledger: Ledger, reopened, seed: int) -> None:
    candidate = lab.candidate(seed)
    curve = lab.curve(candidate, 2)
    numbers = {state: start(lab, ledger, seed) for state in State if state is not State.REJECTED}
    for number in numbers.values():
        ledger.record_curve(number, curve)
    finish(lab, ledger, numbers[State.FINISHED], BUDGET)
    ledger.stop(numbers[State.STOPPED], "dominated", {"fidelity": 0.7})
    ledger.fail(numbers[State.FAILED], "the loss is NaN")
    profile = asdict(lab.profile(candidate))
    distributions = lab.distributions(candidate)
    numbers[State.REJECTED] = ledger.reject(candidate, distributions, profile, "too slow", {"latency": 0.3})
    ledger.record_measured(numbers[State.FINISHED], {"latency_us": {"value": 3.5}})

    records = reopened().records()
    assert [record.number for record in records] == sorted(numbers.values()) == list(range(5))
    by_state = {state: records[number] for state, number in numbers.items()}
    for state, record in by_state.items():
        assert record.state is state
        assert record.candidate == candidate and record.candidate.digest == candidate.digest
        assert record.profile == plain(lab.profile(candidate))
        assert record.curve == (() if state is State.REJECTED else curve)
        assert all(isinstance(point, EpochPoint) for point in record.curve)
        assert (record.measurement is not None) == (state is State.FINISHED)
        assert (record.ended is None) == (state is State.RUNNING)
        assert record.ended is None or record.ended >= record.started > 1.7e9
        # A failed trial has no figures to be judged by.
        assert state is State.FAILED or record.feasible == (state not in (State.STOPPED, State.REJECTED))
    finished = by_state[State.FINISHED]
    assert finished.measurement == lab.measurement(candidate, complete=True)
    assert finished.measured == {"latency_us": {"value": 3.5}}
    assert by_state[State.STOPPED].reason == "dominated"
    assert by_state[State.FAILED].reason == "the loss is NaN"
    assert by_state[State.REJECTED].reason == "too slow"


def test_what_another_process_reads_equals_what_the_writer_reads(lab, ledger: Ledger, reopened) -> None:
    start(lab, ledger)
    finish(lab, ledger, start(lab, ledger, 1), BUDGET)
    assert ledger.records() == reopened().records()


def test_numbers_go_on_where_they_were(lab, ledger: Ledger, reopened) -> None:
    assert [start(lab, ledger, seed) for seed in range(3)] == [0, 1, 2]
    again = reopened()
    again.records()
    assert start(lab, again) == 3
    again.fail(0, "by another process than the one that began it")
    assert again.records()[0].state is State.FAILED


def test_optuna_reads_the_same_study(lab, ledger: Ledger, store: Path) -> None:
    number = start(lab, ledger)
    finish(lab, ledger, number, BUDGET)
    start(lab, ledger, 1)
    study = optuna.load_study(study_name="study", storage=open_storage(store, create=False))
    assert study.directions == [StudyDirection.MINIMIZE] * 3
    first, second = study.trials
    assert first.state is TrialState.COMPLETE and second.state is TrialState.RUNNING
    assert first.params == dict(lab.candidate())
    assert first.constraints == BUDGET
    assert tuple(first.values) == objective_values(lab.objectives, ledger.records()[0])
    assert [trial.number for trial in study.best_trials] == [0]


def test_what_breaks_a_budget_is_infeasible_for_optuna_too(lab, ledger: Ledger, store: Path) -> None:
    finish(lab, ledger, start(lab, ledger), {"error": 0.2})
    assert ledger.records()[0].state is State.FINISHED
    assert not ledger.records()[0].feasible
    study = optuna.load_study(study_name="study", storage=open_storage(store, create=False))
    assert study.best_trials == []


def test_an_ended_trial_cannot_be_changed(lab, ledger: Ledger) -> None:
    number = start(lab, ledger)
    ledger.fail(number, "first")
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        ledger.stop(number, "second", {})
    assert ledger.records()[0].reason == "first"


def test_a_curve_that_is_written_again_is_replaced(lab, ledger: Ledger) -> None:
    number = start(lab, ledger)
    ledger.record_curve(number, lab.curve(lab.candidate(), 3))
    ledger.record_curve(number, lab.curve(lab.candidate(), 1))
    assert ledger.records()[0].curve == lab.curve(lab.candidate(), 1)


class _KilledError(BaseException):
    """The driver is gone."""


@pytest.fixture
def killed_before_the_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Within, a driver dies just before the write that makes a trial's end real."""

    def die(*_arguments: object) -> None:
        raise _KilledError

    with monkeypatch.context() as patch:
        patch.setattr(RDBStorage, "set_trial_state_values", die)
        yield patch


@pytest.mark.parametrize("end", ["finish", "stop", "fail"])
def test_a_trial_whose_end_was_not_written_runs_again(lab, ledger, reopened, killed_before_the_end, end: str) -> None:
    number = start(lab, ledger)
    ends = {
        "finish": lambda: finish(lab, ledger, number, BUDGET),
        "stop": lambda: ledger.stop(number, "dominated", {"fidelity": 0.7}),
        "fail": lambda: ledger.fail(number, "the loss is NaN"),
    }
    with pytest.raises(_KilledError):
        ends[end]()
    killed_before_the_end.undo()
    again = reopened()
    (record,) = again.records()
    assert record.state is State.RUNNING
    assert record.measurement is None and record.ended is None and record.reason == ""
    # It was stopped or broken by the driver that died; this one trains it in full.
    finish(lab, again, number, BUDGET)
    (record,) = reopened().records()
    assert record.state is State.FINISHED
    assert record.feasible, "nothing that the dead driver wrote counts any more"
    assert record.reason == ""


def test_find_and_create(lab, store: Path) -> None:
    assert Ledger.find(store, "study") is None
    header = lab.header(seed=3)
    Ledger.create(store, "study", header)
    found = Ledger.find(store, "study")
    assert found is not None and found.header()["identity"]["seed"] == 3
    assert found.header() == Ledger.open(store, "study").header()
    assert Ledger.find(store, "other") is None


def test_the_store_is_made(lab, tmp_path: Path) -> None:
    store = tmp_path / "a" / "b"
    Ledger.create(store, "study", lab.header())
    assert (store / "ledger.db").exists()
    with sqlite3.connect(store / "ledger.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_two_studies_in_one_store(lab, store: Path) -> None:
    one, two = lab.ledger(store, "one"), lab.ledger(store, "two")
    assert start(lab, one) == 0
    assert start(lab, two) == 0
    assert start(lab, one) == 1
    one.record_measured(1, {"x": 1})
    assert [record.number for record in two.records()] == [0]
    assert one.records()[1].measured == {"x": 1}


def headerless(store: Path) -> None:
    """What a driver leaves that was killed between the two writes of a creation."""
    storage = open_storage(store, create=True)
    storage.create_new_study([StudyDirection.MINIMIZE] * 3, "study")
    storage.engine.dispose()


def test_a_study_without_header_is_made_anew(lab, store: Path) -> None:
    headerless(store)
    assert Ledger.find(store, "study") is None
    assert start(lab, lab.ledger(store)) == 0


def test_a_study_without_header_cannot_be_opened(store: Path) -> None:
    headerless(store)
    with pytest.raises(UserError, match='study "study"'):
        Ledger.open(store, "study").header()


def test_an_unknown_study_lists_those_there_are(lab, store: Path) -> None:
    with pytest.raises(UserError, match=r'study "x" is not in .* \(known: none\)'):
        Ledger.open(store, "x")
    lab.ledger(store, "two")
    lab.ledger(store, "one")
    with pytest.raises(UserError, match=r'study "x" is not in .* \(known: one, two\)'):
        Ledger.open(store, "x")
    with pytest.raises(UserError, match=r'study "twoo" is not in .* \(did you mean two\?\)'):
        Ledger.open(store, "twoo")


def test_a_missing_store_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no ledger there \(run a search first"):
        Ledger.open(tmp_path / "nowhere", "x")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("this is no database" * 100)
    with pytest.raises(UserError, match=r"ledger\.db"):
        Ledger.open(tmp_path, "x")


def test_a_full_disk_is_told_to_the_user(lab, sqlite_store: Path) -> None:
    """SQLite's own error, for a database that may not grow."""
    ledger = lab.ledger(sqlite_store)

    def bound(connection: Any, *_others: object) -> None:
        connection.execute("PRAGMA max_page_count=1")

    sqlalchemy.event.listen(ledger._storage.engine, "connect", bound)
    ledger._storage.engine.dispose()

    def fill() -> None:
        for seed in range(100):
            start(lab, ledger, seed)

    with pytest.raises(UserError, match=r"no space left|disk is full"):
        fill()


def test_a_full_disk_of_a_server_is_told_to_the_user(lab, database: str) -> None:
    """PostgreSQL's own error, raised by a trigger."""
    ledger = lab.ledger(database)
    with psycopg.connect(database) as connection:
        connection.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
            "'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
        )
        connection.execute("CREATE TRIGGER full_disk BEFORE INSERT ON trials EXECUTE FUNCTION full_disk()")
    with pytest.raises(UserError, match=r"postgresql.*: no space left on the disk; free some") as raised:
        start(lab, ledger)
    assert "secret" not in str(raised.value)


def test_a_study_of_another_format_is_refused(lab, store: LedgerAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("repareto.search.ledger.FORMAT", 1)
        lab.ledger(store)
    for look in (Ledger.find, Ledger.open):
        with pytest.raises(UserError, match=r"made by another version of repareto \(format 1, this one has \d\)"):
            look(store, "study")


def test_trials_are_read_as_optuna_reads_them(lab, ledger: Ledger) -> None:
    """By plain selects of our own, for speed: every field, in Optuna's order."""
    for seed in range(6):
        start(lab, ledger, seed)
    finish(lab, ledger, 0, BUDGET)
    ledger.stop(1, "dominated", {"fidelity": 0.7})
    ledger.fail(2, "the loss is NaN")
    ledger.record_curve(3, lab.curve(lab.candidate(3), 2))
    candidate = lab.candidate(9)
    ledger.reject(candidate, lab.distributions(candidate), {}, "too large", {"latency": 0.3}, {"generation": 1})
    ours = ledger.frozen_trials()
    theirs = ledger._storage.get_all_trials(ledger._study_id)
    assert ours == theirs and len(ours) == 7
    assert [list(trial.params.items()) for trial in ours] == [list(trial.params.items()) for trial in theirs]
    assert [trial.constraints for trial in ours] == [trial.constraints for trial in theirs]


def test_losses_come_back(lab, ledger: Ledger, reopened) -> None:
    number = start(lab, ledger)
    losses = (Loss("its node was lost", False), Loss("its process was killed", True))
    ledger.record_losses(number, losses)
    assert reopened().records()[0].losses == losses


def test_a_clock_that_was_set_back_reorders_nothing(lab, ledger: Ledger, reopened, monkeypatch, caplog) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("repareto.search.ledger.time.time", lambda: now)
    first, second = start(lab, ledger), start(lab, ledger, 1)
    ledger.fail(first, "x")
    now -= 3600
    again = reopened()
    again.records()
    again.fail(second, "x")
    assert [record.ended for record in reopened().records()] == [1_800_000_000.0] * 2
    assert "the clock of this machine is 3600 s behind" in caplog.text


class _Flaky:
    """A storage whose named call is done, and not heard of: the connection breaks before the answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.broken = 0
        honest = getattr(RDBStorage, name)

        def call(storage: RDBStorage, *arguments: Any) -> Any:
            result = honest(storage, *arguments)
            if self.broken == 0:
                self.broken += 1
                raise AwayError("connection reset")
            return result

        monkeypatch.setattr(RDBStorage, name, call)


def test_a_trial_whose_creation_was_not_heard_of_is_made_once(lab, ledger, reopened, monkeypatch) -> None:
    flaky = _Flaky(monkeypatch, "create_new_trial")
    assert [start(lab, ledger), start(lab, ledger, 1)] == [0, 1]
    assert flaky.broken == 1
    assert [record.number for record in reopened().records()] == [0, 1]


def test_an_end_that_was_not_heard_of_is_written_once(lab, ledger, reopened, monkeypatch) -> None:
    number = start(lab, ledger)
    flaky = _Flaky(monkeypatch, "set_trial_state_values")
    finish(lab, ledger, number, BUDGET)
    assert flaky.broken == 1
    assert reopened().records()[0].state is State.FINISHED


def test_a_study_of_somebody_else_is_left_alone(lab, store: LedgerAddress) -> None:
    """A plain Optuna study of that name, with a trial."""
    headerless(store)
    storage = open_storage(store, create=True)
    storage.create_new_trial(storage.get_study_id_from_name("study"))
    with pytest.raises(UserError, match=r'study "study" in .* is not one of repareto\'s; choose another study name'):
        lab.ledger(store)
    assert storage.get_n_trials(storage.get_study_id_from_name("study")) == 1


def test_a_reader_beside_a_driver_sees_whole_trials(lab, ledger: Ledger, reopened, monkeypatch) -> None:
    """A trial that ends while the trials are being read: either state, and never a state without what belongs to it."""
    number = start(lab, ledger)
    honest, calls = sqlalchemy.Connection.execute, 0

    def execute(connection: sqlalchemy.Connection, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        result = honest(connection, *arguments, **options)
        if calls == 1:
            monkeypatch.setattr(sqlalchemy.Connection, "execute", honest)
            rows = result.all()
            other = reopened()
            other.fail(number, "x")
            start(lab, other, 1)
            return SimpleNamespace(all=lambda: rows)
        return result

    reader = reopened()
    monkeypatch.setattr(sqlalchemy.Connection, "execute", execute)
    trials = read_trials(reader._storage.engine, reader._study_id)
    assert [record.state for record in reader.records(trials)] == [State.RUNNING]
    assert [record.state for record in reopened().records()] == [State.FAILED, State.RUNNING]


def test_a_creation_that_was_not_heard_of_is_one_study(lab, store: LedgerAddress, monkeypatch) -> None:
    flaky = _Flaky(monkeypatch, "create_new_study")
    assert start(lab, Ledger.create(store, "study", lab.header())) == 0
    assert flaky.broken == 1
    assert len(open_storage(store, create=False).get_all_studies()) == 1


def test_a_driver_that_slept_between_its_look_and_its_write_is_fenced(lab, store: LedgerAddress, reopened) -> None:
    """Another one took over in between: the transaction itself looks at the lease before it commits."""
    with hold_lease(store, "study") as lease:
        ledger = Ledger.create(store, "study", lab.header(), lease)
        number = start(lab, ledger)
        lease._released.set()
        lease._thread.join()
        with psycopg_or_sqlite(store) as connection:
            connection.execute("UPDATE repareto_leases SET token = 'another', beats = beats + 1")
        lease.ensure()  # passes: the last beat was a moment ago
        with pytest.raises(LeaseLostError, match="has taken over"):
            ledger.fail(number, "x")
    assert [record.state for record in reopened().records()] == [State.RUNNING]


@contextmanager
def psycopg_or_sqlite(store: LedgerAddress) -> Iterator[Any]:
    """A connection of another process's, as far as this one's can tell."""
    connection = sqlite3.connect(store / "ledger.db") if isinstance(store, Path) else psycopg.connect(store)
    with contextlib.closing(connection), connection:
        yield connection


def test_who_has_lost_the_lease_writes_no_more(lab, store: LedgerAddress, reopened) -> None:
    with hold_lease(store, "study") as lease:
        ledger = Ledger.create(store, "study", lab.header(), lease)
        number = start(lab, ledger)
        with psycopg_or_sqlite(store) as connection:
            connection.execute("UPDATE repareto_leases SET token = 'another'")
        lease._beat()
        with pytest.raises(LeaseLostError, match=r"study study: .* has taken over"):
            ledger.fail(number, "x")
        with pytest.raises(LeaseLostError):
            start(lab, ledger, 1)
    assert [record.state for record in reopened().records()] == [State.RUNNING]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "another seed (0 there, 1 here)"),
        ({"device": "host"}, 'another device (null there, "host" here)'),
        ({"budgets": {"latency": 1000.0}}, "another budgets ("),
    ],
)
def test_other_settings_are_refused(lab, store: Path, ledger: Ledger, change: dict[str, Any], message: str) -> None:
    identity = {**lab.header()["identity"], **change}
    with pytest.raises(UserError) as raised:
        ledger.refuse_another("identity", identity)
    assert str(raised.value).startswith(f'study "study" exists in {without_password(store)} with {message}')
    assert "choose another study name, or the old settings to continue it" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"width": Int(4, 32, step=4)}, "width.high: 64 there, 32 here"),
        ({"depth": Int(1, 5)}, "depth.low: 2 there, 1 here"),
    ],
)
def test_another_space_is_refused_with_the_first_difference(lab, ledger, changes, where: str) -> None:
    other = replace(lab.space, **changes)
    with pytest.raises(UserError) as raised:
        ledger.refuse_another("identity", {"space": other.describe()})
    assert f"with another space ({where})" in str(raised.value)


def test_the_same_settings_go_on(lab, ledger: Ledger, reopened) -> None:
    ledger.refuse_another("identity", lab.header()["identity"])
    reopened().refuse_another("identity", lab.header()["identity"])


def test_constraints_are_optunas_own() -> None:
    trial = optuna.trial.create_trial(values=[1.0, 2.0], constraints={"latency": -0.5, "fidelity": 0.25})
    assert constraint_attributes({"latency": -0.5, "fidelity": 0.25}) == trial.system_attrs
    assert constraint_attributes({}) == {}


def test_a_ledger_in_memory_tells_what_one_on_disk_tells(lab, tmp_path: Path) -> None:
    def told(store: Path | None) -> str:
        study = lab.study(store, trials=6, rungs=(3,), budgets={"latency": "200us"})
        lab.drive(study)
        records = study._ledger.records()
        assert records == list(study.results.records)
        return json.dumps([asdict(replace(record, started=0.0, ended=0.0)) for record in records], sort_keys=True)

    assert told(None) == told(tmp_path)
