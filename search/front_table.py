"""Fronts as text: a table for people, JSON types for scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

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
    console.print(_table(title, {**_front_columns(results), **_noise_columns(results, examples)}, results.front))
    console.print(
        f"{trained} trained ({counts[State.STOPPED]} stopped early, {counts[State.FAILED]} failed), "
        f"{counts[State.REJECTED]} rejected before training; hypervolume {results.hypervolume:.4f}",
        highlight=False,
    )


def print_choice(results: Results, members: Sequence[TrialRecord]) -> None:
    """Print members of the front as a table, numbered from 1."""
    numbers = {id(record): str(number) for number, record in enumerate(members, 1)}
    columns = {"#": lambda record: numbers[id(record)], **_front_columns(results)}
    Console().print(_table("models to choose from", columns, members))


Cell = Callable[[TrialRecord], str]


def _table(title: str, columns: Mapping[str, Cell], members: Sequence[TrialRecord]) -> Table:
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="right")
    for record in members:
        table.add_row(*(cell(record) for cell in columns.values()))
    return table


def _front_columns(results: Results) -> dict[str, Cell]:
    """The columns of the front's table: what no member has has none."""
    columns: dict[str, Cell] = {"trial": lambda record: str(record.number)}
    if any(point_of(record) is not None for record in results.front):
        columns["operating point"] = lambda record: "" if point_of(record) is None else str(point_of(record))
    for objective in results.objectives:
        title = objective.name.replace("_", " ")
        columns[title] = partial(_objective_cell, objective)
        if any(objective.key in measured_figures(record.measured) for record in results.front):
            columns[f"{title}, measured"] = partial(_measured_cell, objective)
    columns["test error"] = partial(_figure_cell, "test_error", "fraction")
    if any(f"{FLOAT_PREFIX}test_error" in _figures(record) for record in results.front):
        columns["in float32"] = partial(_figure_cell, f"{FLOAT_PREFIX}test_error", "fraction")
    for key, (title, kind) in PERSONAL_COLUMNS.items():
        if any(key in _figures(record) for record in results.front) and title not in columns:
            columns[title] = partial(_figure_cell, key, kind)
    if any(sparse_share(record.candidate) for record in results.front):
        columns["sparse"] = lambda record: sparse_share(record.candidate)
    columns["parameters"] = partial(_figure_cell, "parameters", "count")
    return columns


def _noise_columns(results: Results, examples: int | None) -> dict[str, Cell]:
    """What other seeds made of the members, whose training they go on from, and what they may be no better than."""
    from .noise import RIVALS_TOLD, rivals

    columns: dict[str, Cell] = {}
    if any(record.repeats for record in results.front):
        columns["error, other seeds"] = _repeats_cell
    if any(inherited_of(record) for record in results.front):
        columns["inherited epochs"] = lambda record: str(inherited_of(record).get("epochs", ""))
    known = rivals(results, examples)
    if any(known.values()):
        columns["within noise of"] = lambda record: ", ".join(map(str, known[record.number][:RIVALS_TOLD]))
    return columns


def _repeats_cell(record: TrialRecord) -> str:
    """The mean, and between what it lies in nine cases of ten."""
    from .noise import error_interval
    from .units import format_quantity

    if not record.repeats:
        return ""
    interval = error_interval(record, None)
    around = "" if interval is None else " ({} to {})".format(*(format_quantity(e, "fraction") for e in interval))
    return f"{format_quantity(error_of(record), 'fraction')}{around}"


def _figures(record: TrialRecord) -> dict[str, float]:
    assert record.measurement is not None
    return record.measurement.figures


def _figure_cell(key: str, kind: str, record: TrialRecord) -> str:
    from .units import format_quantity

    return format_quantity(_figures(record)[key], kind)


def _objective_cell(objective: Objective, record: TrialRecord) -> str:
    """The value that decided, and between what it may lie where that is known."""
    value = _figures(record)[objective.key]
    figure = record.profile.get(objective.key, {})
    if figure.get("low") is None or figure.get("high") is None:
        return objective.format(value)
    return f"{objective.format(value)} ({objective.format(figure['low'])} to {objective.format(figure['high'])})"


def _measured_cell(objective: Objective, record: TrialRecord) -> str:
    value = measured_figures(record.measured).get(objective.key)
    return "" if value is None else objective.format(value)
