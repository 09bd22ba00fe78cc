"""Fronts of several studies over one another: hypervolume, coverage, and the front of all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..spaces.errors import UserError
from .facts import StudyFacts
from .front import on_front
from .objectives import Objective
from .records import TrialRecord
from .results import Results


@dataclass(frozen=True)
class Comparison:
    """Two studies or more, by name, read with one reference point so that their hypervolumes compare."""

    studies: Mapping[str, Results]
    facts: Mapping[str, StudyFacts]

    @classmethod
    def of(cls, studies: Mapping[str, Results], facts: Mapping[str, StudyFacts]) -> Comparison:
        """Return the comparison; the reference is the worst of the studies' own in each objective.

        Raises :class:`UserError` for fewer than two studies, other objectives, and a study without a front.
        """
        if len(studies) < 2:
            raise UserError("compare: needs two different studies or more")
        first, *others = studies
        for name in others:
            if _names(studies[name]) != _names(studies[first]):
                raise UserError(
                    f"study {name} minimises {', '.join(_names(studies[name]))} and study {first} "
                    f"{', '.join(_names(studies[first]))}; only fronts of the same objectives compare"
                )
        for name, results in studies.items():
            if not results.front:
                raise UserError(f"study {name} has no model on its front yet; let it train some in full")
        reference = np.max([results.reference for results in studies.values()], axis=0).tolist()
        same = {name: Results(r.objectives, reference, r.records) for name, r in studies.items()}
        return cls(same, facts)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.studies)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return next(iter(self.studies.values())).objectives

    @property
    def hypervolumes(self) -> dict[str, float]:
        """Share of one box that each front dominates, in [0, 1]."""
        return {name: results.hypervolume for name, results in self.studies.items()}

    def coverage(self, one: str, other: str) -> float:
        """Return the share of the ``other`` front's members that some member of ``one`` equals or dominates.

        The C metric of Zitzler and Thiele (1999); what one front covers of another says nothing of the reverse.
        """
        own, others = (self.studies[name].values(self.studies[name].front) for name in (one, other))
        return float((own[:, None, :] <= others[None, :, :]).all(axis=2).any(axis=0).mean())

    @property
    def union(self) -> list[tuple[str, TrialRecord]]:
        """The front of all fronts together, by its first objective: whose study each member is from, and the member."""
        members = [(name, record) for name, results in self.studies.items() for record in results.front]
        values = np.concatenate([results.values(results.front) for results in self.studies.values()])
        kept = [(tuple(values[place]), members[place]) for place in np.flatnonzero(on_front(values))]
        return [member for _, member in sorted(kept, key=lambda item: (item[0], item[1][0]))]

    def remarks(self) -> list[str]:
        """Return in words what the studies differ in that makes their figures hard to compare."""
        told = {"device": [facts.device for facts in self.facts.values()]}
        told["data"] = [facts.data_digest for facts in self.facts.values()]
        return [
            f"the studies differ in their {what}: their figures need not compare"
            for what, values in told.items()
            if len(set(values)) > 1
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON types."""
        return {
            "objectives": [objective.key for objective in self.objectives],
            "reference": next(iter(self.studies.values())).reference.tolist(),
            "hypervolume": self.hypervolumes,
            "coverage": {a: {b: self.coverage(a, b) for b in self.names if b != a} for a in self.names},
            "front": [
                {"study": name, "trial": record.number, "figures": self._figures(record)} for name, record in self.union
            ],
            "remarks": self.remarks(),
        }

    def _figures(self, record: TrialRecord) -> dict[str, float]:
        assert record.measurement is not None
        return {objective.key: record.measurement.figures[objective.key] for objective in self.objectives}


def _names(results: Results) -> list[str]:
    return [objective.name for objective in results.objectives]
