"""A trained model comes to its target, and what cannot be is told in one line before anything is trained."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from repareto.search.config import Config
from repareto.search.exits.bounds import Bounds
from repareto.search.exits.runner import StagedModel
from repareto.search.parts import Parts
from repareto.search.pruning.origin import Origin, of_export
from repareto.search.pruning.prune import Asked, Pruned, prune
from repareto.search.records import Measurement, State, TrialRecord
from repareto.search.run import load_data
from repareto.search.shipping import Shipping
from repareto.spaces.errors import UserError
from repareto.spaces.space import load_space
from repareto.trainers.data.digits import Digits
from repareto.trainers.supervised import SupervisedTrainer

CONFIG = Config(
    study="digits",
    data={"source": "digits"},
    space={
        "name": "repcnn", "form": "full", "stages": 2, "width": 16, "blocks": 1, "kernel": 3, "conv_branches": 1,
        "exits": {"count": 1, "head": "pool-linear"},
    },
    training={"epochs": 3, "learning_rate": 0.01, "batch_size": 32},
    device="reference",
    objectives=("error", "macs"),
)  # fmt: skip
LABELS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def origin() -> Origin:
    """A network with an early exit, trained for a moment as a study would."""
    parts, candidate = Parts(CONFIG), load_space(CONFIG.space).middle()
    dataset = load_data(parts, lambda _: None).first
    torch.manual_seed(0)
    model = parts.space.build(candidate, dataset.input_shape, 10)
    trainer = SupervisedTrainer(model, dataset, parts.training, seed=0)
    for _ in range(parts.training.epochs):
        trainer.train_epoch()
    shipped = Shipping(dataset, parts.training, parts.device, Bounds(), 0, "cpu").ship(trainer.model, None)
    measurement = Measurement(shipped.judged.figures, {}, 0, 3, 1.0, 1, shipped.judged.details)
    record = TrialRecord(7, State.FINISHED, candidate, measurement=measurement)
    data = {"labels": list(dataset.labels), "input_shape": list(dataset.input_shape)}
    return Origin("trial 7 of study digits", shipped.fused, CONFIG, record, data)


@pytest.fixture
def pruned(origin: Origin, tmp_path: Path) -> Callable[..., Pruned]:
    said: list[str] = []

    def pruned(
        target: str, method: str = "magnitude", of: Origin = origin, out: str = "out", **asked: object
    ) -> Pruned:
        data = asked.pop("data", {})
        return prune(of, Asked(method, target, **asked), data, tmp_path / out, force=False, say=said.append)

    pruned.said = said
    return pruned


def test_channels_go_until_the_target_holds_and_the_export_runs(pruned, tmp_path: Path) -> None:
    result = pruned("parameters=2k", epochs=3)
    assert result.after["parameters"] <= 2000 < result.before["parameters"]
    assert result.after["macs"] < result.before["macs"] and result.after["latency_us"] < result.before["latency_us"]
    assert result.after["test_error"] < 0.5
    files = [onnx.load(tmp_path / "out" / f"stage{number}.onnx") for number in (1, 2)]
    sizes = [tensor.dims for file in files for tensor in file.graph.initializer if tensor.data_type == 1]
    assert sum(int(np.prod(dims)) for dims in sizes) == result.after["parameters"]
    model, test = StagedModel(tmp_path / "out"), Digits().load(seed=0).test
    answers = [LABELS.index(model(features).label) for features in test.features.astype(np.float32)]
    assert np.mean(answers != test.labels) == pytest.approx(result.after["test_error"], abs=1.5 / len(test))
    (how,) = json.loads((tmp_path / "out/manifest.json").read_text())["pruned"]
    assert (how["method"], how["target"]) == ("magnitude", "parameters=2k") and 0 < how["level"] < 1
    assert pruned.said[-1].startswith("epoch 3 of 3: ")
    # What was written is pruned on: its weights are those that it ships with.
    smaller = of_export(tmp_path / "out")
    again = pruned("level=80%", "csp", of=smaller, out="sparse", epochs=3)
    assert again.before["test_error"] == result.after["test_error"]
    assert again.before["zero_weights"] < 0.1 and again.after["zero_weights"] > 0.7
    assert again.after["parameters"] == result.after["parameters"]
    assert len(again.manifest["pruned"]) == 2


@pytest.mark.parametrize(
    ("target", "asked", "complaint"),
    [
        ("level=0.5", {"method": "magnitud"}, r"--method magnitud: is unknown \(did you mean magnitude\?\)"),
        ("level=0.5", {"method": "l0", "granularity": "weight"}, "--granularity weight: l0 takes out channels"),
        ("level=0.5", {"granularity": "block"}, "no block can be removed, for it has none to spare"),
        ("latency=1us", {"granularity": "weight"}, "--target latency=1us: magnitude makes single weights zero"),
        ("level=100%", {}, "--target level=100%: 100% would leave nothing"),
        ("parameters=3", {}, "--target parameters=3: cannot be met, the least is "),
        ("latency=1s", {}, "--target latency=1 s: holds already"),
        ("level=0.5", {"data": {"folder": "x"}}, "data.folder: unknown key"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_trained(pruned, tmp_path, target, asked, complaint) -> None:
    with pytest.raises(UserError, match=complaint):
        pruned(target, **asked)
    assert not any(line.startswith("epoch") for line in pruned.said)
    assert not list(tmp_path.iterdir())


def test_other_data_than_the_model_was_made_for(pruned, origin: Origin) -> None:
    other = replace(origin, data={**origin.data, "labels": ["yes", "no"]})
    with pytest.raises(UserError, match=r"--data: has labels \['0', .*and the model was made for \['yes', 'no'\]"):
        pruned("level=0.5", of=other)


class Summed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1)


def test_an_operator_that_the_slicer_does_not_know(pruned, origin: Origin) -> None:
    """What goes through it is left whole, and said; where that is all, it cannot be done."""
    some = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Summed(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 10)).eval()
    with pytest.raises(UserError, match="cannot be met"):
        pruned("parameters=3", of=replace(origin, fused=some))
    assert pruned.said == ["left whole: channels that go through aten.cumsum, which is not known"]
    none = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Summed(), nn.Linear(8, 10)).eval()
    with pytest.raises(UserError, match=r"no channel can be removed, for they go through aten.cumsum"):
        pruned("level=0.5", of=replace(origin, fused=none))


def test_a_folder_that_cannot_be_pruned(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"is no export that can be pruned \(its manifest.json has not got all"):
        of_export(tmp_path)
    with pytest.raises(UserError, match="is no export that can be pruned"):
        of_export(tmp_path / "nowhere")
