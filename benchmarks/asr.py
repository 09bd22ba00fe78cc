"""Conformers that transcribe strings of digits: what size buys, and what one training gives at each depth.

Synthetic: strings that eSpeak says in one breath, voices disjoint between splits, 0 to 20 dB of noise. Real: recordings
of single digits joined into strings, speakers disjoint. Sizes differ in depth and width; each is trained dense, and
timed in ONNX Runtime as it ships. One size is trained with and without intermediate CTC and stochastic depth, and cut
at each depth without training again.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from repareto.search.devices.host.onnx_runtime import measure_latency_us, onnx_bytes, run_onnx
from repareto.spaces.conformer.network import ConformerCTC, cut
from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.fusion import fuse
from repareto.spaces.space import Candidate, Value
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.transcripts.joined import JoinedRecordings
from repareto.trainers.data.transcripts.synthetic import SyntheticStrings
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig
from repareto.trainers.transcription import judge_transcripts

from .report import Claim, arguments, exactly, publish

SIZES: dict[str, dict[str, Value]] = {
    "small": {"blocks": 2, "width": 24, "heads": 2, "head_width": 8},
    "middle": {"blocks": 3, "width": 40, "heads": 2, "head_width": 16},
    "large": {"blocks": 4, "width": 56, "heads": 4, "head_width": 16},
}
SHARED: dict[str, Value] = {
    "strides": 2, "expansion": 2, "kernel": 9, "conv_branches": 1, "pointwise": False, "identity": False,
    "dropout": 0.05, "training.learning_rate": 3e-3, "training.weight_decay": 1e-2,
}  # fmt: skip
DENSE: dict[str, Value] = {"intermediate_weight": 0.0, "stochastic_depth": 0.0}
CUT: dict[str, Value] = {"intermediate_weight": 0.3, "stochastic_depth": 0.1}
TRAININGS = (
    ("synthetic", "small", "dense"),
    ("synthetic", "large", "dense"),
    ("synthetic", "large", "to be cut"),
    ("real", "small", "dense"),
    ("real", "large", "dense"),
    ("synthetic", "middle", "dense"),
)
"""Those that answer most first, for whoever has less than a quarter of an hour."""


@dataclass(frozen=True)
class Run:
    """One training."""

    data: str
    size: str
    trained: str
    """"dense", or "to be cut": with intermediate CTC and stochastic depth."""
    seed: int
    epochs: int
    depths: tuple[int, ...]
    """At which the largest is cut."""


@dataclass(frozen=True)
class Row:
    """A network of one training, cut at a depth."""

    data: str
    size: str
    trained: str
    seed: int
    epochs: int
    depth: int
    blocks: int
    parameters: int
    validation_error: float
    test_error: float
    test_beam_error: float
    latency_us: float
    largest_difference: float
    """Of a logit between ONNX Runtime and torch."""
    train_cpu_seconds: float


def candidate(size: str, trained: str) -> Candidate:
    """A point of the space."""
    how = DENSE if trained == "dense" else CUT
    return ConformerSpace().candidate({**SHARED, **SIZES[size], **how})


def train(run: Run, data: Dataset) -> list[Row]:
    """Train one network, and judge it at each depth as it ships."""
    chosen = candidate(run.size, run.trained)
    torch.manual_seed(run.seed)
    model = ConformerSpace().build(chosen, data.input_shape, len(data.labels))
    config = TrainingConfig(epochs=run.epochs, batch_size=32).overridden(chosen.training())
    trainer = SupervisedTrainer(model, data, config, seed=run.seed)
    start = time.process_time()
    for _ in range(run.epochs):
        trainer.train_epoch()
    seconds = time.process_time() - start
    samples = torch.from_numpy(data.validation.features[:32]).float()
    fused, report = fuse(trainer.model.eval(), samples)
    assert report.ok and isinstance(fused, ConformerCTC), report
    blocks = len(fused.blocks)
    depths = [depth for depth in run.depths if depth < blocks] if run.size == "large" else []
    return [row_of(run, cut(fused, depth), blocks, data, samples, seconds) for depth in (*depths, blocks)]


def row_of(run: Run, network: ConformerCTC, blocks: int, data: Dataset, samples: torch.Tensor, seconds: float) -> Row:
    """What a network answers as an ONNX file, and how fast."""
    content = onnx_bytes(network, samples, data.labels)
    judged = judge_transcripts(lambda features: run_onnx(content, features), data).figures
    with torch.no_grad():
        difference = torch.from_numpy(run_onnx(content, samples.numpy())).sub(network(samples)).abs().max().item()
    return Row(
        run.data,
        run.size,
        run.trained,
        run.seed,
        run.epochs,
        len(network.blocks),
        blocks,
        sum(parameter.numel() for parameter in network.parameters()),
        judged["error"],
        judged["test_error"],
        judged["test_beam_error"],
        measure_latency_us(content, (1, *data.input_shape)).min_us,
        difference,
        seconds,
    )


def claims_of(data: str, rows: Sequence[Row]) -> list[Claim]:
    """What the largest makes, what size buys, what half the depth costs."""

    def error(size: str, trained: str, share: float = 1.0) -> float:
        found = [
            row.test_error for row in rows
            if (row.size, row.trained, row.depth) == (size, trained, round(share * row.blocks))
        ]  # fmt: skip
        return statistics.mean(found)

    sizes = [size for size in SIZES if any(row.size == size and row.trained == "dense" for row in rows)]
    errors = {size: error(size, "dense") for size in sizes}
    told = ", ".join(f"{size} {100 * found:.1f} %" for size, found in errors.items())
    claims = [
        Claim(
            f"asr.{data}.token_error", **exactly(min(errors.values())), op="<=", target=0.1,
            what="token error of the best dense Conformer on strings of voices never heard", why=told,
        ),
        Claim(
            f"asr.{data}.onnx_difference", **exactly(max(row.largest_difference for row in rows)), op="<=", target=1e-4,
            what="largest difference of a logit between ONNX Runtime and the fused network",
        ),
    ]  # fmt: skip
    if any(row.trained == "to be cut" for row in rows):
        half, whole = (error("large", "to be cut", share) for share in (0.5, 1.0))
        claims += [
            Claim(
                f"asr.{data}.half_depth_points", **exactly(100 * (half - whole)), op="<=", target=5.0,
                what="points of token error that half of the blocks lose, cut without training again",
                why=f"half {100 * half:.1f} %, whole {100 * whole:.1f} %; trained dense, half makes "
                f"{100 * error('large', 'dense', 0.5):.1f} %",
            ),
            Claim(
                f"asr.{data}.whole_depth_points", **exactly(100 * (whole - errors["large"])), op="<=", target=1.0,
                what="points of token error that training to be cut costs at full depth",
                why="stochastic depth trains each block less often, and early answers pull the middle of the network",
            ),
        ]  # fmt: skip
    return claims


def measure(runs: Sequence[Run], datasets: dict[str, Dataset], keep: Path | None) -> list[Row]:
    """Train all that is not kept already, and tell each row as it comes."""
    rows: list[Row] = []
    for run in runs:
        kept = None if keep is None else keep / f"{run.data}-{run.size}-{run.trained}-{run.seed}-{run.epochs}.json"
        if kept is not None and kept.exists():
            found = [Row(**fields) for fields in json.loads(kept.read_text())]
        else:
            found = train(run, datasets[run.data])
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps([asdict(row) for row in found]))
        for row in found:
            print(
                f"{row.data} {row.size} {row.trained} {row.seed}, {row.depth} of {row.blocks} blocks: "
                f"{row.test_error:.1%} token error, {row.latency_us:.0f} us, {row.train_cpu_seconds:.0f} s",
                flush=True,
            )
        rows += found
    return rows


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--data", {"type": Path, "help": "folder of recorded digits, a folder a word"}),
        ("--utterances", {"type": int, "default": 6_000}),
        ("--seeds", {"type": int, "default": 1}),
        ("--epochs", {"type": int, "default": 10}),
        ("--keep", {"type": Path, "help": "folder of finished trainings, to go on from"}),
    )
    torch.set_num_threads(1)
    utterances, epochs = (60, 1) if options.quick else (options.utterances, options.epochs)
    datasets = {"synthetic": SyntheticStrings(utterances=utterances).load(seed=0)}
    if options.data:
        # Few speakers say the same few clips again and again: more strings of them teach little.
        recordings = JoinedRecordings(folder=options.data, utterances=utterances // 2, window_seconds=3.0)
        datasets["real"] = recordings.load(seed=0)
    runs = [
        Run(data, size, trained, seed, epochs, (2,) if options.quick else (1, 2, 3))
        for data, size, trained in TRAININGS
        for seed in range(options.seeds)
        if data in datasets and not (options.quick and size == "middle")
    ]
    rows = measure(runs, datasets, options.keep)
    claims = [claim for data in datasets for claim in claims_of(data, [row for row in rows if row.data == data])]
    command = f"python -m benchmarks.asr --utterances {options.utterances} --epochs {options.epochs}"
    command += f" --seeds {options.seeds}" + (" --data FOLDER" if options.data else "")
    publish("asr", command, claims, [asdict(row) for row in rows], quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
