"""Two profiles side by side: two models on one device, or one model on two."""

from dataclasses import dataclass

from ..profile import Figure, Profile

# Measured minima move by up to this much from run to run on a shared machine, so less is no difference.
_MEASURED_NOISE = 0.04


@dataclass(frozen=True)
class Difference:
    """One figure of two profiles. ``ratio`` is the second over the first, None where the first is 0.

    ``note`` says in words why the two may not be compared, or that they may be equal; "" where the ratio holds.
    """

    name: str
    first: Figure
    second: Figure
    ratio: float | None
    note: str


def compare(first: Profile, second: Profile) -> tuple[Difference, ...]:
    """Each figure that both have."""
    others = second.figures()
    return tuple(_difference(name, mine, others[name]) for name, mine in first.figures().items() if name in others)


def _difference(name: str, first: Figure, second: Figure) -> Difference:
    ratio = second.value / first.value if first.value else None
    return Difference(name, first, second, ratio, _note(first, second))


def _note(first: Figure, second: Figure) -> str:
    if first.value == second.value:
        return "equal"
    if first.method != second.method:
        return f"{first.method} against {second.method}"
    if _may_be_equal(first, second):
        return "within the error"
    return ""


def _may_be_equal(first: Figure, second: Figure) -> bool:
    """Whether the intervals of two figures meet; of a measured one, what measuring again may give."""
    (low, high), (other_low, other_high) = _interval(first), _interval(second)
    return low <= other_high and other_low <= high


def _interval(figure: Figure) -> tuple[float, float]:
    if figure.low is not None and figure.high is not None:
        return figure.low, figure.high
    if figure.method == "measured" and figure.unit == "us":
        return figure.value * (1 - _MEASURED_NOISE), figure.value * (1 + _MEASURED_NOISE)
    return figure.value, figure.value
