"""A trial's fused model as a folder that can be shipped: ONNX, ``.pt2``, a manifest, a README."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..spaces.errors import UserError
from ..spaces.sparsity.slicing import widths_left
from ..trainers.tokens import BLANK
from .config import Config
from .devices.base import Device
from .devices.host.onnx_runtime import export_onnx, largest_difference
from .devices.profile import Profile
from .devices.targets import device
from .exits.files import described_stages, refuse_other_stages, write_joined
from .export_readme import readme
from .export_stream import about_stream, refuse_difference, write_device_stream, write_exit_stream, write_stream
from .forms import ExitForm, Form
from .ledger import Ledger
from .listen import STREAM_FILE
from .models import shipped_file, trained_form
from .packaging.front_end import write_front_end
from .records import FLOAT_PREFIX, TrialRecord, exits_of, network_of, point_of
from .sparse_weights.files import refuse_other_files, write_sparse_weights
from .study_data import data_of
from .tasks import task_named

FORMAT = 1
CHECKED_INPUTS = 16
KEPT_DETAILS = ("detector", "misses")
"""Of a wake word: how to detect it, and how often it is missed at which rate of false alarms."""


CONFIG_KEPT = {"study", "seed", "data", "space", "training", "device", "objectives", "budgets"}
"""Of the config: all that a model is made by, and nothing of where the study ran."""


@dataclass(frozen=True)
class Export:
    """A fused network, the file of it that ships on a device, and what is known of both."""

    form: Form
    target: Device
    content: bytes
    config: Config
    record: TrialRecord
    """The trial that it is from, with the figures and the profile of this network."""
    data: Mapping[str, Any]
    """See :func:`.study_data.data_of`."""
    versions: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else the manifest says."""


def export_trial(
    ledger: Ledger,
    config: Config,
    record: TrialRecord,
    folder: Path,
    *,
    force: bool = False,
    sparse_weights: bool = False,
) -> dict[str, Any]:
    """Write the fused model of a finished trial as :func:`write_export` does, and return its manifest.

    Raises :class:`UserError` where its weights are lost.
    """
    refuse_existing(folder, force=force)
    header = ledger.header()
    form = trained_form(ledger, config, record)
    target = device(config.device)
    content = shipped_file(ledger, config, record, target, form)
    data = data_of(header, record.candidate)
    export = Export(form, target, content, config, record, data, header["versions"])
    return write_export(export, folder, sparse_weights=sparse_weights)


def write_export(export: Export, folder: Path, *, sparse_weights: bool = False) -> dict[str, Any]:
    """Write a folder that can be shipped, in place of one that is there, and return its manifest.

    The ONNX file and the ``.pt2`` file are run and compared with torch. Nothing is left half written. With
    ``sparse_weights`` the ONNX files that ship are there without their zeros, too. Raises :class:`UserError` for
    outputs that differ.
    """
    form, target, labels = export.form, export.target, export.data["labels"]
    if sparse_weights:
        refuse_other_files(target)
    model, inputs = form.fused, _inputs(form.input_shape)
    scratch = _scratch_beside(folder)
    try:
        export_onnx(model, inputs[:1], scratch / "model.onnx", labels)
        refuse_difference("model.onnx", largest_difference(scratch / "model.onnx", model, inputs))
        _write_program(model, inputs, scratch / "model.pt2")
        if isinstance(form, ExitForm):
            stream = write_exit_stream(form.network, target, inputs, labels, scratch)
        else:
            stream = write_stream(model, inputs, labels, scratch / STREAM_FILE)
        for name, content in form.files(target, export.content).items():
            if name != "model.onnx":
                (scratch / name).write_bytes(content)
        if form.file_name(target) == target.stream_file_name:
            stream["ships"] = about_stream(target, export.content)
        elif "file" in stream:
            stream["ships"] = write_device_stream(model, target, inputs, labels, scratch)
        parts = _write_exits(export, inputs, scratch)
        parts |= write_front_end(export.data["front_end"], form.input_shape, scratch)
        if sparse_weights:
            parts["sparse_weights"] = write_sparse_weights(scratch, list(form.files(target, export.content)))
        measured = form.measure(target, export.content, Profile.from_dict(export.record.profile))
        manifest = _manifest(export, asdict(measured), scratch) | {"streaming": stream} | parts
        with torch.no_grad():
            manifest["output"]["shape"] = ["batch", *model(inputs[:1]).shape[1:]]
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        (scratch / "README.md").write_text(readme(manifest, export.config.parsed_objectives()))
        scratch.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return manifest


