"""The same clips through several front ends: data for a search that chooses how sound is heard, too."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ...spaces.errors import UserError, nearest_hint
from ...spaces.space import Value
from ..features import LogMel
from .cache import SPLITS
from .dataset import Dataset, DataSource

FIELDS = ("bands", "hop_ms", "window_ms", "low_hz", "high_hz")
"""Of :class:`LogMel`, that candidates may choose; another ``sample_rate_hz`` would be other clips."""
MOST_VARIANTS = 12
"""All are held in memory at once."""


@dataclass(frozen=True)
class Variant:
    """A data source with some fields of its front end overridden."""

    overrides: Mapping[str, Value]
    source: DataSource


@dataclass(frozen=True)
class Datasets:
    """One data set for each front end that a search chooses from, all of the same clips."""

    variants: tuple[tuple[Mapping[str, Value], Dataset], ...]
    """Overrides of the front end's fields, and the data with them. The first stands for all where that is no matter."""

    @classmethod
    def single(cls, dataset: Dataset) -> Datasets:
        """Data of which candidates do not choose the front end."""
        return cls((({}, dataset),))

    @property
    def first(self) -> Dataset:
        return self.variants[0][1]

    def of(self, overrides: Mapping[str, Value]) -> Dataset:
        """The data with a candidate's overrides, one of those that were loaded."""
        (found,) = (dataset for known, dataset in self.variants if known == overrides)
        return found


def variants_of(source: DataSource, options: Mapping[str, Sequence[Value]]) -> tuple[Variant, ...]:
    """The source once for each combination of the ``options`` of its front end; without options, as it is.

    Raises :class:`UserError` for a source without a log-mel front end, an unknown field, a value that the front end
    refuses, and more than ``MOST_VARIANTS`` combinations.
    """
    if not options:
        return (Variant({}, source),)
    log_mel = getattr(source, "log_mel", None)
    if not isinstance(log_mel, LogMel):
        raise UserError(
            f"space.front_end: data source {type(source).__name__} has no log_mel to choose "
            "(take the key out, or name a source of sound)"
        )
    for field in options:
        if field not in FIELDS:
            raise UserError(f"space.front_end.{field}: cannot be searched ({nearest_hint(field, FIELDS)})")
    count = math.prod(map(len, options.values()))
    if count > MOST_VARIANTS:
        raise UserError(
            f"space.front_end: its options combine to {count} front ends, each with data of its own; "
            f"at most {MOST_VARIANTS} (name fewer options)"
        )
    combinations = [dict(zip(options, values, strict=True)) for values in product(*options.values())]
    return tuple(Variant(overrides, _overridden(source, log_mel, overrides)) for overrides in combinations)


def _overridden(source: DataSource, log_mel: LogMel, overrides: Mapping[str, Value]) -> DataSource:
    values: dict[str, Any] = {field: _converted(field, value) for field, value in overrides.items()}
    try:
        changed = dataclasses.replace(log_mel, **values)
        return dataclasses.replace(source, log_mel=changed)  # type: ignore[type-var]
    except UserError as error:
        raise UserError(f"space.front_end with {_told(overrides)}: {error}") from error


def _converted(field: str, value: Value) -> int | float:
    """The value in the field's type: a number of bands is whole, all others are real."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (field == "bands" and value != int(value)):
        raise UserError(f"space.front_end.{field} {value!r}: must be a {'whole ' * (field == 'bands')}number")
    return int(value) if field == "bands" else float(value)


def load_all(variants: Sequence[Variant], *, seed: int) -> Datasets:
    """Load the data of all variants.

    Raises :class:`UserError` as the source does, and for one whose clips depend on the front end.
    """
    loaded = tuple((variant.overrides, variant.source.load(seed=seed)) for variant in variants)
    for overrides, dataset in loaded[1:]:
        _refuse_other_clips(loaded[0][1], dataset, overrides)
    return Datasets(loaded)


def _refuse_other_clips(first: Dataset, other: Dataset, overrides: Mapping[str, Value]) -> None:
    """Raise :class:`UserError` where errors on the two could not be compared."""
    if first.streams:
        # Models are judged by the streams; how many windows of them train follows from the hop.
        same = all(np.array_equal(first.streams[name].words, other.streams[name].words) for name in first.streams)
    else:
        same = all(np.array_equal(getattr(first, name).labels, getattr(other, name).labels) for name in SPLITS)
    if first.labels != other.labels or not same:
        raise UserError(
            f"data {first.name}: has other clips with front_end {_told(overrides)}, so errors cannot be compared "
            "(a source must draw the same clips whatever its log_mel)"
        )


def _told(overrides: Mapping[str, Value]) -> str:
    return ", ".join(f"{field} = {value}" for field, value in overrides.items())
