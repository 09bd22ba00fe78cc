"""Networks with early exits for the benchmarks: what they are made of, trained once and kept, and timed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from repareto.search.devices.host.onnx_runtime import make_session, onnx_bytes
from repareto.search.devices.host.onnx_stages import OnnxStages, stage_files
from repareto.search.exits.files import staged_difference
from repareto.spaces.exits.chain import ExitChain
from repareto.spaces.exits.network import MultiExit, fuse_all_answers
from repareto.spaces.exits.space import WithExits
from repareto.spaces.space import load_space
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig

BATCH_SIZE = 64
FIXED = {
    "form": "full", "kernel": 9, "stride": 1, "conv_branches": 1, "pointwise": False, "identity": True,
    "average": False, "sequential": False, "small": False, "squeeze": False, "dropout": 0.1,
    "learning_rate": 4e-3, "weight_decay": 1e-2,
}  # fmt: skip
ROUNDS = 7


@dataclass(frozen=True)
class Recipe:
    """A chain of full blocks of one width, where it may answer early, and how it is trained."""

    places: tuple[float, ...]
    """Shares of the chain's places; none: the network without exits."""
    backbone: str = "joint"
    weight: float = 0.5
    distillation: float = 0.0
    heads: tuple[str, ...] = ("conv",)
    """One for each place, or one for all."""
    stages: int = 3
    blocks: int = 3
    width: int = 48
    epochs: int = 8

    def build(self, data: Dataset, seed: int) -> nn.Module:
        """Return an untrained network; the same chain from the same seed, whatever exits there are."""
        size = {"stages": self.stages, "blocks": self.blocks, "width": self.width}
        exits = {"count": len(self.places), "backbone": self.backbone}
        exits |= {"weight": self.weight, "distillation": self.distillation} if self.places else {}
        space = load_space({"name": "repcnn", **FIXED, **size, "exits": exits})
        assert isinstance(space, WithExits)
        heads = self.heads * len(self.places) if len(self.heads) == 1 else self.heads
        own = {}
        for number, (place, head) in enumerate(zip(self.places, heads, strict=True), 1):
            own |= {f"exits.place{number}": place, f"exits.head{number}": head}
        torch.manual_seed(seed)
        return space.build(space.candidate(dict(space.middle()) | own), data.input_shape, len(data.labels))

    def training(self) -> TrainingConfig:
        """Return how it learns."""
        return TrainingConfig(epochs=self.epochs, batch_size=BATCH_SIZE)


@dataclass(frozen=True)
class Trained:
    """A fused network in eval mode, and the seconds of the processor that its training took."""

    fused: nn.Module
    train_seconds: float

    @property
    def exits(self) -> ExitChain:
        assert isinstance(self.fused, ExitChain)
        return self.fused


class Trainable(Protocol):
    """A dataclass that says what is trained, and how."""

    def build(self, data: Dataset, seed: int) -> nn.Module:
        """Return an untrained network."""

    def training(self) -> TrainingConfig:
        """Return how it learns."""


def trained(recipe: Trainable, data: Dataset, seed: int, keep: Path, *, data_seed: int = 0) -> Trained:
    """Train a network, or read what a run before this one kept, of data that was drawn from ``data_seed``."""
    config = recipe.training()
    what = {**asdict(recipe), "seed": seed, "batch": config.batch_size, "data": data.name, "clips": len(data.train)}  # type: ignore[call-overload]
    what["labels"] = data.labels
    what |= {"data_seed": data_seed} if data_seed else {}  # what was kept without it stays valid
    path = keep / f"{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]}.pt"
    model = recipe.build(data, seed)
    if not path.exists():
        trainer = SupervisedTrainer(model, data, config, seed=seed)
        start = time.process_time()
        for _ in range(config.epochs):
            trainer.train_epoch()
        keep.mkdir(parents=True, exist_ok=True)
        torch.save({"weights": model.state_dict(), "seconds": time.process_time() - start}, path)
    kept = torch.load(path)
    model.load_state_dict(kept["weights"])
    fused, report = fuse_all_answers(model.eval(), torch.from_numpy(data.validation.features[:64]).float())
    assert report.ok, report
    return Trained(fused, kept["seconds"])


def processor_us(runs: Sequence[Callable[[], Any]], count: int, rounds: int = ROUNDS) -> list[float]:
    """Return the processor's time of one call of each, in turns: the least over rounds, for others work here too."""
    least = [np.inf] * len(runs)
    for _ in range(rounds):
        for place, run in enumerate(runs):
            start = time.process_time()
            for _ in range(count):
                run()
            least[place] = min(least[place], 1e6 * (time.process_time() - start) / count)
    return least


def times_us(fused: nn.Module, data: Dataset, runs: int, rounds: int = ROUNDS) -> tuple[float, tuple[float, ...]]:
    """Return the time of the network without exits, and the time up to each exit in stages of their own."""
    inputs = torch.from_numpy(data.test.features[:8].copy()).float()
    files = []
    if isinstance(fused, MultiExit):
        files = stage_files(fused, data.input_shape)
        assert staged_difference(OnnxStages(files), fused, inputs) < 1e-4
    x = inputs[:1].numpy()
    calls: list[Callable[[], Any]] = []
    for content in (onnx_bytes(fused, inputs[:1]), *files):
        session = make_session(content)
        feed = {session.get_inputs()[0].name: x}
        calls.append(lambda session=session, feed=feed: session.run(None, feed))
        if len(calls) > 1:
            x = session.run(None, feed)[0]
    plain, *stages = processor_us(calls, runs, rounds)
    return plain, tuple(np.cumsum(stages).tolist())
