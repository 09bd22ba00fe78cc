"""The files of a network with early exits: its stages, all in one where the format has branches, and the manifest."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...spaces.errors import UserError
from ...spaces.exits.network import MultiExit
from ..devices.profile import Profile
from ..devices.stages import Stages
from .costs import costs_up_to
from .joined import JOINED_FILE, joined_difference, joined_latencies_us, joined_onnx

TOLERANCE = 1e-4
JOINED_TOLERANCE = 1e-6
"""Of probabilities: the kernels of a file are those of its stages."""


def bundled(files: Mapping[str, bytes]) -> bytes:
    """Return files as one, a ZIP archive that is the same for the same files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files.items():
            # Without the time of day.
            archive.writestr(zipfile.ZipInfo(name), file, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def unbundled(content: bytes) -> dict[str, bytes]:
    """Return the files that :func:`bundled` was given."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@torch.no_grad()
def staged_difference(stages: Stages, network: MultiExit, inputs: torch.Tensor) -> float:
    """Return the largest absolute difference of any exit's logits between the stages' files and torch."""
    expected = torch.stack(network.answers(inputs), 1).numpy()
    got = stages.all_answers(inputs.numpy())
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return float(np.abs(got - expected).max())


def refuse_other_stages(stages: Stages, network: MultiExit, inputs: torch.Tensor) -> float:
    """Return :func:`staged_difference` of float32 files; raises :class:`UserError` where it is above 1e-4."""
    difference = staged_difference(stages, network, inputs)
    # Written so that NaN is refused.
    if not difference <= TOLERANCE:
        raise UserError(f"the stages' outputs differ from torch's by {difference:.2g} (tolerance {TOLERANCE:g})")
    return difference


def described_stages(names: Sequence[str], profiles: Sequence[Profile], details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's part on exits: the names of the stages' files, temperatures, operating points, times.

    ``profiles`` are those of the files, ``details`` those of :func:`.judging.judge_logits`. Times are of the stages
    alone, without what a runner adds; where the device claims none there are none.
    """
    part = {"stages": list(names), **details, "points": [dict(point) for point in details["points"]]}
    if profiles[0].latency_us is not None:
        up_to = costs_up_to(profiles, "latency_us")
        part |= {"latency_up_to_us": list(up_to), "latency_method": profiles[0].latency_us.method}
        for point in part["points"]:
            point["expected_latency_of_files_us"] = float(np.dot(point["rates"], up_to))
    return part


def write_joined(
    part: Mapping[str, Any], stages: Stages, labels: Sequence[str], inputs: np.ndarray, folder: Path
) -> dict[str, Any]:
    """Write the ONNX stages that ``part`` of a manifest names as one file, too, and return what to say of it.

    Raises :class:`UserError` for a file that leaves at another exit, or answers otherwise there, than the stages do.
    """
    point = part["points"][part["chosen"]]
    files = [(folder / name).read_bytes() for name in part["stages"]]
    content = joined_onnx(files, part["temperatures"], point["policy"], point["thresholds"], labels)
    difference = joined_difference(content, stages, part["temperatures"], point, inputs)
    if not difference <= JOINED_TOLERANCE:
        raise UserError(f"{JOINED_FILE}: differs from the stages by {difference:.2g} (tolerance {JOINED_TOLERANCE:g})")
    (folder / JOINED_FILE).write_bytes(content)
    return {
        "file": JOINED_FILE,
        "largest_difference_from_stages": difference,
        "measured_latency_at_exit_us": joined_latencies_us(content),
    }
