"""How long one run takes, by costs that were fitted on the device.

    t = network overhead + sum over works of  sum over terms of  cost . term

The terms of a work count what the runtime's kernels do: calls, cycles of the inner loops, rows, bytes from a far cache.
A work without terms, or with one whose cost nobody timed, is estimated by a plain roofline instead:

    calls . overhead + max(MACs / peak, bytes / bandwidth)

The maximum is the roofline of Williams, Waterman and Patterson (2009). Models of single kernels stacked on a roofline,
with a correction for the network as a whole, are those of ANNETTE (arXiv 2105.03176).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .workload import Work

CALIBRATION_FORMAT = 2
_FALLBACK_KIND = "elementwise"  # what nobody timed is taken to move bytes
# On an idle machine bursts spread by under 1 %, and most readings are at the best clock.
_LARGEST_SPREAD, _LEAST_CALM = 0.03, 0.3
_LARGEST_GUESS = 0.1


@dataclass(frozen=True)
class Rate:
    """What one kind of work costs: the start of a call, and the two roofs."""

    overhead_us: float
    macs_per_us: float
    bytes_per_us: float

    def time_us(self, work: Work) -> float:
        """The time of one piece of work."""
        return work.calls * self.overhead_us + max(work.macs / self.macs_per_us, work.nbytes / self.bytes_per_us)


@dataclass(frozen=True)
class HeldOutError:
    """How far the estimate was from networks it was not fitted on: relative errors and the rank correlation."""

    networks: int
    median: float
    percentile_90: float
    spearman: float

    def __str__(self) -> str:
        return (
            f"median {self.median:.1%}, 90th percentile {self.percentile_90:.1%}, Spearman {self.spearman:.3f} "
            f"on {self.networks} held-out networks"
        )


@dataclass(frozen=True)
class Conditions:
    """When and how calmly the times were taken that a calibration was fitted to.

    ``spread`` is the relative noise of one burst of runs, ``calm`` the share of readings at the best clock.
    """

    date: str
    spread: float
    calm: float

    @property
    def under_load(self) -> bool:
        """Whether other work disturbed the times so much that they are better taken again."""
        return self.spread > _LARGEST_SPREAD or self.calm < _LEAST_CALM


@dataclass(frozen=True)
class Calibration:
    """Fitted costs, what they were fitted on, and the error to state with them (None: nothing was measured).

    ``costs_ns`` are of one unit of each term. ``interval`` holds the factors that 90 % of the held-out networks' times
    lay between, relative to their estimate.
    """

    runtime: str
    machine: str
    network_overhead_us: float
    rates: Mapping[str, Rate]
    held_out: HeldOutError | None
    costs_ns: Mapping[str, float] = field(default_factory=dict)
    held_out_layers: HeldOutError | None = None
    interval: tuple[float, float] | None = None
    conditions: Conditions | None = None

    def __post_init__(self) -> None:
        assert _FALLBACK_KIND in self.rates, sorted(self.rates)

    def latency_us(self, works: Iterable[Work]) -> float:
        """The estimated time of one run, in microseconds."""
        return self.network_overhead_us + sum(self.time_us(work) for work in works)

    def time_us(self, work: Work) -> float:
        """The estimated time of one piece of work, in microseconds."""
        if self.has_timed(work):
            return sum(self.costs_ns[name] * value for name, value in work.terms) / 1e3
        return self.rates.get(work.kind, self.rates[_FALLBACK_KIND]).time_us(work)

    def has_timed(self, work: Work) -> bool:
        """Whether the cost of all that it does was fitted to times."""
        return bool(work.terms) and all(name in self.costs_ns for name, _ in work.terms)

    def kernel_times_us(self, works: Iterable[Work], kernels: int) -> tuple[float, ...]:
        """The time of each of so many kernels, that of the layout changes before it included."""
        times = [0.0] * kernels
        for work in works:
            times[work.kernel] += self.time_us(work)
        return tuple(times)

    def error_of(self, works: Sequence[Work]) -> tuple[str | None, bool]:
        """The error to expect of an estimate, in words, and whether the networks that it is of were like this one.

        They were not where more than ``_LARGEST_GUESS`` of the estimate is of work that none of them had.
        """
        guessed = [work for work in works if not self.has_timed(work)]
        share = sum(map(self.time_us, guessed)) / self.latency_us(works)
        if self.held_out is None or share <= _LARGEST_GUESS:
            return self.stated_error, True
        names = sorted({work.kind for work in guessed})
        return (
            f"unknown: {share:.0%} of it is a guess, for no network that the costs were fitted to had "
            f"{', '.join(names)}",
            False,
        )

    @property
    def stated_error(self) -> str | None:
        """The error to expect, in words, with a warning where the times were taken under load."""
        if self.held_out is None:
            return None
        loaded = self.conditions is not None and self.conditions.under_load
        return f"{self.held_out}{'; timed under load, calibrate again when idle' if loaded else ''}"

    def to_json(self) -> str:
        """A JSON object that ``from_json`` reads back equal."""
        return json.dumps({"format": CALIBRATION_FORMAT, **asdict(self)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """The calibration that ``to_json`` wrote; ``ValueError`` when the text is not one of this format."""
        try:
            fields: dict[str, Any] = json.loads(text)
            if fields.pop("format") != CALIBRATION_FORMAT:
                raise ValueError("another format")
            fields["rates"] = {kind: Rate(**rate) for kind, rate in fields["rates"].items()}
            for name, kind in (
                ("held_out", HeldOutError),
                ("held_out_layers", HeldOutError),
                ("conditions", Conditions),
            ):
                fields[name] = kind(**fields[name]) if fields[name] else None
            fields["interval"] = tuple(fields["interval"]) if fields["interval"] else None
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise ValueError(f"not a calibration of format {CALIBRATION_FORMAT}: {error}") from error


#: A fixed textbook core and no real device: 1 GMAC/s, 4 GB/s, 1 us a kernel and 10 us a run.
REFERENCE = Calibration(
    runtime="none",
    machine="textbook core",
    network_overhead_us=10.0,
    rates={_FALLBACK_KIND: Rate(overhead_us=1.0, macs_per_us=1e3, bytes_per_us=4e3)},
    held_out=None,
)
