"""What branches cost: on the device, where they are not fused, and in training.

Networks of RepCNN with their branches fused and with a convolution for each branch, in ONNX Runtime and LiteRT: latency
and planned memory. And the processor's seconds of a training step with branches and with one branch; beside them those
of a network that runs its branches one after the other, as the papers write them.
"""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from repareto.spaces.branches import BranchedConv, ConvShape, Topology
from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig

from .keyword_networks import BATCH_SIZE, Task, dataset
from .network_costs import Cost, costs, ratio, ratio_of_minima
from .repcnn import TOPOLOGIES, UNI, candidate
from .report import Claim, arguments, publish

RUNTIMES = ("host-onnxruntime", "host-litert")
FORMS = ("separable", "full")
BRANCHED = tuple(name for name in TOPOLOGIES if name != UNI)
FASTER, SMALLER, TRAINING_COST = 2, 1, 3
_CLIPS = 600


@dataclass(frozen=True)
class Training:
    """What the steps of one network take, the mean over each round, in microseconds of the processor.

    ``apart``: each branch runs as a convolution and a normalisation of its own.
    """

    form: str
    topology: str
    apart: bool
    rounds_us: tuple[float, ...]


class BranchesApart(nn.Module):
    """The sum of branches that run one after the other: convolutions, each normalised, and a normalised skip."""

    def __init__(self, shape: ConvShape, topology: Topology) -> None:
        super().__init__()
        kernels = [shape.kernel_size] * topology.conv + [(1, 1)] * topology.pointwise
        self.branches = nn.ModuleList(_normed(shape, kernel) for kernel in kernels)
        if topology.identity and shape.keeps_shape:
            self.branches.append(nn.BatchNorm2d(shape.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        return sum(outputs[1:], start=outputs[0])

    def with_folded_norms(self) -> nn.Module:
        """Return a copy with the normalisation in each convolution, which exporters do without knowing of branches."""
        folded = copy.deepcopy(self)
        for place, branch in enumerate(folded.branches):
            if isinstance(branch, nn.Sequential):
                *pad, conv, norm = branch
                folded.branches[place] = nn.Sequential(*pad, fuse_conv_bn_eval(conv, norm))
        return folded


def _normed(shape: ConvShape, kernel: tuple[int, ...]) -> nn.Module:
    channels = (shape.in_channels, shape.out_channels)
    conv = nn.Conv2d(*channels, kernel, shape.stride, groups=shape.groups, bias=False)
    # The zeros are those of the fused network's convolution, which runtimes join to it.
    amounts = tuple(shape.pad_amounts) if kernel == shape.kernel_size else ()
    pad = [nn.ZeroPad2d(amounts)] if any(amounts) else []
    return nn.Sequential(*pad, conv, nn.BatchNorm2d(shape.out_channels))


def network(form: str, topology: str, data: Dataset) -> nn.Sequential:
    """Return the network that ``benchmarks/repcnn.py`` trains, in one of the two forms."""
    space = RepCNN()
    chosen = space.candidate(dict(candidate(TOPOLOGIES[topology])) | {"form": form})
    torch.manual_seed(0)
    built = space.build(chosen, data.input_shape, len(data.labels))
    assert isinstance(built, nn.Sequential)
    return built


def with_branches_apart(model: nn.Sequential) -> nn.Sequential:
    """Return the network with each block's branches as layers of their own."""
    return nn.Sequential(
        *(
            BranchesApart(layer.shape, layer.topology) if isinstance(layer, BranchedConv) else copy.deepcopy(layer)
            for layer in model
        )
    )


def unfused(apart: nn.Sequential) -> nn.Sequential:
    """Return a network of branches apart as it would ship: without normalisations, all branches there."""
    layers = (layer.with_folded_norms() if isinstance(layer, BranchesApart) else layer for layer in apart.eval())
    return nn.Sequential(*layers).eval()


def device_costs(data: Dataset, rounds: int, seconds_a_visit: float) -> dict[tuple[str, str], list[Cost]]:
    """Return the costs of the fused and the unfused network, by runtime and form: fused first."""
    networks: dict[str, nn.Module] = {}
    for form in FORMS:
        networks[f"{form} fused"] = fused_copy(network(form, UNI, data).eval())
        networks |= {f"{form} {name}": unfused(with_branches_apart(network(form, name, data))) for name in BRANCHED}
    found: defaultdict[tuple[str, str], list[Cost]] = defaultdict(list)
    for cost in costs(networks, data, rounds, seconds_a_visit, RUNTIMES):
        assert not cost.reason, cost
        # Nobody trained them.
        found[cost.device, cost.network.split()[0]].append(replace(cost, test_error=None))
    return dict(found)


def device_claims(found: Mapping[tuple[str, str], list[Cost]]) -> list[Claim]:
    """Compare each unfused network with the fused one."""
    claims: list[Claim] = []
    for (runtime, _), (fused, *others) in found.items():
        for other in others:
            where = f"branch_costs.{runtime}.{other.network.replace(' ', '.')}"
            kernels = f"{other.kernels} kernels against {fused.kernels}"
            claims += [
                Claim(
                    f"{where}.latency", **ratio(fused, other, "latency_us"), op=">=", target=FASTER,
                    what=f"times the latency of the fused network where {other.network} is not fused, one thread",
                    why=f"{kernels}; {other.latency_us:.1f} us against {fused.latency_us:.1f}, much of it of any run",
                ),
                Claim(
                    f"{where}.memory", **ratio(fused, other, "peak_memory_bytes"), op=">=", target=SMALLER,
                    what="times the planned peak memory",
                    why=f"{other.peak_memory_bytes} bytes against {fused.peak_memory_bytes}",
                ),
            ]  # fmt: skip
    return claims


def training_costs(data: Dataset, rounds: int) -> list[Training]:
    """Train all networks in turns, an epoch a visit."""
    models = {(form, name, False): network(form, name, data) for form in FORMS for name in TOPOLOGIES}
    models |= {
        (form, name, True): with_branches_apart(models[form, name, False]) for form in FORMS for name in BRANCHED
    }
    config = TrainingConfig(epochs=rounds + 1, batch_size=BATCH_SIZE)
    trainers = {key: SupervisedTrainer(model, data, config, seed=0) for key, model in models.items()}
    steps = -(-len(data.train) // BATCH_SIZE)
    visits_us: defaultdict[tuple[str, str, bool], list[float]] = defaultdict(list)
    for visit in range(rounds + 1):
        for key, trainer in trainers.items():
            start_ns = time.process_time_ns()
            trainer.train_epoch()
            if visit:  # the first warms up
                visits_us[key].append((time.process_time_ns() - start_ns) / 1e3 / steps)
    return [Training(*key, tuple(rounds_us)) for key, rounds_us in visits_us.items()]


def training_claims(found: list[Training]) -> list[Claim]:
    """Compare each branched network with the one of one branch."""
    rounds_us = {(training.form, training.topology, training.apart): training.rounds_us for training in found}
    claims: list[Claim] = []
    for form in FORMS:
        for topology in BRANCHED:
            uni, ours, apart = (
                rounds_us[key] for key in ((form, UNI, False), (form, topology, False), (form, topology, True))
            )
            cost = ratio_of_minima(uni, ours)
            claims.append(
                Claim(
                    f"branch_costs.training.{form}.{topology}", **cost, op="<=", target=TRAINING_COST,
                    what=f"times the processor's seconds of a step with one branch "
                    f"({min(ours) / 1e3:.1f} ms against {min(uni) / 1e3:.1f}; branches apart "
                    f"{ratio_of_minima(uni, apart)['value']:.2f} times)",
                    why="batch normalisation of each branch dominates",
                )
            )  # fmt: skip
    return claims


def main() -> None:
    """Measure and publish."""
    options = arguments(__doc__)
    torch.set_num_threads(1)
    data = dataset(Task("keywords", None, _CLIPS))
    rounds, visits, seconds = (2, 2, 0.005) if options.quick else (30, 20, 0.03)
    devices = device_costs(data, rounds, seconds)
    trainings = training_costs(data, visits)
    rows: list[dict[str, Any]] = [
        {"what": "device", "form": form, **asdict(cost)} for (_, form), found in devices.items() for cost in found
    ]
    rows += [{"what": "training", **asdict(training)} for training in trainings]
    claims = [*device_claims(devices), *training_claims(trainings)]
    publish("branch_costs", "python -m benchmarks.branch_costs", claims, rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
