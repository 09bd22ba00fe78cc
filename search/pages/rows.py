"""The trials of a study as rows: what is drawn of each, and what tables tell of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..facts import StudyFacts
from ..headline import headline
from ..noise import error_interval
from ..objectives import Objective
from ..records import State, TrialRecord, at_point, error_of, measured_figures, point_of, profile_figures
from ..results import Results
from .document import Group

FRONT, FULL, STOPPED, OVER, RUNNING = range(5)
GROUPS = (
    Group("front", "#c0392b", 1.0, 6, 0.9),
    Group("trained in full", "#5d6d7e", 0.55, 4, 0.18),
    Group("stopped early or failed", "#95a5a6", 0.35, 3, 0),
    Group("over a budget", "#d4a017", 0.35, 3, 0),
    Group("running", "#2e86c1", 0.6, 4, 0),
)


@dataclass(frozen=True)
class Row:
    """A trial, or one of its operating points."""

    record: TrialRecord
    is_on_front: bool

    @property
    def name(self) -> str:
        """Such as ``#17 3x2 branches, 24 ch``."""
        point = self.point
        return f"{trial_name(self.record)}{'' if point is None else f', point {point}'}"

    @property
    def point(self) -> int | None:
        """The number of the operating point; None for a trial without any."""
        return None if self.record.measurement is None else point_of(self.record)

    @property
    def group(self) -> int:
        """Its place among ``GROUPS``."""
        if self.is_on_front:
            return FRONT
        if self.record.state is State.RUNNING:
            return RUNNING
        if self.record.state is State.FINISHED:
            return FULL if self.record.feasible else OVER
        return OVER if self.record.state is State.REJECTED else STOPPED

    @cached_property
    def _figures(self) -> dict[str, float]:
        return profile_figures(self.record.profile)

    def figure(self, objective: Objective) -> float | None:
        """What is known of an objective: of a trial without an end its last epoch's error and what was profiled."""
        if self.record.measurement is not None:
            return (
                error_of(self.record)
                if objective.name == "error"
                else self.record.measurement.figures.get(objective.key)
            )
        if objective.known_key is None:
            return self.record.curve[-1].error if self.record.curve else None
        return self._figures.get(objective.known_key)

    def interval(self, objective: Objective, facts: StudyFacts) -> tuple[float, float] | None:
        """Between what the figure of a model trained in full lies in nine cases of ten; None where nobody can tell."""
        value = self.figure(objective)
        if self.record.measurement is None or value is None:
            return None
        if objective.name == "error":
            return error_interval(self.record, facts.error_examples)
        figure = self.record.profile.get(objective.key)
        if not figure or figure.get("low") is None:
            return None
        return figure["low"], figure["high"]


def trial_name(record: TrialRecord) -> str:
    """Return a trial's number and what tells it from others."""
    return f"#{record.number} {headline(dict(record.candidate.items_sorted))}"


def rows_of(results: Results) -> list[Row]:
    """Return the trials in order, each at its own operating point, then the front's other points."""
    members = {_key(record): record for record in results.front}
    rows = []
    for record in results.records:
        own = at_point(record) if record.measurement is not None else record
        rows.append(Row(own, members.pop(_key(own), None) is not None))
    return rows + [Row(record, True) for record in members.values()]


def _key(record: TrialRecord) -> tuple[int, int | None]:
    return record.number, None if record.measurement is None else point_of(record)


def parameter_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all parameters that any of the rows has, in alphabetical order."""
    return sorted({name for row in rows for name, _ in row.record.candidate.items_sorted})


Table = dict[str, Any]
"""As MLflow takes tables: ``columns`` and ``data``."""


def front_table(results: Results) -> Table:
    """Return the front: each member's name, objectives, measured figures and parameters."""
    return _table([Row(record, True) for record in results.front], results.objectives, {})


def trials_table(results: Results) -> Table:
    """Return all trials: what came of each, objectives as far as they are known, parameters."""
    told = {
        "state": lambda row: row.record.state.value,
        "on_front": lambda row: row.is_on_front,
        "feasible": lambda row: row.record.feasible,
        "epochs": lambda row: len(row.record.curve),
        "reason": lambda row: row.record.reason,
    }
    return _table(rows_of(results), results.objectives, told)


def _table(rows: Sequence[Row], objectives: Sequence[Objective], told: Mapping[str, Any]) -> Table:
    names = parameter_names(rows)
    measured = sorted({name for row in rows for name in measured_figures(row.record.measured)})
    points = ["operating_point"] if any(row.point is not None for row in rows) else []
    columns = [
        "trial",
        *points,
        "name",
        *told,
        *(o.key for o in objectives),
        *(f"measured.{m}" for m in measured),
        *names,
    ]
    data = []
    for row in rows:
        candidate, own = dict(row.record.candidate.items_sorted), measured_figures(row.record.measured)
        data.append(
            [
                row.record.number,
                *(row.point for _ in points),
                row.name,
                *(tell(row) for tell in told.values()),
                *(row.figure(objective) for objective in objectives),
                *(own.get(name) for name in measured),
                *(candidate.get(name) for name in names),
            ]
        )
    return {"columns": columns, "data": data}


def as_json(table: Table) -> str:
    """Return a table as MLflow's UI shows it."""
    return json.dumps(table)


def as_csv(table: Table) -> str:
    """Return a table as comma-separated values, with a line of names first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table["columns"])
    writer.writerows(table["data"])
    return text.getvalue()
