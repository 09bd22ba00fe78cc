"""A trial's fused model as a folder that can be shipped: ONNX, ``.pt2``, a manifest, a README."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..spaces.errors import UserError
from ..spaces.exits.network import MultiExit
from ..spaces.streaming import streaming
from ..trainers.tokens import BLANK
from ..trainers.transcription import BEAM
from .config import Config
from .devices.base import Device
from .devices.host.onnx_runtime import export_onnx, largest_difference
from .devices.host.onnx_streaming import OnnxStream, largest_stream_difference, streaming_onnx
from .devices.profile import Profile
from .devices.stream import hear_windows
from .devices.targets import device
from .exits.files import refuse_other_stages, write_joined, write_stages
from .exits.streaming import write_stream
from .forms import ExitForm, Form
from .ledger import Ledger
from .listen import STREAM_FILE
from .models import shipped_file, trained_form
from .objectives import Objective
from .records import FLOAT_PREFIX, TrialRecord, exits_of, point_of
from .study_data import data_of
from .tables import KINDS_OF_FIGURES
from .tasks import task_named
from .units import format_quantity

FORMAT = 1
TOLERANCE = 1e-4
CHECKED_INPUTS = 16
KEPT_DETAILS = ("detector", "misses")
"""Of a wake word: how to detect it, and how often it is missed at which rate of false alarms."""


def export_trial(
    ledger: Ledger, config: Config, record: TrialRecord, folder: Path, *, force: bool = False
) -> dict[str, Any]:
    """Write the fused model of a finished trial into ``folder`` and return its manifest.

    The ONNX file and the ``.pt2`` file are run and compared with torch. Nothing is left half written. Raises
    :class:`UserError` for an existing folder (unless ``force``), lost weights, or outputs that differ.
    """
    _refuse_existing(folder, force=force)
    form = trained_form(ledger, config, record)
    model = form.fused
    data = data_of(ledger.header(), record.candidate)
    inputs = _inputs(form.input_shape)
    scratch = _scratch_beside(folder)
    try:
        export_onnx(model, inputs[:1], scratch / "model.onnx", data["labels"])
        _refuse_difference("model.onnx", largest_difference(scratch / "model.onnx", model, inputs))
        _write_program(model, inputs, scratch / "model.pt2")
        target = device(config.device)
        if isinstance(form, ExitForm):
            stream = _write_exit_stream(form.network, target, inputs, data["labels"], scratch)
        else:
            stream = _write_stream(model, inputs, data["labels"], scratch / STREAM_FILE)
        content = shipped_file(ledger, config, record, target, form)
        files = form.files(target, content)
        for name, file in files.items():
            if name != "model.onnx":
                (scratch / name).write_bytes(file)
        ships = list(files)
        if ships == [target.stream_file_name]:
            stream["ships"] = _about_shipped(target, content)
        elif "file" in stream:
            stream["ships"] = _write_device_stream(model, target, inputs, data["labels"], scratch)
        exits = _write_exits(form, target, content, record, inputs, scratch)
        measured = form.measure(target, content, Profile.from_dict(record.profile))
        manifest = _manifest(ledger, config, record, asdict(measured), scratch, ships) | {"streaming": stream} | exits
        with torch.no_grad():
            manifest["output"]["shape"] = ["batch", *model(inputs[:1]).shape[1:]]
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        (scratch / "README.md").write_text(_readme(manifest, config.parsed_objectives()))
        scratch.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return manifest


def _refuse_existing(folder: Path, *, force: bool) -> None:
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


def _refuse_difference(name: str, difference: float) -> None:
    # Written so that NaN is refused.
    if not difference <= TOLERANCE:
        raise UserError(
            f"{name}: its outputs differ from torch's by {difference:.2g} (tolerance {TOLERANCE:g}); nothing written"
        )


def _write_program(model: nn.Module, inputs: torch.Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (inputs[:2],), dynamic_shapes=({0: batch},))
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    with torch.no_grad():
        _refuse_difference(path.name, float((loaded(inputs) - model(inputs)).abs().max()))


def _write_exits(
    form: Form, target: Device, content: bytes, record: TrialRecord, inputs: torch.Tensor, folder: Path
) -> dict[str, Any]:
    """Write the stages of a network with early exits, and what the runner has to know; nothing for any other."""
    if not isinstance(form, ExitForm):
        return {}
    details = exits_of(record)
    assert details is not None
    kept = {key: value for key, value in details.items() if key != "point"} | {"chosen": point_of(record)}
    stages = form.open(target, content)
    if not target.quantises:
        # One that is quantised answers otherwise than torch does: a worker scored it.
        kept["largest_difference_from_torch"] = refuse_other_stages(stages, form.network, inputs)
    part = write_stages(form.files(target, content), form.measured_stages(target, content), kept, folder)
    if Path(part["stages"][0]).suffix == ".onnx":
        part["joined"] = write_joined(part, stages, kept["labels"], inputs.numpy(), folder)
    return {"exits": part}


def _write_stream(model: nn.Module, inputs: torch.Tensor, labels: Sequence[str], path: Path) -> dict[str, Any]:
    """Write a causal network as one that listens hop by hop, in float32, and say what a hop costs; else why not."""
    try:
        stream = streaming(model, inputs.shape[1:])
    except UserError as error:
        return {"refused": str(error)}
    content = streaming_onnx(stream, inputs.shape[1:], labels)
    difference = largest_stream_difference(content, model, inputs)
    _refuse_difference(path.name, difference)
    path.write_bytes(content)
    latency = OnnxStream(content).measure_latency_us()
    return {
        "file": path.name,
        "precision": "fp32",
        "hop_frames": stream.hop_frames,
        "window_hops": stream.window_hops,
        "state_bytes": 4 * stream.state_values,
        "largest_difference_from_window": difference,
        "hop_latency_us": {"minimum": latency.min_us, "median": latency.median_us},
    }


def _write_exit_stream(
    network: MultiExit, target: Device, inputs: torch.Tensor, labels: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write the stages of a causal network with early exits as they listen; else say why not."""
    if target.quantises:
        return {"refused": f"{target.name}: stages that listen are in float32, and its exits are set on int8 ones"}
    try:
        stream = write_stream(network, inputs, labels, folder)
    except UserError as error:
        return {"refused": str(error)}
    _refuse_difference(", ".join(stream["stages"]), stream["largest_difference_from_window"])
    return stream


