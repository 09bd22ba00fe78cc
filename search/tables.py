"""Fronts and profiles as text: tables for people, JSON for scripts."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from .devices.profile import FIGURES, Profile
from .objectives import OBJECTIVES
from .records import State, TrialRecord, measured_figures
from .results import Results

KINDS_OF_FIGURES = {objective.key: objective.kind for objective in OBJECTIVES.values()}


def front_json(results: Results, study: str) -> str:
    """Return the front as JSON: objectives, how many trials ended how, and each member with all it has."""
    return json.dumps(
        {
            "study": study,
            "objectives": [objective.key for objective in results.objectives],
            "reference": results.reference.tolist(),
            "hypervolume": results.hypervolume,
            "trials": {state.value: results.counts[state] for state in State},
            "front": [_member(record) for record in results.front],
        },
        indent=2,
    )


def _member(record: TrialRecord) -> dict[str, object]:
    assert record.measurement is not None
    return {
        "trial": record.number,
        "figures": record.measurement.figures,
        "profile": record.profile,
        "measured": record.measured,
        "fusion": record.measurement.fusion,
        "candidate": dict(record.candidate),
        "digest": record.candidate.digest,
    }


def print_front(results: Results) -> None:
    """Print the front as a table and a line that sums up the study."""
    from .units import format_quantity

    console = Console()
    counts = results.counts
    if not results.finished:
        console.print("no model trained in full within the budgets yet")
        return
    trained = sum(count for state, count in counts.items() if state.was_trained)
    table = Table(title=f"front: {len(results.front)} of {counts[State.FINISHED]} models trained in full")
    table.add_column("trial", justify="right")
    for objective in results.objectives:
        table.add_column(objective.name.replace("_", " "), justify="right")
    table.add_column("test error", justify="right")
    table.add_column("latency, measured", justify="right")
    table.add_column("parameters", justify="right")
    for record in results.front:
        assert record.measurement is not None
        figures = record.measurement.figures
        measured_us = measured_figures(record.measured).get("latency_us")
        table.add_row(
            str(record.number),
            *(objective.format(figures[objective.key]) for objective in results.objectives),
            format_quantity(figures["test_error"], "fraction"),
            format_quantity(measured_us, "duration") if measured_us else "",
            format_quantity(figures["parameters"], "count"),
        )
    console.print(table)
    console.print(
        f"{trained} trained ({counts[State.STOPPED]} stopped early, {counts[State.FAILED]} failed), "
        f"{counts[State.REJECTED]} rejected before training; hypervolume {results.hypervolume:.4f}",
        highlight=False,
    )


def print_profile(profile: Profile) -> None:
    """Print each figure with how it was got and the error to expect."""
    from .units import format_quantity

    table = Table(title=f"{profile.device} ({profile.runtime}, {profile.precision})")
    for column in ("figure", "value", "method", "error"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for name in FIGURES:
        figure = profile.figure(name)
        table.add_row(name, format_quantity(figure.value, KINDS_OF_FIGURES[name]), figure.method, figure.error or "")
    Console().print(table)
    if profile.unknown_operators:
        print(f"not covered by these figures: {', '.join(profile.unknown_operators)}")
