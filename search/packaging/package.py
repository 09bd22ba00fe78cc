"""A fused network as a folder that can be shipped: its files, each checked against torch, a manifest, a README."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...spaces.errors import UserError
from ...spaces.sparsity.slicing import widths_left
from ..devices.base import Device
from ..devices.host.onnx_runtime import export_onnx, largest_difference, run_onnx
from ..devices.profile import Profile
from ..exits.files import described_stages, refuse_other_stages, write_joined
from ..export_readme import readme
from ..export_stream import about_stream, refuse_difference, write_device_stream, write_exit_stream, write_stream
from ..forms import ExitForm, Form
from ..listen import STREAM_FILE
from ..objectives import Objective
from ..sparse_weights.files import refuse_other_files, write_sparse_weights
from ..tasks import task_named
from .checks import Checker
from .examples import write_examples
from .formats import Conversion, Wanted
from .front_end import write_front_end
from .samples import Samples
from .timed import not_reproducible

FORMAT = 1
CHECKED_INPUTS = 16
PIECE = 256
"""So many examples at a time."""


@dataclass(frozen=True)
class Export:
    """A fused network, the file of it that ships on a device, and what is known of both."""

    form: Form
    target: Device
    content: bytes
    data: Mapping[str, Any]
    """See :func:`.study_data.data_of`: ``labels``, ``front_end`` and, of a study, ``examples``."""
    facts: Mapping[str, Any]
    """What the manifest says of where the network is from; ``title`` is its name."""
    profile: Mapping[str, Any]
    """That which was known before it was measured."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Empty where it is still to be measured."""
    samples: Samples | None = None
    """Real examples to check on; None where the data is not to be had."""
    objectives: tuple[Objective, ...] = ()
    """Those of its study."""
    exits: Mapping[str, Any] | None = None
    """What was found out of its early exits, with the operating point that is ``chosen``."""


@dataclass(frozen=True)
class Extras:
    """What else a package is to have: other formats (see :mod:`.packaging.formats`), weights without their zeros."""

    formats: Sequence[str] = ()
    sparse_weights: bool = False


PLAIN = Extras()


def write_export(export: Export, folder: Path, extras: Extras = PLAIN) -> dict[str, Any]:
    """Write a folder that can be shipped, in place of one that is there, and return its manifest.

    Each file is run in its own runtime and compared with torch. Nothing is left half written. Raises
    :class:`UserError` for outputs that differ, for more mistakes than torch makes, and for a format that cannot be.
    """
    form, target, labels = export.form, export.target, export.data["labels"]
    wanted = Wanted.of(extras.formats)
    if extras.sparse_weights:
        refuse_other_files(target)
    model, inputs = form.fused, _inputs(form.input_shape)
    checker = Checker.of(model, task_named(export.data), form.input_shape, export.samples)
    scratch = _scratch_beside(folder)
    try:
        export_onnx(model, inputs[:1], scratch / "model.onnx", labels)
        refuse_difference("model.onnx", largest_difference(scratch / "model.onnx", model, inputs))
        onnx_file = (scratch / "model.onnx").read_bytes()
        checks = {"model.onnx": checker.check("model.onnx", "onnxruntime", lambda x: run_onnx(onnx_file, x))}
        checks["model.pt2"] = _write_program(model, inputs, checker, scratch / "model.pt2")
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
        checks |= _checked_file(export, checker)
        conversion = Conversion(form, labels, None if export.samples is None else export.samples.ranges, checker)
        checks |= conversion.write_all(wanted, (target, export.content), scratch)
        parts |= write_front_end(export.data["front_end"], form.input_shape, scratch)
        parts |= write_examples(checker, export.data["front_end"], scratch)
        if extras.sparse_weights:
            parts["sparse_weights"] = write_sparse_weights(scratch, list(form.files(target, export.content)))
        # Those of a member of the front were measured when the search ended, and decided there.
        profile = Profile.from_dict(export.profile)
        measured = export.measured or asdict(form.measure(target, export.content, profile))
        manifest = _manifest(export, measured) | {"streaming": stream} | parts | {"checks": checks}
        manifest["output"]["shape"] = ["batch", *checker.logits.shape[1:]]
        manifest["not_reproducible"] = not_reproducible(manifest, is_measured_anew=not export.measured)
        names = sorted(path.name for path in scratch.iterdir())
        (scratch / "README.md").write_text(readme(manifest, export.objectives, [*names, "README.md"]))
        manifest["sha256"] = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(scratch.iterdir())
        }
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        scratch.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return manifest


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


def _write_program(model: nn.Module, inputs: torch.Tensor, checker: Checker, path: Path) -> dict[str, Any]:
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (inputs[:2],), dynamic_shapes=({0: batch},))
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()

    @torch.no_grad()
    def answers(features: np.ndarray) -> np.ndarray:
        pieces = torch.from_numpy(features).split(PIECE)
        return torch.cat([loaded(piece) for piece in pieces]).numpy()

    return checker.check(path.name, "torch.export", answers)


def _checked_file(export: Export, checker: Checker) -> dict[str, Any]:
    """Check the file of the search's own device, where it is another than the ONNX file that is always there."""
    form, target = export.form, export.target
    name = ", ".join(form.files(target, export.content))
    if name == "model.onnx":
        return {}
    answers = form.answers(target, export.content)
    if target.quantises and "test_error" in export.facts:
        is_scored_alike = form.stream is None and not isinstance(form, ExitForm) and checker.has_all
        scored = export.facts["test_error"] if is_scored_alike else None
        return {name: checker.check_scored(name, target.runtime, answers, scored)}
    return {name: checker.check(name, target.runtime, answers, quantised=target.quantises)}


def _write_exits(export: Export, inputs: torch.Tensor, folder: Path) -> dict[str, Any]:
    """Write the stages of a network with early exits, and what the runner has to know; nothing for any other."""
    form, target = export.form, export.target
    if not isinstance(form, ExitForm):
        return {}
    assert export.exits is not None
    kept = dict(export.exits)
    stages = form.open(target, export.content)
    if not target.quantises:
        # One that is quantised answers otherwise than torch does: it was scored as it is.
        kept["largest_difference_from_torch"] = refuse_other_stages(stages, form.network, inputs)
    names = list(form.files(target, export.content))
    part = described_stages(names, form.measured_stages(target, export.content), kept)
    if names[0].endswith(".onnx"):
        part["joined"] = write_joined(part, stages, export.data["labels"], inputs.numpy(), folder)
    return {"exits": part}


def _manifest(export: Export, measured: Mapping[str, Any]) -> dict[str, Any]:
    data = export.data
    ships = list(export.form.files(export.target, export.content))
    return {
        "format": FORMAT,
        **export.facts,
        "task": task_named(data).name,
        "ships": ships[0] if len(ships) == 1 else ships,
        "data": data["name"],
        "labels": data["labels"],
        "input": {"name": "features", "dtype": "float32", "shape": ["batch", *data["input_shape"]]},
        "output": {"name": "logits", "dtype": "float32"},
        "front_end": data["front_end"],
        "profile": {"searched": export.profile, "measured": measured},
        "widths": widths_left(export.form.fused, export.form.input_shape),
    }
