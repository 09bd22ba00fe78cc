"""Write the figures of ``results/`` into the README's and the documents' tables: ``make figures``.

A table stands between two comments. The first one names its rows, each by the claims that are told in it, their unit
and what a reader should know them by; all else is written anew, so that a page says what was measured and no more:

    <!-- figures
    repcnn.keywords.fewer_errors; repcnn.digits.fewer_errors | % | test errors fewer, synthetic keywords; digits
    -->
    ...
    <!-- end of figures -->
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .report import RESULTS

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"(?P<head><!-- figures\n(?P<rows>.*?)-->\n)(?P<table>.*?)(?P<foot><!-- end of figures -->)", re.S)
# What a value is multiplied by before it is told in a unit.
SCALES = {"%": 100.0}
# How a number is written from such a size on.
FORMS = {100: ",.0f", 10: ".1f", 0.1: ".2f"}
SIGNS = {">=": "at least", "<=": "at most"}


@dataclass(frozen=True)
class Measured:
    """A claim as it was published, and the file that it is in."""

    claim: Mapping[str, Any]
    source: Path


def main() -> None:
    """Write each page whose tables are not what was measured."""
    figures = measured()
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = with_figures(before, page, figures)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")


def pages() -> list[Path]:
    """Return what may have tables of figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def measured() -> dict[str, Measured]:
    """Return each claim of a full result by its id."""
    found = {}
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text())
        if not document["quick"]:
            found |= {claim["id"]: Measured(claim, path) for claim in document["claims"]}
    return found


def with_figures(text: str, page: Path, figures: Mapping[str, Measured]) -> str:
    """Return the text of a page with its tables made anew; raises KeyError for a claim that nothing has published."""

    def made(match: re.Match[str]) -> str:
        rows = [_row(line, page, figures) for line in match["rows"].splitlines()]
        lines = ["", "| | measured | asked | held | from |", "|---|---|---|---|---|", *rows, ""]
        return match["head"] + "\n".join(lines) + "\n" + match["foot"]

    return TABLE.sub(made, text)


def _row(line: str, page: Path, figures: Mapping[str, Measured]) -> str:
    ids, unit, caption = (part.strip() for part in line.split("|", 2))
    found = [figures[name.strip()] for name in ids.split(";")]
    asked = dict.fromkeys(f"{SIGNS[one.claim['op']]} {told(one.claim['target'], unit)}" for one in found)
    links = dict.fromkeys(f"[{one.source.stem}]({os.path.relpath(one.source, page.parent)})" for one in found)
    held = ["yes" if one.claim["holds"] else "**no**" for one in found]
    cells = (
        caption,
        "; ".join(_with_interval(one.claim, unit) for one in found),
        "; ".join(asked),
        "; ".join(held if len(set(held)) > 1 else held[:1]),
        "; ".join(links),
    )
    return f"| {' | '.join(cells)} |"


def _with_interval(claim: Mapping[str, Any], unit: str) -> str:
    scale = SCALES.get(unit, 1.0)
    low, high = number(claim["low"] * scale), number(claim["high"] * scale)
    interval = f" ({low} to {high})" if low != high else ""
    return told(claim["value"], unit) + interval


def told(value: float, unit: str) -> str:
    """Return a value in its unit, such as ``29 %`` of 0.29."""
    return f"{number(value * SCALES.get(unit, 1.0))} {unit}".strip()


def number(value: float) -> str:
    """Return a number as people write it: three digits or so, no zeros behind the point."""
    size = abs(value)
    if size < 1e-9:
        return "0"
    if size < 1e-3:
        digits, exponent = f"{value:.0e}".split("e")
        return f"{digits}e{int(exponent)}"
    form = next((form for least, form in FORMS.items() if size >= least), ".2g")
    text = format(value, form)
    return text.rstrip("0").rstrip(".") if "." in text else text


if __name__ == "__main__":
    main()
