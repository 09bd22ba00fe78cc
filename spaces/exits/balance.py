"""What layers before an early exit learn for it and for the exits behind: as much of either as was asked for.

What an early exit gets wrong it cannot help, so that its gradient stays large when the last exit has hardly any left,
and layers that both share go on to learn for the early one alone. Weights of a loss do not mend that, for the ratio of
the gradients is not theirs. Nor does gradient equilibrium (Li et al. 2019, arXiv 1908.06294): it scales all gradients
of a segment alike, which an optimiser that divides by their size undoes.

Here both gradients meet at the map that they share, as in MGDA's upper bound (Sener and Koltun 2018, arXiv 1810.04650).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Balanced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
        ctx.ratio = ratio
        return x.view_as(x), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        deep, early = gradients
        most = ctx.ratio * deep.norm()
        scale = (most / early.norm().clamp_min(torch.finfo(early.dtype).tiny)).clamp_max(1.0)
        return deep + scale * early, None


def balanced(x: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Return a map twice, for the layers that go on and for an early exit's head.

    Backward, the head's gradient is made smaller where its norm over the batch is more than ``ratio`` times that of the
    gradient from behind.
    """
    deep, early = _Balanced.apply(x, ratio)
    return deep, early
