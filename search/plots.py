"""Pictures: a front as an interactive page and as PNG, a wake word's misses over false alarms."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .objectives import Budget, Objective
from .records import TrialRecord
from .results import Results, objective_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRONT_COLOUR = "#c0392b"
DOMINATED_COLOUR = "#95a5a6"
# Plot in units that people read; the ledger keeps base units.
AXES = {
    "fraction": ("%", 100.0),
    "duration": ("us", 1.0),
    "size": ("KiB", 1 / 1024),
    "count": ("", 1.0),
}


# Beyond this ratio of largest to smallest a picture's axis is logarithmic.
WIDE_RANGE = 20


def _axis(objective: Objective) -> tuple[str, float]:
    unit, factor = AXES[objective.kind]
    return objective.name.replace("_", " ") + (f" ({unit})" if unit else ""), factor


def _series(records: Sequence[TrialRecord], objective: Objective) -> list[float]:
    factor = _axis(objective)[1]
    return [objective_values([objective], record)[0] * factor for record in records]


def _hover(record: TrialRecord, objectives: Sequence[Objective]) -> str:
    values = zip(objectives, objective_values(objectives, record), strict=True)
    figures = [f"{objective.name}: {objective.format(value)}" for objective, value in values]
    parameters = [f"{name} = {value}" for name, value in record.candidate.items()]
    return "<br>".join([f"<b>trial {record.number}</b>", *figures, "", *parameters])


def front_html(results: Results, budgets: Sequence[Budget], title: str) -> str:
    """Return a self-contained page: each pair of objectives that includes the first, front members over the rest."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    vertical, *others = results.objectives
    figure = make_subplots(rows=1, cols=len(others), shared_yaxes=True, horizontal_spacing=0.04)
    front = results.front
    members = {record.number for record in front}
    dominated = [record for record in results.finished if record.number not in members]
    bounds = {budget.objective.name: budget.bound for budget in budgets}
    for column, horizontal in enumerate(others, 1):
        label, factor = _axis(horizontal)
        for name, records, colour, opacity, size in (
            ("dominated", dominated, DOMINATED_COLOUR, 0.5, 8),
            ("front", front, FRONT_COLOUR, 1.0, 11),
        ):
            figure.add_trace(
                go.Scatter(
                    x=_series(records, horizontal),
                    y=_series(records, vertical),
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=column == 1,
                    marker={"color": colour, "opacity": opacity, "size": size},
                    hovertext=[_hover(record, results.objectives) for record in records],
                    hoverinfo="text",
                ),
                row=1,
                col=column,
            )
        figure.update_xaxes(title_text=label, type="log", row=1, col=column)
        if horizontal.name in bounds:
            figure.add_vline(x=bounds[horizontal.name] * factor, line_dash="dot", row=1, col=column)
    figure.update_yaxes(title_text=_axis(vertical)[0], col=1)
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}
    figure.update_layout(title=title, template="plotly_white", legend=legend, margin={"t": 90})
    return figure.to_html(full_html=True, include_plotlyjs=True, div_id="front", config={"displaylogo": False})


def front_png(results: Results, budgets: Sequence[Budget], title: str) -> bytes:
    """Return the same picture as PNG."""
    from matplotlib.figure import Figure

    vertical, *others = results.objectives
    figure = Figure(figsize=(5 * len(others), 4), layout="constrained")
    front = results.front
    bounds = {budget.objective.name: budget.bound for budget in budgets}
    axes = figure.subplots(1, len(others), sharey=True, squeeze=False)[0]
    for axis, horizontal in zip(axes, others, strict=True):
        label, factor = _axis(horizontal)
        finished = results.finished
        axis.scatter(
            _series(finished, horizontal), _series(finished, vertical), s=20, color=DOMINATED_COLOUR, label="dominated"
        )
        axis.scatter(_series(front, horizontal), _series(front, vertical), s=36, color=FRONT_COLOUR, label="front")
        for record in front:
            here = (_series([record], horizontal)[0], _series([record], vertical)[0])
            axis.annotate(f"#{record.number}", here, textcoords="offset points", xytext=(4, 4), fontsize=7)
        if horizontal.name in bounds:
            axis.axvline(bounds[horizontal.name] * factor, linestyle=":", color="black", label="budget")
        low, high = axis.get_xlim()
        if low > 0 and high / low > WIDE_RANGE:
            axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(_axis(vertical)[0])
    axes[0].legend()
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
