"""Fronts as text: a table for people, JSON types for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from rich.console import Console

from .fitting_table import Column, print_fitting
from .headline import sparse_share
from .objectives import Objective
from .records import FLOAT_PREFIX, State, TrialRecord, error_of, inherited_of, measured_figures, point_of
from .results import Results

PERSONAL_COLUMNS = {
    "users_error": ("users' error", "fraction"),
    "personal_error": ("personal error", "fraction"),
    "personal_memory_bytes": ("personal memory", "size"),
}
"""Of data with users: without and with exits of their own, and what the training of these needs."""
LEAST_USEFUL = (
    "parameters", "in float32", "personal memory", "inherited epochs", "users' error", "sparse", "within noise of",
    "test error", "error, other seeds",
)  # fmt: skip
"""What a narrow terminal does not show, the first of it first; objectives always stand there."""


def front_data(results: Results, study: str, examples: int | None = None) -> dict[str, Any]:
    """Return the front as JSON types: objectives, how many trials ended how, and each member with all it has.

    ``examples`` are those that judge an error, where it is a share of them.
    """
    from .noise import rivals

    known = rivals(results, examples)
    return {
        "study": study,
        "objectives": [objective.key for objective in results.objectives],
        "reference": results.reference.tolist(),
        "hypervolume": results.hypervolume,
        "trials": {state.value: results.counts[state] for state in State},
        "front": [{**_member(record), "within_noise_of": known[record.number]} for record in results.front],
    }


def _member(record: TrialRecord) -> dict[str, object]:
    assert record.measurement is not None
    return {
        "trial": record.number,
        **({} if point_of(record) is None else {"operating_point": point_of(record)}),
        "figures": record.measurement.figures,
        "profile": record.profile,
        "measured": record.measured,
        **({"repeats": record.repeats} if record.repeats else {}),
        **({"inherited": inherited_of(record)} if inherited_of(record) else {}),
        "fusion": record.measurement.fusion,
        "candidate": dict(record.candidate),
        "digest": record.candidate.digest,
    }


def print_front(results: Results, examples: int | None = None) -> None:
    """Print the front as a table and a line that sums up the study; ``examples`` as for :func:`front_data`."""
    console = Console()
    counts = results.counts
    if not results.finished:
        console.print("no model trained in full within the budgets yet")
        return
    trained = sum(count for state, count in counts.items() if state.was_trained)
    members = {record.number for record in results.front}
    more = f", {len(results.front)} operating points" if len(members) < len(results.front) else ""
    title = f"front: {len(members)} of {counts[State.FINISHED]} models trained in full{more}"
    columns = {**_front_columns(results), **_noise_columns(results, examples)}
    _print(console, title, columns, results, results.front)
    console.print(
        f"{trained} trained ({counts[State.STOPPED]} stopped early, {counts[State.FAILED]} failed), "
        f"{counts[State.REJECTED]} rejected before training; hypervolume {results.hypervolume:.4f}",
        highlight=False,
    )


def print_choice(results: Results, members: Sequence[TrialRecord]) -> None:
    """Print members of the front as a table, numbered from 1."""
    numbers = {id(record): str(number) for number, record in enumerate(members, 1)}
    columns = {"#": Column[TrialRecord](lambda record: numbers[id(record)]), **_front_columns(results)}
    _print(Console(), "models to choose from", columns, results, members)


Columns = dict[str, Column[TrialRecord]]


def _print(console: Console, title: str, columns: Columns, results: Results, members: Sequence[TrialRecord]) -> None:
    objectives = [_title(objective) for objective in results.objectives]
    measured = [_measured_title(objective) for objective in results.objectives]
    least_useful = [name for name in (*LEAST_USEFUL, *measured) if name not in objectives]
    left_out = print_fitting(console, title, columns, members, least_useful)
    if left_out:
        console.print(
            f"not shown at this width: {'; '.join(left_out)} (repareto front --json has all)", highlight=False
        )


def _title(objective: Objective) -> str:
    return objective.name.replace("_", " ")


def _measured_title(objective: Objective) -> str:
    return f"{_title(objective)}, measured"


def _front_columns(results: Results) -> Columns:
    """The columns of the front's table: what no member has has none."""
    columns: Columns = {"trial": Column(lambda record: str(record.number))}
    if any(point_of(record) is not None for record in results.front):
        columns["operating point"] = Column(lambda record: "" if point_of(record) is None else str(point_of(record)))
    for objective in results.objectives:
        columns[_title(objective)] = _objective_column(objective, results)
        if any(objective.key in measured_figures(record.measured) for record in results.front):
            columns[_measured_title(objective)] = Column(partial(_measured_cell, objective))
    columns["test error"] = Column(partial(_figure_cell, "test_error", "fraction"))
    if any(f"{FLOAT_PREFIX}test_error" in _figures(record) for record in results.front):
        columns["in float32"] = Column(partial(_figure_cell, f"{FLOAT_PREFIX}test_error", "fraction"))
    for key, (title, kind) in PERSONAL_COLUMNS.items():
        if any(key in _figures(record) for record in results.front) and title not in columns:
            columns[title] = Column(partial(_figure_cell, key, kind))
    if any(sparse_share(record.candidate) for record in results.front):
        columns["sparse"] = Column(lambda record: sparse_share(record.candidate))
    columns["parameters"] = Column(partial(_figure_cell, "parameters", "count"))
    return columns


