"""Conformers that transcribe strings of digits: half the size, with and without a teacher; what each depth makes.

Synthetic: strings that eSpeak says in one breath, voices disjoint between splits, 0 to 20 dB of noise; *few* is a tenth
of its training utterances. Real: recordings of single digits joined into strings, speakers disjoint. Whatever is
compared has seen the same utterances as often. A teacher is the dense network of the same data and seed. Errors are of
the network that ships, fused and sliced; times are of untrained ones of the same shapes, in ONNX Runtime, in turns.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from repareto.search.devices.host.onnx_runtime import measure_latency_us, onnx_bytes, run_onnx
from repareto.spaces.conformer.network import ConformerCTC, cut
from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.distillation import SELF, TEACHER, Distillation
from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.space import Candidate, Value
from repareto.spaces.sparsity.slicing import slice_to_shipped, sliced_to_levels
from repareto.spaces.sparsity.space import CHANNEL, Sparsity
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.data.transcripts.joined import JoinedRecordings
from repareto.trainers.data.transcripts.synthetic import SyntheticStrings
from repareto.trainers.distillation import SELF_SCHEDULE, distiller_of
from repareto.trainers.sparsity import sparsifier_of
from repareto.trainers.sparsity.schedule import Gradual
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig
from repareto.trainers.transcription import answers_of, judge_transcripts

from .report import Claim, arguments, exactly, over, publish

EPOCHS = {"synthetic": 1, "few": 10, "real": 2}
"""Of each data over those of the first: fewer utterances more often, for CTC leaves its plateau after many steps."""
SHARED: dict[str, Value] = {
    "strides": 2, "kernel": 9, "conv_branches": 1, "pointwise": False, "identity": False, "head_width": 16,
    "dropout": 0.0, "training.learning_rate": 3e-3, "training.weight_decay": 1e-2,
}  # fmt: skip
WHOLE: dict[str, Value] = {"blocks": 3, "width": 64, "heads": 4, "expansion": 4}
SMALL: dict[str, Value] = {"blocks": 3, "width": 48, "heads": 2, "expansion": 3}
"""No larger than half of the whole, and trained by itself."""
LEVEL = 0.5
LOGITS, LAYERS = 0.1, 0.9
ROUNDS = 5


@dataclass(frozen=True)
class Way:
    """To a network: dense, half of its channels taken out, or to be cut in depth afterwards."""

    size: dict[str, Value]
    method: str = ""
    source: str = ""
    """Of distillation."""
    is_to_be_cut: bool = False

    def candidate(self) -> Candidate:
        own = {"intermediate_weight": 0.3, "stochastic_depth": 0.1} if self.is_to_be_cut else {}
        return ConformerSpace().candidate(
            {"intermediate_weight": 0.0, "stochastic_depth": 0.0, **SHARED, **self.size, **own}
        )


WAYS = {
    "dense": Way(WHOLE),
    "half": Way(WHOLE, "magnitude"),
    "half, taught": Way(WHOLE, "magnitude", TEACHER),
    "half, by itself": Way(WHOLE, "magnitude", SELF),
    "small": Way(SMALL),
    "to be cut": Way(WHOLE, is_to_be_cut=True),
}
MAIN = ("dense", "half", "half, taught")
OTHERS = (
    *(("few", way) for way in MAIN),
    *(("real", way) for way in MAIN),
    *(("synthetic", way) for way in ("to be cut", "half, by itself", "small")),
)
"""What is trained once the main comparison has all its seeds."""
QUICK = (*MAIN, "to be cut")


@dataclass(frozen=True)
class Run:
    """One training."""

    data: str
    way: str
    seed: int
    epochs: int

    @property
    def name(self) -> str:
        return f"{self.data}-{self.way.replace(', ', '-').replace(' ', '-')}-{self.seed}-{self.epochs}"


@dataclass(frozen=True)
class Row:
    """A network of one training, cut at a depth."""

    data: str
    way: str
    seed: int
    epochs: int
    depth: int
    blocks: int
    parameters: int
    validation_error: float
    test_error: float
    test_beam_error: float
    train_cpu_seconds: float


def train(run: Run, data: Dataset, keep: Path) -> list[Row]:
    """Train one network, and judge it as it ships, one that is to be cut at each depth."""
    way = WAYS[run.way]
    torch.manual_seed(run.seed)
    candidate = way.candidate()
    model = ConformerSpace().build(candidate, data.input_shape, len(data.labels))
    schedule = SELF_SCHEDULE if way.source == SELF else Gradual()
    distillation = Distillation(way.source, LOGITS, LAYERS)
    teacher = kept_teacher(run, data, keep) if way.source == TEACHER else None
    trainer = SupervisedTrainer(
        model,
        data,
        TrainingConfig(epochs=run.epochs, batch_size=32).overridden(candidate.training()),
        seed=run.seed,
        sparsifier=sparsifier_of(Sparsity(way.method, CHANNEL, (LEVEL,)), schedule) if way.method else None,
        distiller=distiller_of(distillation, teacher) if way.source else None,
    )
    start = time.process_time()
    for _ in range(run.epochs):
        trainer.train_epoch()
    seconds = time.process_time() - start
    samples = torch.from_numpy(data.validation.features[:32]).float()
    fused, report = fuse(trainer.model.eval(), samples)
    if way.method:
        sparsity = Sparsity(way.method, CHANNEL, (LEVEL,))
        fused, report, _ = slice_to_shipped(trainer.model, fused, samples, sparsity)
    assert report.ok and isinstance(fused, ConformerCTC), report
    if run.way == "dense":
        torch.save(fused.state_dict(), keep / f"{run.name}.pt")
    blocks = len(fused.blocks)
    depths = range(1, blocks + 1) if run.way in ("dense", "to be cut") and run.data == "synthetic" else [blocks]
    return [row_of(run, cut(fused, depth), blocks, data, seconds) for depth in depths]


def kept_teacher(run: Run, data: Dataset, keep: Path) -> torch.nn.Module:
    """The dense network of the same data and seed."""
    teacher = fused_copy(ConformerSpace().build(WAYS["dense"].candidate(), data.input_shape, len(data.labels)).eval())
    teacher.load_state_dict(torch.load(keep / f"{replace(run, way='dense').name}.pt"))
    return teacher


def row_of(run: Run, network: ConformerCTC, blocks: int, data: Dataset, seconds: float) -> Row:
    """How a fused network fares."""
    judged = judge_transcripts(answers_of(network), data).figures
    return Row(
        run.data,
        run.way,
        run.seed,
        run.epochs,
        len(network.blocks),
        blocks,
        sum(parameter.numel() for parameter in network.parameters()),
        judged["error"],
        judged["test_error"],
        judged["test_beam_error"],
        seconds,
    )


def timed(data: Dataset, rounds: int) -> list[dict[str, object]]:
    """Return the size of each kind of network and its least time in ONNX Runtime on one thread, all in turns, and by
    how much a logit of its file differs from torch at most."""

    def untrained(way: str) -> ConformerCTC:
        built = ConformerSpace().build(WAYS[way].candidate(), data.input_shape, len(data.labels))
        fused = fused_copy(built.eval())
        assert isinstance(fused, ConformerCTC)
        return fused

    torch.manual_seed(0)
    whole = untrained("dense")
    networks: dict[str, torch.nn.Module] = {
        "dense": whole,
        "half": sliced_to_levels(whole, data.input_shape, (LEVEL,))[0],
        "small": untrained("small"),
        **{f"{depth} of {len(whole.blocks)} blocks": cut(whole, depth) for depth in range(1, len(whole.blocks))},
    }
    samples = torch.from_numpy(data.validation.features[:2]).float()
    files = {name: onnx_bytes(network, samples, data.labels) for name, network in networks.items()}
    least = dict.fromkeys(files, float("inf"))
    for _ in range(rounds):
        for name, content in files.items():
            least[name] = min(least[name], measure_latency_us(content, (1, *data.input_shape)).min_us)
    return [
        {
            "table": "time",
            "network": name,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "latency_us": least[name],
            "largest_difference": _difference(network, files[name], samples),
        }
        for name, network in networks.items()
    ]


@torch.no_grad()
def _difference(network: torch.nn.Module, content: bytes, samples: torch.Tensor) -> float:
    return torch.from_numpy(run_onnx(content, samples.numpy())).sub(network(samples)).abs().max().item()


class Errors:
    """Test errors in points, by data, way and seed."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._points = {(row.data, row.way, row.seed, row.depth): 100 * row.test_error for row in rows}
        self._blocks = max(row.blocks for row in rows)

    def of(self, data: str, way: str, depth: int | None = None) -> dict[int, float]:
        """By seed."""
        depth = depth or self._blocks
        return {
            seed: points for (*named, seed, at), points in self._points.items() if (*named, at) == (data, way, depth)
        }

    def more(self, data: str, way: str, than: str, depth: int | None = None, at: int | None = None) -> list[float]:
        """By how many points one way makes more errors than another, of each seed that has both."""
        ones, others = self.of(data, way, depth), self.of(data, than, at)
        return [ones[seed] - others[seed] for seed in sorted(ones) if seed in others]

    def told(self, data: str, *ways: str) -> str:
        """Their means."""
        return ", ".join(
            f"{way} {statistics.mean(found.values()):.2f} %" for way in ways if (found := self.of(data, way))
        )


