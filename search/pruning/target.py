"""What a pruned model is to come to, and the level of sparsity that meets it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...spaces.errors import UserError, nearest_hint
from ...spaces.sparsity.space import LARGEST_LEVEL
from ..objectives import OBJECTIVES, Budget
from ..units import parse_quantity

STEPS = 100
"""Levels are whole hundredths."""
LEVEL = "level"
KNOWN_BEFORE_TRAINING = tuple(name for name, objective in OBJECTIVES.items() if not objective.needs_training)


def parse_target(text: str) -> Budget | float:
    """Return a bound on a figure, or the level itself, from such as ``latency=2ms`` or ``level=0.5``.

    Raises :class:`UserError` for what is neither, and for a level that would leave nothing.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals:
        raise UserError(f'--target "{text}": not of the form figure=bound (try latency=2ms or level=0.5)')
    if name == LEVEL:
        return _level(text, value)
    known = (LEVEL, *KNOWN_BEFORE_TRAINING)
    if name not in known:
        raise UserError(f"--target {name}: no figure that is known before training ({nearest_hint(name, known)})")
    try:
        return Budget.parse(name, value)
    except UserError as error:
        raise UserError(f"--target: {error}") from error


def _level(text: str, value: str) -> float:
    try:
        level = parse_quantity(value, "fraction")
    except UserError as error:
        raise UserError(f"--target level {error}") from error
    if level > LARGEST_LEVEL:
        raise UserError(f"--target {text}: {level:.0%} would leave nothing (at most {LARGEST_LEVEL:g})")
    return level


def least_level(figures_at: Callable[[float], Mapping[str, float]], bound: Budget) -> float:
    """Return the least level, in hundredths, at which a network holds a bound, by bisection.

    ``figures_at`` a level are those of the skeleton that it leaves. Raises :class:`UserError` where the network holds
    the bound as it is, where no level does, and where its device has no such figure.
    """
    name, told = bound.objective.name, f"--target {bound.objective.name}={bound.objective.format(bound.bound)}"
    before = figures_at(0.0)
    if bound.objective.key not in before:
        raise UserError(f"{told}: the model's device claims no {name} (name another figure, or level=0.5)")
    if bound.excess(before) <= 0:
        value = bound.objective.format(before[bound.objective.key])
        raise UserError(f"{told}: holds already, {name} is {value} (ask for less)")
    low, high = 0, round(LARGEST_LEVEL * STEPS)
    least = figures_at(high / STEPS)
    if bound.excess(least) > 0:
        value = bound.objective.format(least[bound.objective.key])
        raise UserError(f"{told}: cannot be met, the least is {value}, at a level of {LARGEST_LEVEL:g} (ask for more)")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bound.excess(figures_at(middle / STEPS)) > 0 else (low, middle)
    return high / STEPS
