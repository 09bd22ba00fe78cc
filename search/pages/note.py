"""What MLflow's UI shows of a study first: its parent run's description, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from ..facts import StudyFacts
from ..results import Results
from .rows import Row
from .study import title_of

CHARACTERS = 5000
"""MLflow keeps no longer ones."""


def front_note(results: Results, facts: StudyFacts, *, experiment: str, parent: str, runs: Mapping[int, str]) -> str:
    """Return the front as a picture and as a table whose names lead to the models' runs, where they have one yet."""
    names = [objective.name.replace("_", " ") for objective in results.objectives]
    lines = [
        f"**{title_of(results, facts)}**, hypervolume {results.hypervolume:.4f}.",
        f"[Look at it interactively](#/experiments/{experiment}/runs/{parent}/artifacts/front.html).",
        "",
        f"![The front](get-artifact?path=front.png&run_uuid={parent})",
        "",
        f"| model | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    length = sum(len(line) + 1 for line in lines)
    for record in results.front:
        row = Row(record, True)
        figures = [objective.format(row.figure(objective) or 0.0) for objective in results.objectives]
        run = runs.get(record.number)
        link = f"[{row.name}](#/experiments/{experiment}/runs/{run})" if run else row.name
        line = f"| {link} | {' | '.join(figures)} |"
        length += len(line) + 1
        if length > CHARACTERS:
            break
        lines.append(line)
    return "\n".join(lines)
