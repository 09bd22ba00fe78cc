"""The files of a network with early exits: one ONNX file a stage, and what a runner has to know of them."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...spaces.errors import UserError
from ...spaces.exits.network import MultiExit
from ..devices.host.onnx_quantize import quantise_by_feeds
from ..devices.host.onnx_runtime import BATCH_NAME, exported, make_session, measure_latency_us
from ..devices.shipped import INPUT_NAME, LABELS_KEY, OUTPUT_NAME

TOLERANCE = 1e-4
BATCH = 64
HIDDEN_NAME = "hidden"
"""The map that goes from stage to stage: the first output of each but the last, the input of each but the first."""


def stage_file_name(number: int) -> str:
    """Return what the file of the stage that ends at an exit, counted from 1, is called."""
    return f"stage{number}.onnx"


@torch.no_grad()
def stage_files(network: MultiExit, input_shape: Sequence[int], labels: Sequence[str] | None = None) -> list[bytes]:
    """Return an ONNX file for each stage of a fused network in eval mode on the CPU; each takes any batch."""
    properties = {} if labels is None else {LABELS_KEY: json.dumps(list(labels))}
    files = []
    # A batch of one would be taken for a constant.
    example = torch.zeros(2, *input_shape)
    stages = network.stages()
    for number, stage in enumerate(stages, 1):
        inputs = (INPUT_NAME if number == 1 else HIDDEN_NAME + "_in",)
        outputs = (OUTPUT_NAME,) if number == len(stages) else (HIDDEN_NAME, OUTPUT_NAME)
        batch = ({0: torch.export.Dim(BATCH_NAME)},)
        files.append(exported(stage, (example,), (inputs, outputs), properties, dynamic_shapes=batch))
        if number < len(stages):
            example = stage(example)[0]
    return files


def quantised_stages(files: Sequence[bytes], samples: np.ndarray) -> list[bytes]:
    """Return the int8 form of each stage; what goes from stage to stage stays float32.

    ``samples`` (n, *input_shape) set the ranges, of a later stage as the maps that the int8 stages before it give.
    """
    quantised: list[bytes] = []
    batches = _batches(samples)
    for content in files:
        name = make_session(content).get_inputs()[0].name
        quantised.append(quantise_by_feeds(content, iter([{name: batch} for batch in batches]), {}))
        session = make_session(quantised[-1])
        batches = [session.run(None, {name: batch})[0] for batch in batches]
    return quantised


def staged_logits(files: Sequence[bytes], features: np.ndarray) -> np.ndarray:
    """Return the logits (n, e, c), float64, that the stages give for features (n, *input_shape)."""
    sessions = [make_session(content) for content in files]
    parts = []
    for batch in _batches(features):
        x, answers = batch, []
        for session in sessions:
            *hidden, logits = session.run(None, {session.get_inputs()[0].name: x})
            answers.append(logits)
            x = hidden[0] if hidden else x
        parts.append(np.stack(answers, 1))
    return np.concatenate(parts).astype(float)


def _batches(features: np.ndarray) -> list[np.ndarray]:
    return np.array_split(features.astype(np.float32), max(1, len(features) // BATCH))


def bundled(files: Sequence[bytes]) -> bytes:
    """Return all stages as one file, a ZIP archive that is the same for the same stages."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, file in enumerate(files, 1):
            # Without the time of day.
            archive.writestr(zipfile.ZipInfo(stage_file_name(number)), file, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def unbundled(content: bytes) -> list[bytes]:
    """Return the stages that :func:`bundled` was given."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [archive.read(name) for name in archive.namelist()]


def staged_difference(files: Sequence[bytes], network: MultiExit, inputs: torch.Tensor) -> float:
    """Return the largest absolute difference of any exit's logits between the files, one after the other, and torch."""
    with torch.no_grad():
        expected = [logits.numpy() for logits in network.answers(inputs)]
    x, largest = inputs.numpy(), 0.0
    for content, logits in zip(files, expected, strict=True):
        session = make_session(content)
        *hidden, got = session.run(None, {session.get_inputs()[0].name: x})
        if got.shape != logits.shape:
            return math.inf
        largest = max(largest, float(np.abs(got - logits).max()))
        x = hidden[0] if hidden else x
    return largest


def write_stages(
    network: MultiExit, details: Mapping[str, Any], inputs: torch.Tensor, labels: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write the float32 stages as :func:`write_stage_files` does, compared with torch.

    Raises :class:`UserError` where they differ from it by more than 1e-4.
    """
    files = stage_files(network, inputs.shape[1:], labels)
    difference = staged_difference(files, network, inputs)
    # Written so that NaN is refused.
    if not difference <= TOLERANCE:
        raise UserError(f"the stages' outputs differ from torch's by {difference:.2g} (tolerance {TOLERANCE:g})")
    return {"largest_difference_from_torch": difference, **write_stage_files(files, details, folder)}


def write_stage_files(files: Sequence[bytes], details: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write the stages and return the manifest's part on exits: files, temperatures, points, and the time to each exit.

    ``details`` are those of :func:`.judging.judge_logits`. Times are of this host, the minimum of many runs on
    one thread, without what the runner adds.
    """
    times: list[float] = [0.0]
    for number, content in enumerate(files, 1):
        (folder / stage_file_name(number)).write_bytes(content)
        times.append(times[-1] + measure_latency_us(content).min_us)
    return {
        "stages": [stage_file_name(number) for number in range(1, len(files) + 1)],
        "measured_latency_up_to_us": times[1:],
        **details,
        "points": [
            {**point, "measured_expected_latency_us": float(np.dot(point["rates"], times[1:]))}
            for point in details["points"]
        ],
    }
