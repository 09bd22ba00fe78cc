"""Every format that an export can have: written, run in its own runtime, held against torch, and measured.

A RepCNN is trained on small images, fused, and converted. Beside it stands the front end of sound, as a graph.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from repareto.search.devices.boards.tflite_micro import measure_arena
from repareto.search.devices.executorch.program import ProgramStages
from repareto.search.devices.host import onnx_runtime
from repareto.search.devices.latency.timing import time_single_runs
from repareto.search.devices.targets import device
from repareto.search.devices.tflite import runtime as litert
from repareto.search.forms import Form
from repareto.search.packaging.checks import TOLERANCE, Checker
from repareto.search.packaging.formats import DEVICES, Conversion, Wanted
from repareto.search.packaging.front_end import TOLERANCE as FRONT_END_TOLERANCE
from repareto.search.packaging.front_end import front_end_difference, front_end_onnx
from repareto.search.packaging.samples import Samples
from repareto.search.tasks import TASKS
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space
from repareto.trainers.data.digits import Digits
from repareto.trainers.features import LogMel, Normalisation
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig

from .report import Claim, arguments, over, publish

SPACE = {"name": "repcnn", "form": "full", "stages": 2, "width": 16, "blocks": 1, "kernel": 3, "conv_branches": 2}
FORMATS = ("onnx", *DEVICES, "c")
FRONT_ENDS = (LogMel(), LogMel(window_ms=25, hop_ms=10, bands=20), LogMel(sample_rate_hz=8000, high_hz=3800, bands=32))


def conversion_of(seed: int, epochs: int) -> Conversion:
    """Train a network, and return it as an export converts it."""
    dataset = Digits().load(seed=0)
    space = load_space(SPACE)
    torch.manual_seed(seed)
    model = space.build(space.middle(), dataset.input_shape, len(dataset.labels))
    trainer = SupervisedTrainer(model, dataset, TrainingConfig(epochs=epochs, batch_size=32), seed=seed, device="cpu")
    for _ in range(epochs):
        trainer.train_epoch()
    fused = fused_copy(trainer.model.eval())
    samples = Samples.of(dataset)
    checker = Checker.of(fused, TASKS["classification"], dataset.input_shape, samples)
    return Conversion(Form(fused, dataset.input_shape), dataset.labels, samples.ranges, checker)


def format_row(conversion: Conversion, name: str) -> dict[str, Any]:
    """Write a format and return what came of it; of one that loses too much, why it is refused."""
    form = conversion.form
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            if name == "onnx":
                content = onnx_runtime.onnx_bytes(form.fused, torch.zeros(1, *form.input_shape), conversion.labels)
                (Path(folder) / "model.onnx").write_bytes(content)
                run = partial(onnx_runtime.run_onnx, content)
                checks = {"model.onnx": conversion.checker.check("model.onnx", "onnxruntime", run)}
            else:
                ships = (device("reference"), b"")
                checks = conversion.write_all(Wanted.of([name]), ships, Path(folder))
        except UserError as error:
            return {"format": name, "refused": str(error)}
        seconds = time.perf_counter() - start
        ((file, check),) = checks.items()
        content = (Path(folder) / file).read_bytes()
    kept = ("runtime", "examples", "difference", "tolerance", "error", "error_of_torch")
    row = {"format": name, "file": file, "bytes": len(content), "seconds_to_write": seconds}
    return {**row, **{key: check[key] for key in kept}, **measured(file, content, conversion)}


def measured(file: str, content: bytes, conversion: Conversion) -> dict[str, float]:
    """Return the least time of one run on this host, on one thread; of int8 TFLite its arena on a board, too."""
    if file.endswith(".onnx"):
        return {"latency_us": onnx_runtime.measure_latency_us(content).min_us}
    if file.endswith(".tflite"):
        times = {"latency_us": litert.measure_latency_us(content).min_us}
        return {**times, "arena_bytes": measure_arena(content).total_bytes} if "int8" in file else times
    if file.endswith(".pte"):
        stages, example = ProgramStages(content), conversion.checker.inputs[0]
        return {"latency_us": time_single_runs(lambda: list(stages.answers(example)), 2000, 1.0).min_us}
    return {}


def front_end_rows() -> list[dict[str, Any]]:
    """Return how far each front end's graph is from training's, and the time of one second of sound."""
    rows = []
    for log_mel in FRONT_ENDS:
        content = front_end_onnx(log_mel, Normalisation(-5.0, 3.0), (log_mel.bands,))
        rows.append(
            {
                "front_end": f"{log_mel.sample_rate_hz} Hz, {log_mel.bands} bands, a frame each {log_mel.hop_ms:g} ms",
                "bytes": len(content),
                "difference": front_end_difference(content, log_mel, Normalisation(-5.0, 3.0)),
                "latency_us_a_second": onnx_runtime.measure_latency_us(content, (1, log_mel.sample_rate_hz)).min_us,
            }
        )
    return rows


def make_claims(rows: list[dict[str, Any]], fronts: list[dict[str, Any]], installed: int) -> list[Claim]:
    """Return what was asked of files against what they do."""
    written = [row for row in rows if "refused" not in row]
    floats = [row["difference"] for row in written if row["tolerance"] == TOLERANCE]
    int8 = [row for row in written if row["tolerance"] != TOLERANCE]
    lost = [100 * (row["error"] - row["error_of_torch"]) for row in int8]
    share = len(written) / (installed * len({row["seed"] for row in rows}))
    return [
        Claim("formats.written", **over([share]), op=">=", target=1,
              what="share of the formats and seeds that were written, loaded and held against torch",
              why="; ".join(row["refused"] for row in rows if "refused" in row)),
        Claim("formats.float32_difference", **over(floats, max), op="<=", target=TOLERANCE,
              what="largest difference of logits, over the largest logit, of any file in float32"),
        Claim("formats.int8_difference", **over([row["difference"] for row in int8], max), op="<=", target=0.25,
              what="root mean square of differences over that of logits, of any file in int8"),
        Claim("formats.int8_points_lost", **over(lost, max), op="<=", target=0.5,
              what="points more errors on the test split than torch, the worst int8 file"),
        Claim("formats.front_end_difference", **over([row["difference"] for row in fronts], max), op="<=",
              target=FRONT_END_TOLERANCE,
              what="largest difference of normalised features, graph against training"),
    ]  # fmt: skip


def main() -> None:
    """Measure and publish."""
    options = arguments(__doc__, ("--seeds", {"type": int, "default": 3}), ("--epochs", {"type": int, "default": 12}))
    seeds, epochs = (1, 4) if options.quick else (options.seeds, options.epochs)
    rows = []
    for seed in range(seeds):
        conversion = conversion_of(seed, epochs)
        rows += [{"seed": seed, **format_row(conversion, name)} for name in FORMATS]
    fronts = front_end_rows()
    for row in [*rows, *fronts]:
        print(row)
    command = f"python -m benchmarks.formats --seeds {seeds} --epochs {epochs}"
    publish("formats", command, make_claims(rows, fronts, len(FORMATS)), [*rows, *fronts], quick=options.quick,
            out=options.out)  # fmt: skip


if __name__ == "__main__":
    main()
