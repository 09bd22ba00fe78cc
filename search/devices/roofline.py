"""How long one run takes, by a roofline whose rates were fitted on the device.

    t = network overhead + sum over works of  calls . overhead + max(MACs / peak, bytes / bandwidth)

The maximum is the roofline of Williams, Waterman and Patterson (2009); one set of rates for each kind of work, and
overheads, make it a latency model (compare ANNETTE, arXiv 2105.03176).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .workload import Work

CALIBRATION_FORMAT = 1
_FALLBACK_KIND = "elementwise"  # what nobody timed is taken to move bytes


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
class Calibration:
    """Fitted rates, what they were fitted on, and the error to state with them (None: nothing was measured)."""

    runtime: str
    machine: str
    network_overhead_us: float
    rates: Mapping[str, Rate]
    held_out: HeldOutError | None

    def __post_init__(self) -> None:
        assert _FALLBACK_KIND in self.rates, sorted(self.rates)

    def latency_us(self, works: Iterable[Work]) -> float:
        """The estimated time of one run, in microseconds."""
        fallback = self.rates[_FALLBACK_KIND]
        times = (self.rates.get(work.kind, fallback).time_us(work) for work in works)
        return self.network_overhead_us + sum(times)

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
            held_out = fields.pop("held_out")
            rates = {kind: Rate(**rate) for kind, rate in fields.pop("rates").items()}
            return cls(rates=rates, held_out=HeldOutError(**held_out) if held_out else None, **fields)
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
