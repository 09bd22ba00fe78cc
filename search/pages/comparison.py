"""The page on which several fronts lie over one another."""

from __future__ import annotations

from typing import Any

from ..compare import Comparison
from ..records import point_of
from .document import Group, objective_axis, page
from .rows import Row
from .study import hypervolume_charts, objective_pairs

COLOURS = ("#c0392b", "#1f618d", "#1e8449", "#b9770e", "#6c3483", "#117a65", "#784212", "#2c3e50")


def comparison_page(comparison: Comparison) -> str:
    """Return a self-contained page of fronts; members that another study dominates are faded."""
    best = {(name, record.number, point_of(record)) for name, record in comparison.union}
    rows, groups, notes = [], [], []
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(comparison.names))]
    for place, (name, results) in enumerate(comparison.studies.items()):
        for record in results.front:
            is_best = (name, record.number, point_of(record)) in best
            rows.append(Row(record, True))
            groups.append(2 * place + (not is_best))
            notes.append(name)
    looks = [
        group
        for name, colour in zip(comparison.names, colours, strict=True)
        for group in (Group(name, colour, 0.95, 6, 0.8), Group(f"{name}, dominated", colour, 0.25, 4, 0.2))
    ]
    axes = [objective_axis(o, [row.figure(o) for row in rows]) for o in comparison.objectives]
    items: dict[str, list[Any]] = {
        "name": [f"{note} {row.name}" for note, row in zip(notes, rows, strict=True)],
        "group": groups,
        "note": [""] * len(rows),
        "run": [None] * len(rows),
    }
    sections = [
        {"title": "Fronts", "charts": list(objective_pairs(len(axes)))},
        {"title": "Hypervolume", "charts": [_figures(comparison), *hypervolume_charts(comparison.studies, colours)]},
        {"title": "Coverage", "charts": [_coverage(comparison)]},
        {"title": "Front of all", "charts": [_union(comparison)]},
    ]
    return page(" and ".join(comparison.names), "; ".join(comparison.remarks()), items, axes, looks, sections)


def _figures(comparison: Comparison) -> dict[str, Any]:
    from_study = [name for name, _ in comparison.union]
    rows = [
        [name, len(results.front), f"{results.hypervolume:.4f}", from_study.count(name)]
        for name, results in comparison.studies.items()
    ]
    return {"kind": "table", "columns": ["study", "on its front", "hypervolume", "on the front of all"], "rows": rows}


def _coverage(comparison: Comparison) -> dict[str, Any]:
    rows = [
        [a, *("" if a == b else f"{100 * comparison.coverage(a, b):.0f} %" for b in comparison.names)]
        for a in comparison.names
    ]
    return {"kind": "table", "columns": ["equals or dominates of", *comparison.names], "rows": rows}


def _union(comparison: Comparison) -> dict[str, Any]:
    rows = []
    for name, record in comparison.union:
        row = Row(record, True)
        rows.append([name, row.name, *(o.format(row.figure(o) or 0.0) for o in comparison.objectives)])
    columns = ["study", "model", *(objective.name.replace("_", " ") for objective in comparison.objectives)]
    return {"kind": "table", "columns": columns, "rows": rows}
