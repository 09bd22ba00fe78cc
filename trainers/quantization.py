"""Quantisation-aware fine-tuning of a fused model: it learns to live with the rounding of int8.

Weights and the inputs of products are rounded in the forward pass and passed straight through in the backward one
(Jacob et al., arXiv 1712.05877). Fusion comes first: rounding branches would be rounding what does not ship.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .data.dataset import Dataset
from .sparsity.weights import HeldZeros
from .supervised import SupervisedTrainer, TrainingConfig

PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Linear)
LEVELS = 127
RANGE_MOMENTUM = 0.05
LEARNING_RATE_SHARE = 0.1
"""Of the training's peak: the model is where it should be, but for the rounding."""


def fine_tune_int8(
    fused: nn.Module, dataset: Dataset, config: TrainingConfig, epochs: int, *, seed: int, device: str = "cpu"
) -> nn.Module:
    """Train a fused model on for ``epochs`` with rounded weights and activations; return it in eval mode on the CPU.

    The model is changed and stays float32: its weights are quantised when it is converted. Zeros stay zeros. Raises
    :class:`~repareto.trainers.supervised.TrainingDivergedError`.
    """
    config = replace(config, epochs=epochs, learning_rate=config.learning_rate * LEARNING_RATE_SHARE)
    with rounded(fused):
        trainer = SupervisedTrainer(fused, dataset, config, seed=seed, device=device, sparsifier=HeldZeros())
        for _ in range(epochs):
            trainer.train_epoch()
    return fused.eval().cpu()


@contextmanager
def rounded(model: nn.Module) -> Iterator[None]:
    """Let a model compute with the rounding of int8: per channel for kernels, per tensor for the rest."""
    products = [module for module in model.modules() if isinstance(module, PRODUCTS)]
    hooks = []
    for module in products:
        # TFLite has one scale for the weights of a FULLY_CONNECTED, runtimes with more lose nothing by it.
        parametrize.register_parametrization(module, "weight", WeightRounding(not isinstance(module, nn.Linear)))
        hooks.append(module.register_forward_pre_hook(_rounding_hook(ActivationRounding())))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in products:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def _rounding_hook(rounding: ActivationRounding) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        rounding.train(module.training)
        return (rounding(inputs[0]), *inputs[1:])

    return hook


class WeightRounding(nn.Module):
    """Symmetric, with a scale for each output channel, or one for all."""

    def __init__(self, per_channel: bool = True) -> None:
        super().__init__()
        self._per_channel = per_channel

    def forward(self, weight: Tensor) -> Tensor:
        largest = weight.detach().abs().flatten(1).amax(1)
        if not self._per_channel:
            largest = largest.amax().expand_as(largest)
        scale = largest.clamp_min(1e-8) / LEVELS
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -LEVELS, LEVELS)


class ActivationRounding(nn.Module):
    """Asymmetric, one scale, its range a moving average of what was seen in training."""

    def __init__(self) -> None:
        super().__init__()
        self._range: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        if self.training or self._range is None:
            self._see(values.detach())
        assert self._range is not None
        low, high = self._range
        scale = (high - low).clamp_min(1e-8) / (2 * LEVELS + 1)
        zero = (-LEVELS - 1 - torch.round(low / scale)).clamp(-LEVELS - 1, LEVELS).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, -LEVELS - 1, LEVELS)

    def _see(self, values: Tensor) -> None:
        # Zero is always in range: padding is made of it.
        seen = torch.stack([values.amin().clamp_max(0.0), values.amax().clamp_min(0.0)])
        self._range = seen if self._range is None else torch.lerp(self._range, seen, RANGE_MOMENTUM)
