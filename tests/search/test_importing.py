"""A user's own model, from its file to a package."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from repareto.search import cli
from repareto.search.devices.host.onnx_runtime import run_onnx
from repareto.search.importing import fused_model, parse_shape, read_samples
from repareto.spaces.errors import UserError

MODEL = """
import torch
from torch import nn
from repareto.spaces import BranchedConv, ConvShape, Topology

def build(width=6):
    torch.manual_seed(0)
    block = BranchedConv(ConvShape(1, width, (3, 3)), Topology(conv=2))
    model = nn.Sequential(
        block, nn.ReLU(), nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)), nn.ReLU(),
        nn.AvgPool2d(8), nn.Flatten(), nn.Linear(width, 3),
    )
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return model

def nothing(): return None
def empty(): return nn.ReLU()
def broken(): raise OSError("no weights here")
def maps(): return nn.Conv2d(1, 2, 3)
def narrow(): return nn.Linear(4, 2)
def infinite():
    model = build()
    nn.init.constant_(model[-1].bias, float("inf"))
    return model
class Wrong(BranchedConv):
    def fused(self):
        fused = super().fused()
        for parameter in fused.parameters():
            nn.init.zeros_(parameter)
        return fused
def wrong():
    return nn.Sequential(Wrong(ConvShape(1, 2, (3, 3)), Topology(conv=2)), nn.Flatten(), nn.Linear(128, 2))
"""


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


def test_blocks_are_fused_and_norms_folded(model_file: Path) -> None:
    imported = fused_model(f"{model_file}:build", (1, 8, 8))
    assert imported.report.fused_blocks == 1 and imported.folded_norms == 1 and imported.classes == 3
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in imported.fused.modules())
    assert 0 < imported.report.largest_relative_difference < 1e-5


@pytest.mark.parametrize(
    ("origin", "complaint"),
    [
        ("model", '"model": not of the form FILE.py:function'),
        ("other.py:build", "other.py: there is no such file"),
        ("model.py:biuld", "model.py: has no function biuld"),
        ("model.py:nothing", "model.py:nothing: returns NoneType, and not a torch.nn.Module"),
        ("model.py:empty", "model.py:empty: returns a model without parameters"),
        ("model.py:broken", "model.py:broken: raises OSError: no weights here"),
        ("model.py:narrow", "model.py:narrow: does not take inputs of 1x8x8: "),
        ("model.py:maps", r"model.py:maps: gives shape \(8, 2, 6, 6\) for 8 inputs"),
        ("model.py:infinite", "model.py:infinite: gives outputs that are not finite"),
        ("model.py:wrong", "model.py:wrong: its fused form differs by "),
        ("bad.py:build", "bad.py: cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'"),
    ],
)
def test_models_that_are_none(model_file: Path, origin: str, complaint: str) -> None:
    model_file.with_name("bad.py").write_text("import no_such_thing")
    with pytest.raises(UserError, match=complaint):
        fused_model(origin, (1, 8, 8))


def test_shapes_and_samples_that_are_none(tmp_path: Path) -> None:
    assert parse_shape("1x40x50") == (1, 40, 50)
    for text in ("", "1x", "1x0", "40 50", "1x-3"):
        with pytest.raises(UserError, match="not a shape of one input"):
            parse_shape(text)
    np.save(tmp_path / "odd.npy", np.zeros((4, 9)))
    np.save(tmp_path / "nan.npy", np.full((4, 1, 8, 8), np.nan))
    np.savez(tmp_path / "labels.npz", features=np.zeros((4, 1, 8, 8)), labels=np.zeros(3))
    np.savez(tmp_path / "other.npz", inputs=np.zeros(3))
    for name, complaint in (
        ("odd.npy", "has features of"), ("nan.npy", "not finite"), ("labels.npz", "has labels of"),
        ("other.npz", "holds no features"), ("missing.npy", "holds no features"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=complaint):
            read_samples(tmp_path / name, (1, 8, 8))


@pytest.fixture
def repareto(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["repareto", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.mark.usefixtures("model_file")
def test_a_package_of_ones_own_model(repareto, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features, model = rng.standard_normal((60, 1, 8, 8)).astype(np.float32), fused_model("model.py:build", (1, 8, 8))
    with torch.no_grad():
        labels = model.fused(torch.from_numpy(features)).argmax(1).numpy()
    np.savez(tmp_path / "samples.npz", features=features, labels=labels)
    words = ("import", "model.py:build", "--input", "1x8x8", "--device", "reference")
    code, out, err = repareto(*words)
    assert code == 0, err
    assert out.startswith("model.py:build: 1 blocks fused, 1 normalisations folded; outputs differ by ")
    assert "latency" in out
    code, out, err = repareto(*words, "--out", "kws", "--labels", "a,b,c", "--samples", "samples.npz")
    assert code == 0, err
    manifest = json.loads((tmp_path / "kws/manifest.json").read_text())
    assert manifest["checks"]["model.onnx"]["error"] == 0 and manifest["checks"]["model.onnx"]["of"] == "samples.npz"
    assert manifest["labels"] == ["a", "b", "c"] and manifest["title"] == "model.py:build"
    answers = run_onnx((tmp_path / "kws/model.onnx").read_bytes(), features)
    assert (answers.argmax(1) == labels).all()
    assert "# model.py:build" in (tmp_path / "kws/README.md").read_text()
    np.save(tmp_path / "one.npy", features[0])
    code, out, err = repareto("predict", "kws", "one.npy", "--json")
    assert code == 0 and json.loads(out)["label"] == "abc"[labels[0]], err
    for more, complaint in (
        (("--out", "kws"), "kws exists; name another folder"),
        (("--out", "new", "--labels", "a,b"), "--labels: 2 for a model with 3 outputs"),
        (("--out", "new", "--device", "cortex-m4"), "--device cortex-m4: an int8 model needs examples for its ranges"),
        (("--out", "new", "--format", "c"), "--format: an int8 model needs"),
    ):
        code, _, err = repareto(*words, *more)
        assert code == 2 and complaint in err and err.count("\n") == 1
    assert not (tmp_path / "new").exists()
