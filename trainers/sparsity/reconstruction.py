"""The sparse kernels that reproduce a network's layers best (CSP, arXiv 2102.04932, with the layers' inputs as Phi).

``min 1/2 sum_i g_i ||A (w_i - w~_i)||^2  s.t.  ||w~||_0 <= k``. Iterative hard thresholding finds which weights stay,
least squares what they then are. All that matters of the inputs A is their Gram matrix H. Where it starts from is what
each weight costs to leave out when the others make up for it, w^2 / (H^-1)_jj (Optimal Brain Surgeon, Hassibi and
Stork 1993). Least squares in each iteration (hard thresholding pursuit, Foucart 2011) and a step of 1 / H_jj for each
weight, where one of 1 / lambda_max(H) for all moves little. The best of all iterations is kept.

Layers and their outputs are not alike: g_i, the mean square of the loss's gradient by output i, says what its error
costs (K-FAC, arXiv 1503.05671, of which this is the diagonal). So one k can be for all kernels of a network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...spaces.exits.network import AllAnswers
from ...spaces.sparsity.kernels import KernelSite

ITERATIONS = 6
RIDGE = 1e-3
"""Of the mean of the Gram matrix's diagonal: inputs may be fewer than weights, or equal."""
LEAST_POWER = 0.1
"""Of the mean of all outputs of a layer: that the loss does not hang on one today is no promise."""


@dataclass(frozen=True)
class Seen:
    """What is known of one layer from examples."""

    gram: Tensor
    """``A^T A / n + delta I`` of its inputs, (read * taps,) squared."""
    powers: Tensor
    """g of each output, (written,): the sum over its places, the mean over examples."""


def look_at(model: nn.Module, sites: Sequence[KernelSite], examples: Tensor) -> list[Seen]:
    """Return what each site sees of ``examples`` in eval mode; the loss is of answers that the model itself draws."""
    grams: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}

    def hook_of(index: int) -> Any:
        def hook(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            with torch.no_grad():
                columns = sites[index].columns(given[0])
                grams[index] = _ridged(columns.T @ columns / len(columns))
            outputs[index] = output

        return hook

    hooks = [site.module.register_forward_hook(hook_of(index)) for index, site in enumerate(sites)]
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            answers = AllAnswers(model)(examples).flatten(0, -2)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    drawn = torch.multinomial(answers.detach().softmax(-1), 1).flatten()
    loss = F.cross_entropy(answers, drawn, reduction="sum")
    gradients = torch.autograd.grad(loss, [outputs[index] for index in range(len(sites))])
    powers = [
        gradient.movedim(site.output_axis, 0).flatten(1).square().sum(1) / len(examples)
        for site, gradient in zip(sites, gradients, strict=True)
    ]
    return [
        Seen(grams[index], power + LEAST_POWER * power.mean() + torch.finfo(power.dtype).tiny)
        for index, power in enumerate(powers)
    ]


def _ridged(gram: Tensor) -> Tensor:
    delta = RIDGE * gram.diagonal().mean().clamp_min(1e-8)
    return gram + delta * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


@torch.no_grad()
def removal_losses(kernel: Tensor, gram: Tensor) -> Tensor:
    """Return for each weight of (written, inputs) the least that leaving it out costs, w^2 / (H^-1)_jj."""
    return kernel.square() / torch.cholesky_inverse(torch.linalg.cholesky(gram)).diagonal()


@torch.no_grad()
def reconstructed(kernel: Tensor, gram: Tensor, support: Tensor) -> Tensor:
    """Return a kernel (written, inputs) with as many weights as ``support`` has, whose outputs are near those of
    ``kernel``; the search for them starts there.

    ``gram`` (inputs, inputs) is positive definite. Which weights stay is chosen over the whole kernel.
    """
    input_powers, kept = gram.diagonal(), int(support.sum())
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
