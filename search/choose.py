"""Which model of a front to take."""

from __future__ import annotations

from collections.abc import Sequence

from ..spaces.errors import UserError
from .objectives import Budget
from .records import State, TrialRecord, at_point, figures_of, points_of
from .results import Results
from .weighing import Worth, by_first_objective


def choose(
    results: Results,
    *,
    number: int | None = None,
    point: int | None = None,
    bounds: Sequence[Budget] = (),
    worth: Worth = by_first_objective,
) -> TrialRecord:
    """Return trial ``number``, or else the front member of the least ``worth`` that holds all ``bounds``.

    A trial with several operating points has the figures of ``point``, by default of that which it stands for.

    Raises :class:`UserError` for a trial that has no model, and for bounds that no member holds, with the closest one.
    """
    if number is not None:
        return _at_point(_of_number(results, number), point)
    if point is not None:
        raise UserError(f"--operating-point {point}: is of one trial (name it: --trial NUMBER)")
    front = results.front
    fitting = places_within(front, bounds)
    costs = worth(results.values(front))
    return front[min(fitting, key=lambda place: costs[place])]


def places_within(front: Sequence[TrialRecord], bounds: Sequence[Budget]) -> list[int]:
    """Return the places of the members of a front that hold all ``bounds``; raises as :func:`choose`."""
    if not front:
        raise UserError("the front is empty: no candidate was trained in full within the budgets yet")
    for bound in bounds:
        if bound.objective.key not in figures_of(front[0]):
            raise UserError(
                f"bound {bound.objective.name}: the models have no such figure on their device; leave it out"
            )
    fitting = [place for place, record in enumerate(front) if not _broken(record, bounds)]
    if not fitting:
        closest = min(front, key=lambda record: max(bound.excess(figures_of(record)) for bound in bounds))
        broken = "; ".join(bound.explain(figures_of(closest)) for bound in _broken(closest, bounds))
        raise UserError(f"no model of the front holds the bounds; the closest one is trial {closest.number}: {broken}")
    return fitting


def _of_number(results: Results, number: int) -> TrialRecord:
    record = next((record for record in results.records if record.number == number), None)
    if record is None:
        raise UserError(f"trial {number}: there is none of that number (0 to {len(results.records) - 1})")
    if record.state is not State.FINISHED:
        reason = f": {record.reason}" if record.reason else ""
        raise UserError(f"trial {number} was not trained in full and has no model: {record.state.value}{reason}")
    return record


def _at_point(record: TrialRecord, point: int | None) -> TrialRecord:
    points = points_of(record)
    if point is not None and point not in points:
        has = f"operating points {', '.join(map(str, points))}" if points else "no operating points"
        raise UserError(f"--operating-point {point}: trial {record.number} has {has}")
    return at_point(record, point)


def _broken(record: TrialRecord, bounds: Sequence[Budget]) -> list[Budget]:
    return [bound for bound in bounds if bound.excess(figures_of(record)) > 0]
