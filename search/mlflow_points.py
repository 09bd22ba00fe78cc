"""What MLflow's charts show of a trial: its epochs and its figures as points, the same whenever they are written."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow.entities import Metric

from .records import TrialRecord, profile_figures


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
