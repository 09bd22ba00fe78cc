"""How networks become sparse while they learn: methods behind one interface, by the names that configs use."""

from __future__ import annotations

from ...spaces.sparsity.space import Sparsity
from .base import Sparsifier
from .channels import ChannelPruning
from .group_lasso import GroupLasso
from .l0 import HardConcrete
from .schedule import Gradual, OneShot
from .weights import ADMM, CompressedSensing, Shrinkage, WeightPruning


def sparsifier_of(sparsity: Sparsity, gradual: Gradual | None = None) -> Sparsifier:
    """Return the method that a candidate asks for, ready to start; ``gradual`` is when it takes out what it does."""
    levels, gradual = sparsity.levels, gradual or Gradual()
    if sparsity.method == "l0":
        return HardConcrete(levels, gradual)
    if sparsity.method == "group_lasso":
        return GroupLasso(levels, gradual)
    if sparsity.cuts_channels:
        schedule = OneShot() if sparsity.method == "one_shot" else gradual
        return ChannelPruning(levels, schedule, is_random=sparsity.method == "random")
    return {
        "magnitude": lambda: WeightPruning(levels, gradual),
        "one_shot": lambda: WeightPruning(levels, OneShot()),
        "random": lambda: WeightPruning(levels, gradual, is_random=True),
        "csp": lambda: CompressedSensing(levels, gradual),
        "csp_weights": lambda: Shrinkage(levels, gradual),
        "admm": lambda: ADMM(levels, gradual),
    }[sparsity.method]()
