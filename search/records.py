"""What the ledger keeps of a trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    network: int | None = None
    """Its place among those that one training gave, where it gave several (a supernet)."""
    networks: tuple[Measurement, ...] = ()
    """All of these, the widest first, which is what the trial stands for: the rest of this is of that one."""

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Measurement:
        """Return what ``dataclasses.asdict`` was given, out of JSON too."""
        networks = tuple(cls.from_dict(network) for network in document.get("networks", ()))
        return cls(**{**document, "networks": networks})


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
    measured_networks: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The same by network, where one training gave several."""
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


def network_of(record: TrialRecord) -> int | None:
    """Return which of a finished trial's networks its figures are of; None where it has one, whatever its points."""
    assert record.measurement is not None
    return record.measurement.network


def point_of(record: TrialRecord) -> int | None:
    """Return the number of the operating point whose figures a finished trial has; None where it has no points.

    Points are made by early exits, or are the networks of a supernet.
    """
    exits = exits_of(record)
    return network_of(record) if exits is None else exits.get("point", exits["chosen"])


def points_of(record: TrialRecord) -> tuple[int, ...]:
    """Return the numbers of a finished trial's operating points."""
    assert record.measurement is not None
    exits = exits_of(record)
    if exits is not None:
        return tuple(range(len(exits["points"])))
    return tuple(own.network for own in record.measurement.networks if own.network is not None)


def lacks_repeats(record: TrialRecord) -> bool:
    """Whether a finished trial was not trained on other seeds and can be: one with operating points has many errors."""
    return not record.repeats and not points_of(record)


def at_point(record: TrialRecord, point: int | None = None) -> TrialRecord:
    """Return a finished trial with the figures of one of its operating points, by default of its own."""
    assert record.measurement is not None
    if record.measurement.networks:
        return _at_network(record, record.measurement.networks, point or 0)
    exits = exits_of(record)
    if exits is None:
        return record
    place = exits["chosen"] if point is None else point
    known = record.measurement.figures
    figures = {**known, **{key: value for key, value in exits["points"][place].items() if key in known}}
    details = {**record.measurement.details, "exits": {**exits, "point": place}}
    return replace(record, measurement=replace(record.measurement, figures=figures, details=details))


def _at_network(record: TrialRecord, networks: tuple[Measurement, ...], number: int) -> TrialRecord:
    """A network differs from the others of its training in its profile as well, and in what was measured of it."""
    own = next(network for network in networks if network.network == number)
    measured = record.measured_networks.get(number, {})
    return replace(record, measurement=replace(own, networks=networks), profile=own.profile, measured=measured)


def at_points(record: TrialRecord) -> tuple[TrialRecord, ...]:
    """Return a finished trial once for each of its operating points; one without any as it is."""
    return tuple(at_point(record, point) for point in points_of(record)) or (record,)


def models_of(records: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Return each model that operating points are of once: those of early exits have one, those of a supernet each."""
    found = {(record.number, network_of(record)): at_point(record, network_of(record)) for record in records}
    return tuple(found.values())
