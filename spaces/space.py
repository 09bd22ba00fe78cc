"""What a candidate is: dimensions, conditional parameters, search spaces and the candidates drawn from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import UserError, nearest_hint
from .imports import load_class

if TYPE_CHECKING:
    # Who only reads what a study found waits for no torch.
    from torch import nn

Value = bool | int | float | str
TRAINING_PREFIX = "training."
FRONT_END = "front_end"
FRONT_END_PREFIX = FRONT_END + "."
SPARSITY = "sparsity"
SPARSITY_PREFIX = SPARSITY + "."
EXITS = "exits"
EXITS_PREFIX = EXITS + "."
DISTILLATION = "distillation"
DISTILLATION_PREFIX = DISTILLATION + "."


@dataclass(frozen=True)
class Int:
    """Whole numbers ``low, low + step, ... <= high``, both ends included."""

    low: int
    high: int
    step: int = 1

    def __contains__(self, value: object) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high and (value - self.low) % self.step == 0  # type: ignore[operator]

    def narrow(self, setting: object) -> Int:
        """Return the part of this range that ``[low, high]`` or one number names."""
        low, high = _bounds(setting)
        if low not in self or high not in self or low > high:
            raise UserError(f"{setting!r} is not within {self}")
        return Int(int(low), int(high), self.step)

    def draw(self, rng: random.Random) -> int:
        return rng.randrange(self.low, self.high + 1, self.step)

    def middle(self) -> int:
        return self.low + (self.high - self.low) // self.step // 2 * self.step

    def __str__(self) -> str:
        return f"[{self.low}, {self.high}]" + (f" in steps of {self.step}" if self.step > 1 else "")


@dataclass(frozen=True)
class Float:
    """Real numbers from ``low`` to ``high``, on a logarithmic scale where ``log``."""

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def narrow(self, setting: object) -> Float:
        """Return the part of this range that ``[low, high]`` or one number names."""
        low, high = _bounds(setting)
        if low not in self or high not in self or low > high:
            raise UserError(f"{setting!r} is not within {self}")
        return Float(float(low), float(high), self.log)

    def draw(self, rng: random.Random) -> float:
        if self.log:
            return self._clamped(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return self._clamped(rng.uniform(self.low, self.high))

    def at(self, share: float) -> float:
        """Return the number at ``share`` of the way from ``low`` to ``high``, in [0, 1]."""
        if self.log:
            return self._clamped(self.low * (self.high / self.low) ** share)
        return self._clamped(self.low + share * (self.high - self.low))

    def middle(self) -> float:
        return self._clamped(math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2)

    def _clamped(self, value: float) -> float:
        # exp(log(x)) and the square root of x * x can be a rounding away from x.
        return min(max(value, self.low), self.high)

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class Choice:
    """One of a few unordered options."""

    options: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return any(value == option and type(value) is type(option) for option in self.options)

    def narrow(self, setting: object) -> Choice:
        """Return the choice among a list of options, or the one option named."""
        chosen = tuple(setting) if isinstance(setting, list | tuple) else (setting,)
        if not chosen or any(option not in self for option in chosen):
            raise UserError(f"{setting!r} is not among {self}")
        return Choice(chosen)

    def draw(self, rng: random.Random) -> Value:
        return rng.choice(self.options)

    def middle(self) -> Value:
        return self.options[(len(self.options) - 1) // 2]

    def __str__(self) -> str:
        return json.dumps(list(self.options))


Dimension = Int | Float | Choice


def _bounds(setting: object) -> tuple[float, float]:
    if isinstance(setting, list | tuple) and len(setting) == 2:
        return setting[0], setting[1]
    if isinstance(setting, int | float):
        return setting, setting
    raise UserError(f"{setting!r} is neither a number nor [low, high]")


@dataclass(frozen=True)
class Parameter:
    """A named dimension that exists only in candidates whose ``parent`` has one of ``parent_values``."""

    name: str
    dimension: Dimension
    parent: str | None = None
    parent_values: tuple[Value, ...] = ()

    def exists_in(self, values: Mapping[str, Value]) -> bool:
        return self.parent is None or values.get(self.parent) in self.parent_values


@dataclass(frozen=True)
class Candidate(Mapping[str, Value]):
    """One point of a search space: immutable, hashable, the same in every process."""

    space: str
    items_sorted: tuple[tuple[str, Value], ...]

    @classmethod
    def of(cls, space: str, values: Mapping[str, Value]) -> Candidate:
        return cls(space, tuple(sorted(values.items())))

    def __getitem__(self, name: str) -> Value:
        for key, value in self.items_sorted:
            if key == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.items_sorted)

    def __len__(self) -> int:
        return len(self.items_sorted)

    def integer(self, name: str) -> int:
        """Return a parameter that is known to be a whole number."""
        value = self[name]
        assert isinstance(value, int), (name, value)
        return value

    def training(self) -> dict[str, Value]:
        """Return the parameters ``training.*``, without their prefix: overrides of the trainer's settings."""
        return self._below(TRAINING_PREFIX)

    def front_end(self) -> dict[str, Value]:
        """Return the parameters ``front_end.*``, without their prefix: overrides of the data's front end."""
        return self._below(FRONT_END_PREFIX)

    def sparsity(self) -> dict[str, Value]:
        """Return the parameters ``sparsity.*``, without their prefix: see :class:`.sparsity.space.Sparsity`."""
        return self._below(SPARSITY_PREFIX)

    def exits(self) -> dict[str, Value]:
        """Return the parameters ``exits.*``, without their prefix: see :class:`.exits.space.WithExits`."""
        return self._below(EXITS_PREFIX)

    def distillation(self) -> dict[str, Value]:
        """Return the parameters ``distillation.*``, without their prefix: see :class:`.distillation.Distillation`."""
        return self._below(DISTILLATION_PREFIX)

    def _below(self, prefix: str) -> dict[str, Value]:
        return {key.removeprefix(prefix): value for key, value in self.items_sorted if key.startswith(prefix)}

    def to_json(self) -> str:
        """Return the canonical form: sorted keys, no spaces."""
        return json.dumps(
            {"space": self.space, "values": dict(self.items_sorted)}, sort_keys=True, separators=(",", ":")
        )

    @classmethod
    def from_json(cls, text: str) -> Candidate:
        data = json.loads(text)
        return cls.of(data["space"], data["values"])

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of the canonical form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


