"""The one ledger: an Optuna study in SQLite. What it says happened, happened; all else is a view of it.

One driver writes. A trial's number is its identity everywhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ..spaces.errors import UserError
from ..spaces.space import Candidate
from .records import EpochPoint, Measurement, State, TrialRecord

HEADER_KEY = "repareto"
BEGINNING_KEY, CURVE_KEY, END_KEY = "beginning", "curve", "end"
MEASURED_KEY = "repareto.measured."
OPTUNA_STATES = {
    State.RUNNING: TrialState.RUNNING,
    State.FINISHED: TrialState.COMPLETE,
    State.STOPPED: TrialState.PRUNED,
    State.REJECTED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}


class Ledger:
    """The trials of one study."""

    def __init__(self, storage: RDBStorage, study_id: int, name: str) -> None:
        self.name = name
        self._storage = storage
        self._study_id = study_id
        self._trial_ids: dict[int, int] = {}
        self._sampler_state: dict[str, Any] = {}

    @classmethod
    def create(cls, store: Path, name: str, header: Mapping[str, Any]) -> Ledger:
        """Create a study.

        ``header["identity"]`` is what must not change in a study that continues; ``header["reference"]`` has one value
        an objective.
        """
        storage = _storage(store, create=True)
        directions = [StudyDirection.MINIMIZE] * len(header["reference"])
        ledger = cls(storage, storage.create_new_study(directions, name), name)
        storage.set_study_user_attr(ledger._study_id, HEADER_KEY, json.dumps(header))
        return ledger

    @classmethod
    def find(cls, store: Path, name: str) -> Ledger | None:
        """Return the study of that name, or None."""
        storage = _storage(store, create=True)
        try:
            ledger = cls(storage, storage.get_study_id_from_name(name), name)
        except KeyError:
            return None
        if ledger._has_header():
            return ledger
        # A driver was killed between the two writes of a creation: there is no trial yet.
        storage.delete_study(ledger._study_id)
        return None

    @classmethod
    def open(cls, store: Path, name: str) -> Ledger:
        """Open an existing study; raises :class:`UserError` that lists the studies there are."""
        storage = _storage(store, create=False)
        try:
            ledger = cls(storage, storage.get_study_id_from_name(name), name)
            if ledger._has_header():
                return ledger
            raise KeyError(name)
        except KeyError as error:
            names = ", ".join(sorted(study.study_name for study in storage.get_all_studies())) or "none"
            raise UserError(f'study "{name}" is not in {store} (there: {names})') from error

    def _has_header(self) -> bool:
        return HEADER_KEY in self._storage.get_study_user_attrs(self._study_id)

    def refuse_another(self, section: str, values: Mapping[str, Any], store: Path) -> None:
        """Raise :class:`UserError` that names where a section of the header differs first from ``values``."""
        old = self.header()[section]
        new = json.loads(json.dumps(values))
        for part in new:
            if old.get(part) != new[part]:
                where = _first_difference(old.get(part), new[part])
                raise UserError(
                    f'study "{self.name}" exists in {store} with another {part} ({where}); '
                    "choose another study name, or the old settings to continue it"
                )

    def header(self) -> dict[str, Any]:
        """Return what was written when the study was created."""
        return json.loads(self._storage.get_study_user_attrs(self._study_id)[HEADER_KEY])

    def frozen_trials(self) -> list[FrozenTrial]:
        """Return the trials as Optuna knows them, in order of their numbers."""
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        self._trial_ids = {trial.number: trial._trial_id for trial in trials}
        return trials

    def records(self) -> list[TrialRecord]:
        """Return all trials in order of their numbers."""
        attributes = self._storage.get_study_user_attrs(self._study_id)
        return [_record(trial, attributes.get(f"{MEASURED_KEY}{trial.number}", {})) for trial in self.frozen_trials()]

    def record(self, number: int) -> TrialRecord:
        """Return one trial as it stands, without what was measured at the end."""
        return _record(self._storage.get_trial(self._trial_ids[number]), {})

    def sampler_state(self) -> dict[str, Any]:
        """Return what the sampler keeps with the study, such as the parents of each generation."""
        return self._storage.get_study_system_attrs(self._study_id)

    def keep_sampler_state(self, state: Mapping[str, Any]) -> None:
        """Write what has changed in the sampler's state."""
        for key, value in state.items():
            if self._sampler_state.get(key) != value:
                self._storage.set_study_system_attr(self._study_id, key, value)
                self._sampler_state[key] = value

    def start(
        self,
        candidate: Candidate,
        distributions: Mapping[str, BaseDistribution],
        profile: Mapping[str, Any],
        sampler_attributes: Mapping[str, Any] | None = None,
    ) -> int:
        """Write a running trial, in one transaction, and return its number.

        ``sampler_attributes`` are what the sampler keeps with the trial, such as its generation.
        """
        return self._create(State.RUNNING, candidate, distributions, profile, "", sampler_attributes or {})

    def reject(
        self,
        candidate: Candidate,
        distributions: Mapping[str, BaseDistribution],
        profile: Mapping[str, Any],
        reason: str,
        constraints: Mapping[str, float],
        sampler_attributes: Mapping[str, Any] | None = None,
    ) -> int:
        """Write a trial that was rejected before training, in one transaction, and return its number."""
        attributes = {**(sampler_attributes or {}), **constraint_attributes(constraints)}
        return self._create(State.REJECTED, candidate, distributions, profile, reason, attributes)

    def _create(
        self,
        state: State,
        candidate: Candidate,
        distributions: Mapping[str, BaseDistribution],
        profile: Mapping[str, Any],
        reason: str,
        system_attributes: Mapping[str, Any],
    ) -> int:
        beginning = {"candidate": candidate.to_json(), "profile": profile, "started": time.time()}
        end = {} if state is State.RUNNING else {END_KEY: {"state": state.value, "reason": reason}}
        template = create_trial(
            state=OPTUNA_STATES[state],
            params=dict(candidate),
            distributions=dict(distributions),
            # One attribute for all, for each is a row of its own in the database.
            user_attrs={BEGINNING_KEY: beginning, **end},
            system_attrs=dict(system_attributes),
        )
        trial_id = self._storage.create_new_trial(self._study_id, template)
        number = self._storage.get_trial_number_from_id(trial_id)
        self._trial_ids[number] = trial_id
        return number

    def record_curve(self, number: int, curve: Sequence[EpochPoint]) -> None:
        """Write the epochs that a running trial had so far."""
        self._storage.set_trial_user_attr(self._trial_ids[number], CURVE_KEY, [list(point) for point in curve])

    def record_measured(self, number: int, profile: Mapping[str, Any]) -> None:
        """Write what the fused model of a front member was measured to cost."""
        # With the study, for Optuna lets nobody write to a trial that has ended.
        self._storage.set_study_user_attr(self._study_id, f"{MEASURED_KEY}{number}", dict(profile))

    def finish(
        self, number: int, measurement: Measurement, values: Sequence[float], constraints: Mapping[str, float]
    ) -> None:
        """Write a trial's end; ``values`` are its objectives in the study's order."""
        self._end(number, State.FINISHED, {"measurement": asdict(measurement)}, constraints, values)

    def stop(self, number: int, reason: str, constraints: Mapping[str, float]) -> None:
        """Write that a trial was stopped early."""
        self._end(number, State.STOPPED, {"reason": reason}, constraints, None)

    def fail(self, number: int, reason: str) -> None:
        """Write that a trial failed."""
        self._end(number, State.FAILED, {"reason": reason}, {}, None)

    def _end(
        self,
        number: int,
        state: State,
        end: Mapping[str, Any],
        constraints: Mapping[str, float],
        values: Sequence[float] | None,
    ) -> None:
        trial_id = self._trial_ids[number]
        # A driver that was killed before the last write here may have left other constraints.
        stale = dict.fromkeys(self._storage.get_trial(trial_id).constraints, 0.0)
        self._storage.set_trial_user_attr(trial_id, END_KEY, {"state": state.value, **end})
        for key, value in constraint_attributes({**stale, **constraints}).items():
            self._storage.set_trial_system_attr(trial_id, key, value)
        # Last, for it is what makes the end real: a driver killed before it leaves a running trial, which is run again.
        self._storage.set_trial_state_values(trial_id, OPTUNA_STATES[state], values)


