"""The one ledger: an Optuna study in SQLite or PostgreSQL. What it says happened, happened; all else is a view of it.

One driver writes, the one that holds the study's lease. A trial's number is its identity everywhere.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ..spaces.errors import UserError, nearest_hint
from ..spaces.space import Candidate
from .addresses import LedgerAddress, without_password
from .database import open_storage
from .differences import first_difference
from .lease import Lease, Leases, LeaseState
from .patience import patiently
from .read_trials import read_trials
from .records import EpochPoint, Loss, Measurement, State, TrialRecord
from .trial_records import BEGINNING_KEY, CURVE_KEY, END_KEY, LOSSES_KEY, measured_key, record_of, repeats_key

FORMAT = 2
"""Of what is kept with a study and its trials. A study of another format is refused."""
HEADER_KEY = "repareto"
GOAL_KEY = "repareto.trials"
CLOCK_TOLERANCE_SECONDS = 5.0
OPTUNA_STATES = {
    State.RUNNING: TrialState.RUNNING,
    State.FINISHED: TrialState.COMPLETE,
    State.STOPPED: TrialState.PRUNED,
    State.REJECTED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}


T = TypeVar("T")
logger = logging.getLogger("repareto")


class Ledger:
    """The trials of one study. Reads and writes wait while the database is away."""

    def __init__(
        self, storage: BaseStorage, address: LedgerAddress, study_id: int, name: str, lease: Lease | None = None
    ) -> None:
        self.name, self.address = name, address
        self._storage = storage
        self._study_id = study_id
        self._lease = lease
        if lease is not None:
            lease.fence(self._engine)
        self._ids: dict[int, int] | None = None
        self._latest = 0.0
        self._clock_was_told = False
        self._sampler_state: dict[str, Any] = {}

    @classmethod
    def create(cls, address: LedgerAddress, name: str, header: Mapping[str, Any], lease: Lease | None = None) -> Ledger:
        """Create a study.

        ``header["identity"]`` is what must not change in a study that continues; ``header["reference"]`` has one value
        an objective.
        """
        storage = open_storage(address, create=True)
        directions = [StudyDirection.MINIMIZE] * len(header["reference"])
        header = {**header, "format": FORMAT, "id": uuid.uuid4().hex}

        def create() -> Ledger:
            try:
                study_id = storage.create_new_study(directions, name)
            except DuplicatedStudyError:
                # By an attempt whose end was not heard of.
                study_id = storage.get_study_id_from_name(name)
            storage.set_study_user_attr(study_id, HEADER_KEY, json.dumps(header))
            return cls(storage, address, study_id, name, lease)

        return patiently(create, where=f"ledger {without_password(address)}")

    @classmethod
    def in_memory(cls, name: str, header: Mapping[str, Any]) -> Ledger:
        """Create a study that lives as long as this process, for simulated searches: no transactions, no lease."""
        storage = InMemoryStorage()
        study_id = storage.create_new_study([StudyDirection.MINIMIZE] * len(header["reference"]), name)
        storage.set_study_user_attr(study_id, HEADER_KEY, json.dumps({**header, "format": FORMAT}))
        return cls(storage, "memory://", study_id, name)

    @classmethod
    def find(cls, address: LedgerAddress, name: str, lease: Lease | None = None) -> Ledger | None:
        """Return the study of that name, or None; raises :class:`UserError` for a study that is not repareto's."""
        storage = open_storage(address, create=True)
        return patiently(lambda: cls._find(storage, address, name, lease), where=f"ledger {without_password(address)}")

    @classmethod
    def _find(cls, storage: RDBStorage, address: LedgerAddress, name: str, lease: Lease | None) -> Ledger | None:
        try:
            ledger = cls(storage, address, storage.get_study_id_from_name(name), name, lease)
        except KeyError:
            return None
        if ledger._has_header():
            ledger._refuse_another_format()
            return ledger
        if storage.get_n_trials(ledger._study_id) > 0:
            raise UserError(
                f'study "{name}" in {without_password(address)} is not one of repareto\'s; choose another study name'
            )
        # A driver was killed between the two writes of a creation: there is no trial yet.
        storage.delete_study(ledger._study_id)
        return None

    @classmethod
    def open(cls, address: LedgerAddress, name: str) -> Ledger:
        """Open an existing study; raises :class:`UserError` that lists the studies there are."""
        storage = open_storage(address, create=False)
        try:
            ledger = cls(storage, address, storage.get_study_id_from_name(name), name)
            if not ledger._has_header():
                raise KeyError(name)
        except KeyError as error:
            names = sorted(study.study_name for study in storage.get_all_studies())
            hint = nearest_hint(name, names) if names else "known: none"
            raise UserError(f'study "{name}" is not in {without_password(address)} ({hint})') from error
        ledger._refuse_another_format()
        return ledger

    def _has_header(self) -> bool:
        return HEADER_KEY in self._storage.get_study_user_attrs(self._study_id)

    def _refuse_another_format(self) -> None:
        found = self.header().get("format", 1)
        if found != FORMAT:
            raise UserError(
                f'study "{self.name}" in {without_password(self.address)} was made by another version of repareto '
                f"(format {found}, this one has {FORMAT}); use that version, or choose another study name"
            )

    @property
    def _engine(self) -> sqlalchemy.Engine:
        assert isinstance(self._storage, RDBStorage), "a ledger in memory has one owner"
        return self._storage.engine

    def lease_state(self) -> LeaseState:
        """Return who drives the study, dead or alive."""
        return self._patiently(lambda: Leases(self._engine).read(self.name))

    def is_driven(self) -> bool:
        """Return whether a driver is alive; may watch for some seconds."""
        return self._patiently(lambda: Leases(self._engine).is_held(self.name))

    def request_stop(self) -> None:
        """Ask the study's driver to end when the running epochs have."""
        self._patiently(lambda: Leases(self._engine).request_stop(self.name))

    def stop_requested(self) -> bool:
        """Return whether somebody wants this process, the study's driver, to end; asks nobody."""
        return self._lease is not None and self._lease.stop_requested

    def _patiently(self, attempt: Callable[[], T]) -> T:
        return patiently(attempt, where=f"ledger {without_password(self.address)}")

    def _write(self, attempt: Callable[[], T]) -> T:
        """Write, as the holder of the lease; ``attempt`` must be one that can be made twice."""

        def as_holder() -> T:
            if self._lease is not None:
                self._lease.ensure()
            return attempt()

        return self._patiently(as_holder)

    def record_goal(self, trials: int) -> None:
        """Write how many trained candidates the study is to have."""
        self._write_with_study(GOAL_KEY, trials)

    def goal(self) -> int:
        """Return how many trained candidates the study was last asked for."""
        attributes = self._patiently(lambda: self._storage.get_study_user_attrs(self._study_id))
        return attributes.get(GOAL_KEY, 0)

    def refuse_another(self, section: str, values: Mapping[str, Any]) -> None:
        """Raise :class:`UserError` that names where a section of the header differs first from ``values``."""
        old = self.header()[section]
        new = json.loads(json.dumps(values))
        for part in new:
            if old.get(part) != new[part]:
                where = first_difference(old.get(part), new[part])
                raise UserError(
                    f'study "{self.name}" exists in {without_password(self.address)} with another {part} ({where}); '
                    "choose another study name, or the old settings to continue it"
                )

    def header(self) -> dict[str, Any]:
        """Return what was written when the study was created."""
        attributes = self._patiently(lambda: self._storage.get_study_user_attrs(self._study_id))
        return json.loads(attributes[HEADER_KEY])

    def frozen_trials(self) -> list[FrozenTrial]:
        """Return the trials as Optuna knows them, in order of their numbers."""
        if isinstance(self._storage, InMemoryStorage):
            trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        else:
            trials = self._patiently(lambda: read_trials(self._engine, self._study_id))
        self._ids = {trial.number: trial._trial_id for trial in trials}
        return trials

    @property
    def _trial_ids(self) -> dict[int, int]:
        """Optuna's trial ids by number."""
        if self._ids is None:
            self.frozen_trials()
        assert self._ids is not None
        return self._ids

    def records(self, trials: Sequence[FrozenTrial] | None = None) -> list[TrialRecord]:
        """Return all trials in order of their numbers; ``trials`` are those of :meth:`frozen_trials`, where at hand."""
        attributes = self._patiently(lambda: self._storage.get_study_user_attrs(self._study_id))
        trials = self.frozen_trials() if trials is None else trials
        records = [record_of(trial, attributes) for trial in trials]
        self._latest = max((record.ended or record.started for record in records), default=0.0)
        return records

    def record(self, number: int) -> TrialRecord:
        """Return one trial as it stands, without what was measured at the end."""
        return record_of(self._patiently(lambda: self._storage.get_trial(self._trial_ids[number])), {})

    def sampler_state(self) -> dict[str, Any]:
        """Return what the sampler keeps with the study, such as the parents of each generation."""
        return self._patiently(lambda: self._storage.get_study_system_attrs(self._study_id))

    def keep_sampler_state(self, state: Mapping[str, Any]) -> None:
        """Write what has changed in the sampler's state."""
        for key, value in state.items():
            if self._sampler_state.get(key) != value:
                self._write(partial(self._storage.set_study_system_attr, self._study_id, key, value))
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
        now = self._now()
        beginning = {"candidate": candidate.to_json(), "profile": dict(profile), "started": now}
        end = {} if state is State.RUNNING else {END_KEY: {"state": state.value, "reason": reason, "ended": now}}
        template = create_trial(
            state=OPTUNA_STATES[state],
            params=dict(candidate),
            distributions=dict(distributions),
            # One attribute for all, for each is a row of its own in the database.
            user_attrs={BEGINNING_KEY: beginning, **end},
            system_attrs=dict(system_attributes),
        )
        number = len(self._trial_ids)

        def create() -> int:
            # It may have been made by an attempt whose end was not heard of.
            made = self._find_trial(number, beginning)
            if made is None:
                made = self._storage.create_new_trial(self._study_id, template)
            if self._storage.get_trial_number_from_id(made) != number:
                raise UserError(f'study "{self.name}": another process writes to it; stop that one')
            return made

        self._trial_ids[number] = self._write(create)
        return number

    def _find_trial(self, number: int, beginning: Mapping[str, Any]) -> int | None:
        """Return the id of the trial of that number and beginning, or None."""
        try:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        except KeyError:
            return None
        found = self._storage.get_trial(trial_id).user_attrs.get(BEGINNING_KEY)
        return trial_id if found == json.loads(json.dumps(beginning)) else None

    def _now(self) -> float:
        """Return the Unix time, but none before those in the ledger: a clock that was set back reorders nothing."""
        now = time.time()
        if now < self._latest - CLOCK_TOLERANCE_SECONDS and not self._clock_was_told:
            self._clock_was_told = True
            logger.warning(
                "the clock of this machine is %.0f s behind the last time in the ledger; new trials get that time "
                "until it has caught up (set the clock: only the times shown are wrong)",
                self._latest - now,
            )
        self._latest = max(now, self._latest)
        return self._latest

    def record_curve(self, number: int, curve: Sequence[EpochPoint]) -> None:
        """Write the epochs that a running trial had so far."""
        self._set_attribute(number, CURVE_KEY, [list(point) for point in curve])

    def record_losses(self, number: int, losses: Sequence[Loss]) -> None:
        """Write how a running trial lost its workers so far."""
        self._set_attribute(number, LOSSES_KEY, [list(loss) for loss in losses])

    def _set_attribute(self, number: int, key: str, value: Any) -> None:
        self._write(lambda: self._storage.set_trial_user_attr(self._trial_ids[number], key, value))

    def record_measured(self, number: int, profile: Mapping[str, Any], network: int | None = None) -> None:
        """Write what the fused model of a front member, or one of its networks, was measured to cost."""
        # With the study, for Optuna lets nobody write to a trial that has ended.
        self._write_with_study(measured_key(number, network), dict(profile))

    def record_repeats(self, number: int, errors: Sequence[float]) -> None:
        """Write what errors a front member's candidate had on other seeds."""
        self._write_with_study(repeats_key(number), list(errors))

    def _write_with_study(self, key: str, value: Any) -> None:
        self._write(lambda: self._storage.set_study_user_attr(self._study_id, key, value))

    def finish(
        self,
        number: int,
        measurement: Measurement,
        values: Sequence[float],
        constraints: Mapping[str, float],
        reason: str = "",
    ) -> None:
        """Write a trial's end; ``values`` are its objectives in the study's order, ``reason`` why it is infeasible."""
        end = {"measurement": asdict(measurement), "reason": reason}
        self._end(number, State.FINISHED, end, constraints, values)

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
        document = {"state": state.value, "ended": self._now(), **end}

        def write() -> None:
            trial = self._storage.get_trial(trial_id)
            if trial.state.is_finished() and trial.user_attrs[END_KEY] == json.loads(json.dumps(document)):
                # By an attempt whose end was not heard of.
                return
            # A driver that was killed before the last write here may have left other constraints.
            stale = dict.fromkeys(trial.constraints, 0.0)
            self._storage.set_trial_user_attr(trial_id, END_KEY, document)
            for key, value in constraint_attributes({**stale, **constraints}).items():
                self._storage.set_trial_system_attr(trial_id, key, value)
            # Last, for it is what makes the end real: a driver killed before it leaves a running trial, run again.
            self._storage.set_trial_state_values(trial_id, OPTUNA_STATES[state], values)

        self._write(write)


def constraint_attributes(constraints: Mapping[str, float]) -> dict[str, Any]:
    """Return the system attributes in which Optuna keeps constraints (feasible where <= 0)."""
    scratch = create_trial(state=TrialState.RUNNING)
    for key, value in constraints.items():
        scratch.set_constraint(key, value)
    return dict(scratch.system_attrs)
