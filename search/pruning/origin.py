"""Where a model that is to be pruned comes from: a trial of a study, or an export's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...spaces.errors import UserError, first_line
from ...spaces.fusion import fused_copy
from ...spaces.space import Candidate, load_space
from ...spaces.sparsity.slicing import sliced_to_counts
from ..config import Config
from ..ledger import Ledger
from ..models import load_trained_model
from ..records import Measurement, State, TrialRecord
from ..study_data import data_of

PROGRAM, MANIFEST = "model.pt2", "manifest.json"


@dataclass(frozen=True)
class Origin:
    """A trained, fused network in float32, and what it was made for."""

    title: str
    fused: nn.Module
    config: Config
    record: TrialRecord
    data: Mapping[str, Any]
    """What it was made for: ``labels``, ``input_shape``, ``task``."""
    calibration: str | None = None
    """That of its study's device."""
    pruned: Sequence[Mapping[str, Any]] = ()
    """What was done to it before, see :func:`.prune.prune`."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self.data["input_shape"])


def of_trial(ledger: Ledger, config: Config, record: TrialRecord) -> Origin:
    """Return the model of a finished trial: its fused weights, for the branches are deleted when a trial has ended.

    Raises :class:`UserError` where its weights are gone.
    """
    header = ledger.header()
    data = data_of(header, record.candidate)
    fused = load_trained_model(ledger, config, record)
    title = f"trial {record.number} of study {config.study}"
    return Origin(title, fused, config, record, data, header.get("calibration"))


def of_export(folder: Path) -> Origin:
    """Return the model in an export's folder; raises :class:`UserError` for a folder that has none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        config, widths = Config(**manifest["config"]), manifest["widths"]
        data = {"labels": manifest["labels"], "input_shape": manifest["input"]["shape"][1:], "task": manifest["task"]}
        record = _record(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: is no export that can be pruned (its {MANIFEST} has not got all that is needed: "
            f"{first_line(error)}; export the trial again, or name its study)"
        ) from error
    shape = tuple(data["input_shape"])
    fused = fused_copy(load_space(config.space).build(record.candidate, shape, len(data["labels"])).eval())
    fused, _ = sliced_to_counts(fused, shape, widths)
    try:
        fused.load_state_dict(torch.export.load(folder / PROGRAM).state_dict)
    except Exception as error:  # of a damaged file, torch raises what it meets first
        raise UserError(f"{folder / PROGRAM}: cannot be read ({first_line(error)}); export the trial again") from error
    return Origin(f"{folder}", fused, config, record, data, pruned=manifest.get("pruned", ()))


def _record(manifest: Mapping[str, Any]) -> TrialRecord:
    """The trial that a manifest is of, as far as it tells."""
    measurement = Measurement(
        figures={**manifest["objectives"], "test_error": manifest["test_error"]},
        fusion=manifest["fusion"],
        seed=manifest["seed"],
        epochs=manifest["epochs"],
        train_seconds=0.0,
        branched_parameters=0,
    )
    candidate = Candidate.from_json(json.dumps(manifest["candidate"]))
    return TrialRecord(
        manifest["trial"], State.FINISHED, candidate, profile=manifest["profile"]["searched"], measurement=measurement
    )
