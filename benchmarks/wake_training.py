"""Networks that are to hear a wake word: trained, fused, written as what ships and judged on streams."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repareto.search.devices.host.onnx_streaming import largest_stream_difference, streaming_onnx
from repareto.search.devices.targets import Device, device
from repareto.search.tasks import TASKS, Form
from repareto.spaces.fusion import fuse
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Candidate, SearchSpace, Value, load_space
from repareto.spaces.streaming import Streaming
from repareto.trainers.data.dataset import Dataset, SoundStream, Split
from repareto.trainers.data.wakeword import DATA_VERSION, WakeWord
from repareto.trainers.hearing import window_step
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig

from .repcnn import TOPOLOGIES, candidate
from .wake_engines import unheard_streams

BRANCHED = "4conv+1x1+skip"
FRONT = {f"repcnn-{stages}x{width}": (stages, width) for stages in (2, 3) for width in (16, 32)}
"""Stages and channels of RepCNNs with branches, around those two stages of 24 that are compared with one branch."""
PEERS: dict[str, dict[str, Value]] = {
    "tc_resnet8": {"multiplier": 1.0},
    "mixed_kernels": {},
    "matchboxnet": {"blocks": 3, "repeats": 1, "width": 64},
    "bc_resnet": {"width": 8},
    "ds_cnn": {"blocks": 4, "width": 64},
}
"""As published, the smallest of those that were; of the mixed kernels, the middle of the space."""
DEVICES = {"fp32": "host-litert", "int8": "host-litert-int8"}


@dataclass(frozen=True)
class Task:
    """What is woken up on; equal tasks load equal data."""

    name: str
    word: str
    hours: float
    windows: int
    """At most so many train, drawn once for all networks."""
    folder: Path | None = None
    negatives: Path | None = None


@dataclass(frozen=True)
class Run:
    """One training."""

    task: Task
    network: str
    seed: int
    epochs: int

    @property
    def kept_as(self) -> str:
        task = self.task
        data = f"{task.name}-{task.word}-v{DATA_VERSION}-h{task.hours:g}-w{task.windows}".replace(" ", "_")
        return f"{data}-{self.network}-{self.seed}-e{self.epochs}.json"


@dataclass(frozen=True)
class Row:
    """One trained network in one precision."""

    task: str
    network: str
    seed: int
    precision: str
    misses: list[dict[str, Any]]
    unheard_engines: dict[str, list[dict[str, Any]]]
    """Of a synthetic word in the voices of engines that did not train, by engine; of int8 files that listen by hops."""
    parameters: int
    macs: int
    peak_memory_bytes: int
    run_us: float
    """Of a hop or of a window."""
    us_per_second: float
    """Of all runs that a second of sound takes."""
    listens_by: str
    stream_difference: float | None


def network(name: str) -> tuple[SearchSpace, Candidate]:
    """A space and the candidate of it that is compared."""
    if name in PEERS:
        space = load_space({"name": name})
        return space, space.candidate(dict(space.middle()) | PEERS[name])
    causal = RepCNN(padding="causal")
    if name in TOPOLOGIES:
        return causal, causal.candidate(dict(candidate(TOPOLOGIES[name])))
    stages, width = FRONT[name]
    values = dict(candidate(TOPOLOGIES[BRANCHED]))
    of_stage = {key.removeprefix("stage1."): value for key, value in values.items() if key.startswith("stage1.")}
    values = {key: value for key, value in values.items() if not re.match(r"stage\d+\.", key)} | {"stages": stages}
    for stage in range(1, stages + 1):
        values |= {f"stage{stage}.{key}": value for key, value in (of_stage | {"width": width}).items()}
    return causal, causal.candidate(values)


@cache
def dataset(task: Task) -> Dataset:
    """The clips and the streams; from the cache after the first time."""
    source = WakeWord(word=task.word, folder=task.folder, negatives=task.negatives, synthetic_hours=task.hours)
    data = source.load(seed=0)
    chosen = np.sort(np.random.default_rng(0).permutation(len(data.train))[: task.windows])
    return replace(data, train=Split(data.train.features[chosen], data.train.labels[chosen]))


@cache
def unheard(task: Task) -> dict[str, SoundStream]:
    """Where the word is synthetic: the same word of other engines."""
    return {} if task.folder else unheard_streams(task.word, dataset(task))


def rows_of(run: Run, keep: Path) -> list[Row]:
    """Train one network, fuse it, write the files that ship and judge them; what is kept of that is not done again."""
    path = keep / run.kept_as
    if path.exists():
        return [Row(**fields) for fields in json.loads(path.read_text())]
    fused, data = _trained(run), dataset(run.task)
    rows = [_row(run, fused, data, precision) for precision in DEVICES]
    keep.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps([asdict(row) for row in rows]))
    unfinished.replace(path)
    return rows


def _trained(run: Run) -> torch.nn.Module:
    torch.set_num_threads(1)
    data = dataset(run.task)
    space, chosen = network(run.network)
    torch.manual_seed(run.seed)
    model = space.build(chosen, data.input_shape, len(data.labels))
    trainer = SupervisedTrainer(model, data, TrainingConfig(epochs=run.epochs, batch_size=64), seed=run.seed)
    for _ in range(run.epochs):
        trainer.train_epoch()
    fused, report = fuse(trainer.model.eval(), torch.from_numpy(data.validation.features[:64]).float())
    assert report.ok, report
    return fused


def _row(run: Run, fused: torch.nn.Module, data: Dataset, precision: str) -> Row:
    """What ships in a precision, judged on the streams and timed."""
    target = device(DEVICES[precision])
    calibration = data.train.features[np.random.default_rng(run.seed).permutation(len(data.train))[:1000]]
    form = TASKS["wakeword"].form(fused, data.input_shape)
    content = form.convert(target, calibration.astype(np.float32), data.labels)
    planned = target.profile(form.graph())
    measured = target.measure(content, planned)
    frames = form.stream.hop_frames if form.stream else window_step(data.front_end)
    assert measured.latency_us is not None
    # Told of what ships on the smallest devices.
    engines = unheard(run.task) if form.stream and precision == "int8" else {}
    return Row(
        run.task.name,
        run.network,
        run.seed,
        precision,
        _misses(target, content, form, data),
        {name: _misses(target, content, form, _tested_on(data, stream)) for name, stream in engines.items()},
        planned.parameters.value,
        planned.macs.value,
        planned.peak_memory_bytes.value,
        measured.latency_us.value,
        measured.latency_us.value * 1000 / data.front_end["hop_ms"] / frames,
        f"hops of {frames} frames" if form.stream else f"a window each {frames} frames",
        _difference(form.stream, fused, data) if form.stream and precision == "fp32" else None,
    )


def _misses(target: Device, content: bytes, form: Form, data: Dataset) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = TASKS["wakeword"].judge_file(target, content, form, data).details["misses"]
    return found


def _tested_on(data: Dataset, stream: SoundStream) -> Dataset:
    return replace(data, streams={"validation": data.streams["validation"], "test": stream})


def _difference(stream: Streaming, fused: torch.nn.Module, data: Dataset) -> float:
    windows = torch.from_numpy(data.test.features[:32]).float()
    return largest_stream_difference(streaming_onnx(stream, data.input_shape, data.labels), fused, windows)
