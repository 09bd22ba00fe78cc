import json
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from repareto.search.devices.host.onnx_runtime import (
    export_onnx,
    largest_difference,
    make_session,
    measure_latency_us,
    onnx_bytes,
    peak_allocated_bytes,
)
from repareto.search.devices.shipped import LABELS_KEY
from repareto.spaces.errors import UserError


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 18, 3)).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(net(), torch.randn(1, 4, 20), path, labels=["yes", "no"])
    return path


def test_one_file_with_named_ends_a_dynamic_batch_and_labels(exported: Path) -> None:
    model = onnx.load(exported)
    (source,), (result,) = model.graph.input, model.graph.output
    assert (source.name, result.name) == ("features", "logits")
    assert source.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {p.key: json.loads(p.value) for p in model.metadata_props} == {LABELS_KEY: ["yes", "no"]}
    assert list(exported.parent.iterdir()) == [exported]


def test_exporting_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_onnx(net(), torch.randn(2, 4, 20), tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


def test_nothing_of_this_machine_is_in_the_file(exported: Path) -> None:
    content = exported.read_bytes()
    assert b"stack_trace" not in content and b"site-packages" not in content


def test_the_difference_to_torch(exported: Path) -> None:
    inputs = torch.randn(5, 4, 20, generator=torch.Generator().manual_seed(1))
    assert largest_difference(exported, net(), inputs) < 1e-5
    other = net()
    with torch.no_grad():
        other[3].bias += 0.5
    assert largest_difference(exported, other, inputs) == pytest.approx(0.5, abs=1e-5)


def test_latency(exported: Path) -> None:
    for source in (exported, exported.read_bytes()):
        latency = measure_latency_us(source, (1, 4, 20), repeats=7, seconds=0.2)
        assert latency.runs == 7
        assert 0 < latency.min_us <= latency.median_us


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x * 2


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    example = torch.randn(1, 4)
    with pytest.raises(UserError, match=r"call \.eval\(\)"):
        export_onnx(net().train(), torch.randn(1, 4, 20), tmp_path / "model.onnx")
    with pytest.raises(UserError, match="Pair: has 2 outputs"):
        export_onnx(Pair().eval(), example, tmp_path / "model.onnx")
    with pytest.raises(UserError, match="Branches: cannot be exported to ONNX"):
        export_onnx(Branches().eval(), example, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_the_runtime_refuses(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"model\.onnx: ONNX Runtime does not load it"):
        make_session(tmp_path / "model.onnx")


def test_the_allocators_own_report_grows_with_the_activations() -> None:
    def peak(width: int) -> int:
        layers = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, groups=width)]
        return peak_allocated_bytes(onnx_bytes(nn.Sequential(*layers).eval(), torch.zeros(1, 1, 32, 32)))

    activations = 32 * 32 * 16 * 4
    assert peak(16) >= 2 * activations
    assert peak(64) >= 8 * activations > peak(16)
