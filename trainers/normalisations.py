"""The statistics by which batch normalisations work once training is over."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def normalisations_of(model: nn.Module) -> list[_BatchNorm]:
    """Return all batch normalisations of a model."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
def reestimate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Put a model into eval mode, in place, with the statistics that it has on ``batches`` (n, *input_shape), all of
    which count alike."""
    model.eval()
    norms = normalisations_of(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        # Plain means, in place of those in which the latest count most.
        norm.momentum = None
    for features in batches:
        model(features)
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
