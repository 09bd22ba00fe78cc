"""What MLflow's charts show of a trial: its epochs and its figures as points, the same whenever they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlflow.entities import Metric

from .records import TrialRecord, estimate_errors, measured_figures, network_of, profile_figures


def curve_metrics(record: TrialRecord, written: int) -> Iterator[Metric]:
    """Return the points of a trial's learning curve but for the first ``written`` epochs."""
    for epoch, point in enumerate(record.curve[written:], written + 1):
        # The same whenever it is written.
        seconds = sum(earlier.seconds for earlier in record.curve[:epoch])
        timestamp = int(1000 * (record.started + seconds))
        for name, value in point._asdict().items():
            yield Metric(f"epoch.{name}", value, timestamp, epoch)


def figure_metrics(record: TrialRecord) -> list[Metric]:
    """Return the figures of a trial that has ended: all of one trained in full, else those of its profile."""
    figures = record.measurement.figures if record.measurement else profile_figures(record.profile)
    assert record.ended is not None
    timestamp, step = int(record.ended * 1000), len(record.curve)
    metrics = [Metric(name, float(value), timestamp, step) for name, value in figures.items()]
    if record.measurement:
        metrics += [
            Metric(name, float(getattr(record.measurement, name)), timestamp, step)
            for name in ("train_seconds", "branched_parameters")
        ]
        difference = record.measurement.fusion["largest_relative_difference"]
        metrics.append(Metric("fusion.largest_relative_difference", difference, timestamp, step))
    return metrics


def measured_metrics(record: TrialRecord, profile: Mapping[str, Any]) -> list[Metric]:
    """Return what was measured on the file that ships of a trial, or of one of its networks, and how far off estimates
    were."""
    # At the trial's end, so that writing it again changes nothing.
    assert record.ended is not None
    timestamp, step = int(record.ended * 1000), len(record.curve)
    values = {f"measured.{name}": value for name, value in measured_figures(profile).items()}
    values |= {f"estimate_error.{name}": error for name, error in estimate_errors(record.profile, profile).items()}
    return [Metric(".".join([*network_names(record), name]), value, timestamp, step) for name, value in values.items()]


def network_names(record: TrialRecord) -> list[str]:
    """Return the name of one of several networks of a trial, and none for the model of any other."""
    network = network_of(record)
    return [] if network is None else [f"network{network}"]
