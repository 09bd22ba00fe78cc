"""What pruning a trained model costs in errors: rewound, by gentler rates, at once; against training it sparse.

The data, the network and the dense training of :mod:`benchmarks.sparsity`; channels by magnitude, as ``repareto prune``
takes them out. *Rewound* goes on by the schedule that the network was trained by, *gentle* by a part of its learning
rate, each for as many epochs as the dense network had; *at once* does not train on. *From scratch* is a search's sparse
candidate, which has the dense one's epochs, or as many as both trainings have.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.renormalise import renormalised
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.sparsity.slicing import slice_to_shipped
from repareto.spaces.sparsity.space import CHANNEL, Sparsity
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.pruning import pruning_trainer, some_examples
from repareto.trainers.sparsity import sparsifier_of
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig, error_rate

from .report import Claim, arguments, over, publish
from .sparse_networks import BATCH, BLOCKS, KERNEL, WIDTHS, keywords, network

LEVELS = (0.45, 0.7)
"""64 and 86 % of the parameters."""
RATES = {"rewound": 1.0, "gentle, 0.3": 0.3, "gentle, 0.1": 0.1}
"""By the way: the share of the study's learning rate."""
AT_ONCE, SCRATCH, SCRATCH_LONG = "at once", "from scratch", "from scratch, twice as long"
DENSE = "dense"


@dataclass(frozen=True)
class Row:
    """One network as it ships."""

    way: str
    level: float
    seed: int
    error: float
    parameters: int


