"""Targets as people write them, and the least level that meets one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.search.objectives import Budget
from repareto.search.pruning.target import least_level, parse_target
from repareto.spaces.errors import UserError


def test_a_target_is_a_bound_or_the_level_itself() -> None:
    assert parse_target("latency=2ms") == Budget.parse("latency", "2ms")
    assert parse_target("parameters=20k") == Budget.parse("parameters", "20k")
    assert parse_target("level=0.5") == parse_target("level=50%") == 0.5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("latency", r'--target "latency": not of the form figure=bound \(try latency=2ms or level=0.5\)'),
        ("latncy=2ms", r"--target latncy: no figure that is known before training \(did you mean latency\?\)"),
        ("error=5%", "--target error: no figure that is known before training"),
        ("latency=2", r'--target: budget latency "2": not a duration'),
        ("level=1", r"--target level=1: 100% would leave nothing \(at most 0.99\)"),
        ("level=100%", r"--target level=100%: 100% would leave nothing"),
        ("level=0", '--target level "0": a fraction must be positive'),
        ("level=half", '--target level "half": not a fraction'),
    ],
)
def test_a_target_that_is_none(text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse_target(text)


@given(kept=st.integers(1, 99), scale=st.floats(1, 1e6))
def test_the_least_level_holds_and_the_one_below_does_not(kept: int, scale: float) -> None:
    def figures_at(level: float) -> dict[str, float]:
        return {"macs": scale * round(100 * (1 - level)) ** 2}

    bound = Budget(Budget.parse("macs", 1).objective, scale * kept**2)
    level = least_level(figures_at, bound)
    assert level == (100 - kept) / 100
    assert bound.excess(figures_at(level)) <= 0 < bound.excess(figures_at(level - 0.01))


def test_a_bound_that_holds_already_or_never_does() -> None:
    def figures_at(level: float) -> dict[str, float]:
        return {"macs": 1000 - 900 * level}

    with pytest.raises(UserError, match=r"--target macs=2 k: holds already, macs is 1 k \(ask for less\)"):
        least_level(figures_at, Budget.parse("macs", "2k"))
    with pytest.raises(UserError, match=r"--target macs=50: cannot be met, the least is 109, at a level of 0.99"):
        least_level(figures_at, Budget.parse("macs", "50"))
    with pytest.raises(UserError, match="--target latency=1 us: the model's device claims no latency"):
        least_level(figures_at, Budget.parse("latency", "1us"))
