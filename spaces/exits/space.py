"""Early exits as dimensions of a space of chains of layers, or of Conformers: how many, where, with which heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

from torch import nn

from ..conformer.network import ConformerCTC
from ..conformer.space import ConformerSpace
from ..errors import UserError, nearest_hint
from ..space import EXITS_PREFIX, Candidate, Choice, Dimension, Float, Int, Parameter, SearchSpace, Wrapper
from .chain import ExitChain
from .conformer import CTC_HEADS, CTC_POLICIES, OWN, ConformerExits
from .heads import HEADS, head
from .network import BACKBONES, POLICIES
from .places import chain_of, places_of

P = TypeVar("P")
"""A place."""


@dataclass(frozen=True)
class Exits:
    """What a config may say under ``space.exits``; each dimension can be narrowed."""

    count: Int = Int(0, 3)
    """Exits before the last one. A network with fewer places has as many as it has places."""
    place: Float = Float(0.0, 1.0)
    """How deep in the network, as a share of its places: of each exit for itself."""
    head: Choice = Choice(HEADS)
    weight: Float | None = Float(0.1, 0.7)
    """Of the loss, what the early exits have together (see ``network.py``); None where the other space weighs them."""
    distillation: Float = Float(0.0, 0.5)
    """Of an early exit's loss, what it takes from the last exit's answers."""
    backbone: Choice = Choice(BACKBONES)
    """Whether early exits train the layers before them (``joint``), no more than their share (``balanced``), or
    their own heads alone (``detached``)."""
    policy: tuple[str, ...] = POLICIES
    """By what an exit may be sure enough, all tried when a trained model is calibrated."""

    @classmethod
    def of(cls, space: SearchSpace) -> Exits:
        """Return those that networks of a space can have."""
        if isinstance(space, ConformerSpace):
            return cls(head=Choice(CTC_HEADS), weight=None, policy=CTC_POLICIES)
        return cls()

    def narrowed(self, settings: object, name: str) -> Exits:
        """Return the dimensions narrowed by the ``exits`` of a config whose space is called ``name``.

        Raises :class:`UserError` that names the key.
        """
        if not isinstance(settings, Mapping):
            raise UserError(f"space.exits {settings!r}: must be keys and values (try count: [0, 3])")
        known = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changes: dict[str, Any] = {}
        for key, setting in settings.items():
            if key not in known:
                raise UserError(f"space.exits.{key}: unknown key ({nearest_hint(str(key), known)})")
            whole = known[key]
            if whole is None:
                raise UserError(
                    f"space.exits.{key}: {name} weighs early answers by its intermediate_weight (narrow that instead)"
                )
            try:
                changes[key] = whole.narrow(setting) if isinstance(whole, Dimension) else _among(whole, setting)
            except UserError as error:
                raise UserError(f"space.exits.{key}: {error}") from error
        return dataclasses.replace(self, **changes)


def _among(policies: tuple[str, ...], setting: object) -> tuple[str, ...]:
    return tuple(str(name) for name in Choice(policies).narrow(setting).options)


@dataclass(frozen=True)
class WithExits(Wrapper):
    """Another space, whose networks have early exits; with a count of 0 they are what they were."""

    exits: Exits = field(default_factory=Exits)

    @classmethod
    def of(cls, space: SearchSpace, settings: object) -> WithExits:
        """Return a space with what the config says under ``exits``; :class:`UserError` for what cannot be."""
        exits = Exits.of(space).narrowed(settings, space.name)
        if isinstance(space, ConformerSpace) and exits.count.high and not space.intermediate_weight.high:
            raise UserError(
                "space.intermediate_weight 0: nothing would train what answers early "
                "(give a range up to 0.5, or take space.exits out)"
            )
        return cls(space, exits)

    def own_parameters(self) -> tuple[Parameter, ...]:
        """Return what is added: each exit's place and head, and how all of them are trained."""
        exits, most = self.exits, self.exits.count.high
        parameters = [Parameter(EXITS_PREFIX + "count", exits.count)]

        def add(name: str, dimension: Dimension, least: int) -> None:
            parent: dict[str, Any] = {}
            if least > exits.count.low:
                parent = {"parent": EXITS_PREFIX + "count", "parent_values": tuple(range(least, most + 1))}
            parameters.append(Parameter(EXITS_PREFIX + name, dimension, **parent))

        for number in range(1, most + 1):
            add(f"place{number}", exits.place, number)
            add(f"head{number}", exits.head, number)
        if most:
            if exits.weight is not None:
                add("weight", exits.weight, 1)
            add("distillation", exits.distillation, 1)
            add("backbone", exits.backbone, 1)
        return tuple(parameters)

    def can_lose_blocks(self) -> bool:
        # A chain that is cut into segments knows none; those of a Conformer are its own blocks'.
        return isinstance(self.space, ConformerSpace) and self.space.can_lose_blocks()

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network that the other space builds, with the candidate's exits; raises :class:`UserError` for one
        that has no place for any."""
        network = self.space.build(candidate, input_shape, classes)
        own = candidate.exits()
        count = int(own["count"])
        if not count:
            return network
        wanted = [(float(own[f"place{number}"]), str(own[f"head{number}"])) for number in range(1, count + 1)]
        learning: dict[str, Any] = {
            "distillation": float(own["distillation"]),
            "backbone": str(own["backbone"]),
            "policies": self.exits.policy,
        }
        if isinstance(network, ConformerCTC):
            depths = choose_places(range(1, len(network.blocks)), wanted)
            heads = {
                depth: nn.Linear(network.head.in_features, classes) if kind == OWN else None for depth, kind in depths
            }
            # What has one block has no other place to answer from than its end.
            return ConformerExits(network, heads, **learning) if heads else network
        layers = chain_of(network, self.name)
        places = places_of(layers, input_shape)
        if not places:
            raise UserError(
                f"space.exits: a network of {self.name} has no place for an exit, for nothing is convolved between its "
                "stem and its end (let it be deeper, or take exits out)"
            )
        chosen = choose_places(places, wanted)
        cuts = [0, *(place.index for place, _ in chosen), len(layers)]
        return ExitChain(
            [nn.Sequential(*layers[start:end]) for start, end in pairwise(cuts)],
            [head(kind, place.shape, classes) for place, kind in chosen],
            early_weight=float(own["weight"]),
            **learning,
        )


def choose_places(places: Sequence[P], wanted: Sequence[tuple[float, str]]) -> list[tuple[P, str]]:
    """Return places, no two the same, and the heads there, in order of depth.

    ``wanted`` are depths in [0, 1] and heads. The shallower has its place first; one whose place is taken gets the
    nearest free one, the deeper of two, and what finds none is left out.
    """
    free = list(range(len(places)))
    chosen: list[tuple[int, str]] = []
    for depth, kind in sorted(wanted)[: len(places)]:
        aim = min(int(depth * len(places)), len(places) - 1)
        index = min(free, key=lambda other: (abs(other - aim), -other))
        free.remove(index)
        chosen.append((index, kind))
    return [(places[index], kind) for index, kind in sorted(chosen)]
