"""A trial as Optuna keeps it for the ledger, read as a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ..spaces.space import Candidate
from .records import EpochPoint, Loss, Measurement, State, TrialRecord

BEGINNING_KEY, CURVE_KEY, LOSSES_KEY, END_KEY = "beginning", "curve", "losses", "end"
MEASURED_KEY, REPEATS_KEY = "repareto.measured.", "repareto.repeats."


def measured_key(number: int, network: int | None = None) -> str:
    """Return the study's attribute with what a trial's model, or one of its networks, was measured to cost."""
    return f"{MEASURED_KEY}{number}" + ("" if network is None else f".{network}")


def repeats_key(number: int) -> str:
    """Return the study's attribute with the errors of a trial's candidate on other seeds."""
    return f"{REPEATS_KEY}{number}"


def record_of(trial: FrozenTrial, attributes: Mapping[str, Any]) -> TrialRecord:
    """Return what a trial, and the attributes of its study, tell."""
    running = trial.state == TrialState.RUNNING
    beginning = trial.user_attrs[BEGINNING_KEY]
    # A driver that was killed before its last write leaves an end and constraints on a trial that runs again.
    end = {} if running else trial.user_attrs[END_KEY]
    constraints = {} if running else trial.constraints
    state = State.RUNNING if running else State(end["state"])
    measurement = Measurement.from_dict(end["measurement"]) if "measurement" in end else None
    networks = [network.network for network in measurement.networks] if measurement else []
    measured = {number: attributes.get(measured_key(trial.number, number)) for number in networks}
    return TrialRecord(
        number=trial.number,
        state=state,
        candidate=Candidate.from_json(beginning["candidate"]),
        reason=end.get("reason", ""),
        profile=(measurement and measurement.profile) or beginning["profile"],
        curve=tuple(EpochPoint(*point) for point in trial.user_attrs.get(CURVE_KEY, ())),
        measurement=measurement,
        measured=attributes.get(measured_key(trial.number), {}),
        measured_networks={number: profile for number, profile in measured.items() if number is not None and profile},
        repeats=tuple(attributes.get(repeats_key(trial.number), ())),
        feasible=state is not State.FAILED and all(value <= 0 for value in constraints.values()),
        losses=tuple(Loss(*loss) for loss in trial.user_attrs.get(LOSSES_KEY, ())),
        started=beginning["started"],
        ended=end.get("ended"),
    )
