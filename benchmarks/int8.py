"""What int8 loses of fused networks: test errors of the files that ship against those in float32, paired by seed.

Fused kernels are sums of branches, of which it is said that they quantise badly (arXiv 2212.01593). Beside the errors
stand what would make them do so, the ranges of the kernels, and the errors after an epoch of fine-tuning with rounding.
"""

from __future__ import annotations

import copy
import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from repareto.search.devices.targets import device
from repareto.spaces.repcnn import RepCNN
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.quantization import fine_tune_int8
from repareto.trainers.supervised import TrainingConfig, error_rate

from .keyword_networks import BATCH_SIZE, Network, Task, dataset, trained
from .repcnn import BEST, STAGES, TOPOLOGIES, UNI, candidate
from .report import Claim, arguments, publish

DEVICES = ("host-litert-int8", "host-onnxruntime-int8")
TARGET_POINTS = 0.5
TUNING_EPOCHS = 1
_CALIBRATION_SAMPLES = 1000  # as many as a study takes
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Loss:
    """One trained network on one device; errors are of the test split.

    ``channel_spread``: the largest weight of a layer over that of its middle channel, the worst layer's, which hurts
    where a layer has one scale. ``peak_to_rms``: the largest weight of a channel over its root mean square, the median
    channel of the worst layer, which hurts where each channel has a scale too.
    """

    network: str
    seed: int
    device: str
    float32_error: float
    int8_error: float
    tuned_float32_error: float
    tuned_int8_error: float
    channel_spread: float
    peak_to_rms: float


def network(form: str, topology: str, squeeze: bool) -> Network:
    """Return the network that ``benchmarks/repcnn.py`` trains, in one of two forms, squeezed or not."""
    changes = {"form": form, **{f"stage{stage}.squeeze": squeeze for stage in range(1, STAGES + 1)}}
    name = f"{form}-{topology}" + "-squeeze" * squeeze
    return Network(name, "repcnn", RepCNN(), dict(candidate(TOPOLOGIES[topology])) | changes)


SMALL = network("separable", BEST, squeeze=False)
OTHERS = (network("separable", UNI, False), network("full", BEST, False), network("separable", BEST, True))


def losses(task: Task, trainee: Network, seed: int, epochs: int, keep: Path) -> list[Loss]:
    """Train a network, quantise it as it is and after fine-tuning, and score the files."""
    data = dataset(task)
    _, fused = trained(task, trainee, seed, epochs, keep)
    tuned = fine_tune_int8(
        copy.deepcopy(fused), data, TrainingConfig(epochs=epochs, batch_size=BATCH_SIZE), TUNING_EPOCHS, seed=seed
    )
    spread, peak = kernel_ranges(fused)
    errors = {name: [shipped_error(module, name, data, seed) for module in (fused, tuned)] for name in DEVICES}
    float32 = error_rate(fused, data.test), error_rate(tuned, data.test)
    return [
        Loss(trainee.name, seed, name, float32[0], int8[0], float32[1], int8[1], spread, peak)
        for name, int8 in errors.items()
    ]


def shipped_error(module: nn.Module, name: str, data: Dataset, seed: int) -> float:
    """Return the test error of the int8 file that a device runs, calibrated with training clips."""
    target = device(name)
    chosen = np.random.default_rng(seed).permutation(len(data.train))[:_CALIBRATION_SAMPLES]
    content = target.convert(module, data.input_shape, data.train.features[chosen].astype(np.float32), data.labels)
    logits = target.run(content, data.test.features.astype(np.float32))
    return float(np.mean(logits.argmax(axis=1) != data.test.labels))


def kernel_ranges(fused: nn.Module) -> tuple[float, float]:
    """Return the worst ``channel_spread`` and ``peak_to_rms`` of the convolutions."""
    spreads, peaks = [], []
    for module in fused.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().flatten(1)
            largest = weight.abs().amax(1)
            spreads.append((largest.max() / largest.median()).item())
            peaks.append((largest / weight.square().mean(1).sqrt()).median().item())
    return max(spreads), max(peaks)


def points(found: Sequence[Loss], tuned: bool) -> dict[str, float]:
    """Return the mean of the points lost, with 95 % bootstrap over the trainings.

    Against float32 before any fine-tuning: what a user would have had.
    """
    lost = [100 * ((loss.tuned_int8_error if tuned else loss.int8_error) - loss.float32_error) for loss in found]
    rng = random.Random(0)
    resampled = sorted(statistics.mean(rng.choices(lost, k=len(lost))) for _ in range(_RESAMPLES))
    value, low, high = statistics.mean(lost), resampled[int(0.025 * _RESAMPLES)], resampled[int(0.975 * _RESAMPLES)]
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def claims_of(found: Sequence[Loss]) -> list[Claim]:
    """Compare int8 with float32, by device and network."""
    claims: list[Claim] = []
    for name in dict.fromkeys(loss.network for loss in found):
        for target in DEVICES:
            own = [loss for loss in found if (loss.network, loss.device) == (name, target)]
            told = f"test error {100 * statistics.mean(loss.float32_error for loss in own):.1f} % in float32"
            spread, peak = (max(getattr(loss, key) for loss in own) for key in ("channel_spread", "peak_to_rms"))
            why = f"worst layers: largest weight {spread:.1f} times the middle channel's, {peak:.1f} times its rms"
            for tuned in (False, True):
                after = f", after {TUNING_EPOCHS} epoch of fine-tuning with rounding" if tuned else ""
                claims.append(
                    Claim(
                        f"int8.{target}.{name}" + ".tuned" * tuned, **points(own, tuned), op="<=", target=TARGET_POINTS,
                        what=f"points of test error that int8 loses{after}, {len(own)} seeds, {told}", why=why,
                    )
                )  # fmt: skip
    return claims


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 5, "help": f"of {SMALL.name}"}),
        ("--other-seeds", {"type": int, "default": 3, "help": "of the other networks"}),
        ("--epochs", {"type": int, "default": 6}),
        ("--keep", {"type": Path, "help": "folder of what is trained: a run that was cut off goes on there"}),
    )
    torch.set_num_threads(1)
    task, epochs = Task("keywords", None, 10800), options.epochs
    plan = [(SMALL, options.seeds), *((other, options.other_seeds) for other in OTHERS)]
    if options.quick:
        task, epochs, plan = Task("keywords", None, 600), 1, [(SMALL, 2), (OTHERS[-1], 1)]
    found: list[Loss] = []
    with tempfile.TemporaryDirectory() as own:
        for trainee, seed in ((trainee, seed) for trainee, seeds in plan for seed in range(seeds)):
            found += losses(task, trainee, seed, epochs, options.keep or Path(own))
            print(f"{trainee.name} seed {seed}: {found[-1].float32_error:.2%} in float32", flush=True)
    command = f"python -m benchmarks.int8 --seeds {options.seeds} --other-seeds {options.other_seeds}"
    command += f" --epochs {options.epochs}"
    publish("int8", command, claims_of(found), [asdict(loss) for loss in found], quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