def _write_device_stream(
    model: nn.Module, target: Device, inputs: torch.Tensor, labels: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write a classifier's streaming file for the device, and say what a hop costs; else why there is none."""
    if target.stream_file_name is not None and target.quantises:
        return {"refused": f"{target.name}: only a study of a wake word makes an int8 file that listens"}
    stream = streaming(model, inputs.shape[1:])
    try:
        content = target.convert_stream(stream, inputs.shape[1:], None, labels)
    except UserError as error:
        return {"refused": str(error)}
    opened = target.open_stream(content)
    with torch.no_grad():
        difference = np.abs(hear_windows(opened, inputs.numpy()) - model(inputs).numpy()).max()
    assert target.stream_file_name is not None
    _refuse_difference(target.stream_file_name, float(difference))
    (folder / target.stream_file_name).write_bytes(content)
    return _about_shipped(target, content)


def _about_shipped(target: Device, content: bytes) -> dict[str, Any]:
    """What a streaming file carries from hop to hop, and what a hop costs where it is run on this host."""
    opened = target.open_stream(content)
    latency = opened.measure_latency_us()
    return {
        "file": target.stream_file_name,
        "precision": target.precision,
        "state_bytes": opened.state_bytes,
        "hop_latency_us": {
            "minimum": latency.min_us,
            "median": latency.median_us,
            "method": f"measured on the host that exported it, {latency.runs} hops, states carried in Python",
        },
    }


def _manifest(
    ledger: Ledger, config: Config, record: TrialRecord, measured: dict[str, Any], folder: Path, ships: Sequence[str]
) -> dict[str, Any]:
    header = ledger.header()
    data = data_of(header, record.candidate)
    assert record.measurement is not None
    return {
        "format": FORMAT,
        "study": config.study,
        "trial": record.number,
        "task": task_named(data).name,
        "device": config.device,
        "ships": ships[0] if len(ships) == 1 else list(ships),
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
        "versions": header["versions"],
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
    }


def _of_transcripts(data: dict[str, Any], figures: dict[str, float]) -> dict[str, Any]:
    """How logits become a text, and how far such texts were from what was said; nothing for other tasks."""
    if "transcription" not in data:
        return {}
    of_the_test = {key: figure for key, figure in figures.items() if key.startswith("test_")}
    return {"transcription": {**data["transcription"], "blank": BLANK, **of_the_test}}


def _readme(manifest: dict[str, Any], objectives: tuple[Objective, ...]) -> str:
    figures = [f"- {o.name}: {o.format(manifest['objectives'][o.key])}" for o in objectives]
    measured = manifest["profile"]["measured"]
    told = [
        f"- {name}, {figure['method']}: {format_quantity(figure['value'], KINDS_OF_FIGURES[name])} ({figure['error']})"
        for name, figure in measured.items()
        if name in ("latency_us", "peak_memory_bytes") and figure
    ]
    shape = manifest["input"]["shape"]
    return "\n".join(
        [
            f"# {manifest['study']}, trial {manifest['trial']}",
            "",
            f"A fused model for {_told_labels(manifest)}.",
            "",
            *figures,
            *_about_the_test(manifest),
            *told,
            *_about_exits(manifest),
            "",
            *_about_what_ships(manifest),
            f"`model.onnx` and `model.pt2` take float32 features {shape} and return logits. `manifest.json` has how",
            "features are made (`front_end`), where each figure comes from, and the SHA-256 of each file.",
            *_about_the_stream(manifest["streaming"]),
            "",
            "```python",
            "import numpy as np, onnxruntime",
            'session = onnxruntime.InferenceSession("model.onnx")',
            f"features = np.zeros((1, *{tuple(shape[1:])}), np.float32)",
            'logits = session.run(["logits"], {"features": features})[0]',
            "```",
            "",
        ]
    )


def _told_labels(manifest: dict[str, Any]) -> str:
    kind = "classes" if "transcription" not in manifest else "tokens, the first CTC's blank"
    return f"{len(manifest['labels'])} {kind}: {', '.join(manifest['labels'])}"


def _about_the_test(manifest: dict[str, Any]) -> list[str]:
    if "transcription" in manifest:
        told = manifest["transcription"]
        return [
            f"- token error on the test split: {100 * manifest['test_error']:.2f} %, with a beam of {BEAM} "
            f"{100 * told['test_beam_error']:.2f} %; word error {100 * told['test_word_error']:.2f} %, character error "
            f"{100 * told['test_character_error']:.2f} %",
            "- of the likeliest token of each step: join repeats, then leave out blanks",
        ]
    if "detector" not in manifest:
        return [f"- error on the test split: {100 * manifest['test_error']:.2f} %"]
    detector = manifest["detector"]
    lines = [
        f"- at a threshold of {detector['threshold']:.3f} for scores averaged over {detector['smoothing_hops']} hops, "
        f"with a pause of {detector['pause_seconds']:g} s after a detection",
    ]
    for row in manifest["misses"]:
        low, high = row["test_misses_interval"]
        lines.append(
            f"- {row['false_alarms_per_hour']:g} false alarms an hour in calibration: {100 * row['test_misses']:.1f} % "
            f"of words missed in the test ({100 * low:.1f} to {100 * high:.1f} %) at "
            f"{row['test_false_alarms_per_hour']:.2g} false alarms an hour"
        )
    return lines


def _about_exits(manifest: dict[str, Any]) -> list[str]:
    if "exits" not in manifest:
        return []
    exits = manifest["exits"]
    point = exits["points"][exits["chosen"]]
    rates = ", ".join(f"{100 * rate:.0f} %" for rate in point["rates"])
    off = [str(number) for number, threshold in enumerate(point["thresholds"], 1) if threshold is None]
    return [
        f"- {len(point['rates'])} exits by {point['policy']}, at which {rates} of the validation split leave",
        *_about_exit_times(exits, point),
        *([f"- off, for they are not good enough at this operating point: exit {', '.join(off)}"] if off else []),
        "- `repareto predict` runs the stages and stops early; `model.onnx` is the last exit alone",
    ]


def _about_exit_times(exits: dict[str, Any], point: dict[str, Any]) -> list[str]:
    if "latency_up_to_us" not in exits:
        return []
    told = ", ".join(f"{value:.1f}" for value in exits["latency_up_to_us"])
    lines = [
        f"- to each exit takes {told} us, {exits['latency_method']}; {point['expected_latency_of_files_us']:.1f} us on "
        "average"
    ]
    if "joined" in exits:
        told = ", ".join(f"{value:.1f}" for value in exits["joined"]["measured_latency_at_exit_us"])
        lines.append(
            f"- `{exits['joined']['file']}` has all stages in one and stops early by itself: one run that leaves at "
            f"each exit took {told} us in ONNX Runtime on the host that exported it"
        )
    return lines


def _about_the_stream(streaming: dict[str, Any]) -> list[str]:
    if "refused" in streaming:
        return []
    if "stages" in streaming:
        return [
            f"`{'`, `'.join(streaming['stages'])}` listen: `repareto stream` gives them {streaming['hop_frames']} new "
            "frames at a time and stops at the first exit that is sure. A stage that was not needed catches up when it "
            f"is, so that the longest hop may take {streaming['longest_hop_us']:.0f} us. They compute in float32.",
        ]
    lines = [
        f"`{streaming['file']}` listens: it takes {streaming['hop_frames']} new frames at a time and the states "
        "that it gave for those before (zeros at first).",
        f"The states hold {streaming['state_bytes']} bytes; a hop took {streaming['hop_latency_us']['minimum']:.1f} us "
        "in ONNX Runtime on the machine that exported it. It computes in float32.",
    ]
    ships = streaming["ships"]
    if "refused" not in ships and ships["file"] != streaming["file"]:
        lines.append(
            f"`{ships['file']}` does the same in {ships['precision']}, with states of {ships['state_bytes']} bytes."
        )
    return lines


def _about_what_ships(manifest: dict[str, Any]) -> list[str]:
    ships = manifest["ships"]
    if ships == "model.onnx":
        return []
    names = f"`{ships}` is" if isinstance(ships, str) else f"`{'`, `'.join(ships)}` are"
    lines = [f"{names} what ships on {manifest['device']}, and what the errors above are of."]
    if manifest["float32"]:
        before = manifest["float32"][f"{FLOAT_PREFIX}test_error"]
        lines.append(f"Before it was quantised the model had {100 * before:.2f} % error on the test split.")
    return [*lines, ""]
