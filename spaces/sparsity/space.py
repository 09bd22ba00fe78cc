"""Sparsity as dimensions of any search space: which method takes out how much of what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ..errors import UserError, nearest_hint
from ..space import EXITS_PREFIX, SPARSITY, SPARSITY_PREFIX, Choice, Float, Parameter, SearchSpace, Value, Wrapper
from .widths import BLOCK, CHANNEL, HEAD, WEIGHT

NONE = "none"
SUPERNET = "supernet"
STRUCTURES = (CHANNEL, HEAD, BLOCK)
"""Granularities that leave a smaller network."""
METHODS: Mapping[str, tuple[str, ...]] = {
    NONE: (),
    "magnitude": (WEIGHT, *STRUCTURES),
    "one_shot": (WEIGHT, *STRUCTURES),
    "random": (WEIGHT, *STRUCTURES),
    "csp": (WEIGHT,),
    "csp_weights": (WEIGHT,),
    "admm": (WEIGHT,),
    "global_magnitude": (WEIGHT, *STRUCTURES),
    "l0": STRUCTURES,
    "l0_constrained": STRUCTURES,
    "group_lasso": STRUCTURES,
    SUPERNET: STRUCTURES,
}
"""What each method can take out; they are in :mod:`repareto.trainers.sparsity`."""
ALLOCATED = ("global_magnitude", "l0", "l0_constrained", "group_lasso")
"""Methods that decide how many channels each width keeps, within what a level leaves of the whole network."""
PARTS = 3
"""Of a network, by depth, that have levels of their own where a config says ``per_stage``."""
LARGEST_LEVEL = 0.99
KEYS = ("method", "level", "granularity", "per_stage", SUPERNET)
SUPERNET_LEVELS = (0.0, 0.3, 0.5, 0.7, 0.85)


@dataclass(frozen=True)
class Sparsity:
    """What is taken out of one candidate."""

    method: str
    granularity: str
    levels: tuple[float, ...]
    """The share that is removed, of each of so many equal parts of the network's layers, in order."""
    narrower: tuple[float, ...] = ()
    """Of a supernet: the levels of the networks inside that one, each inside the one before."""

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> Sparsity | None:
        """Return that of a candidate, from :meth:`Candidate.sparsity`; None where it is dense."""
        method = str(values.get("method", NONE))
        if method == NONE:
            return None
        granularity = str(values.get("granularity", values.get("structure", METHODS[method][0])))
        if method == SUPERNET:
            widest, *narrower = (float(level) for level in str(values[SUPERNET]).split())
            return cls(method, granularity, (widest,), tuple(narrower))
        levels = tuple(float(values[key]) for key in sorted(values) if key.startswith("level"))
        return cls(method, granularity, levels)

    def networks(self) -> tuple[Sparsity, ...]:
        """Return what ships: one network, or each of a supernet's."""
        return (replace(self, narrower=()), *(replace(self, levels=(level,), narrower=()) for level in self.narrower))

    @property
    def is_allocated(self) -> bool:
        """Whether training decides how many channels of each width are left."""
        return self.method in ALLOCATED

    @property
    def cuts_channels(self) -> bool:
        """Whether the network that ships is smaller for it."""
        return self.granularity != WEIGHT


