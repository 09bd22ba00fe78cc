"""Multipliers hold a size that a loss works against."""

import pytest
import torch

from repareto.trainers.sparsity.multipliers import Constraint, Lagrangian, Multiplier


def held_size(multiplier: Multiplier, steps: int, target: float) -> float:
    """Let a size in [0, 1] that wants to be 1, with the loss (1 - s)^2, be held to a target."""
    size = torch.tensor(1.0, requires_grad=True)
    for step in range(steps):
        excess = size - multiplier.target(step / steps, target)
        (gradient,) = torch.autograd.grad((1 - size).square() + multiplier.penalty(excess), size)
        with torch.no_grad():
            size.sub_(0.05 * gradient).clamp_(0, 1)
        multiplier.ascend(float(excess.detach()))
    return float(size.detach())


@pytest.mark.parametrize("multiplier", [Lagrangian(0.1), Constraint(0.1)])
def test_the_size_comes_to_its_target(multiplier: Multiplier) -> None:
    assert abs(held_size(multiplier, 2000, 0.4) - 0.4) <= 0.1


def test_a_constraint_that_holds_costs_nothing() -> None:
    constraint = Constraint(0.5)
    constraint.ascend(0.4)
    assert float(constraint.penalty(torch.tensor(0.1))) == pytest.approx(0.02)
    constraint.ascend(-0.01)
    assert float(constraint.penalty(torch.tensor(0.3))) == 0


def test_an_equality_draws_up_what_is_too_small() -> None:
    lagrangian = Lagrangian(1.0)
    lagrangian.ascend(-0.5)
    excess = torch.tensor(-0.5, requires_grad=True)
    lagrangian.penalty(excess).backward()
    assert excess.grad is not None and float(excess.grad) < 0


def test_targets_are_warmed_up_and_constraints_are_not() -> None:
    assert [Lagrangian(1.0).target(time, 0.4) for time in (0.0, 1 / 3, 2 / 3, 1.0)] == pytest.approx([1, 0.7, 0.4, 0.4])
    assert [Constraint(1.0).target(time, 0.4) for time in (0.0, 0.01, 1.0)] == [1.0, 0.4, 0.4]
