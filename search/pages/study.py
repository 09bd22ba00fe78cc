"""The page of one study: its front, parameters, hypervolume and what mattered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from ..facts import StudyFacts
from ..noise import RIVALS_TOLD, rivals
from ..objectives import Objective
from ..records import State
from ..results import Results
from .document import Axis, objective_axis, page, parameter_axis, rounded
from .rows import FRONT, GROUPS, Row, parameter_names, rows_of

BARS = 12
"""So many parameters at most are told by importance."""
CURVE_COLOUR = "#1f618d"

Section = dict[str, Any]
Importances = Mapping[str, Mapping[str, float]]


def study_page(
    results: Results,
    facts: StudyFacts,
    importances: Importances,
    *,
    runs: Mapping[int, str] | None = None,
    experiment: str = "",
    more: Sequence[Section] = (),
) -> str:
    """Return a self-contained page of a study as it stands.

    ``runs`` are the ids of the trials' runs in MLflow's ``experiment``, where there are any. ``more`` sections come
    last.
    """
    rows = rows_of(results)
    axes = study_axes(rows, results.objectives, importances, facts)
    objectives = len(results.objectives)
    sections = [
        {"title": "Front", "charts": list(objective_pairs(objectives))},
        {"title": "Parameters and objectives", "charts": [{"kind": "parallel", "axes": list(range(len(axes)))}]},
        {"title": "Hypervolume", "charts": list(hypervolume_charts({facts.name: results}))},
        *_importance_section(importances),
        *_table_section(rows, results.objectives, rivals(results, facts.error_examples)),
        *more,
    ]
    found = runs or {}
    items: dict[str, list[Any]] = {
        "name": [row.name for row in rows],
        "group": [row.group for row in rows],
        "note": [row.record.reason for row in rows],
        "run": [found.get(row.record.number) for row in rows],
    }
    return page(
        title_of(results, facts),
        _subtitle(results, facts),
        items,
        axes,
        GROUPS,
        sections,
        experiment=experiment,
        tracking=_server(facts),
    )


def title_of(results: Results, facts: StudyFacts) -> str:
    """Return what a study is called wherever it is shown."""
    members = len({record.number for record in results.front})
    return f"{facts.name}: {members} models on the front of {len(results.finished)} trained in full"


def _subtitle(results: Results, facts: StudyFacts) -> str:
    counts = ", ".join(f"{results.counts[state]} {state}" for state in State if results.counts[state])
    bounds = ", ".join(f"{b.objective.name} at most {b.objective.format(b.bound)}" for b in facts.budgets)
    parts = (facts.device, bounds, counts or "no trials yet", f"hypervolume {results.hypervolume:.4f}")
    return "; ".join(part for part in parts if part)


def _server(facts: StudyFacts) -> str | None:
    tracking = facts.tracking or ""
    return tracking.rstrip("/") if tracking.startswith(("http://", "https://")) else None


def study_axes(
    rows: Sequence[Row], objectives: Sequence[Objective], importances: Importances, facts: StudyFacts | None = None
) -> list[Axis]:
    """Return the axes of all objectives, and of the parameters that differ, the most important ones first."""
    parameters = [axis for axis in _parameter_axes(rows, importances) if len(set(axis.values) - {None}) > 1]
    return [*(_objective_axis(objective, rows, facts or StudyFacts("")) for objective in objectives), *parameters]


def _objective_axis(objective: Objective, rows: Sequence[Row], facts: StudyFacts) -> Axis:
    values = [row.figure(objective) for row in rows]
    # Of the front only: the bars of a thousand candidates are a cloud.
    intervals = [row.interval(objective, facts) if row.group == FRONT else None for row in rows]
    return objective_axis(objective, values, bound=facts.bounds.get(objective.name), intervals=intervals)


def _parameter_axes(rows: Sequence[Row], importances: Importances) -> Iterator[Axis]:
    """The most important ones first."""
    weight = {name: max(shares.get(name, 0.0) for shares in importances.values()) for name in _known(importances)}
    candidates = [dict(row.record.candidate.items_sorted) for row in rows]
    for name in sorted(parameter_names(rows), key=lambda name: (-weight.get(name, 0.0), name)):
        yield parameter_axis(name, [candidate.get(name) for candidate in candidates])


def _known(importances: Importances) -> set[str]:
    return {name for shares in importances.values() for name in shares}


def objective_pairs(objectives: int) -> Iterator[dict[str, Any]]:
    """Each pair of objectives, those with the first one first: it is drawn upwards."""
    for vertical, horizontal in combinations(range(objectives), 2):
        yield {"kind": "scatter", "x": horizontal, "y": vertical}


def hypervolume_charts(studies: Mapping[str, Results], colours: Sequence[str] = (CURVE_COLOUR,)) -> Iterator[Any]:
    """The hypervolume over trials and over what they cost, of one study or several."""
    for label in ("trained trials", "trained epochs"):
        series = []
        for (name, results), colour in zip(studies.items(), colours, strict=True):
            steps = results.hypervolume_by_trial()
            across = [step for step, _, _ in steps] if label == "trained trials" else results.epochs_by_trial()
            heights = [rounded(value) for _, value, _ in steps]
            series.append({"name": name, "colour": colour, "x": across, "y": heights})
        if any(one["x"] for one in series):
            yield {"kind": "steps", "x_label": label, "y_label": "hypervolume", "series": series}


def _importance_section(importances: Importances) -> Iterator[Section]:
    if not importances:
        return
    strongest = {name: max(shares.get(name, 0.0) for shares in importances.values()) for name in _known(importances)}
    names = sorted(strongest, key=lambda name: (-strongest[name], name))[:BARS]
    rows = [
        {"name": name, "shares": [rounded(shares.get(name, 0.0)) for shares in importances.values()]} for name in names
    ]
    columns = [name.replace("_", " ") for name in importances]
    yield {"title": "What mattered for each objective", "charts": [{"kind": "bars", "columns": columns, "rows": rows}]}


def _table_section(
    rows: Sequence[Row], objectives: Sequence[Objective], known: Mapping[int, tuple[int, ...]]
) -> Iterator[Section]:
    """The front's models, and with them which others each may be no better than."""
    members = [place for place, row in enumerate(rows) if row.is_on_front]
    figures = {place: [rows[place].figure(objective) or 0.0 for objective in objectives] for place in members}
    members.sort(key=figures.__getitem__)
    if members:
        cells = [
            [
                rows[place].name,
                *(o.format(value) for o, value in zip(objectives, figures[place], strict=True)),
                ", ".join(f"#{number}" for number in known[rows[place].record.number][:RIVALS_TOLD]),
            ]
            for place in members
        ]
        columns = ["model", *(objective.name.replace("_", " ") for objective in objectives), "within noise of"]
        table = {"kind": "table", "columns": columns, "rows": cells, "items": members}
        yield {"title": "Models of the front", "charts": [table]}
