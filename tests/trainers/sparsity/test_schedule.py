"""When what goes goes."""

from hypothesis import given
from hypothesis import strategies as st

from repareto.trainers.sparsity.schedule import Gradual, OneShot


@given(st.integers(1, 400))
def test_rises_from_nothing_to_all_and_ends_with_an_update(steps: int) -> None:
    schedule = Gradual()
    shares = [schedule.share(step, steps) for step in range(steps + 1)]
    assert shares[0] == 0 and shares[-1] == 1
    assert shares == sorted(shares)
    due = [step for step in range(1, steps + 1) if schedule.is_due(step, steps)]
    assert 1 <= len(due) <= schedule.updates
    assert shares[due[-1]] == 1
    # Half of the time takes out seven eighths (Zhu and Gupta, equation 1).
    assert schedule.share(35, 100) == 1 - 0.5**3


@given(st.integers(1, 400))
def test_at_once(steps: int) -> None:
    schedule = OneShot()
    due = [step for step in range(1, steps + 1) if schedule.is_due(step, steps)]
    assert len(due) == 1
    assert schedule.share(due[0], steps) == 1
    assert schedule.share(due[0] - 1, steps) == 0
