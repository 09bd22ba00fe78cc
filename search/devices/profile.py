"""The figures of one fused graph on one device, each with how it was got and how far it may be off."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ...spaces.errors import UserError, nearest_hint

Method = Literal["exact", "planned", "estimated", "simulated", "measured"]

FIGURES = ("latency_us", "peak_memory_bytes", "flash_bytes", "macs", "parameters")


@dataclass(frozen=True)
class Figure:
    """A value, its unit, how it was got, and in words what error to expect (None: none is known or expected)."""

    value: float
    unit: str
    method: Method
    error: str | None = None
    low: float | None = None
    """With ``high``: where nine of ten such values lie, as held-out models tell; None where that is not known."""
    high: float | None = None


@dataclass(frozen=True)
class Profile:
    """What one fused graph costs on one device.

    ``flash_bytes`` are the size of the file that ships: planned while there is none, measured once there is.
    ``unknown_operators`` are those that no figure covers: with any of them, trust no figure but a measured one.
    """

    device: str
    runtime: str
    precision: str
    graph_digest: str
    latency_us: Figure | None
    """None where the device claims none."""
    peak_memory_bytes: Figure
    flash_bytes: Figure
    macs: Figure
    parameters: Figure
    unknown_operators: tuple[str, ...] = ()
    resident_bytes: float = 0.0
    """Of the peak memory, what stays taken between runs: what an interpreter keeps of its model."""

    def figure(self, name: str) -> Figure:
        """One of ``FIGURES`` by name; ``UserError`` for any other name, and for one that the device does not claim."""
        if name not in FIGURES:
            raise UserError(f'profile figure "{name}" is unknown ({nearest_hint(name, FIGURES)})')
        figure = getattr(self, name)
        if figure is None:
            raise UserError(f"{self.device} claims no {name}")
        assert isinstance(figure, Figure)
        return figure

    def figures(self) -> dict[str, Figure]:
        """Those of ``FIGURES`` that there are, by name."""
        return {name: self.figure(name) for name in FIGURES if getattr(self, name) is not None}

    def value(self, name: str) -> float:
        """The value of ``figure(name)``, in the unit that the name ends in."""
        return self.figure(name).value

    def to_json(self) -> str:
        """A JSON object that ``from_json`` reads back equal."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Profile":
        """The profile that ``to_json`` wrote; ``ValueError`` for another text."""
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a profile: {error}") from error

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Profile":
        """The profile that ``dataclasses.asdict`` took apart."""
        rest = dict(fields)
        figures: dict[str, Any] = {name: _figure(rest.pop(name)) for name in FIGURES}
        unknown = tuple(rest.pop("unknown_operators"))
        return cls(**figures, unknown_operators=unknown, **rest)


def _figure(fields: Mapping[str, Any] | None) -> Figure | None:
    return None if fields is None else Figure(**fields)
