"""A trial that runs may reach the front: by its curve, by where others went on, and by what is no dearer."""

from dataclasses import replace

import pytest

from repareto.search.chance import chance_of_front
from repareto.search.records import EpochPoint, State, TrialRecord

ENDS = (0.40, 0.32, 0.19, 0.16)
"""Of four that are trained; after three epochs their errors were about twice as large, to within a tenth."""


def trained(lab) -> list[TrialRecord]:
    factors = (1.9, 2.1, 2.0, 2.0)
    return [
        replace(lab.record(number, error=end), curve=curve(factor * end, epochs=3) + curve(end, epochs=6))
        for number, (end, factor) in enumerate(zip(ENDS, factors, strict=True))
    ]


def curve(error: float, *, epochs: int) -> tuple[EpochPoint, ...]:
    return (EpochPoint(error, 1.0, 0.5),) * epochs


def chance(lab, number: int, error: float) -> float:
    """Of the toy candidate of that number, whose error after three epochs is known."""
    like = lab.record(number, state=State.RUNNING, curve=curve(error, epochs=3))
    running = replace(like, number=len(ENDS))
    results = lab.results(*trained(lab), running)
    return chance_of_front(running, results, lab.objectives, lab.reference)


def test_a_curve_that_leads_to_the_best_error_has_an_even_chance(lab) -> None:
    # Its candidate costs what number 3's does, which is the best of the front.
    assert chance(lab, 3, 2 * min(ENDS)) == pytest.approx(0.5, abs=0.1)


def test_the_chance_falls_with_the_error(lab) -> None:
    chances = [chance(lab, 3, error) for error in (0.2, 0.3, 0.34, 0.4, 0.8)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.99 and chances[-1] < 0.01


def test_what_is_cheaper_than_all_need_only_be_better_than_guessing(lab) -> None:
    cheapest = min(range(20), key=lambda n: lab.profile(lab.candidate(n)).value("latency_us"))
    assert cheapest > 3
    assert chance(lab, cheapest, 0.8) > 0.99


def test_with_nothing_trained_little_is_known(lab) -> None:
    running = lab.record(0, state=State.RUNNING, curve=curve(0.85, epochs=3))
    assert 0.5 < chance_of_front(running, lab.results(running), lab.objectives, lab.reference) < 0.6
