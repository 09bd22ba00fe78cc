"""The networks that are compared at matched error, and their training: the same data, trainer and epochs, by seed."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from repareto.spaces.fusion import fuse
from repareto.spaces.peers.bc_resnet import BCResNet
from repareto.spaces.peers.ds_cnn import DSCNN
from repareto.spaces.peers.matchboxnet import MatchboxNet
from repareto.spaces.peers.mixed_kernels import MixedKernels
from repareto.spaces.peers.tc_resnet import TCResNet8
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import SearchSpace
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.speech_commands import SpeechCommands
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig, error_rate

BATCH_SIZE = 64
CHANNELS_A_TAU = 8
_FUSION_CHECK = 64


@dataclass(frozen=True)
class Network:
    """A candidate of a space under a name. ``family``: ``bc_resnet``, ``repcnn`` or ``peer``.

    ``epochs`` of its own where it is trained for longer than the others.
    """

    name: str
    family: str
    space: SearchSpace
    values: dict[str, Any]
    epochs: int | None = None

    def build(self, data: Dataset) -> nn.Module:
        """Return the network as it is trained, with weights from torch's generator."""
        return self.space.build(self.space.candidate(self.values), data.input_shape, len(data.labels))


@dataclass(frozen=True)
class Task:
    """The recordings in ``folder``, or ``clips`` synthetic keywords where there is none."""

    name: str
    folder: Path | None
    clips: int


@dataclass(frozen=True)
class Trained:
    """What one training gave. ``train_seconds`` are the processor's own, on one thread."""

    task: str
    network: str
    seed: int
    epochs: int
    validation_error: float
    test_error: float
    train_seconds: float


def bc_resnet(tau: float) -> Network:
    """Return BC-ResNet-tau."""
    return Network(f"bc_resnet-{tau:g}", "bc_resnet", BCResNet(), {"width": int(CHANNELS_A_TAU * tau)})


def repcnn(form: str, widths: tuple[int, ...], kernel: int, blocks: int) -> Network:
    """Return a RepCNN with a stage of stride 2 for each of ``widths``, each of four branches, a 1x1 and a skip."""
    values: dict[str, Any] = {
        "form": form, "stages": len(widths), "dropout": 0.0,
        "training.learning_rate": TrainingConfig.learning_rate, "training.weight_decay": TrainingConfig.weight_decay,
    }  # fmt: skip
    for stage, width in enumerate(widths, start=1):
        values |= {
            f"stage{stage}.width": width, f"stage{stage}.blocks": blocks, f"stage{stage}.kernel": kernel,
            f"stage{stage}.stride": 2, f"stage{stage}.conv_branches": 4, f"stage{stage}.pointwise": True,
            f"stage{stage}.identity": True, f"stage{stage}.average": False, f"stage{stage}.sequential": False,
            f"stage{stage}.small": False, f"stage{stage}.squeeze": False,
        }  # fmt: skip
    name = f"repcnn-{form}-{'x'.join(map(str, widths))}-k{kernel}-b{blocks}"
    return Network(name, "repcnn", RepCNN(), values)


def trained_for(network: Network, epochs: int) -> Network:
    """Return the network under another name, to be trained for that many epochs."""
    return replace(network, name=f"{network.name}-e{epochs}", epochs=epochs)


def peers() -> list[Network]:
    """Return the other published networks, as their authors scale them by default."""
    return [
        Network("tc_resnet8", "peer", TCResNet8(), {"multiplier": 1.0}),
        Network("mixed_kernels", "peer", MixedKernels(), {"width": 64, "blocks": 4, "stride": 3}),
        Network("matchboxnet-3x1x64", "peer", MatchboxNet(), {"blocks": 3, "repeats": 1, "width": 64}),
        Network("ds_cnn-64x4", "peer", DSCNN(), {"width": 64, "blocks": 4}),
    ]


@cache
def dataset(task: Task) -> Dataset:
    """Return the data of a task; from the cache after the first time."""
    source = Synthetic(clips=task.clips) if task.folder is None else SpeechCommands(folder=task.folder)
    return source.load(seed=0)


def trained(task: Task, network: Network, seed: int, epochs: int, keep: Path) -> tuple[Trained, nn.Module]:
    """Train a network, or read what a run before this one kept; what it scored, and the fused module that ships."""
    path = _kept(task, network, seed, epochs, keep)
    data = dataset(task)
    if not path.exists():
        model, seconds = _train(network, data, seed, epochs)
        torch.save({"weights": model.state_dict(), "seconds": seconds}, path)
    kept = torch.load(path)
    model = network.build(data)
    model.load_state_dict(kept["weights"])
    fused, report = fuse(model.eval(), torch.from_numpy(data.validation.features[:_FUSION_CHECK]).float())
    assert report.ok, report
    errors = error_rate(fused, data.validation), error_rate(fused, data.test)
    return Trained(task.name, network.name, seed, epochs, *errors, kept["seconds"]), fused


def _train(network: Network, data: Dataset, seed: int, epochs: int) -> tuple[nn.Module, float]:
    torch.manual_seed(seed)
    trainer = SupervisedTrainer(
        network.build(data), data, TrainingConfig(epochs=epochs, batch_size=BATCH_SIZE), seed=seed
    )
    start = time.process_time()
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer.model, time.process_time() - start


def _kept(task: Task, network: Network, seed: int, epochs: int, keep: Path) -> Path:
    """Return where a training is kept: under all that it depends on but the code."""
    what = {**asdict(task), "values": network.values, "seed": seed, "epochs": epochs, "batch": BATCH_SIZE}
    digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]
    keep.mkdir(parents=True, exist_ok=True)
    return keep / f"{network.name}-{seed}-{digest}.pt"
