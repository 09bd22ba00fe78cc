"""The command line searches sparsity: dense and sparse models, taught, stand on one front, and what is sliced runs."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from repareto.search.ledger import Ledger
from repareto.search.run import read_results
from repareto.trainers.data.digits import Digits
from tests.integration.commands import EXAMPLES, repareto

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
    front = read_results(Ledger.open(tmp_path / "runs", "sparse")).front
    methods = {record.candidate["sparsity.method"] for record in front}
    assert methods == {"none", "magnitude"}
    sparse = next(record for record in front if record.candidate["sparsity.method"] == "magnitude")
    out = tmp_path / "out"
    exported = repareto("export", "sparse", "--trial", sparse.number, "--out", out, cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    test = Digits().load(seed=0).test
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"features": test.features.astype(np.float32)})
    assert (logits.argmax(1) != test.labels).mean() == sparse.measurement.figures["test_error"]
    # What was profiled before training is what was exported.
    tensors = onnx.load(out / "model.onnx").graph.initializer
    weights = sum(int(np.prod(tensor.dims)) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT)
    assert sparse.profile["parameters"]["value"] == weights
    assert json.loads((out / "manifest.json").read_text())["candidate"]["values"]["sparsity.method"] == "magnitude"
