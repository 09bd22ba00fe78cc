"""Distillation as dimensions of any search space: from whom a candidate learns besides its labels, and how much."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import UserError, nearest_hint
from .space import (
    DISTILLATION,
    DISTILLATION_PREFIX,
    SPARSITY_PREFIX,
    WRAPPERS,
    Candidate,
    Choice,
    Float,
    Parameter,
    SearchSpace,
    Wrapper,
    load_space,
    narrowed_fields,
)
from .sparsity.space import SUPERNET, Sparsity, has_supernets

NONE, TEACHER, SELF = "none", "teacher", "self"
SOURCES = (NONE, TEACHER, SELF)
"""Labels alone; one larger network, trained once a study; a sparse candidate's own weights from before it is pruned."""
KEYS = ("from", "logits", "layers", "teacher")
_PLACE = f"space.{DISTILLATION}"


@dataclass(frozen=True)
class Distillation:
    """What one candidate learns from a teacher: ``L = task + logits T^2 KL + layers mean_l MSE``."""

    source: str
    logits: float
    layers: float

    @classmethod
    def of(cls, candidate: Candidate) -> Distillation | None:
        """Return that of a candidate; None where it learns from labels alone, as does a dense one by itself."""
        values = candidate.distillation()
        source = str(values.get("from", NONE))
        if source == NONE or (source == SELF and Sparsity.of(candidate.sparsity()) is None):
            return None
        return cls(source, float(values["logits"]), float(values["layers"]))


@dataclass(frozen=True)
class WithDistillation(Wrapper):
    """Another space, of whose candidates some or all learn from a teacher, too."""

    source: Choice
    logits: Float
    layers: Float
    teacher_space: SearchSpace | None
    """The teacher is in the middle of it; None where no candidate has one."""

    @classmethod
    def of(cls, space: SearchSpace, settings: object) -> WithDistillation:
        """Return the space with the config's ``distillation``."""
        if not isinstance(settings, Mapping) or not settings:
            raise UserError(f"{_PLACE} {settings!r}: must have keys (try from: [none, teacher])")
        if odd := [key for key in settings if key not in KEYS]:
            raise UserError(f"{_PLACE}.{odd[0]}: unknown key ({nearest_hint(str(odd[0]), KEYS)})")
        if has_supernets(space):
            raise UserError(
                f"{_PLACE}: networks of a supernet learn from labels alone (take the key out, or {SUPERNET} out of "
                "space.sparsity.method)"
            )
        source = _narrowed("from", Choice(SOURCES), settings.get("from", [NONE, TEACHER]))
        logits = _narrowed("logits", Float(0.0, 1.0), settings.get("logits", [0.0, 1.0]))
        layers = _narrowed("layers", Float(0.0, 1.0), settings.get("layers", [0.0, 1.0]))
        if SELF in source.options and not _can_be_sparse(space):
            raise UserError(
                f"{_PLACE}.from: self is for sparse candidates, which learn from what they were before they were "
                "pruned, and none is sparse here (add space.sparsity, or take self out)"
            )
        teacher_space = None
        if TEACHER in source.options:
            teacher_space = _teacher_space(space, settings.get("teacher"))
        elif "teacher" in settings:
            raise UserError(f"{_PLACE}.teacher: nobody learns from it (add teacher to from, or take the key out)")
        return cls(space, source, logits, layers, teacher_space)

    def own_parameters(self) -> tuple[Parameter, ...]:
        parameters = [Parameter(DISTILLATION_PREFIX + "from", self.source)]
        taught = tuple(source for source in self.source.options if source != NONE)
        if taught:
            weights = {"logits": self.logits, "layers": self.layers}
            parent = DISTILLATION_PREFIX + "from"
            parameters += [Parameter(DISTILLATION_PREFIX + name, d, parent, taught) for name, d in weights.items()]
        return tuple(parameters)


def _teacher_space(space: SearchSpace, settings: object) -> SearchSpace:
    """Return the space of the candidates, or another one that is named, narrowed to what the teacher is."""
    place = f"{_PLACE}.teacher"
    if any(len(options) > 1 for options in space.front_end_options().values()):
        raise UserError(
            f"{_PLACE}.from: a teacher hears what its students hear, and they have several front ends "
            "(take teacher out, or leave space.front_end one option each)"
        )
    if not isinstance(settings, Mapping) or not settings:
        raise UserError(
            f"{place}: this key is needed where candidates learn from a teacher: in what it differs from the middle of "
            "the space (such as teacher: {width: 64})"
        )
    if wrapped := [key for key in settings if key in WRAPPERS]:
        raise UserError(f"{place}.{wrapped[0]}: a teacher has none (take the key out)")
    if "name" in settings:
        return load_space(settings, place)
    while isinstance(space, Wrapper):
        space = space.space
    return dataclasses.replace(space, **narrowed_fields(type(space), settings, space.name, place))  # type: ignore[type-var]


def _can_be_sparse(space: SearchSpace) -> bool:
    # A method that is always none leaves no level to choose.
    return any(parameter.name.startswith(SPARSITY_PREFIX + "level") for parameter in space.parameters())


def _narrowed(key: str, dimension: Any, setting: object) -> Any:
    try:
        return dimension.narrow(setting)
    except UserError as error:
        raise UserError(f"{_PLACE}.{key}: {error}") from error
