"""An export's files without their zeros are the same files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from repareto.search.devices.host.onnx_quantize import quantise_onnx
from repareto.search.devices.host.onnx_runtime import onnx_bytes, run_onnx
from repareto.search.devices.targets import device
from repareto.search.sparse_weights.files import refuse_other_files, write_sparse_weights
from repareto.search.sparse_weights.onnx_parts import put_together
from repareto.spaces.errors import UserError

INPUTS = np.random.default_rng(0).standard_normal((20, 4, 1, 12)).astype(np.float32)


def network(zeros: float) -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(4, 24, (1, 5)), nn.ReLU(), nn.Conv2d(24, 24, (1, 3))]
    layers = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(144, 6))
    for parameter in layers.parameters():
        if parameter.dim() > 1:
            parameter.data[torch.rand(parameter.shape) < zeros] = 0
    return layers.eval()


@pytest.mark.parametrize("is_int8", [False, True])
def test_put_together_they_answer_alike(tmp_path: Path, is_int8: bool) -> None:
    content = onnx_bytes(network(0.9), torch.from_numpy(INPUTS))
    if is_int8:
        content = quantise_onnx(content, INPUTS)
    (tmp_path / "model.onnx").write_bytes(content)
    told = write_sparse_weights(tmp_path, ["model.onnx"])
    file = told["files"]["model.onnx"]
    structure, weights = ((tmp_path / file[part]).read_bytes() for part in ("structure", "weights"))
    np.testing.assert_array_equal(run_onnx(put_together(structure, weights), INPUTS), run_onnx(content, INPUTS))
    assert file["sparse_weights_bytes"] == len(weights) and file["structure_bytes"] == len(structure)
    assert file["zero_share"] > 0.8
    assert file["sparse_weights_bytes"] < (0.5 if is_int8 else 0.2) * file["weights_bytes"]
    assert len(structure) + len(weights) < file["file_bytes"] == len(content)
    assert "sparse_decode" in (tmp_path / told["decoder"]).read_text()


def test_a_device_whose_file_is_another() -> None:
    refuse_other_files(device("host-onnxruntime-int8"))
    with pytest.raises(UserError, match=r"--sparse-weights: what ships on cortex-m4 is model\.tflite, and only ONNX"):
        refuse_other_files(device("cortex-m4"))
