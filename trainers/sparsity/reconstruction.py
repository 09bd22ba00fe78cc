"""The sparse kernel that reproduces a layer's outputs best (CSP, arXiv 2102.04932, with the layer's inputs as Phi).

``min 1/2 ||A (w - w~)||^2  s.t.  ||w~||_0 <= k``: iterative hard thresholding finds which weights stay, least squares
what they then are. All that matters of the inputs A is their Gram matrix H. Least squares in each iteration (hard
thresholding pursuit, Foucart 2011) and a step of 1 / H_jj for each weight, where one of 1 / lambda_max(H) for all moves
little: inputs of layers are far from uncorrelated. The best of all iterations is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...spaces.exits.network import AllAnswers
from ...spaces.sparsity.kernels import KernelSite

ITERATIONS = 6
RIDGE = 1e-3
"""Of the mean of the Gram matrix's diagonal: inputs may be fewer than weights, or equal."""


@torch.no_grad()
def gram_matrices(model: nn.Module, sites: Sequence[KernelSite], examples: Tensor) -> list[Tensor]:
    """Return ``A^T A / n + delta I`` of each site's inputs on ``examples`` in eval mode, (read * taps,) squared."""
    grams: dict[int, Tensor] = {}

    def hook_of(index: int) -> Any:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            columns = sites[index].columns(given[0])
            grams[index] = columns.T @ columns / len(columns)

        return hook

    hooks = [site.module.register_forward_pre_hook(hook_of(index)) for index, site in enumerate(sites)]
    was_training = model.training
    model.eval()
    try:
        AllAnswers(model)(examples)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return [_ridged(grams[index]) for index in range(len(sites))]


def _ridged(gram: Tensor) -> Tensor:
    delta = RIDGE * gram.diagonal().mean().clamp_min(1e-8)
    return gram + delta * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


@torch.no_grad()
def reconstructed(kernel: Tensor, gram: Tensor, kept: int) -> Tensor:
    """Return a kernel (written, inputs) with ``kept`` weights whose outputs are near those of ``kernel``.

    ``gram`` (inputs, inputs) is positive definite. Which weights stay is chosen over the whole kernel.
    """
    # A weight counts for what it moves: by its own size and that of its input.
    input_powers = gram.diagonal()
    support = _largest(kernel.abs() * input_powers.sqrt(), kept)
    best, least = kernel, math.inf
    for _ in range(ITERATIONS):
        found = _least_squares(kernel, gram, support)
        gradient = (found - kernel) @ gram
        loss = float((gradient * (found - kernel)).sum())
        if loss < least:
            best, least = found, loss
        moved = found - gradient / input_powers
        support, before = _largest(moved.abs() * input_powers.sqrt(), kept), support
        if torch.equal(support, before):
            break
    return best


def _least_squares(kernel: Tensor, gram: Tensor, support: Tensor) -> Tensor:
    """Return the best kernel on a support: for each output, ``H_SS w~ = H_S w`` (the normal equations)."""
    target = kernel @ gram
    found = torch.zeros_like(kernel)
    for row in range(len(kernel)):
        places = support[row].nonzero().flatten()
        if len(places):
            own = gram[places][:, places]
            found[row, places] = torch.cholesky_solve(target[row, places, None], torch.linalg.cholesky(own))[:, 0]
    return found


def _largest(scores: Tensor, count: int) -> Tensor:
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.flatten().topk(count).indices] = True
    return mask.reshape(scores.shape)
