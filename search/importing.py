"""A PyTorch model of a user's own: fused, compared, profiled, and written as a package, without any search."""

from __future__ import annotations

import copy
import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ..spaces.errors import UserError, first_line
from ..spaces.exits.network import MultiExit
from ..spaces.fusion import FusionReport, compare, fused_in_place
from ..trainers.data.dataset import Split
from .devices.base import Device
from .devices.profile import Profile
from .forms import Form
from .packaging.licences import YOURS, licences_of
from .packaging.package import Export
from .packaging.samples import Samples
from .run import versions

COMPARED = 8
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Imported:
    """A user's model in its fused form, in eval mode on the CPU, and how that compares with what was given."""

    origin: str
    fused: nn.Module
    report: FusionReport
    folded_norms: int
    """Batch normalisations that became part of the layer before them."""
    input_shape: tuple[int, ...]
    classes: int

    @property
    def form(self) -> Form:
        return Form(self.fused, self.input_shape)


def fused_model(model: str | nn.Module, input_shape: Sequence[int]) -> Imported:
    """Return the fused form of a module, or of what ``FILE.py:function`` builds, for inputs (n, *input_shape).

    Blocks of ``repareto.spaces`` are fused, and batch normalisations after a layer in a ``Sequential`` are folded into
    it. Raises :class:`UserError` for what cannot be imported, run or fused, and for a model without one row of logits
    an input.
    """
    origin = model if isinstance(model, str) else type(model).__name__
    model = copy.deepcopy(_built(model) if isinstance(model, str) else model).cpu().eval()
    if isinstance(model, MultiExit):
        raise UserError(f"{origin}: has early exits, whose thresholds a search finds (search a space with exits)")
    shape = tuple(input_shape)
    inputs = torch.randn(COMPARED, *shape, generator=torch.Generator().manual_seed(0))
    classes = _classes(origin, model, inputs)
    fused = fused_in_place(copy.deepcopy(model))
    folded = _fold_norms(fused)
    report = compare(model, fused, inputs)
    if not report.ok:
        raise UserError(
            f"{origin}: its fused form differs by {report.largest_relative_difference:.2g} (relative; tolerance "
            f"{report.tolerance:g}): a block's fused() is not what its forward computes"
        )
    return Imported(origin, fused, report, folded, shape, classes)


def _built(origin: str) -> nn.Module:
    path, colon, name = origin.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise UserError(f'"{origin}": not of the form FILE.py:function (try model.py:build)')
    build = getattr(_module(Path(path)), name, None)
    if not callable(build):
        raise UserError(f"{path}: has no function {name}")
    try:
        model = build()
    except Exception as error:  # a user's code may raise anything
        raise UserError(f"{origin}: raises {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"{origin}: returns {type(model).__name__}, and not a torch.nn.Module")
    if not any(True for _ in model.parameters()):
        raise UserError(f"{origin}: returns a model without parameters")
    return model


def _module(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # What stands beside it can be imported, as for a script.
    sys.path.insert(0, str(path.parent.absolute()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's code may raise anything
        raise UserError(f"{path}: cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    finally:
        sys.path.remove(str(path.parent.absolute()))
    return module


@torch.no_grad()
def _classes(origin: str, model: nn.Module, inputs: torch.Tensor) -> int:
    try:
        outputs = model(inputs)
    except Exception as error:  # a user's code may raise anything
        shape = "x".join(map(str, inputs.shape[1:]))
        raise UserError(f"{origin}: does not take inputs of {shape}: {first_line(error)}") from error
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != len(inputs):
        told = f"shape {tuple(outputs.shape)}" if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise UserError(f"{origin}: gives {told} for {len(inputs)} inputs, and a row of logits each is needed")
    if not torch.isfinite(outputs).all():
        raise UserError(f"{origin}: gives outputs that are not finite")
    return outputs.shape[1]


def _fold_norms(module: nn.Module) -> int:
    """Fold batch normalisations into the layers before them, in place, and return how many there were."""
    folded = 0
    if isinstance(module, nn.Sequential):
        for (name, layer), (norm_name, norm) in list(pairwise(module.named_children())):
            if isinstance(norm, _NORMS) and isinstance(layer, (*_CONVOLUTIONS, nn.Linear)) and norm.track_running_stats:
                fuse: Callable[..., nn.Module] = (
                    fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
                )
                setattr(module, name, fuse(layer, norm))
                setattr(module, norm_name, nn.Identity())
                folded += 1
    return folded + sum(_fold_norms(child) for child in module.children())


def export_of_imported(
    imported: Imported, target: Device, labels: Sequence[str], samples: Samples | None, profile: Profile
) -> Export:
    """Return an imported model as it is written; raises :class:`UserError` where its device quantises and there are no
    samples, or no label for a class."""
    if target.quantises and samples is None:
        raise UserError(f"--device {target.name}: an int8 model needs examples for its ranges (give --samples FILE)")
    if labels and len(labels) != imported.classes:
        raise UserError(f"--labels: {len(labels)} for a model with {imported.classes} outputs")
    names = list(labels or map(str, range(imported.classes)))
    content = imported.form.convert(target, None if samples is None else samples.ranges, names)
    data: dict[str, Any] = {
        "name": "data that is not known here" if samples is None else samples.about,
        "labels": names,
        "input_shape": list(imported.input_shape),
        "front_end": {"kind": "unknown"},
    }
    facts = {
        "title": imported.origin,
        "device": target.name,
        "fusion": asdict(imported.report),
        "float32": {},
        "objectives": {},
        "licences": {**licences_of("", data["name"]), "model": YOURS},
        "versions": versions(),
    }
    return Export(imported.form, target, content, data, facts, asdict(profile), samples=samples)


def read_samples(path: Path, input_shape: Sequence[int]) -> Samples:
    """Return the examples in a ``.npy`` file of features (n, *input_shape), or an ``.npz`` of ``features`` and, where
    they are known, ``labels`` (n,); raises :class:`UserError` for any other."""
    try:
        found = np.load(path, allow_pickle=False)
        features = found if isinstance(found, np.ndarray) else found["features"]
        labels = None if isinstance(found, np.ndarray) or "labels" not in found else found["labels"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"--samples {path}: holds no features ({first_line(error)})") from error
    if features.ndim != len(input_shape) + 1 or features.shape[1:] != tuple(input_shape) or not len(features):
        raise UserError(f"--samples {path}: has features of {features.shape}, and the model takes (n, *{input_shape})")
    if not np.isfinite(features).all():
        raise UserError(f"--samples {path}: holds values that are not finite (leave those examples out)")
    if labels is not None and labels.shape != features.shape[:1]:
        raise UserError(f"--samples {path}: has labels of {labels.shape} for {len(features)} examples")
    features = features.astype(np.float32)
    known = np.zeros(len(features), np.int64) if labels is None else labels.astype(np.int64)
    return Samples(features, Split(features, known), f"{path.name}", is_labelled=labels is not None)


def parse_shape(text: str) -> tuple[int, ...]:
    """Return the shape that ``1x40x50`` means."""
    try:
        shape = tuple(int(size) for size in text.split("x"))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1 or math.prod(shape) > 10**8:
        raise UserError(f'--input "{text}": not a shape of one input without the batch (try 1x40x50)')
    return shape
