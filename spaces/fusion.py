"""Fusion of a whole model: every branched block becomes the one convolution that it equals."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .branches import Fusable

# Rounding of float32 sums of some hundred terms, with a margin; float64 leaves room for nothing but rounding.
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-10}


@dataclass(frozen=True)
class FusionReport:
    """How far the fused model is from the trained one, on the inputs given.

    ``largest_relative_difference`` is the largest absolute difference over the largest output magnitude.
    """

    largest_absolute_difference: float
    largest_relative_difference: float
    tolerance: float
    fused_blocks: int

    @property
    def ok(self) -> bool:
        # Written so that NaN is not ok.
        return self.largest_relative_difference <= self.tolerance


def fused_copy(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` in its fused form, unchecked; see :func:`fused_in_place`."""
    return fused_in_place(copy.deepcopy(model))


def fused_in_place(model: nn.Module) -> nn.Module:
    """Return ``model``, which is given up, with every :class:`Fusable` in its fused form, unchecked.

    Works on the ``meta`` device too, where it gives the skeleton that would ship before anything is trained. Raises
    ValueError for a model in training mode: batch statistics of the moment are not what ships.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("fuse: the model is in training mode; call model.eval() first")
    return _replace(model, {})


def _replace(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Return the fused form of a module; one that is used in several places stays one."""
    if module not in done:
        done[module] = module.fused() if isinstance(module, Fusable) else module
        if not isinstance(module, Fusable):
            for name, child in module._modules.items():
                if child is not None:
                    module._modules[name] = _replace(child, done)
    return done[module]


@torch.no_grad()
def fuse(model: nn.Module, inputs: Tensor) -> tuple[nn.Module, FusionReport]:
    """Return the fused copy of ``model`` and how it compares with it on ``inputs`` ``(batch, *input_shape)``.

    The model is left as it was. Raises ValueError for a model in training mode. The caller decides on
    ``report.ok``: this function never hides a difference.
    """
    fused = fused_copy(model)
    return fused, compare(model, fused, inputs)


@torch.no_grad()
def compare(model: nn.Module, shipped: nn.Module, inputs: Tensor) -> FusionReport:
    """Return how far what ships of a model, both in eval mode, is from it on ``inputs`` ``(batch, *input_shape)``."""
    before, after = model(inputs), shipped(inputs)
    absolute = (before - after).abs().max().item()
    # An all-zero output would divide by zero; any difference from it is then infinitely large, as it should be.
    magnitude = before.abs().max().item()
    relative = absolute / magnitude if magnitude else (0.0 if absolute == 0 else float("inf"))
    blocks = sum(isinstance(module, Fusable) for module in model.modules())
    return FusionReport(absolute, relative, TOLERANCES[before.dtype], blocks)