def claims_of(rows: Sequence[Row], times: Sequence[dict[str, object]]) -> list[Claim]:
    """What half the size costs, what a teacher is worth, what each depth makes, and what half of it saves."""
    errors = Errors(rows)
    mean: Callable[[Sequence[float]], float] = statistics.mean
    by_name = {str(row["network"]): row for row in times}
    difference = max(float(str(row["largest_difference"])) for row in times)

    def ratio(figure: str) -> float:
        return float(by_name["half"][figure]) / float(by_name["dense"][figure])  # type: ignore[arg-type]

    claims = [
        Claim(
            "asr.half.parameters", **exactly(ratio("parameters")), op="<=", target=0.51,
            what="parameters of a network half of whose channels are taken out, over the dense one's",
        ),
        Claim(
            "asr.half.latency", **exactly(ratio("latency_us")), op="<=", target=0.72,
            what="its time in ONNX Runtime on one thread, over the dense one's",
            why="what any operator costs, however small it is, stays",
        ),
        Claim(
            "asr.onnx_difference", **exactly(difference), op="<=", target=1e-4,
            what="largest difference of a logit between ONNX Runtime and the fused network",
        ),
    ]  # fmt: skip
    for data in dict.fromkeys(row.data for row in rows):
        told = errors.told(data, *WAYS)
        for way in (way for way in WAYS if way.startswith(("half", "small"))):
            if more := errors.more(data, way, "dense"):
                name = way.replace(", ", "_").replace(" ", "_")
                what = "points of token error more than the dense network, " + way
                claims.append(
                    Claim(f"asr.{data}.{name}.points", **over(more, mean), op="<=", target=0.5, what=what, why=told)
                )
        for way in ("half, taught", "half, by itself"):
            if more := errors.more(data, way, "half"):
                name = way.replace(", ", "_").replace(" ", "_")
                what = f"points of token error more than without distillation, {way}"
                claims.append(
                    Claim(f"asr.{data}.{name}.gain", **over(more, mean), op="<=", target=0.0, what=what, why=told)
                )
    if errors.of("synthetic", "to be cut"):
        claims += depth_claims(errors)
    return claims


