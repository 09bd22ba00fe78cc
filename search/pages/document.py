"""What a page shows, as ``page.js`` takes it: items, the axes that they have values on, and charts of those."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib import resources
from typing import Any

from ...spaces.space import Value
from ..importance import is_logarithmic
from ..objectives import Objective

FEW = 12
"""So many different whole numbers at most are spread evenly on an axis."""
DIGITS = 6
# Plot in units that people read; the ledger keeps base units.
UNITS = {
    "fraction": ("%", 100.0),
    "duration": ("us", 1.0),
    "size": ("KiB", 1 / 1024),
    "count": ("", 1.0),
}
# Nothing may be loaded from anywhere, whatever a study's names are.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Group:
    """How items of one kind look: ``opacity`` of points, ``line`` that of lines, 0 for none."""

    name: str
    colour: str
    opacity: float
    radius: int
    line: float


@dataclass(frozen=True)
class Axis:
    """One value an item; None where an item has none. With ``options``, the values are places among them."""

    label: str
    values: Sequence[float | int | None]
    log: bool = False
    options: tuple[str, ...] | None = None
    bound: float | None = None
    low: Sequence[float | None] | None = None
    """With ``high``: the interval in which each item's value lies."""
    high: Sequence[float | None] | None = None


def unit_of(objective: Objective) -> tuple[str, float]:
    """Return what an objective is called on an axis, and what its figures are multiplied with there."""
    unit, factor = UNITS[objective.kind]
    return objective.name.replace("_", " ") + (f" ({unit})" if unit else ""), factor


def objective_axis(
    objective: Objective,
    values: Sequence[float | None],
    *,
    bound: float | None = None,
    intervals: Sequence[tuple[float, float] | None] = (),
) -> Axis:
    """Return the axis of an objective, from its figures in base units."""
    label, factor = unit_of(objective)

    def scaled(figures: Sequence[float | None]) -> list[float | None]:
        # A loss that was not a number leaves such an error.
        return [None if f is None or not math.isfinite(f) else rounded(f * factor) for f in figures]

    shown = scaled(values)
    known = [value for value in shown if value is not None]
    low, high = (
        scaled([None if interval is None else interval[side] for interval in intervals]) if any(intervals) else None
        for side in (0, 1)
    )
    log = bool(known) and is_logarithmic(known)
    return Axis(label, shown, log, None, None if bound is None else rounded(bound * factor), low, high)


def parameter_axis(name: str, values: Sequence[Value | None]) -> Axis:
    """Return the axis of a parameter, whose values may be numbers or words."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if not isinstance(value, bool | str)]
    whole = all(isinstance(value, int) for value in numbers)
    if len(numbers) < len(known) or (whole and len(set(numbers)) <= FEW):
        different = sorted(set(known), key=lambda value: (isinstance(value, str), value))
        place = {value: number for number, value in enumerate(different)}
        places = [None if value is None else place[value] for value in values]
        return Axis(name, places, options=tuple(_word(value) for value in different))
    shown = [None if value is None else rounded(float(value)) for value in values]
    return Axis(name, shown, bool(numbers) and is_logarithmic([float(value) for value in numbers]))


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def rounded(value: float) -> float:
    """Return a figure with as many digits as anybody can see."""
    return float(f"{value:.{DIGITS}g}")


def page(
    title: str,
    subtitle: str,
    items: Mapping[str, Sequence[Any]],
    axes: Sequence[Axis],
    groups: Sequence[Group],
    sections: Sequence[dict[str, Any]],
    **more: Any,
) -> str:
    """Return a self-contained page: one file, nothing loaded from anywhere.

    ``items`` has a list for each of ``name``, ``group`` (its place among ``groups``), ``note`` and ``run`` (of MLflow).
    """
    document = {
        "title": title,
        "subtitle": subtitle,
        "items": dict(items),
        "axes": [{key: value for key, value in asdict(axis).items() if value is not None} for axis in axes],
        "groups": [asdict(group) for group in groups],
        "sections": list(sections),
        **more,
    }
    # A name of the user's own must not end the script.
    data = json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{_part('page.css')}</style>\n</head>\n<body>",
            '<main></main>\n<div id="tip" hidden></div>\n<aside id="detail" hidden></aside>',
            f'<script type="application/json" id="document">{data}</script>',
            f"<script>\n{_part('page.js')}</script>\n</body>\n</html>\n",
        )
    )


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
