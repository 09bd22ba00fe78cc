"""What early exits are worth to a Conformer: its mean time with exits by intermediate CTC, against its full depth.

Strings of digits that eSpeak says, voices disjoint between splits, as in ``benchmarks/asr.py``, and the networks of
there, of three blocks, with exits behind the first and the second. Thresholds are set on the validation split, the
cheapest that lose a quarter of a point of token error there against the last exit; what is told is of the test split.
Times are of the processor, of the stages' files in ONNX Runtime on one thread, each run again and again; full depth is
all of them, for the network in one file takes longer, likely because its weights are then read anew.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.exits.conformer import CTC_HEADS, ConformerExits
from repareto.spaces.exits.space import WithExits
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.transcripts.synthetic import SyntheticStrings
from repareto.trainers.supervised import TrainingConfig

from .asr import SHARED as SETTINGS
from .asr import WHOLE
from .exit_networks import times_us, trained
from .exits import EQUAL_POINTS, TARGET, errors_of, judge
from .report import Claim, arguments, over, publish

INTERMEDIATE_WEIGHT = 0.3
ROUNDS = 40
"""Short ones, so that some are not disturbed."""


@dataclass(frozen=True)
class ConformerRecipe:
    """Exits behind each block but the last, and how all is trained."""

    head: str
    epochs: int

    def build(self, data: Dataset, seed: int) -> nn.Module:
        """Return an untrained network; the same but for its own heads from the same seed."""
        space = WithExits.of(ConformerSpace(), {"count": 2, "head": self.head, "distillation": 0, "backbone": "joint"})
        own = {"intermediate_weight": INTERMEDIATE_WEIGHT, "stochastic_depth": 0.0}
        places = {"exits.place1": 0.0, "exits.place2": 0.9}
        torch.manual_seed(seed)
        candidate = space.candidate({**space.middle(), **SETTINGS, **WHOLE, **own, **places})
        return space.build(candidate, data.input_shape, len(data.labels))

    def training(self) -> TrainingConfig:
        """Return how it learns: as the dense networks do."""
        rates = {
            name.removeprefix("training."): value for name, value in SETTINGS.items() if name.startswith("training.")
        }
        return TrainingConfig(epochs=self.epochs, batch_size=32).overridden(rates)


@dataclass(frozen=True)
class Row:
    """What one network gave; errors without a prefix are of the test split."""

    head: str
    seed: int
    whole_us: float
    up_to_us: tuple[float, ...]
    policy: str
    thresholds: tuple[float | None, ...]
    rates: tuple[float, ...]
    expected_us: float
    speed_up: float
    whole_error: float
    error: float
    validation_whole_error: float
    validation_error: float
    exit_errors: tuple[float, ...]
    temperatures: tuple[float, ...]
    calibration_errors: tuple[float, ...]
    train_seconds: float


def measure(kinds: Sequence[tuple[str, int]], data: Dataset, epochs: int, runs: int, keep: Path) -> list[Row]:
    """Train, time and judge a network of each kind of head and seed."""
    rows: list[Row] = []
    for head, seed in kinds:
        network = trained(ConformerRecipe(head, epochs), data, seed, keep)
        fused = network.fused
        assert isinstance(fused, ConformerExits)
        validation_errors, test_errors = errors_of(fused, data)
        whole_us, up_to_us = times_us(fused, data, runs, ROUNDS)
        chosen, tested, calibration = judge(fused, data, validation_errors[-1], up_to_us)
        rows.append(
            Row(
                head, seed, whole_us, up_to_us, chosen.policy, chosen.thresholds, tested.rates, tested.expected_cost,
                up_to_us[-1] / tested.expected_cost, test_errors[-1], tested.error, validation_errors[-1], chosen.error,
                test_errors, calibration.temperatures, calibration.calibration_errors, network.train_seconds,
            )
        )  # fmt: skip
        print(asdict(rows[-1]), flush=True)
    return rows


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Compare each kind of head with the full depth."""
    claims = []
    for head in dict.fromkeys(row.head for row in rows):
        own = [row for row in rows if row.head == head]

        def told(figure: str, own: Sequence[Row] = own) -> str:
            columns = zip(*(getattr(row, figure) for row in own), strict=True)
            return ", ".join(f"{statistics.mean(column):.3g}" for column in columns)

        claims += [
            Claim(
                f"asr_exits.{head}.speed_up", **over([row.speed_up for row in own], statistics.mean), op=">=",
                target=TARGET,
                what=f"time of all stages over the mean time with two exits, {len(own)} seeds, ONNX Runtime",
                why="of three blocks the first takes more than a third of the time; "
                f"shares that leave at the exits: {told('rates')}; times to them: {told('up_to_us')} us; "
                f"the network in one file: {statistics.mean(row.whole_us for row in own):.0f} us",
            ),
            Claim(
                f"asr_exits.{head}.lost_points",
                **over([100 * (row.error - row.whole_error) for row in own], statistics.mean), op="<=",
                target=EQUAL_POINTS,
                what="points of token error above the last exit, at thresholds set on validation",
                why=f"errors of the exits alone: {told('exit_errors')}; voices of the test split are others",
            ),
        ]  # fmt: skip
    return claims


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 3}),
        ("--own-seeds", {"type": int, "default": 1, "help": "of networks whose exits have heads of their own"}),
        ("--keep", {"type": Path, "help": "folder of what is trained: a run that was cut off goes on there"}),
    )
    torch.set_num_threads(1)
    data = SyntheticStrings(utterances=60 if options.quick else 6_000).load(seed=0)
    seeds = (1, 1) if options.quick else (options.seeds, options.own_seeds)
    kinds = [(head, seed) for head, count in zip(CTC_HEADS, seeds, strict=True) for seed in range(count)]
    with tempfile.TemporaryDirectory() as own:
        epochs, runs = (1, 2) if options.quick else (8, 20)
        rows = measure(kinds, data, epochs, runs, options.keep or Path(own))
    command = f"python -m benchmarks.asr_exits --seeds {options.seeds} --own-seeds {options.own_seeds}"
    publish("asr_exits", command, claims_of(rows), [asdict(row) for row in rows], quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