def told_latency(manifest: Mapping[str, Any]) -> str:
    """What an export's manifest says of its latency, in a few words."""
    latency = manifest["profile"]["measured"]["latency_us"]
    told = f"{latency['value']:.1f} us {latency['method']}" if latency else "no latency is claimed"
    return f"{told} on {manifest['device']}"


def refuse_existing(folder: Path, *, force: bool) -> None:
    """Raise :class:`UserError` for a folder that is there, or, with ``force``, for one that is no export."""
    if not folder.exists():
        return
    if not force:
        raise UserError(f"{folder} exists; name another folder, or add --force to replace it")
    if not (folder / "manifest.json").exists():
        raise UserError(f"{folder} is no export (it has no manifest.json), so --force does not replace it")


def _scratch_beside(folder: Path) -> Path:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror})") from error


def _inputs(shape: tuple[int, ...]) -> torch.Tensor:
    """Return inputs of the distribution that normalised features have."""
    return torch.randn(CHECKED_INPUTS, *shape, generator=torch.Generator().manual_seed(0))


def _write_program(model: nn.Module, inputs: torch.Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (inputs[:2],), dynamic_shapes=({0: batch},))
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    with torch.no_grad():
        refuse_difference(path.name, float((loaded(inputs) - model(inputs)).abs().max()))


def _write_exits(export: Export, inputs: torch.Tensor, folder: Path) -> dict[str, Any]:
    """Write the stages of a network with early exits, and what the runner has to know; nothing for any other."""
    form, target, record = export.form, export.target, export.record
    if not isinstance(form, ExitForm):
        return {}
    details = exits_of(record)
    assert details is not None
    kept = {key: value for key, value in details.items() if key != "point"} | {"chosen": point_of(record)}
    stages = form.open(target, export.content)
    if not target.quantises:
        # One that is quantised answers otherwise than torch does: it was scored as it is.
        kept["largest_difference_from_torch"] = refuse_other_stages(stages, form.network, inputs)
    names = list(form.files(target, export.content))
    part = described_stages(names, form.measured_stages(target, export.content), kept)
    if names[0].endswith(".onnx"):
        part["joined"] = write_joined(part, stages, export.data["labels"], inputs.numpy(), folder)
    return {"exits": part}


def _manifest(export: Export, measured: dict[str, Any], folder: Path) -> dict[str, Any]:
    config, record, data = export.config, export.record, export.data
    ships = list(export.form.files(export.target, export.content))
    assert record.measurement is not None
    return {
        "format": FORMAT,
        "study": config.study,
        "trial": record.number,
        **({} if network_of(record) is None else {"operating_point": network_of(record)}),
        "task": task_named(data).name,
        "device": config.device,
        "ships": ships[0] if len(ships) == 1 else ships,
        "data": data["name"],
        "labels": data["labels"],
        "input": {"name": "features", "dtype": "float32", "shape": ["batch", *data["input_shape"]]},
        "output": {"name": "logits", "dtype": "float32"},
        "front_end": data["front_end"],
        "objectives": {o.key: record.measurement.figures[o.key] for o in config.parsed_objectives()},
        "test_error": record.measurement.figures["test_error"],
        **{key: record.measurement.details[key] for key in KEPT_DETAILS if key in record.measurement.details},
        **_of_transcripts(data, record.measurement.figures),
        # Of a quantised model: what it was before.
        "float32": {key: figure for key, figure in record.measurement.figures.items() if key.startswith(FLOAT_PREFIX)},
        "profile": {"searched": record.profile, "measured": measured},
        "fusion": record.measurement.fusion,
        "candidate": json.loads(record.candidate.to_json()),
        "digest": record.candidate.digest,
        "seed": record.measurement.seed,
        "epochs": record.measurement.epochs,
        "config": config.model_dump(mode="json", include=CONFIG_KEPT),
        "widths": widths_left(export.form.fused, export.form.input_shape),
        **export.about,
        "versions": dict(export.versions),
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
    }


def _of_transcripts(data: Mapping[str, Any], figures: dict[str, float]) -> dict[str, Any]:
    """How logits become a text, and how far such texts were from what was said; nothing for other tasks."""
    if "transcription" not in data:
        return {}
    of_the_test = {key: figure for key, figure in figures.items() if key.startswith("test_")}
    return {"transcription": {**data["transcription"], "blank": BLANK, **of_the_test}}
