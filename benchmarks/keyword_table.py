"""Trains every candidate of the keyword grid once and keeps learning curves and costs: the table of simulated searches.

Some 30 minutes on one core. What was trained is kept at once, so that it can be interrupted at any time.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch

from repareto.search.devices.targets import device
from repareto.search.models import Appraiser
from repareto.search.records import profile_figures
from repareto.search.sampling import candidate_seed
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import Candidate, Choice, Int, SearchSpace
from repareto.trainers.supervised import SupervisedTrainer, error_rate

from .keyword_grid import TRAINING, KeywordGrid, keyword_data
from .table import TABLES, Row, Table


def grid(space: SearchSpace) -> Iterator[Candidate]:
    """Return all candidates of a space without conditions and real numbers."""
    parameters = space.parameters()
    options: list[Any] = []
    for parameter in parameters:
        dimension = parameter.dimension
        assert isinstance(dimension, Int | Choice) and parameter.parent is None, parameter
        is_range = isinstance(dimension, Int)
        options.append(range(dimension.low, dimension.high + 1, dimension.step) if is_range else dimension.options)
    for values in product(*options):
        yield space.candidate({p.name: value for p, value in zip(parameters, values, strict=True)})


def train(candidate: Candidate, appraiser: Appraiser) -> Row:
    """Train one candidate as a worker does; every error is that of the fused network."""
    data, seed = keyword_data(), candidate_seed(0, int(candidate.digest, 16) % 2**32)
    torch.manual_seed(seed)
    model = KeywordGrid().build(candidate, data.input_shape, len(data.labels))
    trainer = SupervisedTrainer(model, data, TRAINING.overridden(candidate.training()), seed=seed)
    errors, start = [], time.process_time()
    for _ in range(TRAINING.epochs):
        trainer.train_epoch()
        errors.append(error_rate(fused_copy(trainer.model.eval()), data.validation))
    seconds = time.process_time() - start
    test_error = error_rate(fused_copy(trainer.model.eval()), data.test)
    return Row(candidate, tuple(errors), test_error, seconds, profile_figures(asdict(appraiser(candidate))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, default=Path("build/keyword_table.jsonl"), help="what is trained so far")
    parser.add_argument("--out", type=Path, default=TABLES / "keywords.csv", help="the table")
    arguments = parser.parse_args()
    space, data = KeywordGrid(), keyword_data()
    appraiser = Appraiser(space, device("host-onnxruntime"), lambda _: data.input_shape, len(data.labels))
    arguments.keep.parent.mkdir(parents=True, exist_ok=True)
    arguments.keep.touch()
    rows = [Row.from_json(line) for line in arguments.keep.read_text().splitlines()]
    known = {row.candidate for row in rows}
    candidates = list(grid(space))
    # In no order of the grid: what an interrupted run has is a fair sample.
    random.Random(0).shuffle(candidates)
    for candidate in candidates:
        if candidate in known:
            continue
        row = train(candidate, appraiser)
        with arguments.keep.open("a") as file:
            file.write(row.to_json() + "\n")
        rows.append(row)
        print(f"{len(rows)} of {len(candidates)}: {row.errors[-1]:.3f} {json.dumps(dict(candidate))}", flush=True)
    Table(rows).write(arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
