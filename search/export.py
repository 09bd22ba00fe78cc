"""A trial's fused model as a folder that can be shipped, as it was searched or trained again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..trainers.tokens import BLANK
from .config import Config
from .devices.base import Device
from .devices.targets import device
from .forms import Form
from .ledger import Ledger
from .models import shipped_file, trained_form
from .packaging.formats import Wanted
from .packaging.licences import licences_of
from .packaging.package import PLAIN, Export, Extras, refuse_existing, write_export
from .packaging.samples import Samples, load_for
from .reading import read_results
from .records import FLOAT_PREFIX, TrialRecord, exits_of, network_of, point_of
from .results import Results
from .run import versions
from .study_data import data_of
from .tasks import task_named

KEPT_DETAILS = ("detector", "misses")
"""Of a wake word: how to detect it, and how often it is missed at which rate of false alarms."""
CONFIG_KEPT = {"study", "seed", "data", "space", "training", "device", "objectives", "budgets"}
"""Of the config: all that a model is made by, and nothing of where the study ran."""


Say = Callable[[str], None]


def silent(_line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Retraining:
    """For how many epochs a candidate is to be trained again, and from how many seeds."""

    epochs: int
    seeds: int = 1


def export_trial(
    ledger: Ledger,
    config: Config,
    record: TrialRecord,
    folder: Path,
    *,
    force: bool = False,
    extras: Extras = PLAIN,
    with_data: bool = True,
    say: Say = silent,
) -> dict[str, Any]:
    """Write the fused model of a finished trial as :func:`write_export` does, and return its manifest.

    It is checked on the study's test split, or without data on inputs that are made up. Raises :class:`UserError` where
    its weights or the data are lost.
    """
    refuse_existing(folder, force=force)
    Wanted.of(extras.formats)
    header, target = ledger.header(), device(config.device)
    # Before the data, which may take long to load.
    form = trained_form(ledger, config, record)
    content = shipped_file(ledger, config, record, target, form)
    data = data_of(header, record.candidate)
    samples = Samples.of(load_for(config, record.candidate, data, say)) if with_data else None
    about = {"versions": header["versions"], "front": front_rows(read_results(ledger))}
    return write_export(export_of(form, target, content, config, record, data, about, samples), folder, extras)


def export_retrained(
    ledger: Ledger,
    config: Config,
    record: TrialRecord,
    folder: Path,
    retraining: Retraining,
    *,
    force: bool = False,
    extras: Extras = PLAIN,
    say: Say = silent,
) -> dict[str, Any]:
    """Train a finished trial's candidate again, and write what comes out as :func:`export_trial` does."""
    from .retraining import retrain

    refuse_existing(folder, force=force)
    Wanted.of(extras.formats)
    target, data = device(config.device), data_of(ledger.header(), record.candidate)
    dataset = load_for(config, record.candidate, data, say)
    made = retrain(ledger, config, record, dataset, epochs=retraining.epochs, seeds=retraining.seeds, say=say)
    form = task_named(data).form(made.shipped.fused, dataset.input_shape)
    content = made.shipped.content or form.convert(target, None, data["labels"])
    about = {"versions": versions(), "front": front_rows(read_results(ledger)), "retrained": made.about}
    export = export_of(form, target, content, config, made.record, data, about, Samples.of(dataset))
    return write_export(export, folder, extras)


def export_of(
    form: Form,
    target: Device,
    content: bytes,
    config: Config,
    record: TrialRecord,
    data: Mapping[str, Any],
    about: Mapping[str, Any],
    samples: Samples | None,
) -> Export:
    """Return the network of a trial as it is written; ``about`` is what else the manifest says."""
    exits = exits_of(record)
    if exits is not None:
        exits = {key: value for key, value in exits.items() if key != "point"} | {"chosen": point_of(record)}
    facts = _facts(config, record, data) | dict(about)
    objectives = config.parsed_objectives()
    return Export(form, target, content, data, facts, record.profile, record.measured, samples, objectives, exits)


def front_rows(results: Results) -> list[dict[str, Any]]:
    """Return the front that a model is from, as JSON types: each member's trial, operating point and objectives."""
    rows = []
    for record in results.front:
        assert record.measurement is not None
        figures = {objective.key: record.measurement.figures[objective.key] for objective in results.objectives}
        point = point_of(record)
        rows.append({"trial": record.number, **({} if point is None else {"operating_point": point}), **figures})
    return rows


def told_latency(manifest: Mapping[str, Any]) -> str:
    """What an export's manifest says of its latency, in a few words."""
    latency = manifest["profile"]["measured"]["latency_us"]
    told = f"{latency['value']:.1f} us {latency['method']}" if latency else "no latency is claimed"
    return f"{told} on {manifest['device']}"


def _facts(config: Config, record: TrialRecord, data: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of a trial."""
    assert record.measurement is not None
    return {
        "title": f"{config.study}, trial {record.number}",
        "study": config.study,
        "trial": record.number,
        **({} if network_of(record) is None else {"operating_point": network_of(record)}),
        "device": config.device,
        "examples_of_data": data["examples"],
        "objectives": {o.key: record.measurement.figures[o.key] for o in config.parsed_objectives()},
        "test_error": record.measurement.figures["test_error"],
        **{key: record.measurement.details[key] for key in KEPT_DETAILS if key in record.measurement.details},
        **_of_transcripts(data, record.measurement.figures),
        # Of a quantised model: what it was before.
        "float32": {key: figure for key, figure in record.measurement.figures.items() if key.startswith(FLOAT_PREFIX)},
        "fusion": record.measurement.fusion,
        "candidate": json.loads(record.candidate.to_json()),
        "digest": record.candidate.digest,
        "seed": record.measurement.seed,
        "epochs": record.measurement.epochs,
        "config": config.model_dump(mode="json", include=CONFIG_KEPT),
        "licences": licences_of(config.data["source"], data["name"]),
    }


def _of_transcripts(data: Mapping[str, Any], figures: dict[str, float]) -> dict[str, Any]:
    """How logits become a text, and how far such texts were from what was said; nothing for other tasks."""
    if "transcription" not in data:
        return {}
    of_the_test = {key: figure for key, figure in figures.items() if key.startswith("test_")}
    return {"transcription": {**data["transcription"], "blank": BLANK, **of_the_test}}
