"""Weights taken out one by one: by magnitude, by compressed sensing, by ADMM.

All work on the kernels that ship (see :mod:`repareto.spaces.sparsity.kernels`). Source of the compressed sensing: CSP,
Sparsification via Compressed Sensing (arXiv 2102.04932); of the abstract only, so that both forms are reconstructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...spaces.sparsity.kernels import KernelSite, kernel_sites
from ...spaces.sparsity.widths import level_at
from .base import Sparsifier
from .choice import Choice, across_all, kept_count, largest, within_each
from .reconstruction import look_at, reconstructed, removal_losses
from .schedule import Gradual, Schedule


class WeightPruning(Sparsifier):
    """Takes out the smallest weights, ``chosen`` of each kernel or of all; or any where ``is_random`` (a baseline)."""

    def __init__(
        self, levels: Sequence[float], schedule: Schedule, *, chosen: Choice = within_each, is_random: bool = False
    ) -> None:
        self._levels, self._schedule, self._is_random = levels, schedule, is_random
        self._chosen = chosen
        self._step = 0

    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        self._model, self._examples, self._steps = model, examples, steps
        self._sites = kernel_sites(model, examples.shape[1:])
        self._scores = [torch.rand_like(site.kernel()) for site in self._sites] if self._is_random else None

    def after_step(self) -> None:
        self._step += 1
        if self._schedule.is_due(self._step, self._steps):
            self._update(self._schedule.share(self._step, self._steps))
        for site in self._sites:
            site.project()

    def _update(self, share: float) -> None:
        """Take out as much as is due by now."""
        scores = self._scores or [site.kernel().abs() for site in self._sites]
        for site, mask in zip(self._sites, self._chosen(scores, self._levels_now(share)), strict=True):
            site.set_mask(mask)

    def _levels_now(self, share: float) -> list[float]:
        return [share * level_at(self._levels, site.depth) for site in self._sites]

    def _kept(self, site: KernelSite, share: float) -> int:
        return kept_count(site.kernel().numel(), share * level_at(self._levels, site.depth))

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "masks": [site.mask for site in self._sites], "scores": self._scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step, self._scores = state["step"], state["scores"]
        for site, mask in zip(self._sites, state["masks"], strict=True):
            if mask is not None:
                site.set_mask(mask)


class CompressedSensing(WeightPruning):
    """Keeps those weights that reproduce each layer's outputs best, and makes up for the others (CSP, layer inputs).

    See :mod:`.reconstruction`. Anew at each step of the schedule, over all kernels of one level together.
    """

    def _update(self, share: float) -> None:
        seen = look_at(self._model, self._sites, self._examples)
        # In units of what an output does to the loss.
        units = [layer.powers.sqrt().unsqueeze(1) for layer in seen]
        kernels = [site.kernel().flatten(1) * unit for site, unit in zip(self._sites, units, strict=True)]
        losses = [removal_losses(kernel, layer.gram) for kernel, layer in zip(kernels, seen, strict=True)]
        supports = across_all(losses, self._levels_now(share))
        for site, kernel, unit, layer, support in zip(self._sites, kernels, units, seen, supports, strict=True):
            found = (reconstructed(kernel, layer.gram, support) / unit).reshape(site.kernel().shape)
            site.add(found - site.kernel())
            site.set_mask(found != 0)


class Shrinkage(WeightPruning):
    """Draws the smallest weights to zero after each step, ever harder (CSP, weight space).

    ``w <- (1 - rho_t) soft(w, lambda)`` below the quantile s_t of ``|w|``, rho from 0 to 1, the mask frozen at the end.
    """

    _LAMBDA = 1e-4

    def __init__(self, levels: Sequence[float], schedule: Gradual) -> None:
        super().__init__(levels, schedule)
        self._gradual = schedule

    def after_step(self) -> None:
        super().after_step()
        time = self._gradual.time(self._step, self._steps)
        if 0 < time < 1:
            share = self._gradual.share(self._step, self._steps)
            for site in self._sites:
                kernel = site.kernel()
                size = kernel.abs()
                soft = (size - self._LAMBDA).clamp_min(0) / size.clamp_min(self._LAMBDA)
                site.scale(torch.where(largest(size, self._kept(site, share)), 1.0, (1 - time) * soft))

    def _update(self, share: float) -> None:
        if share == 1:
            super()._update(share)


class ADMM(WeightPruning):
    """Draws kernels to their nearest sparse ones (Zhang et al. 2018, arXiv 1804.03294; Boyd et al. 2011).

    ``W: min f(W) + rho/2 ||W - Z + U||^2;  Z = topk(W + U);  U += W - Z``. The pull is a step of its own after the
    optimiser's, as decoupled weight decay is, and grows; at the end of the schedule the mask of Z is frozen.
    """

    _LARGEST_PULL = 0.05

    def __init__(self, levels: Sequence[float], schedule: Gradual) -> None:
        super().__init__(levels, schedule)
        self._gradual = schedule

    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        super().start(model, examples, steps)
        kernels = [site.kernel() for site in self._sites]
        self._duals = [torch.zeros_like(kernel) for kernel in kernels]
        self._sparse = [self._nearest(site, kernel) for site, kernel in zip(self._sites, kernels, strict=True)]

    def _nearest(self, site: KernelSite, kernel: Tensor) -> Tensor:
        return kernel * largest(kernel.abs(), self._kept(site, 1.0))

    def after_step(self) -> None:
        time = self._gradual.time(self._step + 1, self._steps)
        if 0 < time < 1:
            for site, sparse, dual in zip(self._sites, self._sparse, self._duals, strict=True):
                site.add(self._LARGEST_PULL * time * (sparse - dual - site.kernel()))
        super().after_step()

    def _update(self, share: float) -> None:
        if share == 1:
            super()._update(share)
            return
        for index, site in enumerate(self._sites):
            kernel = site.kernel()
            self._sparse[index] = self._nearest(site, kernel + self._duals[index])
            self._duals[index] = self._duals[index] + kernel - self._sparse[index]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "duals": self._duals, "sparse": self._sparse}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        device = self._examples.device
        self._duals, self._sparse = ([part.to(device) for part in state[name]] for name in ("duals", "sparse"))


class HeldZeros(Sparsifier):
    """Keeps zero what is zero at the start: for a fused model that is trained on."""

    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        del examples, steps
        kernels = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        self._held = [(kernel, kernel.detach() != 0) for kernel in kernels if bool((kernel == 0).any())]

    @torch.no_grad()
    def after_step(self) -> None:
        for kernel, mask in self._held:
            kernel.mul_(mask)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        del state
