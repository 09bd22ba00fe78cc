"""RepCNN against its peers at matched error: how much less time and memory the fused network takes on each device.

The claim is RepCNN's (arXiv 2406.02652): the accuracy of BC-ResNet (arXiv 2106.04140) with half the peak memory and ten
times the speed. For each BC-ResNet, on each device, the fastest of a ladder of RepCNN candidates is taken whose mean
validation error is not above; its test error is only reported. Once all are trained for the same epochs, and once a
RepCNN may be trained for as many seconds as its BC-ResNet.
"""

from __future__ import annotations

import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from .keyword_networks import Network, Task, Trained, bc_resnet, dataset, peers, repcnn, trained, trained_for
from .network_costs import (
    DEVICES,
    NOTHING,
    RUNTIMES,
    Cost,
    costs,
    nothing,
    onnx_file,
    operator_times_us,
    ratio,
)
from .report import Claim, arguments, exactly, publish

RUNTIME_RATIO, MEMORY_RATIO = 10, 2
TAUS = (1, 2)
Equal = Literal["epochs", "seconds"]
"""What of the trainings is equal: the seconds are an upper bound."""
_LABELS: dict[Equal, str] = {"epochs": "matched", "seconds": "matched_seconds"}
_RESAMPLES = 10_000
_LONGEST_OPERATORS = 4


@dataclass(frozen=True)
class Plan:
    """What is compared, and how thoroughly."""

    taus: tuple[float, ...]
    ladder: tuple[Network, ...]
    longer: tuple[Network, ...]
    """Networks of the ladder that are trained for longer."""
    peers: tuple[Network, ...]
    seeds: int
    peer_seeds: int
    epochs: int
    rounds: int
    seconds_a_visit: float


@dataclass(frozen=True)
class Match:
    """A BC-ResNet and, on one device, the fastest RepCNN of an error not above; the nearest where none reaches it."""

    tau: float
    equal: Equal
    reference: Cost
    ours: Cost
    reached: bool

    @property
    def label(self) -> str:
        """What stands before its claims."""
        return _LABELS[self.equal] if self.reached else _LABELS[self.equal].replace("matched", "nearest")


LADDER = (
    repcnn("full", (16, 16), kernel=9, blocks=1),
    *(repcnn("separable", (width, width), kernel=9, blocks=2) for width in (16, 24, 32)),
    repcnn("separable", (48, 48, 48), kernel=9, blocks=2),
)
"""Chosen by the validation errors of the first seed: wider full ones and more width beyond these did not help."""
LONGER = (trained_for(LADDER[3], 40),)
"""Takes less than the seconds of BC-ResNet-2's 8 epochs."""


def train_all(task: Task, plan: Plan, keep: Path) -> tuple[list[Trained], dict[str, nn.Module]]:
    """Train all networks, a seed after the other; the fused modules of the first seed."""
    outcomes: list[Trained] = []
    modules: dict[str, nn.Module] = {}
    for seed in range(plan.seeds):
        others = plan.peers if seed < plan.peer_seeds else ()
        for network in (*(bc_resnet(tau) for tau in plan.taus), *plan.ladder, *plan.longer, *others):
            outcome, module = trained(task, network, seed, network.epochs or plan.epochs, keep)
            outcomes.append(outcome)
            modules.setdefault(network.name, module)
            error, seconds = outcome.validation_error, outcome.train_seconds
            print(f"{network.name} seed {seed}: {error:.2%}, {seconds:.0f} s", flush=True)
    return outcomes, modules


def mean_error(outcomes: Sequence[Trained], network: str, split: str) -> float:
    """Return the mean over the seeds of the error of a split, ``validation`` or ``test``."""
    return statistics.mean(getattr(outcome, f"{split}_error") for outcome in outcomes if outcome.network == network)


def mean_seconds(outcomes: Sequence[Trained], network: Network, plan: Plan) -> float:
    """Return what training takes: the epochs of the network at the seconds of one, taken while all took turns.

    So that what a longer training is admitted by does not depend on what else ran on the machine meanwhile.
    """
    name = network.name.removesuffix(f"-e{network.epochs}")
    seconds = statistics.mean(outcome.train_seconds for outcome in outcomes if outcome.network == name)
    return seconds * (network.epochs or plan.epochs) / plan.epochs


