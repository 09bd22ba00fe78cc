"""The part of an export that listens hop by hop: the streaming form of a causal network, and the device's own file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..spaces.errors import UserError
from ..spaces.exits.chain import ExitChain
from ..spaces.exits.network import MultiExit
from ..spaces.streaming import streaming
from .devices.base import Device
from .devices.host.onnx_streaming import OnnxStream, largest_stream_difference, streaming_onnx
from .devices.stream import hear_windows
from .exits.streaming import write_stages_that_listen

TOLERANCE = 1e-4


def refuse_difference(name: str, difference: float) -> None:
    # Written so that NaN is refused.
    if not difference <= TOLERANCE:
        raise UserError(
            f"{name}: its outputs differ from torch's by {difference:.2g} (tolerance {TOLERANCE:g}); nothing written"
        )


def write_stream(model: nn.Module, inputs: torch.Tensor, labels: Sequence[str], path: Path) -> dict[str, Any]:
    """Write a causal network as one that listens hop by hop, in float32, and say what a hop costs; else why not."""
    try:
        stream = streaming(model, inputs.shape[1:])
    except UserError as error:
        return {"refused": str(error)}
    content = streaming_onnx(stream, inputs.shape[1:], labels)
    difference = largest_stream_difference(content, model, inputs)
    refuse_difference(path.name, difference)
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


def write_exit_stream(
    network: MultiExit, target: Device, inputs: torch.Tensor, labels: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write the stages of a causal network with early exits as they listen, in float32; else say why not."""
    if target.quantises:
        return {"refused": f"{target.name}: stages that listen are in float32, and its exits are set on int8 ones"}
    if not isinstance(network, ExitChain):
        return {"refused": "a Conformer has no streaming form"}
    try:
        stream = write_stages_that_listen(network, inputs, labels, folder)
    except UserError as error:
        return {"refused": str(error)}
    refuse_difference(", ".join(stream["stages"]), stream["largest_difference_from_window"])
    return stream


def write_device_stream(
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
    refuse_difference(target.stream_file_name, float(difference))
    (folder / target.stream_file_name).write_bytes(content)
    return about_stream(target, content)


def about_stream(target: Device, content: bytes) -> dict[str, Any]:
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
