"""What flows back into a map that an early exit shares with the layers behind it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.spaces.exits.balance import balanced
from tests.spaces.exits.test_network import CLASSES, X, network


@settings(deadline=None)
@given(st.floats(1e-3, 10), st.floats(0, 1e3), st.floats(0, 1e3), st.integers(0, 99))
def test_an_early_gradient_is_cut_to_its_share(ratio: float, deep_size: float, early_size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, deep, early = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    x.requires_grad_()
    deep, early = deep_size * deep, early_size * early
    behind, head = balanced(x, ratio)
    torch.testing.assert_close(torch.stack([behind, head]), torch.stack([x, x]))
    ((behind * deep).sum() + (head * early).sum()).backward()
    assert x.grad is not None
    from_head = x.grad - deep
    assert from_head.norm() <= ratio * deep.norm() * (1 + 1e-9) + 1e-9 * early.norm()
    if early.norm() <= ratio * deep.norm():
        torch.testing.assert_close(from_head, early)
    # Only its size changes.
    torch.testing.assert_close(from_head * early.norm(), early * from_head.norm(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("backbone", ["joint", "balanced"])
def test_a_loud_exit_drowns_the_last_one_only_where_nothing_balances(backbone: str) -> None:
    def of_stem(model, early_loss: float) -> torch.Tensor:
        model.zero_grad()
        (_, last), *early = model.weighted_answers(X)
        labels = torch.zeros(len(X), dtype=torch.long)
        loss = torch.nn.functional.cross_entropy(last, labels)
        loss = loss + early_loss * sum(logits.square().sum() for _, logits in early)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.segments[0].parameters() if p.grad is not None]).clone()

    model = network(backbone=backbone)
    assert model.answers(X)[-1].shape == (len(X), CLASSES)
    alone, loud = of_stem(model, 0.0), of_stem(model, 1e4)
    assert loud.norm() > 50 * alone.norm() if backbone == "joint" else loud.norm() < 20 * alone.norm()