def admitted(outcomes: Sequence[Trained], plan: Plan, tau: float, equal: Equal) -> list[Network]:
    """Return the RepCNNs that may stand against a BC-ResNet."""
    if equal == "epochs":
        return list(plan.ladder)
    most = mean_seconds(outcomes, bc_resnet(tau), plan)
    return [network for network in (*plan.ladder, *plan.longer) if mean_seconds(outcomes, network, plan) <= most]


def match(
    outcomes: Sequence[Trained], found: Sequence[Cost], plan: Plan, tau: float, device: str, equal: Equal
) -> Match | None:
    """Return who stands against whom on a device; None where it does not take the BC-ResNet, or no RepCNN."""
    by_name = {cost.network: cost for cost in found if cost.device == device and not cost.reason}
    reference = by_name.get(bc_resnet(tau).name)
    candidates = admitted(outcomes, plan, tau, equal)
    ladder = [by_name[network.name] for network in candidates if network.name in by_name]
    if reference is None or not ladder:
        return None
    error = {cost.network: mean_error(outcomes, cost.network, "validation") for cost in (reference, *ladder)}
    enough = [cost for cost in ladder if error[cost.network] <= error[reference.network]]
    if enough:
        return Match(tau, equal, reference, min(enough, key=lambda cost: cost.latency_us or 0.0), reached=True)
    return Match(tau, equal, reference, min(ladder, key=lambda cost: error[cost.network]), reached=False)