def depth_claims(errors: Errors) -> list[Claim]:
    """What training for every depth costs at the whole of it, and what one block fewer costs then."""
    cut_off, whole = (
        errors.more("synthetic", "to be cut", "to be cut", depth=2),
        errors.more("synthetic", "to be cut", "dense"),
    )
    untrained = statistics.mean(errors.more("synthetic", "dense", "dense", depth=2))
    return [
        Claim(
            "asr.synthetic.depth.cut_points", **over(cut_off, statistics.mean), op="<=", target=5.0,
            what="points of token error that one block of three loses, cut without training again",
            why=f"a network that was not trained for it loses {untrained:.1f}",
        ),
        Claim(
            "asr.synthetic.depth.whole_points", **over(whole, statistics.mean), op="<=", target=1.0,
            what="points of token error that training to be cut costs at full depth",
            why="stochastic depth trains each block less often, and early answers pull the middle of the network",
        ),
    ]  # fmt: skip


def measure(runs: Sequence[Run], datasets: dict[str, Dataset], keep: Path, deadline: float) -> list[Row]:
    """Train all that is not kept already, and tell each row as it comes; none is begun after the ``deadline``."""
    rows: list[Row] = []
    for run in runs:
        kept = keep / f"{run.name}.json"
        if not kept.exists():
            if time.monotonic() > deadline:
                continue
            kept.write_text(json.dumps([asdict(row) for row in train(run, datasets[run.data], keep)]))
        found = [Row(**fields) for fields in json.loads(kept.read_text())]
        for row in found:
            print(
                f"{row.data} {row.way} {row.seed}, {row.depth} of {row.blocks} blocks: {row.test_error:.2%} token "
                f"error, {row.parameters:,} parameters, {row.train_cpu_seconds:.0f} s",
                flush=True,
            )
        rows += found
    return rows