@dataclass(frozen=True)
class Bench:
    """One dense network and what is made of it; in the folder ``keep`` is what is done."""

    data: Dataset
    epochs: int
    seed: int
    keep: Path

    def rows(self, levels: Sequence[float]) -> list[Row]:
        """Return the dense network and all ways at all levels."""
        rows = [self._row(DENSE, 0.0, self._dense)]
        for level in levels:
            sparsity = Sparsity("magnitude", CHANNEL, (level,))
            models: dict[str, Callable[[], nn.Module]] = {
                **{way: partial(self._retrained, sparsity, rate) for way, rate in RATES.items()},
                AT_ONCE: partial(self._cut, sparsity),
                SCRATCH: partial(self._from_scratch, sparsity, self.epochs),
                SCRATCH_LONG: partial(self._from_scratch, sparsity, 2 * self.epochs),
            }
            for way, model in models.items():
                rows.append(self._row(way, level, partial(self._shipped, model, sparsity)))
        return rows

    def _dense(self) -> nn.Module:
        """Return the fused dense network."""
        path = self.keep / f"dense-{self.seed}-{self.epochs}.pt"
        if not path.exists():
            torch.save(fused_copy(self._from_scratch(None, self.epochs).eval()).state_dict(), path)
        fused = fused_copy(self._untrained().eval())
        fused.load_state_dict(torch.load(path))
        return fused

    def _training(self, epochs: int, rate: float = 1.0) -> TrainingConfig:
        whole = TrainingConfig(epochs=epochs, batch_size=BATCH)
        return replace(whole, learning_rate=rate * whole.learning_rate)

    def _from_scratch(self, sparsity: Sparsity | None, epochs: int) -> nn.Module:
        model, own = self._untrained(), None if sparsity is None else sparsifier_of(sparsity)
        return _trained(SupervisedTrainer(model, self.data, self._training(epochs), seed=self.seed, sparsifier=own))

    def _untrained(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return RepCNN().build(network(WIDTHS, BLOCKS, KERNEL), self.data.input_shape, len(self.data.labels))

    def _retrained(self, sparsity: Sparsity, rate: float) -> nn.Module:
        training = self._training(self.epochs, rate)
        return _trained(pruning_trainer(self._dense(), self.data, training, sparsity, seed=self.seed))

    def _cut(self, sparsity: Sparsity) -> nn.Module:
        """Return the dense network with its smallest channels closed, untrained since."""
        model = renormalised(self._dense(), some_examples(self.data))
        sparsifier = sparsifier_of(replace(sparsity, method="one_shot"))
        sparsifier.start(model, some_examples(self.data), steps=1)
        sparsifier.after_step()
        return model

    def _shipped(self, make: Callable[[], nn.Module], sparsity: Sparsity) -> nn.Module:
        model, samples = make().eval(), torch.from_numpy(self.data.test.features[:64]).float()
        fused, _ = fuse(model, samples)
        shipped, report, _ = slice_to_shipped(model, fused, samples, sparsity)
        assert report.ok, report
        return shipped

    def _row(self, way: str, level: float, make: Callable[[], nn.Module]) -> Row:
        kept = self.keep / f"{way}-{level}-{self.seed}-{self.epochs}.json"
        if not kept.exists():
            shipped = make()
            size = sum(parameter.numel() for parameter in shipped.parameters())
            row = Row(way, level, self.seed, error_rate(shipped, self.data.test), size)
            kept.write_text(json.dumps(asdict(row)))
            print(f"{way} {level:.0%} seed {self.seed}: {100 * row.error:.2f} %", flush=True)
        return Row(**json.loads(kept.read_text()))


def _trained(trainer: SupervisedTrainer) -> nn.Module:
    for _ in range(trainer.config.epochs):
        trainer.train_epoch()
    return trainer.model


class Points:
    """Points of error beyond the dense network's of the same seed."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._errors = {(row.way, row.level, row.seed): 100 * row.error for row in rows}
        self._seeds = sorted({row.seed for row in rows})

    def more(self, way: str, level: float, than: str, than_level: float) -> list[float]:
        """Return by how many points one way makes more errors than another, by seed."""
        return [self._errors[way, level, seed] - self._errors[than, than_level, seed] for seed in self._seeds]

    def told(self, level: float) -> str:
        """All ways' means."""
        ways = dict.fromkeys(way for way, at, _ in self._errors if at == level)
        means = {way: statistics.mean(self.more(way, level, DENSE, 0.0)) for way in ways}
        return "points beyond dense: " + ", ".join(f"{way} {mean:.1f}" for way, mean in means.items())


def claims_of(rows: Sequence[Row], levels: Sequence[float]) -> list[Claim]:
    """Compare rewinding with what could be done in its place."""
    points, claims = Points(rows), []
    for level in levels:
        for name, other in (
            ("gentle", "gentle, 0.3"),
            ("gentler", "gentle, 0.1"),
            ("at_once", AT_ONCE),
            ("scratch", SCRATCH),
            ("scratch_long", SCRATCH_LONG),
        ):
            claims.append(
                Claim(
                    f"prune.{name}_{100 * level:.0f}", **over(points.more("rewound", level, other, level), _mean),
                    op="<=", target=0.0, why=points.told(level),
                    what=f"points of error more than {other}, of a model that is pruned of {level:.0%} of its channels "
                    "while it is trained on by its own schedule",
                )
            )  # fmt: skip
    return claims


_mean: Callable[[Sequence[float]], float] = statistics.mean


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 3}),
        ("--epochs", {"type": int, "default": 20}),
        ("--keep", {"type": Path, "help": "folder of what is done, to go on from"}),
    )
    torch.set_num_threads(1)
    seeds, epochs, clips, levels = options.seeds, options.epochs, 10_800, LEVELS
    if options.quick:
        seeds, epochs, clips, levels = 1, 1, 600, LEVELS[1:]
    with tempfile.TemporaryDirectory() as scratch:
        keep = options.keep or Path(scratch)
        keep.mkdir(parents=True, exist_ok=True)
        rows = [row for seed in range(seeds) for row in Bench(keywords(clips), epochs, seed, keep).rows(levels)]
    command = f"python -m benchmarks.prune --seeds {options.seeds} --epochs {options.epochs}"
    tables = [{"table": "errors", **asdict(row)} for row in rows]
    publish("prune", command, claims_of(rows, levels), tables, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