class SearchSpace(ABC):
    """A set of models to choose from. Subclass as a frozen dataclass whose fields are dimensions.

    Every field that is a dimension can be narrowed in the config under its own name, and every other field be set.
    """

    name: ClassVar[str]

    @abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """Return all parameters, each parent before its children.

        A name ``training.X`` overrides the trainer's setting ``X`` for that candidate. A name ``front_end.X`` does so
        for the field ``X`` of the data's front end; its dimension is a :class:`Choice`, and it has no parent. Names
        ``sparsity.*`` are those of :class:`.sparsity.space.WithSparsity`.
        """

    @abstractmethod
    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the untrained model: ``(batch, *input_shape) -> (batch, classes)``.

        A network that transcribes answers once a step: (batch, steps, classes), the first class CTC's blank.
        """

    def has_heads(self) -> bool:
        """Whether candidates may have several heads of attention, which can be taken out."""
        return False

    def can_lose_blocks(self) -> bool:
        """Whether some candidates have several blocks alike of which some can go (see ``sparsity/blocks.py``)."""
        return False

    def candidate(self, values: Mapping[str, Value]) -> Candidate:
        """Return the validated candidate; raises :class:`UserError` for a value outside the space."""
        expected = {p.name: p for p in self.parameters() if p.exists_in(values)}
        if odd := sorted(set(expected) ^ set(values)):
            raise UserError(f"space {self.name}: parameter(s) {', '.join(odd)} missing or not in this space")
        for name, parameter in expected.items():
            if values[name] not in parameter.dimension:
                raise UserError(f"space {self.name}: {name} = {values[name]!r} is not in {parameter.dimension}")
        return Candidate.of(self.name, values)

    def draw(self, rng: random.Random) -> Candidate:
        """Return a random candidate."""
        return self._fill(lambda dimension: dimension.draw(rng))

    def middle(self) -> Candidate:
        """Return the candidate in the middle of every dimension."""
        return self._fill(lambda dimension: dimension.middle())

    def _fill(self, value_of: Any) -> Candidate:
        values: dict[str, Value] = {}
        for parameter in self.parameters():
            if parameter.exists_in(values):
                values[parameter.name] = value_of(parameter.dimension)
        return Candidate.of(self.name, values)

    def front_end_options(self) -> dict[str, tuple[Value, ...]]:
        """Return the options of each ``front_end.*``, without the prefix: each of their product is data to load.

        Raises :class:`UserError` for one that is no :class:`Choice`, or that exists in some candidates only.
        """
        options: dict[str, tuple[Value, ...]] = {}
        for parameter in self.parameters():
            if not parameter.name.startswith(FRONT_END_PREFIX):
                continue
            if not isinstance(parameter.dimension, Choice) or parameter.parent:
                raise UserError(f"space {self.name}: {parameter.name} must be a Choice without a parent")
            options[parameter.name.removeprefix(FRONT_END_PREFIX)] = parameter.dimension.options
        return options

    def describe(self) -> list[dict[str, Any]]:
        """Return the parameters as JSON-serialisable data: two spaces are the same where these are equal."""
        return [
            {
                "name": parameter.name,
                "kind": type(parameter.dimension).__name__,
                **dataclasses.asdict(parameter.dimension),
                **({"parent": parameter.parent, "parent_values": parameter.parent_values} if parameter.parent else {}),
            }
            for parameter in self.parameters()
        ]


@dataclass(frozen=True)
class Wrapper(SearchSpace):
    """Another space, whose candidates have more parameters than those that build their network."""

    space: SearchSpace

    def __post_init__(self) -> None:
        # A candidate is of the space that builds its network.
        object.__setattr__(self, "name", self.space.name)

    @classmethod
    @abstractmethod
    def of(cls, space: SearchSpace, settings: object) -> Wrapper:
        """Return a space with what the config says under its key; :class:`UserError` for what cannot be."""

    @abstractmethod
    def own_parameters(self) -> tuple[Parameter, ...]:
        """Return what is added, each parent before its children."""

    def parameters(self) -> tuple[Parameter, ...]:
        return (*self.space.parameters(), *self.own_parameters())

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return self.space.build(candidate, input_shape, classes)

    def has_heads(self) -> bool:
        return self.space.has_heads()

    def can_lose_blocks(self) -> bool:
        return self.space.can_lose_blocks()


BUILT_IN = {
    "repcnn": "repareto.spaces.repcnn:RepCNN",
    "bc_resnet": "repareto.spaces.peers.bc_resnet:BCResNet",
    "conformer_ctc": "repareto.spaces.conformer.space:ConformerSpace",
    "ds_cnn": "repareto.spaces.peers.ds_cnn:DSCNN",
    "matchboxnet": "repareto.spaces.peers.matchboxnet:MatchboxNet",
    "mixed_kernels": "repareto.spaces.peers.mixed_kernels:MixedKernels",
    "mlperf_tiny": "repareto.spaces.mlperf_tiny:MLPerfTiny",
    "tc_resnet8": "repareto.spaces.peers.tc_resnet:TCResNet8",
}

WRAPPERS = {
    EXITS: "repareto.spaces.exits.space:WithExits",
    FRONT_END: "repareto.spaces.front_end:WithFrontEnd",
    SPARSITY: "repareto.spaces.sparsity.space:WithSparsity",
    DISTILLATION: "repareto.spaces.distillation:WithDistillation",
}
"""By the key of a config's ``space`` that asks for one, the innermost first."""


