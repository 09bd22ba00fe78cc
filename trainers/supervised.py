"""Supervised training of one network, an epoch at a time, the same from the same seed."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..spaces.errors import UserError
from .augment import Augment
from .batches import batches_of_like_length, random_batches
from .data.dataset import Dataset, Split
from .distillation import Distiller
from .losses import loss_of
from .normalisations import reestimate
from .sparsity.base import Sparsifier

SPARSIFIER_EXAMPLES = 256
DISTILLATION_EXAMPLES = 2
"""To see what shapes layers have."""
STATISTICS_BATCHES = 100
"""That normalisations get the statistics of a network of a supernet from."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a candidate learns. A space may override any field but ``epochs`` by a parameter ``training.<field>``."""

    epochs: int = 12
    """The full fidelity: only candidates trained this long reach the front."""
    batch_size: int = 128
    learning_rate: float = 4e-3
    """Peak of the schedule: linear warm-up, then a cosine to zero."""
    weight_decay: float = 1e-2
    """Of kernels and linear weights; biases and normalisations have none."""
    warmup_fraction: float = 0.1
    label_smoothing: float = 0.05
    augment: Augment = field(default_factory=Augment)
    """Applied to audio features only."""
    mixed_precision: bool = True
    """bfloat16 autocast on CUDA; a CPU always trains in float32."""
    quantization_aware_epochs: int = 0
    """After fusion, for a device that runs int8: epochs of fine-tuning with rounded weights and activations."""

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise UserError(f"training.batch_size = {self.batch_size}: must be 2 or more, one has no batch statistics")
        positive = {"epochs": self.epochs, "learning_rate": self.learning_rate}
        for name, value in positive.items():
            if not value > 0:
                raise UserError(f"training.{name} = {value}: must be positive")
        if self.quantization_aware_epochs < 0:
            value = self.quantization_aware_epochs
            raise UserError(f"training.quantization_aware_epochs = {value}: must be 0 (none) or more")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"training.label_smoothing = {self.label_smoothing}: must be in [0, 1)")

    def overridden(self, values: dict[str, Any]) -> TrainingConfig:
        """Return a copy with ``values``; raises :class:`UserError` for a field that does not exist or is fixed."""
        known = set(asdict(self)) - {"epochs"}
        if odd := sorted(set(values) - known):
            raise UserError(f"training.{odd[0]} cannot be searched (known: {', '.join(sorted(known))})")
        return replace(self, **values)


class TrainingDivergedError(RuntimeError):
    """The loss became NaN or infinite: the candidate has failed, the search has not."""


@dataclass(frozen=True)
class EpochResult:
    """``loss`` is the mean over the epoch's examples; ``seconds`` is wall-clock time."""

    epoch: int
    loss: float
    seconds: float


