"""Pictures for reports, as PNG: a front, its hypervolume, its parameters, what mattered, a wake word's misses."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from .importance import is_logarithmic
from .objectives import Budget, Objective
from .pages.document import Axis, unit_of
from .pages.rows import FRONT, FULL, GROUPS, rows_of
from .pages.study import BARS, Importances, study_axes
from .records import TrialRecord
from .results import Results, objective_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRONT_COLOUR = GROUPS[FRONT].colour
DOMINATED_COLOUR = "#95a5a6"
COLUMNS = 3
"""Of pictures beside one another."""
MOST_AXES = 12
NEAR = 2.0
"""A budget of more times what the dearest model costs is only named: its line would squeeze models into a corner."""
MOST_NUMBERS = 24
"""Of more members the numbers would hide one another, and take most of the time."""


def _series(records: Sequence[TrialRecord], objective: Objective) -> list[float]:
    factor = unit_of(objective)[1]
    return [objective_values([objective], record)[0] * factor for record in records]


def front_png(results: Results, budgets: Sequence[Budget], title: str) -> bytes:
    """Return each pair of objectives, those with the first one first: the front over all that was trained in full."""
    from matplotlib.figure import Figure

    pairs = list(combinations(results.objectives, 2))
    columns = min(COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(5 * columns, 4 * rows), layout="constrained")
    front, finished = results.front, results.finished
    bounds = {budget.objective.name: budget.bound for budget in budgets}
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, (vertical, horizontal) in zip(axes, pairs, strict=False):
        axis.scatter(
            _series(finished, horizontal), _series(finished, vertical), s=20, color=DOMINATED_COLOUR, label="dominated"
        )
        axis.scatter(_series(front, horizontal), _series(front, vertical), s=36, color=FRONT_COLOUR, label="front")
        for record in front if len(front) <= MOST_NUMBERS else ():
            here = (_series([record], horizontal)[0], _series([record], vertical)[0])
            axis.annotate(f"#{record.number}", here, textcoords="offset points", xytext=(4, 4), fontsize=7)
        for objective, draw_line, name in ((horizontal, axis.axvline, "x"), (vertical, axis.axhline, "y")):
            values = _series(finished, objective)
            if values and is_logarithmic(values):
                axis.set(**{f"{name}scale": "log"})
            label, factor = unit_of(objective)
            bound = bounds[objective.name] * factor if objective.name in bounds else None
            if bound is not None and bound <= NEAR * max(values, default=bound):
                draw_line(bound, linestyle=":", color="black", label="budget")
            elif bound is not None:
                label += f", budget {bound:g}"
            axis.set(**{f"{name}label": label})
        axis.grid(alpha=0.3)
    for empty in list(figure.axes)[len(pairs) :]:
        empty.remove()
    named = {
        label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.axes[0].legend(named.values(), named)
    figure.suptitle(title)
    return _png(figure)


def hypervolume_png(studies: Mapping[str, Results]) -> bytes:
    """Return the hypervolume of each study over its trained trials, and over the epochs that they had."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    by_trial, by_epoch = figure.subplots(1, 2, sharey=True)
    for name, results in studies.items():
        steps = results.hypervolume_by_trial()
        heights = [height for _, height, _ in steps]
        by_trial.plot([step for step, _, _ in steps], heights, drawstyle="steps-post", label=name)
        by_epoch.plot(results.epochs_by_trial(), heights, drawstyle="steps-post", label=name)
    for axis, label in ((by_trial, "trained trials"), (by_epoch, "trained epochs")):
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    by_trial.set_ylabel("hypervolume")
    by_trial.legend()
    return _png(figure)


def parameters_png(results: Results, importances: Importances, title: str) -> bytes:
    """Return parallel coordinates: objectives and the most important parameters of all that was trained in full."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    rows = [row for row in rows_of(results) if row.group in (FRONT, FULL)]
    axes = study_axes(rows, results.objectives, importances)[:MOST_AXES]
    figure = Figure(figsize=(1.4 * len(axes) + 1, 4), layout="constrained")
    panel = figure.subplots()
    heights = [_heights(axis) for axis in axes]
    for group in (FULL, FRONT):
        # What a candidate does not have interrupts its line.
        lines = [
            [(column, height[place]) for column, height in enumerate(heights)]
            for place, row in enumerate(rows)
            if row.group == group
        ]
        look = GROUPS[group]
        panel.add_collection(LineCollection(lines, colors=look.colour, alpha=look.line, linewidths=1))
    panel.set_xlim(-0.2, len(axes) - 0.8)
    panel.set_ylim(-0.05, 1.05)
    labels = [f"{axis.label}\n{_ends(axis)}" for axis in axes]
    panel.set_xticks(range(len(axes)), labels, rotation=30, ha="right", fontsize=8)
    panel.set_yticks([])
    panel.grid(axis="x")
    panel.set_title(title)
    return _png(figure)


def _heights(axis: Axis) -> list[float]:
    """Each value between 0, the least, and 1; NaN where there is none."""
    import numpy as np

    values = np.array([np.nan if value is None else value for value in axis.values], dtype=float)
    values = np.log(values) if axis.log else values
    low, high = np.nanmin(values), np.nanmax(values)
    return (np.full_like(values, 0.5) if low == high else (values - low) / (high - low)).tolist()


def _ends(axis: Axis) -> str:
    known = [value for value in axis.values if value is not None]
    low, high = min(known), max(known)
    if axis.options is not None:
        return f"{axis.options[int(low)]} to {axis.options[int(high)]}"
    return f"{low:.3g} to {high:.3g}"


def importance_png(importances: Importances, title: str) -> bytes:
    """Return how much each parameter decided about each objective."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(importances), 4), layout="constrained")
    panels = figure.subplots(1, len(importances), squeeze=False)[0]
    for panel, (objective, shares) in zip(panels, importances.items(), strict=True):
        names = list(shares)[:BARS][::-1]
        panel.barh(names, [100 * shares[name] for name in names], color=FRONT_COLOUR)
        panel.set_xlabel(f"share in {objective.replace('_', ' ')} (%)")
        panel.tick_params(axis="y", labelsize=8)
    figure.suptitle(title)
    return _png(figure)


def detection_png(details: Mapping[str, Any], title: str) -> bytes:
    """Return a wake word's misses over false alarms as PNG, with intervals of 95 %; see ``trainers/hearing.py``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for split, colour in (("validation", DOMINATED_COLOUR), ("test", FRONT_COLOUR)):
        rows = details["curves"][split]
        alarms = [row["false_alarms_per_hour"] for row in rows]
        misses = [100 * row["misses"] for row in rows]
        low, high = zip(*[[100 * bound for bound in row["misses_interval"]] for row in rows], strict=True)
        axis.plot(alarms, misses, drawstyle="steps-post", color=colour, label=f"{split} stream")
        axis.fill_between(alarms, low, high, step="post", color=colour, alpha=0.2)
    for row in details["misses"]:
        axis.plot(row["test_false_alarms_per_hour"], 100 * row["test_misses"], "o", color="black", markersize=4)
    axis.plot([], [], "o", color="black", label="test at thresholds of validation")
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xlim(left=0)
    axis.set_ylim(0, 100)
    axis.set_xlabel("false alarms an hour")
    axis.set_ylabel("misses (%)")
    axis.grid(alpha=0.3)
    axis.legend()
    axis.set_title(title)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
