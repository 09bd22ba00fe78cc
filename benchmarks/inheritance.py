"""What a candidate gains by beginning with the weights of a trained relative, at equal training of its own and in all.

A parent is trained in full; children with other branches, wider, deeper and narrower inherit from it and are trained
for a third of the epochs and for all of them. Against each stand networks from scratch: of as many epochs, and of as
many as the child and its parent have had together. ``--keep`` names a file of finished trainings.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from repareto.search.lineage import EXAMPLES
from repareto.search.sampling import candidate_seed
from repareto.spaces.fusion import fused_copy
from repareto.spaces.morphism import inherit_network
from repareto.spaces.space import Candidate
from repareto.trainers.supervised import SupervisedTrainer, error_rate

from .keyword_grid import TRAINING, KeywordGrid, keyword_data
from .report import Claim, arguments, over, publish

SEEDS = 3
PARENT: dict[str, Any] = {
    "width1": 16, "width2": 16, "blocks": 1, "kernel": 9, "stride": 2, "topology": "1conv",
    "training.learning_rate": 1.6e-2,
}  # fmt: skip
CHILDREN: dict[str, dict[str, Any]] = {
    "branches": {"topology": "3conv+1x1+skip"},
    "wider": {"width2": 24},
    "deeper": {"blocks": 2},
    "narrower": {"width2": 8},
}


def train(candidate: Candidate, epochs: int, seed: int, begin: Callable[[nn.Module], None] = lambda _: None) -> Any:
    """Return the fused network after so many epochs and its error on the test split."""
    data, own_seed = keyword_data(), candidate_seed(seed, epochs)
    torch.manual_seed(own_seed)
    model = KeywordGrid().build(candidate, data.input_shape, len(data.labels))
    begin(model)
    config = replace(TRAINING.overridden(candidate.training()), epochs=epochs)
    trainer = SupervisedTrainer(model, data, config, seed=own_seed)
    for _ in range(epochs):
        trainer.train_epoch()
    fused = fused_copy(trainer.model.eval())
    return fused, error_rate(fused, data.test)


def errors_of(relation: str, seed: int, epochs: int, parent_of: Callable[[int], nn.Module]) -> dict[str, float]:
    """Return the errors of a child and of networks from scratch, by what they have had of training."""
    space, data = KeywordGrid(), keyword_data()
    candidate = space.candidate({**PARENT, **CHILDREN[relation]})
    step = len(data.train) // EXAMPLES
    examples = torch.from_numpy(data.train.features[::step][:EXAMPLES].copy()).float()

    def begin(model: nn.Module) -> None:
        inherit_network(model, parent_of(seed), examples)

    third = epochs // 3
    return {
        "inherited_third": train(candidate, third, seed, begin)[1],
        "inherited": train(candidate, epochs, seed, begin)[1],
        "scratch_third": train(candidate, third, seed)[1],
        "scratch": train(candidate, epochs, seed)[1],
        "scratch_total_of_third": train(candidate, epochs + third, seed)[1],
        "scratch_total": train(candidate, 2 * epochs, seed)[1],
    }


def claims_of(rows: list[dict[str, Any]]) -> list[Claim]:
    """Return ratios of errors, inherited over from scratch; a child is worth its parent where the last is below 1."""
    pairs = {
        "equal_own_third": ("inherited_third", "scratch_third", "a third of the epochs each"),
        "equal_own": ("inherited", "scratch", "all epochs each, the parent's not counted"),
        "equal_total_third": ("inherited_third", "scratch_total_of_third", "the parent's epochs and a third, in all"),
        "equal_total": ("inherited", "scratch_total", "twice the epochs, in all"),
    }
    return [
        Claim(
            f"inheritance.{name}",
            **over([row[child] / row[other] for row in rows]),
            op="<=",
            target=1.0,
            what=f"errors of a child over those of the same network from scratch: {what}",
            why="a network gains as much by being trained longer as by a trained parent" if "total" in name else "",
        )
        for name, (child, other, what) in pairs.items()
    ]


def main() -> None:
    args = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": SEEDS}),
        ("--keep", {"type": Path, "help": "a file of the trainings that are finished"}),
    )
    seeds, epochs = (1, 3) if args.quick else (args.seeds, TRAINING.epochs)
    lines = args.keep.read_text().splitlines() if args.keep and args.keep.exists() else []
    rows = [json.loads(line) for line in lines]
    known = {(row["relation"], row["seed"]) for row in rows}

    @cache
    def parent_of(seed: int) -> nn.Module:
        return train(KeywordGrid().candidate(PARENT), epochs, seed)[0]

    for seed in range(seeds):
        for relation in list(CHILDREN)[:1] if args.quick else CHILDREN:
            if (relation, seed) in known:
                continue
            rows.append({"relation": relation, "seed": seed, **errors_of(relation, seed, epochs, parent_of)})
            print({name: round(value, 3) if isinstance(value, float) else value for name, value in rows[-1].items()})
            if args.keep:
                with args.keep.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    for relation in {row["relation"]: None for row in rows}:
        mine = [row for row in rows if row["relation"] == relation]
        ratios = {
            name: statistics.median(row[name] for row in mine) for name in mine[0] if name not in ("relation", "seed")
        }
        print(relation, {name: round(value, 3) for name, value in ratios.items()})
    publish("inheritance", "python -m benchmarks.inheritance", claims_of(rows), rows, quick=args.quick, out=args.out)


if __name__ == "__main__":
    main()