class SupervisedTrainer:
    """Trains ``model`` on ``dataset.train`` with AdamW, a cosine schedule and label smoothing.

    All random numbers of the data order and of augmentation come from a generator seeded with ``seed``; the caller
    seeds torch itself before it builds the model, for initial weights and dropout. A ``sparsifier`` changes the model,
    a ``distiller`` what it learns from.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        config: TrainingConfig,
        *,
        seed: int,
        device: str = "cpu",
        sparsifier: Sparsifier | None = None,
        distiller: Distiller | None = None,
    ) -> None:
        # Convolutions train faster in this order (benchmarks/LOG.md).
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config = config
        self.device = torch.device(device)
        self.epoch = 0
        self._generator = torch.Generator(device=device).manual_seed(seed)
        self._loss = loss_of(dataset, config.label_smoothing)
        self._features, self._labels = _on_device(dataset.train, self.device)
        self._frames = None if dataset.train.frames is None else _tensor(dataset.train.frames).to(self.device)
        self._noise = None if dataset.noise is None else _tensor(dataset.noise).to(self.device)
        is_audio = dataset.front_end["kind"] == "log_mel"
        self._augment = config.augment.fitted_to(dataset.front_end) if is_audio else None
        # A last batch of one is left out, see batches.py.
        full_batches, rest = divmod(len(self._labels), config.batch_size)
        steps = (full_batches + (rest > 1)) * config.epochs
        self._sparsifier = sparsifier
        own_groups: list[dict[str, Any]] = []
        if sparsifier is not None:
            sparsifier.start(model, self._some_examples(), steps)
            own_groups = sparsifier.parameter_groups(config.learning_rate)
        self._distiller = distiller
        if distiller is not None:
            distiller.start(model, self._some_examples()[:DISTILLATION_EXAMPLES], steps)
            own_groups = [*own_groups, *distiller.parameter_groups()]
        groups = _parameter_groups(model, config.weight_decay, own_groups)
        self._optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        warmup = max(1, round(steps * config.warmup_fraction))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: _warmup_then_cosine(step, warmup, steps)
        )

    def train_epoch(self) -> EpochResult:
        """Train one more epoch; raises :class:`TrainingDivergedError` when the loss is not finite."""
        start = time.perf_counter()
        self.model.train()
        total = torch.zeros((), device=self.device)
        for features, labels in self._batches():
            with self._autocast():
                loss = self._loss_of(features, labels)
            self._optimizer.zero_grad(set_to_none=True)
            self._with_penalty(loss).backward()
            self._optimizer.step()
            self._schedule.step()
            if self._distiller is not None:
                self._distiller.after_step()
            if self._sparsifier is not None:
                self._sparsifier.after_step()
            total += loss.detach() * len(labels)
        self.epoch += 1
        # Looked at once an epoch: a look at every step would make a GPU wait.
        mean = total.item() / len(self._labels)
        if not math.isfinite(mean):
            raise TrainingDivergedError(f"the loss is {mean} in epoch {self.epoch}")
        return EpochResult(self.epoch, mean, time.perf_counter() - start)

    def _loss_of(self, features: Tensor, labels: Tensor) -> Tensor:
        if self._distiller is not None:
            return self._distiller.loss(self._loss, self.model, features, labels)
        if self._sparsifier is not None:
            return self._sparsifier.loss(self._loss, self.model, features, labels)
        return self._loss(self.model, features, labels)

    def _with_penalty(self, loss: Tensor) -> Tensor:
        penalty = None if self._sparsifier is None else self._sparsifier.penalty()
        return loss if penalty is None else loss + penalty

    @property
    def networks(self) -> int:
        """How many networks of different sparsity the model is."""
        return 1 if self._sparsifier is None else self._sparsifier.networks

    def network(self, place: int) -> nn.Module:
        """Return a copy, in eval mode, of the model as one of its networks, the widest of which is the first.

        The model's own statistics are of that one; all others get those that they have on batches of training.
        """
        if place == 0:
            return copy.deepcopy(self.model).eval()
        assert self._sparsifier is not None
        self._sparsifier.show(place)
        model = copy.deepcopy(self.model)
        self._sparsifier.show(0)
        reestimate(model, (features for features, _ in islice(self._batches(), STATISTICS_BATCHES)))
        return model

    def _some_examples(self) -> Tensor:
        """Return training data from all over the split, which may be in the order of its labels."""
        step = max(1, len(self._features) // SPARSIFIER_EXAMPLES)
        return self._features[::step][:SPARSIFIER_EXAMPLES].float()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        noise = self._noise
        for indices in self._batch_indices():
            features = self._features[indices].float()
            if self._frames is not None:
                longest = int(self._frames[indices].max())
                features, noise = features[..., :longest], None if self._noise is None else self._noise[..., :longest]
            if self._augment is not None:
                features = self._augment(features, noise, self._generator)
            yield features, self._labels[indices]

    def _batch_indices(self) -> list[Tensor]:
        if self._frames is None:
            return random_batches(len(self._labels), self.config.batch_size, self._generator)
        return batches_of_like_length(self._frames, self.config.batch_size, self._generator)

    def _autocast(self) -> torch.autocast:
        enabled = self.device.type == "cuda" and self.config.mixed_precision
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an uninterrupted run would have at this point, random generators included."""
        state = {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "generator": self._generator.get_state(),
            "torch_generator": torch.get_rng_state(),
        }
        if self._sparsifier is not None:
            state["sparsifier"] = self._sparsifier.state_dict()
        if self._distiller is not None:
            state["distiller"] = self._distiller.state_dict()
        if self.device.type == "cuda":
            state["cuda_generator"] = torch.cuda.get_rng_state(self.device)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`, bit for bit on a CPU."""
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self._sparsifier is not None:
            self._sparsifier.load_state_dict(state["sparsifier"])
        if self._distiller is not None:
            self._distiller.load_state_dict(state["distiller"])
        self._generator.set_state(state["generator"].cpu())
        torch.set_rng_state(state["torch_generator"].cpu())
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_generator"].cpu(), self.device)


@torch.no_grad()
def error_rate(model: nn.Module, split: Split, *, device: str = "cpu", batch_size: int = 512) -> float:
    """Return the share of ``split`` that the model, put into eval mode, classifies wrongly."""
    was_training = model.training
    model.eval()
    wrong = 0
    for start in range(0, len(split), batch_size):
        features = _tensor(split.features[start : start + batch_size]).to(device).float()
        labels = _tensor(split.labels[start : start + batch_size]).to(device)
        wrong += int((model(features).argmax(1) != labels).sum())
    model.train(was_training)
    return wrong / len(split)


def _tensor(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # Arrays out of shared memory are read-only, and nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _on_device(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    return _tensor(split.features).to(device), _tensor(split.labels).to(device)


def _parameter_groups(model: nn.Module, weight_decay: float, own_groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the optimiser's groups: ``own_groups`` and, of all other parameters, kernels and the rest."""
    elsewhere = {id(parameter) for group in own_groups for parameter in group["params"]}
    parameters = [parameter for parameter in model.parameters() if id(parameter) not in elsewhere]
    kernels = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
        *own_groups,
    ]


def _warmup_then_cosine(step: int, warmup: int, steps: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
