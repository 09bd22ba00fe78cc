"""The files in which people look at a front: its page, tables for scripts, pictures for reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from .facts import StudyFacts
from .results import Results

if TYPE_CHECKING:
    from .pages.study import Importances

GROWTH = 1.1
"""What takes long is made anew when a study has so many times as many models as when it was made."""
TABLES = ("front.json", "trials.json")
"""Those of the files that MLflow's UI shows as tables."""


class FrontFiles:
    """Makes a study's files over and over while it grows.

    Page and tables are made each time. Pictures, and the parameters' importance, take a second of a thousand trials and
    are made when the study has grown by a tenth.
    """

    def __init__(self, facts: StudyFacts) -> None:
        self._facts = facts
        self._importances: Importances = {}
        self._models = 0

    def of(
        self, results: Results, *, runs: Mapping[int, str], experiment: str, complete: bool = False
    ) -> dict[str, str | bytes]:
        """Return the files by name, those that take long only where they are due or to be ``complete``.

        ``runs`` are the ids of the trials' runs in MLflow's ``experiment``.
        """
        from .pages import rows
        from .pages.study import study_page

        models = len(results.finished)
        is_due = complete or models >= GROWTH * self._models
        pictures = dict(self._slow(results)) if is_due else {}
        self._models = models if is_due else self._models
        front, trials = rows.front_table(results), rows.trials_table(results)
        return {
            "front.html": study_page(results, self._facts, self._importances, runs=runs, experiment=experiment),
            "front.json": rows.as_json(front),
            "front.csv": rows.as_csv(front),
            "trials.json": rows.as_json(trials),
            "trials.csv": rows.as_csv(trials),
            **pictures,
        }

    def _slow(self, results: Results) -> Iterator[tuple[str, bytes]]:
        from . import plots
        from .importance import importances
        from .pages.study import title_of

        self._importances = importances(results)
        title = title_of(results, self._facts)
        yield "front.png", plots.front_png(results, self._facts.budgets, title)
        yield "hypervolume.png", plots.hypervolume_png({self._facts.name: results})
        yield "parameters.png", plots.parameters_png(results, self._importances, title)
        if self._importances:
            yield "importance.png", plots.importance_png(self._importances, self._facts.name)
