"""The reconstruction against closed forms and exhaustive search."""

from itertools import combinations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from repareto.spaces.sparsity.kernels import kernel_sites
from repareto.trainers.sparsity.choice import largest
from repareto.trainers.sparsity.reconstruction import _least_squares, look_at, reconstructed, removal_losses


def problem(seed: int, written: int, read: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(read, read, generator=generator, dtype=torch.double)
    inputs = torch.randn(60, read, generator=generator, dtype=torch.double) @ mixing
    kernel = torch.randn(written, read, generator=generator, dtype=torch.double)
    return kernel, inputs.T @ inputs / len(inputs), inputs


def sparse(kernel: Tensor, gram: Tensor, kept: int) -> Tensor:
    return reconstructed(kernel, gram, largest(removal_losses(kernel, gram), kept))


def loss(found: Tensor, kernel: Tensor, gram: Tensor) -> float:
    return float(((found - kernel) @ gram * (found - kernel)).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 6), st.integers(2, 8), st.floats(0.1, 1.0))
def test_keeps_what_is_asked_and_is_never_worse_than_magnitude(
    seed: int, written: int, read: int, share: float
) -> None:
    kernel, gram, _ = problem(seed, written, read)
    kept = max(1, round(share * kernel.numel()))
    found = sparse(kernel, gram, kept)
    assert int((found != 0).sum()) <= kept
    # Least squares on its own support beats leaving the weights there as they were.
    assert loss(found, kernel, gram) <= loss(kernel * (found != 0), kernel, gram) + 1e-9
    if kept == kernel.numel():
        torch.testing.assert_close(found, kernel)


def test_its_error_is_far_below_that_of_magnitude() -> None:
    ratios = []
    for seed in range(10):
        kernel, gram, _ = problem(seed, 16, 32)
        pruned = kernel * largest(kernel.abs(), 102)
        ratios.append(loss(sparse(kernel, gram, 102), kernel, gram) / loss(pruned, kernel, gram))
    assert sum(ratios) / len(ratios) <= 0.6, "Gaussian inputs, mixed at random"


def test_the_loss_of_one_weight_left_out_is_that_of_the_others_fitted_anew() -> None:
    kernel, gram, _ = problem(0, 2, 5)
    losses = removal_losses(kernel, gram)
    for row in range(2):
        for place in range(5):
            support = torch.ones(2, 5, dtype=torch.bool)
            support[row, place] = False
            torch.testing.assert_close(
                torch.tensor(loss(_least_squares(kernel, gram, support), kernel, gram), dtype=torch.double),
                losses[row, place],
            )


def test_what_is_seen_of_a_linear_layer_is_its_inputs_and_the_gradients_of_its_outputs() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    examples = torch.randn(4000, 3, 4, dtype=torch.double)
    (seen,) = look_at(model, kernel_sites(model, (3, 4)), examples)
    inputs = examples.flatten(1)
    torch.testing.assert_close(seen.gram, inputs.T @ inputs / 4000, atol=2e-3, rtol=0)
    # Of a softmax the mean square of the gradient by output i is p_i (1 - p_i).
    answers = model(examples).softmax(1)
    expected = (answers * (1 - answers)).mean(0).detach()
    torch.testing.assert_close(seen.powers, expected + 0.1 * expected.mean(), rtol=0.05, atol=0)
    assert model[1].weight.grad is None


@given(st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_least_squares_is_that_of_the_inputs(seed: int) -> None:
    kernel, gram, inputs = problem(seed, 3, 6)
    support = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)) > 0.5
    found = _least_squares(kernel, gram, support)
    for row in range(3):
        places = support[row].nonzero().flatten()
        expected = torch.linalg.lstsq(inputs[:, places], inputs @ kernel[row]).solution
        torch.testing.assert_close(found[row, places], expected, atol=1e-6, rtol=1e-6)
        assert not found[row, ~support[row]].any()


def test_near_the_best_of_all_supports() -> None:
    better = 0
    for seed in range(8):
        kernel, gram, _ = problem(seed, 1, 8)
        found = loss(sparse(kernel, gram, 4), kernel, gram)
        supports = [
            torch.zeros(1, 8, dtype=torch.bool).index_fill_(1, torch.tensor(c), True) for c in combinations(range(8), 4)
        ]
        losses = sorted(loss(_least_squares(kernel, gram, s), kernel, gram) for s in supports)
        better += found <= losses[len(losses) // 10]
    assert better >= 6, "of eight, in the best tenth of all supports"