def constraint_attributes(constraints: Mapping[str, float]) -> dict[str, Any]:
    """Return the system attributes in which Optuna keeps constraints (feasible where <= 0)."""
    scratch = create_trial(state=TrialState.RUNNING)
    for key, value in constraints.items():
        scratch.set_constraint(key, value)
    return dict(scratch.system_attrs)


def _storage(store: Path, *, create: bool) -> RDBStorage:
    path = store / "ledger.db"
    if not path.exists():
        if not create:
            raise UserError(f"{store}: no ledger there (run a search first, or name its store with --store)")
        try:
            store.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"store {store}: cannot be made ({error.strerror}); name another folder") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})
    except sqlalchemy.exc.DatabaseError as error:
        raise UserError(f"{path}: cannot be used as a ledger ({error.orig}); name another store") from error
    sqlalchemy.event.listen(storage.engine, "handle_error", _tell_full_disk)
    # A write-ahead log survives a killed process as the rollback journal does, and waits less for the disk.
    sqlalchemy.event.listen(storage.engine, "connect", _use_write_ahead_log)
    storage.engine.dispose()
    return storage


def _tell_full_disk(context: Any) -> None:
    if "disk is full" in str(context.original_exception):
        raise UserError(
            f"{context.engine.url.database}: no space left on the disk; free some and run the same command again"
        )


def _use_write_ahead_log(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _record(trial: FrozenTrial, measured: dict[str, Any]) -> TrialRecord:
    running = trial.state == TrialState.RUNNING
    beginning = trial.user_attrs[BEGINNING_KEY]
    # A driver that was killed before its last write leaves an end and constraints on a trial that runs again.
    end = {} if running else trial.user_attrs[END_KEY]
    constraints = {} if running else trial.constraints
    state = State.RUNNING if running else State(end["state"])
    return TrialRecord(
        number=trial.number,
        state=state,
        candidate=Candidate.from_json(beginning["candidate"]),
        reason=end.get("reason", ""),
        profile=beginning["profile"],
        curve=tuple(EpochPoint(*point) for point in trial.user_attrs.get(CURVE_KEY, ())),
        measurement=Measurement(**end["measurement"]) if "measurement" in end else None,
        measured=measured,
        feasible=state is not State.FAILED and all(value <= 0 for value in constraints.values()),
        started=beginning["started"],
        ended=None if trial.datetime_complete is None else trial.datetime_complete.timestamp(),
    )


def _first_difference(old: Any, new: Any, place: str = "") -> str:
    """Return where two JSON values differ first, such as ``stages.high: 3 there, 4 here``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                return _first_difference(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
    if isinstance(old, list) and isinstance(new, list):
        for index, (left, right) in enumerate(zip(old, new, strict=False)):
            if left != right:
                label = right.get("name", index) if isinstance(right, dict) else index
                return _first_difference(left, right, f"{place}.{label}" if place else str(label))
    return f"{place + ': ' if place else ''}{json.dumps(old)} there, {json.dumps(new)} here"