def error_claim(task: str, outcomes: Sequence[Trained], plan: Plan, tau: float, equal: Equal) -> Claim:
    """Compare the errors by seed: those of the best RepCNN of the ladder with those of BC-ResNet."""
    reference = bc_resnet(tau).name
    names = [network.name for network in admitted(outcomes, plan, tau, equal)]
    best = min(names, key=lambda name: mean_error(outcomes, name, "validation"))
    error = {(outcome.network, outcome.seed): outcome.validation_error for outcome in outcomes}
    pairs = [(error[best, seed], error[reference, seed]) for seed in range(plan.seeds)]
    rng = random.Random(0)
    resampled = sorted(_ratio_of_sums(rng.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    value, low, high = _ratio_of_sums(pairs), resampled[int(0.025 * _RESAMPLES)], resampled[int(0.975 * _RESAMPLES)]
    return Claim(
        f"{_LABELS[equal]}.{task}.tau{tau:g}.validation_error_ratio", value, min(low, value), max(high, value), "<=", 1,
        what=f"validation errors of {best}, the best of the ladder, over those of {reference}, at equal {equal}, "
        f"{plan.seeds} seeds",
        why="no network of the ladder reaches it: what is compared below is nearest.…, not matched",
    )  # fmt: skip


def cost_claims(task: str, found: Sequence[Cost], outcomes: Sequence[Trained], matched: Match) -> list[Claim]:
    """Return the ratios of latency and of memory on one device: ``nearest.…``, no match, where no RepCNN reaches."""
    ours, reference = matched.ours, matched.reference
    where = f"{matched.label}.{task}.tau{matched.tau:g}.{ours.device}"
    errors = " against ".join(f"{mean_error(outcomes, cost.network, 'test'):.1%}" for cost in (ours, reference))
    nearest = "" if matched.reached else "NOT at matched error: "
    pair = f"{nearest}{reference.network} over {ours.network}, test errors {errors} (RepCNN first)"
    return [
        Claim(
            f"{where}.runtime_ratio", **ratio(ours, reference, "latency_us"), op=">=", target=RUNTIME_RATIO,
            what=f"{ours.method} latency of {pair}", why=_why_slow(found, matched),
        ),
        Claim(
            f"{where}.peak_memory_ratio", **ratio(ours, reference, "peak_memory_bytes"), op=">=", target=MEMORY_RATIO,
            what=f"planned peak memory of {pair}",
            why=f"{reference.peak_memory_bytes} bytes against {ours.peak_memory_bytes}",
        ),
    ]  # fmt: skip


def _why_slow(found: Sequence[Cost], matched: Match) -> str:
    ours, reference = matched.ours, matched.reference
    why = (
        f"{reference.macs / ours.macs:.1f} times the MACs, {reference.kernels} kernels against {ours.kernels}; "
        f"{reference.latency_us:.1f} us against {ours.latency_us:.1f}"
    )
    least = next((cost for cost in found if cost.network == NOTHING and cost.device == ours.device), None)
    if least is None or least.latency_us is None or ours.device not in RUNTIMES:
        return why
    return f"{why}, of which a run that only pools and classifies takes {least.latency_us:.1f}"


def match_row(task: str, matched: Match, outcomes: Sequence[Trained]) -> dict[str, Any]:
    """Return a match with all that is compared."""
    row: dict[str, Any] = {
        "what": "match", "task": task, "tau": matched.tau, "equal": matched.equal, "device": matched.ours.device,
        "reached": matched.reached,
    }  # fmt: skip
    for side, cost in (("repcnn", matched.ours), ("bc_resnet", matched.reference)):
        for split in ("validation", "test"):
            row[f"{side}_{split}_error"] = mean_error(outcomes, cost.network, split)
        for figure in (
            "network",
            "latency_us",
            "peak_memory_bytes",
            "allocated_bytes",
            "macs",
            "kernels",
            "parameters",
        ):
            row[f"{side}_{figure}"] = getattr(cost, figure)
        row[f"{side}_shipped_test_error"] = cost.test_error
    return row


def operator_row(task: str, network: str, content: bytes) -> dict[str, Any]:
    """Return where ONNX Runtime spends its time in a network."""
    times_us = operator_times_us(content)
    longest = dict(list(times_us.items())[:_LONGEST_OPERATORS])
    return {
        "what": "operators", "task": task, "network": network, "device": "host-onnxruntime",
        "longest_us": longest, "all_us": sum(times_us.values()),
    }  # fmt: skip


def measure(task: Task, plan: Plan, keep: Path) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Train, time and match."""
    outcomes, modules = train_all(task, plan, keep)
    data = dataset(task)
    found = costs({NOTHING: nothing(data), **modules}, data, plan.rounds, plan.seconds_a_visit)
    rows = [{"what": "training", **asdict(outcome)} for outcome in outcomes]
    rows += [{"what": "cost", "task": task.name, **asdict(cost)} for cost in found]
    rows += [operator_row(task.name, network, onnx_file(module, data)) for network, module in modules.items()]
    claims: list[Claim] = []
    settings: list[tuple[float, Equal]] = [(tau, equal) for equal in get_args(Equal) for tau in plan.taus]
    for tau, equal in settings:
        claims.append(error_claim(task.name, outcomes, plan, tau, equal))
        for device in DEVICES:
            matched = match(outcomes, found, plan, tau, device, equal)
            if matched is None:
                claims.append(_refused(task.name, tau, device, equal, found))
                continue
            claims += cost_claims(task.name, found, outcomes, matched)
            rows.append(match_row(task.name, matched, outcomes))
    return claims, rows


def _refused(task: str, tau: float, device: str, equal: Equal, found: Sequence[Cost]) -> Claim:
    reasons = {cost.network: cost.reason for cost in found if cost.device == device and cost.reason}
    return Claim(
        f"{_LABELS[equal]}.{task}.tau{tau:g}.{device}.runtime_ratio", **exactly(0.0), op=">=", target=RUNTIME_RATIO,
        what=f"{device} does not take what is compared", why=str(reasons),
    )  # fmt: skip


def _ratio_of_sums(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(ours for ours, _ in pairs) / max(1e-9, sum(theirs for _, theirs in pairs))


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--data", {"type": Path, "help": "folder that holds digits/, real recordings"}),
        ("--seeds", {"type": int, "default": 5}),
        ("--peer-seeds", {"type": int, "default": 1, "help": "seeds of the networks that are neither"}),
        ("--epochs", {"type": int, "default": 8}),
        ("--keep", {"type": Path, "help": "folder of what is trained: a run that was cut off goes on there"}),
    )
    torch.set_num_threads(1)
    plan = Plan(TAUS, LADDER, LONGER, tuple(peers()), options.seeds, options.peer_seeds, options.epochs, 30, 0.03)
    clips = 10800
    if options.quick:
        plan, clips = (
            Plan((1,), (LADDER[0], LADDER[1]), (trained_for(LADDER[0], 3),), tuple(peers()[:1]), 1, 1, 1, 3, 0.01),
            600,
        )
    tasks = [Task("keywords", None, clips)]
    if options.data:
        tasks.append(Task("digits", options.data / "digits", 0))
    with tempfile.TemporaryDirectory() as own:
        parts = [measure(task, plan, options.keep or Path(own)) for task in tasks]
    claims, rows = ([item for part in parts for item in part[side]] for side in (0, 1))
    command = f"python -m benchmarks.matched_error --seeds {plan.seeds} --epochs {plan.epochs}"
    command += " --data FOLDER" if options.data else ""
    publish("matched_error", command, claims, rows, quick=options.quick, out=options.out)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