def _objective_column(objective: Objective, results: Results) -> Column[TrialRecord]:
    if not any(_interval(objective, record) for record in results.front):
        return Column(partial(_figure_cell, objective.key, objective.kind))
    short = partial(_figure_cell, objective.key, objective.kind)
    return Column(partial(_objective_cell, objective), short, f"the {_title(objective)}'s interval")


def _noise_columns(results: Results, examples: int | None) -> Columns:
    """What other seeds made of the members, whose training they go on from, and what they may be no better than."""
    from .noise import RIVALS_TOLD, rivals

    columns: Columns = {}
    if any(record.repeats for record in results.front):
        columns["error, other seeds"] = Column(_repeats_cell, _repeats_mean, "the interval of the error of other seeds")
    if any(inherited_of(record) for record in results.front):
        columns["inherited epochs"] = Column(lambda record: str(inherited_of(record).get("epochs", "")))
    known = rivals(results, examples)
    if any(known.values()):
        columns["within noise of"] = Column(lambda record: ", ".join(map(str, known[record.number][:RIVALS_TOLD])))
    return columns


def _repeats_cell(record: TrialRecord) -> str:
    """The mean, and between what it lies in nine cases of ten."""
    from .noise import error_interval
    from .units import format_quantity

    interval = error_interval(record, None)
    around = "" if interval is None else " ({} to {})".format(*(format_quantity(e, "fraction") for e in interval))
    return _repeats_mean(record) + around


def _repeats_mean(record: TrialRecord) -> str:
    from .units import format_quantity

    return format_quantity(error_of(record), "fraction") if record.repeats else ""


def _figures(record: TrialRecord) -> dict[str, float]:
    assert record.measurement is not None
    return record.measurement.figures


def _figure_cell(key: str, kind: str, record: TrialRecord) -> str:
    from .units import format_quantity

    return format_quantity(_figures(record)[key], kind)


def _interval(objective: Objective, record: TrialRecord) -> tuple[float, float] | None:
    figure = record.profile.get(objective.key, {})
    low, high = figure.get("low"), figure.get("high")
    return None if low is None or high is None else (low, high)


def _objective_cell(objective: Objective, record: TrialRecord) -> str:
    """The value that decided, and between what it may lie where that is known."""
    interval = _interval(objective, record)
    around = "" if interval is None else " ({} to {})".format(*map(objective.format, interval))
    return objective.format(_figures(record)[objective.key]) + around


def _measured_cell(objective: Objective, record: TrialRecord) -> str:
    value = measured_figures(record.measured).get(objective.key)
    return "" if value is None else objective.format(value)
