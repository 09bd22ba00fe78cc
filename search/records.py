"""What the ledger keeps of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import fmean
from typing import Any, NamedTuple

from ..spaces.space import Candidate

FLOAT_PREFIX = "float32_"
"""Of the figures that the fused model had before it was quantised."""


class State(StrEnum):
    """Where a trial stands."""

    RUNNING = "running"
    FINISHED = "finished"
    """Trained in full, fused, measured: the only state that can reach the front."""
    STOPPED = "stopped"
    """Stopped early at a rung."""
    REJECTED = "rejected"
    """Broke a budget before training and was never trained."""
    FAILED = "failed"

    @property
    def was_trained(self) -> bool:
        return self in (State.FINISHED, State.STOPPED, State.FAILED)


@dataclass(frozen=True)
class Measurement:
    """What a finished candidate has. Every figure is of the fused model."""

    figures: dict[str, float]
    """By objective key: ``error`` (of the validation split), ``latency_us``, ...; and ``test_error``."""
    fusion: dict[str, float]
    """The fields of the :class:`~repareto.spaces.FusionReport`."""
    seed: int
    epochs: int
    train_seconds: float
    branched_parameters: int
    details: dict[str, Any] = field(default_factory=dict)
    """What a person wants to see beside the figures, such as a wake word's curve, as JSON types."""
    profile: dict[str, Any] = field(default_factory=dict)
    """The JSON form of the profile of what ships, where training decided its structure; it replaces the estimate."""


def profile_figures(profile: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of a profile's JSON form, by figure name."""
    return {name: figure["value"] for name, figure in profile.items() if isinstance(figure, dict)}


def measured_figures(profile: Mapping[str, Any]) -> dict[str, float]:
    """Return only those values of a profile's JSON form that were measured, or simulated with the file that ships."""
    figures = {name: figure for name, figure in profile.items() if isinstance(figure, dict)}
    return {name: figure["value"] for name, figure in figures.items() if figure["method"] in ("measured", "simulated")}


def estimate_errors(estimated: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, float]:
    """Return by how much of the measured value each estimate was off, 0.1 for ten per cent too high, by figure name.

    Both are profiles in JSON form. A figure that was exact or planned before and is another one now is told as well.
    """
    before = profile_figures(estimated)
    return {name: before[name] / value - 1 for name, value in measured_figures(measured).items() if value}


class EpochPoint(NamedTuple):
    """One epoch of a learning curve; ``error`` is the branched model's on the validation split."""

    error: float
    train_loss: float
    seconds: float


class Loss(NamedTuple):
    """A trial lost its worker."""

    cause: str
    is_charged: bool
    """Whether the candidate may have killed it; not so when its node went."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the ledger knows it."""

    number: int
    state: State
    candidate: Candidate
    reason: str = ""
    """Why it was rejected, stopped, failed or is infeasible after training."""
    profile: dict[str, Any] = field(default_factory=dict)
    """The JSON form of the profile that was known before training, or of what ships where training decided on that."""
    curve: tuple[EpochPoint, ...] = ()
    measurement: Measurement | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    """The JSON form of the profile measured on the fused model at the end, for members of the front."""
    feasible: bool = True
    repeats: tuple[float, ...] = ()
    """Errors of the same candidate trained from scratch on other seeds, for members of the front."""
    losses: tuple[Loss, ...] = ()
    """How it lost its workers, in order."""
    started: float = 0.0
    """Seconds since the Unix epoch."""
    ended: float | None = None


def figures_of(record: TrialRecord) -> dict[str, float]:
    """Return a finished trial's figures, the measured ones in place of estimates where there are any.

    Of a planned figure and a measured one the larger counts: the plan has what the board's own kernels need, and the
    tool on this host may run others.
    """
    assert record.measurement is not None
    figures = dict(record.measurement.figures)
    for name, value in measured_figures(record.measured).items():
        planned = record.profile.get(name, {}).get("method") == "planned"
        figures[name] = max(value, figures[name]) if planned and name == "peak_memory_bytes" else value
    return figures


def error_of(record: TrialRecord) -> float:
    """Return the error that decides on a finished trial: in the mean of other seeds where it was trained on some."""
    assert record.measurement is not None
    return fmean(record.repeats) if record.repeats else record.measurement.figures["error"]


def inherited_of(record: TrialRecord) -> dict[str, int]:
    """Return of which ``trial`` a finished one had its first weights, and how many ``epochs`` these had been trained,
    all ancestors included; nothing of one that was trained from scratch."""
    assert record.measurement is not None
    return record.measurement.details.get("inherited", {})


def exits_of(record: TrialRecord) -> dict[str, Any] | None:
    """Return what is kept of a finished trial's early exits (see ``exits/judging.py``); None where it has none."""
    assert record.measurement is not None
    return record.measurement.details.get("exits")


def point_of(record: TrialRecord) -> int | None:
    """Return the place of the operating point whose figures a finished trial has; None without early exits."""
    exits = exits_of(record)
    return None if exits is None else exits.get("point", exits["chosen"])


def at_point(record: TrialRecord, point: int | None = None) -> TrialRecord:
    """Return a finished trial with the figures of one of its operating points, by default of its own."""
    exits = exits_of(record)
    if exits is None:
        return record
    assert record.measurement is not None
    place = exits["chosen"] if point is None else point
    known = record.measurement.figures
    figures = {**known, **{key: value for key, value in exits["points"][place].items() if key in known}}
    details = {**record.measurement.details, "exits": {**exits, "point": place}}
    return replace(record, measurement=replace(record.measurement, figures=figures, details=details))


def at_points(record: TrialRecord) -> tuple[TrialRecord, ...]:
    """Return a finished trial once for each of its operating points; one without early exits as it is."""
    exits = exits_of(record)
    return (record,) if exits is None else tuple(at_point(record, place) for place in range(len(exits["points"])))