def load_space(settings: Mapping[str, Any], place: str = "space") -> SearchSpace:
    """Return the space ``settings["name"]``, built in or ``package.module:Class``, narrowed by the other settings.

    The keys of ``WRAPPERS`` add dimensions to any space. Raises :class:`UserError` that names the setting, under
    ``place``, its value and what would be admitted.
    """
    name = settings["name"]
    cls = load_class(name, BUILT_IN, "space")
    if not (issubclass(cls, SearchSpace) and dataclasses.is_dataclass(cls)):
        raise UserError(f"space {name!r} is not a dataclass derived from repareto.spaces.SearchSpace")
    own = {key: setting for key, setting in settings.items() if key != "name" and key not in WRAPPERS}
    changes = narrowed_fields(cls, own, name, place)
    needed = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [key for key in needed if key not in changes]:
        raise UserError(f"{place}.{missing[0]}: this key is needed by {name}")
    space: SearchSpace = cls(**changes)
    for key in WRAPPERS:
        if key in settings:
            wrapper: type[Wrapper] = load_class(key, WRAPPERS, "wrapper")
            space = wrapper.of(space, settings[key])
    return space


def narrowed_fields(cls: type, settings: Mapping[str, Any], name: str, place: str) -> dict[str, Any]:
    """Return the fields of a space's class that ``settings`` narrow or set; raises as :func:`load_space`."""
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    changes: dict[str, Any] = {}
    for key, setting in settings.items():
        if key not in defaults:
            hint = nearest_hint(key, [*defaults, *WRAPPERS])
            raise UserError(f"{place}.{key}: {name} has no such dimension ({hint})")
        try:
            default = defaults[key]
            changes[key] = default.narrow(setting) if isinstance(default, Int | Float | Choice) else setting
        except UserError as error:
            raise UserError(f"{place}.{key}: {error}") from error
    return changes
