"""The command line searches sparsity: dense and sparse models, taught, stand on one front, and what is sliced runs."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from repareto.search.records import TrialRecord
from repareto.search.sparse_weights.onnx_parts import put_together
from repareto.trainers.data.digits import Digits
from tests.integration.commands import EXAMPLES, repareto, results_of

# Candidates differ in nothing but their sparsity.
FIXED = {"width": 24, "kernel": 3, "stages": 1, "stride": 2, "conv_branches": 1, "dropout": 0, "learning_rate": 0.01}
QUICK = (
    "training.epochs=5", "search.trials=4", "search.sampler=random", "search.early_stopping=false", "device=reference",
    "objectives=[error, macs]", "workers.count=1", "space.sparsity.method=[none, magnitude]",
    "space.sparsity.level=[0.6, 0.8]", "space.sparsity.per_stage=false",
    "space.distillation={from: teacher, logits: 0.1, layers: 0.1, teacher: {width: 32}}",
    *(f"space.{name}={value}" for name, value in FIXED.items()),
)  # fmt: skip


def test_dense_and_sparse_models_on_one_front(tmp_path: Path) -> None:
    words = [word for setting in QUICK for word in ("--set", setting)]
    done = repareto("search", EXAMPLES / "sparse.yaml", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the teacher makes" in done.stdout
    assert (tmp_path / "runs" / "studies" / "sparse" / "teacher" / "fused.pt").exists()
    front = results_of(tmp_path / "runs", "sparse").front
    methods = {record.candidate["sparsity.method"] for record in front}
    assert methods == {"none", "magnitude"}
    sparse = next(record for record in front if record.candidate["sparsity.method"] == "magnitude")
    out = tmp_path / "out"
    exported = repareto("export", "sparse", "--trial", sparse.number, "--out", out, cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    content = (out / "model.onnx").read_bytes()
    assert error_of(content) == sparse.measurement.figures["test_error"]
    # What was profiled before training is what was exported.
    assert sparse.profile["parameters"]["value"] == weights_of(content)
    assert json.loads((out / "manifest.json").read_text())["candidate"]["values"]["sparsity.method"] == "magnitude"
    prunes_what_is_trained(tmp_path, next(r for r in front if r.candidate["sparsity.method"] == "none"))


def prunes_what_is_trained(folder: Path, dense: TrialRecord) -> None:
    """A trial of the study to a size, then what was written to zeros, each by the command line."""
    half = dense.profile["parameters"]["value"] // 2
    words = ("prune", "sparse", "--trial", dense.number, "--target", f"parameters={half}", "--epochs", 3)
    done = repareto(*words, "--out", "small", cwd=folder)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((folder / "small/manifest.json").read_text())
    content = (folder / "small/model.onnx").read_bytes()
    assert 0.8 * half < weights_of(content) <= half
    assert error_of(content) == manifest["test_error"] < 0.5
    assert manifest["pruned"][0]["before"]["test_error"] == dense.measurement.figures["test_error"]
    words = ("prune", "small", "--target", "level=0.9", "--granularity", "weight", "--epochs", 1, "--sparse-weights")
    done = repareto(*words, "--out", "zeros", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "zeros/manifest.json").read_text())
    file = told["sparse_weights"]["files"]["model.onnx"]
    assert file["sparse_weights_bytes"] < 0.3 * file["weights_bytes"]
    parts = [(folder / "zeros" / file[part]).read_bytes() for part in ("structure", "weights")]
    assert error_of(put_together(*parts)) == told["test_error"]
    (weights,) = (folder / "runs").glob(f"studies/sparse/trials/{dense.number:05d}/fused.pt")
    weights.unlink()
    done = repareto("prune", "sparse", "--trial", dense.number, "--target", "level=0.5", "--out", "x", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: trial {dense.number}: its weights are gone (")


def error_of(content: bytes) -> float:
    test = Digits().load(seed=0).test
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"features": test.features.astype(np.float32)})
    return float((logits.argmax(1) != test.labels).mean())


def weights_of(content: bytes) -> int:
    tensors = onnx.load_from_string(content).graph.initializer
    return sum(int(np.prod(tensor.dims)) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT)