def runs_of(seeds: int, epochs: int) -> list[Run]:
    """Return all trainings, those that answer most first."""
    runs = [Run("synthetic", way, seed, epochs) for seed in range(seeds) for way in MAIN]
    return runs + [Run(data, way, seed, EPOCHS[data] * epochs) for seed in range(seeds) for data, way in OTHERS]


def few_of(data: Dataset) -> Dataset:
    """Every tenth utterance of the training split."""
    train = data.train
    frames = None if train.frames is None else train.frames[::10]
    return replace(data, name="few strings", train=Split(train.features[::10], train.labels[::10], frames))


def main() -> None:
    """Measure and publish."""
    start = time.monotonic()
    options = arguments(
        __doc__,
        ("--data", {"type": Path, "help": "folder of recorded digits, a folder a word"}),
        ("--utterances", {"type": int, "default": 6_000}),
        ("--seeds", {"type": int, "default": 3}),
        ("--epochs", {"type": int, "default": 8}),
        (
            "--minutes",
            {
                "type": float,
                "default": math.inf,
                "help": "after which no training begins; claims are of those that ended",
            },
        ),
        ("--keep", {"type": Path, "help": "folder of finished trainings, to go on from"}),
    )
    torch.set_num_threads(1)
    utterances, epochs = (60, 1) if options.quick else (options.utterances, options.epochs)
    synthetic = SyntheticStrings(utterances=utterances).load(seed=0)
    datasets = {"synthetic": synthetic, "few": few_of(synthetic)}
    if options.data:
        # Few speakers say the same few clips again and again: more strings of them teach little.
        recordings = JoinedRecordings(folder=options.data, utterances=utterances // 2, window_seconds=3.0)
        datasets["real"] = recordings.load(seed=0)
    runs = [run for run in runs_of(1 if options.quick else options.seeds, epochs) if run.data in datasets]
    if options.quick:
        runs = [run for run in runs if run.data == "synthetic" and run.way in QUICK]
    deadline = start + 60 * options.minutes
    with tempfile.TemporaryDirectory() as scratch:
        keep = options.keep or Path(scratch)
        keep.mkdir(parents=True, exist_ok=True)
        rows = measure(runs, datasets, keep, deadline)
    times = timed(synthetic, 1 if options.quick else ROUNDS)
    command = f"python -m benchmarks.asr --utterances {options.utterances} --epochs {options.epochs}"
    command += f" --seeds {options.seeds}" + (" --data FOLDER" if options.data else "")
    tables = [*times, *({"table": "errors", **asdict(row)} for row in rows)]
    publish("asr", command, claims_of(rows, times), tables, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
