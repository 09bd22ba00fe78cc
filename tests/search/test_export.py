"""The folder that ships: what is in it, that it can be made again, and that nothing false is written."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repareto.search.devices.host.onnx_runtime import run_onnx
from repareto.search.export import export_trial
from repareto.search.packaging import checks
from repareto.search.packaging.package import Extras
from repareto.spaces.errors import UserError
from tests.search.studies import Trained

MOST_LOST = 0.02
"""Of a network that is trained for seconds and judged by few examples int8 loses more than half a point."""
FORMATS = ("onnx-int8", "tflite", "tflite-int8", "executorch", "executorch-int8", "c")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("digits"))


def export(trained: Trained, folder: Path, **options: Any) -> dict[str, Any]:
    return export_trial(trained.ledger, trained.config, trained.record, folder, **options)


@pytest.fixture(scope="module")
def package(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "package"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "MOST_LOST", MOST_LOST)
        export(trained, folder, extras=Extras(FORMATS))
    return folder


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def test_each_file_is_there_with_its_digest(package: Path) -> None:
    manifest = manifest_of(package)
    names = {path.name for path in package.iterdir()} - {"manifest.json"}
    assert names == set(manifest["sha256"])
    assert names == {
        "README.md", "examples.npz", "model.onnx", "model.pt2", "model.int8.onnx", "model.fp32.tflite",
        "model.int8.tflite", "model.fp32.pte", "model.int8.pte", "model_data.c", "model_data.h",
    }  # fmt: skip
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((package / name).read_bytes()).hexdigest() == digest


def test_each_format_answers_as_torch_does_on_the_test_split(trained: Trained, package: Path) -> None:
    told = manifest_of(package)["checks"]
    assert set(told) == {
        "model.onnx", "model.pt2", "model.int8.onnx", "model.fp32.tflite", "model.int8.tflite", "model.fp32.pte",
        "model.int8.pte", "model_data.c",
    }  # fmt: skip
    assert {check["runtime"] for check in told.values()} == {"onnxruntime", "torch.export", "litert", "executorch"}
    test = trained.datasets.first.test
    for name, check in told.items():
        assert check["examples"] == len(test) and check["of"] == "the test split of digits"
        assert check["difference"] <= check["tolerance"] == (0.25 if "int8" in name or name.endswith(".c") else 1e-4)
        assert check["error"] <= check["error_of_torch"] + MOST_LOST
    searched = trained.record.measurement.figures["test_error"]
    assert told["model.onnx"]["error"] == pytest.approx(searched)
    answers = run_onnx((package / "model.int8.onnx").read_bytes(), test.features)
    assert told["model.int8.onnx"]["error"] == pytest.approx((answers.argmax(1) != test.labels).mean())


def test_examples_have_what_is_to_come_out(package: Path) -> None:
    examples = np.load(package / "examples.npz")
    assert set(examples) == {"features", "logits", "labels"}
    assert len(set(examples["labels"])) == len(examples["labels"]) == 8
    got = torch.export.load(package / "model.pt2").module()(torch.from_numpy(examples["features"]))
    np.testing.assert_allclose(got.detach().numpy(), examples["logits"], atol=1e-4)


def test_the_card_tells_data_errors_front_device_checks_and_licences(package: Path) -> None:
    card = (package / "README.md").read_text()
    for told in (
        "## Data", "digits: ", "## How well", " in nine cases of ten", "## The front that it is from", "**trial 0**",
        "## On reference", "estimated", "## Checked against torch", "| `model.int8.pte` | executorch |", "## Files",
        "- `model_data.c`: the int8 TFLite model as a byte array", "## Licences", "CC BY 4.0",
    ):  # fmt: skip
        assert told in card


def test_an_export_that_is_made_again_is_the_same(
    trained: Trained, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "again"
    monkeypatch.setattr(checks, "MOST_LOST", MOST_LOST)
    export(trained, again, extras=Extras(FORMATS))
    first, second = manifest_of(package), manifest_of(again)
    excused = set(first["not_reproducible"])
    assert excused == set(second["not_reproducible"])
    differing = {path for path in _differences(first, second) if not any(path.startswith(e) for e in excused)}
    assert not differing
    for path in package.iterdir():
        if path.name not in ("manifest.json", "README.md"):
            assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def _differences(first: Any, second: Any, path: str = "") -> set[str]:
    if isinstance(first, Mapping) and isinstance(second, Mapping) and set(first) == set(second):
        return {d for key in first for d in _differences(first[key], second[key], f"{path}.{key}".lstrip("."))}
    return set() if first == second else {path}


def test_what_is_not_the_same_again_is_named(tmp_path: Path) -> None:
    causal = {"name": "repcnn", "padding": "causal", "stages": 1, "width": 8, "blocks": 1, "kernel": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "MOST_EXAMPLES", 50)
        trained = Trained(tmp_path, space=causal)
        export(trained, tmp_path / "first")
        export(trained, tmp_path / "second")
    manifests = [manifest_of(tmp_path / name) for name in ("first", "second")]
    assert "streaming.hop_latency_us" in manifests[0]["not_reproducible"]
    excused = tuple(manifests[0]["not_reproducible"])
    assert all(path.startswith(excused) for path in _differences(*manifests))


def test_nothing_is_left_of_a_file_that_answers_otherwise(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "INT8_TOLERANCE", 1e-6)
    with pytest.raises(UserError, match=r"model\.int8\.onnx: its outputs differ from torch's by"):
        export(trained, tmp_path / "package", extras=Extras(("onnx-int8",)))
    assert not list(tmp_path.iterdir())


def test_formats_that_cannot_be(trained: Trained, tmp_path: Path) -> None:
    for names, complaint in ((("tflight",), r'--format "tflight": is unknown \(did you mean tflite\?\)'),):
        with pytest.raises(UserError, match=complaint):
            export(trained, tmp_path / "package", extras=Extras(names))
    with pytest.raises(UserError, match="--format: an int8 model needs the study's data"):
        export(trained, tmp_path / "package", extras=Extras(("c",)), with_data=False)
    assert not list(tmp_path.iterdir())


def test_without_data_it_is_checked_on_made_up_inputs(trained: Trained, tmp_path: Path) -> None:
    manifest = export(trained, tmp_path / "package", with_data=False)
    assert manifest["checks"]["model.onnx"]["of"].startswith("inputs made up")
    assert "error" not in manifest["checks"]["model.onnx"]
    other = trained.config.model_copy(update={"data": {"source": "digits", "test_share": 0.3}})
    with pytest.raises(UserError, match=r"data\.test_share: unknown key"):
        export_trial(trained.ledger, other, trained.record, tmp_path / "other")
