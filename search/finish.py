"""What a front member gets at the end: its model as ONNX, measured on the device and logged in MLflow."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from requests import RequestException

from ..spaces.errors import UserError, first_line
from .config import Config
from .devices.base import Device
from .devices.host.onnx_runtime import export_onnx
from .devices.profile import Profile
from .devices.report.drawing import network_svg
from .devices.report.memory_map import memory_map_svg
from .devices.targets import device
from .forms import Form
from .ledger import Ledger
from .mlflow_models import EXPORT_NAME, MODEL_NAME, log_model, register_champion
from .mlflow_points import network_names
from .mlflow_runs import MlflowRuns
from .models import shipped_file, trained_form
from .packaging.examples import EXAMPLES_FILE
from .pages.rows import trial_name
from .plots import detection_png
from .profiles import Subject, report_on
from .records import TrialRecord, at_point, models_of, network_of
from .results import Results
from .study_data import data_of
from .tracking import connect_runs

ONNX_NAME = "model.onnx"
"""Of the model that MLflow loads and serves."""

# What MLflow's client raises where its server or the artifacts behind it do not answer.
MLFLOW_ERRORS = (MlflowException, RequestException)
PAUSES_SECONDS = (1.0, 4.0, 15.0)

T = TypeVar("T")


def complete_members(
    ledger: Ledger, config: Config, records: Sequence[TrialRecord], say: Callable[[str], None]
) -> None:
    """Measure the fused models of front members and log them, where that is not done.

    What one of them lacks does not hold up the others; where MLflow does not answer, ``repareto sync`` does the rest.
    """
    header = ledger.header()
    try:
        runs = _patiently(lambda: connect_runs(config, header))
        # A trial may be there at several operating points.
        lacking = [record for record in models_of(records) if not record.measured or runs.model_uri(record) is None]
        if lacking:
            say(f"measuring {len(lacking)} models of the front on {config.device} and logging them")
        for record in lacking:
            try:
                _patiently(partial(_complete_member, ledger, config, runs, record))
            except UserError as error:
                say(f"{_told(record)} is not complete ({first_line(error)}); the same command tries it again")
        if lacking:
            # With the measured figures.
            results = Results(config.parsed_objectives(), header["reference"], ledger.records())
            _patiently(partial(runs.write_front, results, complete=True))
    except MLFLOW_ERRORS as error:
        say(
            f"{config.tracking or 'MLflow'}: the front's models cannot be logged ({first_line(error)}); "
            f"when it answers again, `repareto sync {config.study}` logs what is missing"
        )


def _patiently(attempt: Callable[[], T]) -> T:
    """Make an attempt again where MLflow fails, as while its server or its database is started again."""
    for pause_seconds in PAUSES_SECONDS:
        try:
            return attempt()
        except MLFLOW_ERRORS:
            time.sleep(pause_seconds)
    return attempt()


def _complete_member(ledger: Ledger, config: Config, runs: MlflowRuns, record: TrialRecord) -> None:
    target = device(config.device)
    form = trained_form(ledger, config, record)
    content = shipped_file(ledger, config, record, target, form)
    # A view that is written anew has the figures that were measured when the search ended.
    measured = record.measured or asdict(form.measure(target, content, Profile.from_dict(record.profile)))
    runs.write_trial(at_point(record))
    runs.write_measured(record, measured)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / form.file_name(target)
        path.write_bytes(content)
        if path.name != ONNX_NAME:
            runs.write_file(record, path)
            path = path.with_name(ONNX_NAME)
            labels = data_of(ledger.header(), record.candidate)["labels"]
            export_onnx(form.fused, torch.zeros(1, *form.input_shape), path, labels)
        _write_details(runs, record, Path(folder))
        _write_drawings(runs, record, form, target, Path(folder))
        log_trial_model(ledger, config, runs, record, path)
    if not record.measured:
        # Last, for it says that nothing is left to do.
        ledger.record_measured(record.number, measured, network_of(record))


def _told(record: TrialRecord) -> str:
    return " ".join([f"trial {record.number}", *network_names(record)])


def _write_details(runs: MlflowRuns, record: TrialRecord, folder: Path) -> None:
    """Write a wake word's curve as a picture, and as tables its figures at each rate of false alarms or the operating
    points of early exits."""
    assert record.measurement is not None
    details = record.measurement.details
    if "exits" in details:
        (folder / "exits.json").write_text(json.dumps(details["exits"], indent=1))
        runs.write_file(record, folder / "exits.json")
    if "curves" not in details:
        return
    (folder / "detection.png").write_bytes(detection_png(details, f"trial {record.number}"))
    (folder / "detection.json").write_text(json.dumps(details, indent=1))
    for name in ("detection.png", "detection.json"):
        runs.write_file(record, folder / name)


def _write_drawings(runs: MlflowRuns, record: TrialRecord, form: Form, target: Device, folder: Path) -> None:
    """Write the network as it runs, with what each layer costs, and the map of its memory."""
    title = f"{trial_name(record)} on {target.name}"
    report = report_on(Subject(title, form.graph()), target)
    drawings = {
        "network.svg": network_svg(report.graph, report.layers, title),
        "memory.svg": memory_map_svg(report.graph, report.plan, title),
    }
    for name, drawing in drawings.items():
        (folder / name).write_text(drawing, encoding="utf-8")
        runs.write_file(record, folder / name)


def log_trial_model(ledger: Ledger, config: Config, runs: MlflowRuns, record: TrialRecord, onnx_path: Path) -> str:
    """Log an ONNX file under a trial's run and return the model's URI; a run that has its model keeps it."""
    data = data_of(ledger.header(), record.candidate)
    known = runs.model_uri(record)
    if known:
        return known
    metadata = {
        "study": config.study,
        "trial": record.number,
        **({} if network_of(record) is None else {"network": network_of(record)}),
        "digest": record.candidate.digest,
        "labels": data["labels"],
    }
    name = "-".join([MODEL_NAME, *network_names(record)])
    uri = log_model(runs.uri, runs.run_id(record.number), onnx_path, tuple(data["input_shape"]), metadata, name)
    runs.write_model_uri(record, uri)
    return uri


def register(ledger: Ledger, config: Config, record: TrialRecord, folder: Path) -> str:
    """Register the model of an export's folder under the study's name with the alias ``champion``; return what to tell
    the user.

    It is logged under its trial's run with an example of its input; exporting the same file again makes a new version
    of the same logged model.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    tags = _tags_of_version(manifest)
    try:
        runs = connect_runs(config, ledger.header())
        runs.write_trial(at_point(record))
        uri = log_model(
            runs.uri,
            runs.run_id(record.number),
            folder / ONNX_NAME,
            tuple(manifest["input"]["shape"][1:]),
            {**tags, "labels": manifest["labels"]},
            f"{EXPORT_NAME}-{tags['sha256'][:8]}",
            np.load(folder / EXAMPLES_FILE)["features"][:1],
        )
        description = f"{_told(record)} of study {config.study}, candidate {record.candidate.digest}"
        version = register_champion(runs.uri, uri, config.study, description, tags)
    except MLFLOW_ERRORS as error:
        return f"not registered in MLflow ({first_line(error)}); the same command with --force tries again"
    return f"registered in MLflow as models:/{config.study}@champion (version {version})"


def _tags_of_version(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What tells a registered version from others, and where it comes from."""
    told = {key: str(manifest[key]) for key in ("study", "trial", "task", "device", "digest", "test_error")}
    ships = manifest["ships"]
    return {
        **told,
        "ships": ships if isinstance(ships, str) else ", ".join(ships),
        "data": manifest["data"],
        "sha256": manifest["sha256"][ONNX_NAME],
    }