@dataclass(frozen=True)
class WithSparsity(Wrapper):
    """Another space, of whose candidates some or all are sparse."""

    method: Choice
    level: Float
    granularity: Choice
    per_stage: bool = False
    supernet: tuple[float, ...] = SUPERNET_LEVELS
    """The levels of the networks that one training gives."""

    @classmethod
    def of(cls, space: SearchSpace, settings: object) -> WithSparsity:
        """Return the space with the config's ``sparsity``."""
        if not isinstance(settings, Mapping) or not settings:
            raise UserError(f"space.{SPARSITY} {settings!r}: must have keys (try method: [none, magnitude])")
        if odd := [key for key in settings if key not in KEYS]:
            raise UserError(f"space.{SPARSITY}.{odd[0]}: unknown key ({nearest_hint(str(odd[0]), KEYS)})")
        method = _narrowed("method", Choice(tuple(METHODS)), settings.get("method", [NONE, "magnitude"]))
        granularity = _narrowed("granularity", Choice((WEIGHT, *STRUCTURES)), settings.get("granularity", CHANNEL))
        if HEAD in granularity.options and not space.has_heads():
            raise UserError(f"space.{SPARSITY}.granularity: {space.name} has no heads to take out (take head out)")
        if BLOCK in granularity.options and not space.can_lose_blocks():
            raise UserError(
                f"space.{SPARSITY}.granularity: no {space.name} here has several blocks alike, of which one could go "
                "(take block out)"
            )
        level = _narrowed("level", Float(0.0, LARGEST_LEVEL), settings.get("level", [0.0, 0.9]))
        per_stage = settings.get("per_stage", False)
        if not isinstance(per_stage, bool):
            raise UserError(f"space.{SPARSITY}.per_stage {per_stage!r}: must be true or false")
        if per_stage and BLOCK in granularity.options:
            raise UserError(f"space.{SPARSITY}.per_stage: blocks are of the whole network (take it out, or block)")
        for name in method.options:
            if name != NONE and not set(METHODS[str(name)]) & set(granularity.options):
                able = METHODS[str(name)][0]
                raise UserError(
                    f"space.{SPARSITY}.granularity: {name} takes out {able}s (add {able}, or take {name} out)"
                )
        supernet = _supernet_levels(settings.get(SUPERNET, SUPERNET_LEVELS))
        if SUPERNET in method.options:
            _refuse_exits(space)
        elif SUPERNET in settings:
            raise UserError(f"space.{SPARSITY}.{SUPERNET}: is for a method that is not searched (add it to method)")
        return cls(space, method, level, granularity, per_stage, supernet)

    def own_parameters(self) -> tuple[Parameter, ...]:
        sparse = tuple(name for name in self.method.options if name != NONE)
        parameters = [Parameter(SPARSITY_PREFIX + "method", self.method)]
        parent = SPARSITY_PREFIX + "method"
        # A method that takes out one of them only has no choice.
        free = tuple(name for name in sparse if {WEIGHT, CHANNEL} <= set(METHODS[str(name)]))
        if free:
            parameters.append(Parameter(SPARSITY_PREFIX + "granularity", self.granularity, parent, free))
        structured = tuple(name for name in sparse if WEIGHT not in METHODS[str(name)])
        if structured and {HEAD, BLOCK} & set(self.granularity.options):
            structure = Choice(tuple(option for option in self.granularity.options if option != WEIGHT))
            parameters.append(Parameter(SPARSITY_PREFIX + "structure", structure, parent, structured))
        by_part = tuple(name for name in sparse if self.per_stage and name not in (*ALLOCATED, SUPERNET))
        whole = tuple(name for name in sparse if name not in (*by_part, SUPERNET))
        levels = {"level": whole} | {f"level{part}": by_part for part in range(1, PARTS + 1)}
        parameters += [Parameter(SPARSITY_PREFIX + key, self.level, parent, who) for key, who in levels.items() if who]
        if SUPERNET in sparse:
            # A candidate tells by itself what it is, so that its levels are a parameter, of one value.
            levels_text = Choice((" ".join(f"{level:g}" for level in self.supernet),))
            parameters.append(Parameter(SPARSITY_PREFIX + SUPERNET, levels_text, parent, (SUPERNET,)))
        return tuple(parameters)


def has_supernets(space: SearchSpace) -> bool:
    """Whether one training may give several networks."""
    return any(parameter.name == SPARSITY_PREFIX + SUPERNET for parameter in space.parameters())


def _supernet_levels(setting: object) -> tuple[float, ...]:
    place = f"space.{SPARSITY}.{SUPERNET}"
    if not isinstance(setting, list | tuple) or not all(_is_level(level) for level in setting):
        raise UserError(f"{place} {setting!r}: must be a list of levels from 0 to {LARGEST_LEVEL:g}")
    levels = tuple(float(level) for level in setting)
    if len(levels) < 2 or any(after <= before for before, after in pairwise(levels)):
        raise UserError(f"{place} {setting!r}: must be two levels or more, each above the one before")
    return levels


def _is_level(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_LEVEL


def _refuse_exits(space: SearchSpace) -> None:
    if any(parameter.name.startswith(EXITS_PREFIX) for parameter in space.parameters()):
        raise UserError(
            f"space.{SPARSITY}.method: {SUPERNET} does not go with space.exits, for both make several points of one "
            "training (take one of them out)"
        )


def _narrowed(key: str, dimension: Any, setting: object) -> Any:
    try:
        largest = max(setting) if isinstance(setting, list | tuple) and setting else setting
        if isinstance(dimension, Float) and isinstance(largest, int | float) and LARGEST_LEVEL < largest < math.inf:
            raise UserError(f"{setting!r}: {largest:.0%} would leave nothing (at most {LARGEST_LEVEL:g})")
        return dimension.narrow(setting)
    except UserError as error:
        raise UserError(f"space.{SPARSITY}.{key}: {error}") from error
