"""What an export has of a network's early exits, for tests."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from repareto.search.devices.host.onnx_stages import stage_files
from repareto.search.devices.targets import device
from repareto.search.exits.costs import stage_profiles
from repareto.search.exits.files import described_stages, write_joined
from repareto.spaces.exits.network import MultiExit
from repareto.spaces.fusion import fused_copy
from tests.spaces.exits.test_network import SHAPE, network
from tests.spaces.networks import randomise_norms

LABELS = ["a", "b", "c", "d"]


@cache
def fused_network() -> MultiExit:
    """Two early exits, with statistics as a training leaves them."""
    model = fused_copy(randomise_norms(network(head="conv").eval()))
    assert isinstance(model, MultiExit)
    return model


@cache
def float_stages() -> tuple[bytes, ...]:
    """Its ONNX stages."""
    return tuple(stage_files(fused_network(), SHAPE, LABELS))


def export_stages(
    fused: MultiExit, details: Mapping[str, Any], inputs: torch.Tensor, labels: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write ONNX stages in float32, alone and in one file, and return the manifest's part on exits."""
    target, shape = device("reference"), tuple(inputs.shape[1:])
    files = target.convert_stages(fused, shape, None, labels)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    exits = described_stages(list(files), stage_profiles(fused, shape, target), details)
    joined = write_joined(exits, target.open_stages(list(files.values())), labels, inputs.numpy(), folder)
    return {**exits, "joined": joined}
