"""How networks become sparse while they learn: methods behind one interface, by the names that configs use."""

from __future__ import annotations

from ...spaces.sparsity.allocation import WholeNetwork
from ...spaces.sparsity.space import Sparsity
from .base import Sparsifier
from .channels import ChannelPruning
from .choice import across_all
from .group_lasso import GroupLasso
from .l0 import HardConcrete
from .multipliers import Constraint, Lagrangian
from .schedule import Gradual, OneShot
from .supernet import Supernet
from .weights import ADMM, CompressedSensing, Shrinkage, WeightPruning

LAGRANGIAN_RATE, CONSTRAINT_RATE = 1.5, 1.0
"""Of a step of training. The multipliers have a few hundred of them."""


def sparsifier_of(sparsity: Sparsity, gradual: Gradual | None = None) -> Sparsifier:
    """Return the method that a candidate asks for, ready to start; ``gradual`` is when it takes out what it does."""
    levels, gradual = sparsity.levels, gradual or Gradual()
    if sparsity.cuts_channels:
        unit = sparsity.granularity
        return {
            "magnitude": lambda: ChannelPruning(levels, gradual, granularity=unit),
            "one_shot": lambda: ChannelPruning(levels, OneShot(), granularity=unit),
            "random": lambda: ChannelPruning(levels, gradual, granularity=unit, is_random=True),
            "global_magnitude": lambda: ChannelPruning(levels, gradual, granularity=unit, allocation=WholeNetwork),
            "group_lasso": lambda: GroupLasso(levels, gradual, granularity=unit, allocation=WholeNetwork),
            "l0": lambda: HardConcrete(levels, gradual, Lagrangian(LAGRANGIAN_RATE), unit),
            "l0_constrained": lambda: HardConcrete(levels, gradual, Constraint(CONSTRAINT_RATE), unit),
            "supernet": lambda: Supernet((*levels, *sparsity.narrower), gradual, unit),
        }[sparsity.method]()
    return {
        "magnitude": lambda: WeightPruning(levels, gradual),
        "one_shot": lambda: WeightPruning(levels, OneShot()),
        "random": lambda: WeightPruning(levels, gradual, is_random=True),
        "global_magnitude": lambda: WeightPruning(levels, gradual, chosen=across_all),
        "csp": lambda: CompressedSensing(levels, gradual),
        "csp_weights": lambda: Shrinkage(levels, gradual),
        "admm": lambda: ADMM(levels, gradual),
    }[sparsity.method]()
