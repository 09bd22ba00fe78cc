"""Stages as files answer as torch does, and the runner leaves where the thresholds say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repareto.search.devices.host.onnx_stages import OnnxStages, quantise_stages
from repareto.search.exits.files import (
    bundled,
    refuse_other_stages,
    staged_difference,
    unbundled,
    write_joined,
)
from repareto.search.exits.runner import StagedModel, read_manifest
from repareto.spaces.errors import UserError
from repareto.spaces.exits.network import MultiExit
from repareto.spaces.fusion import fused_copy
from repareto.trainers.exits.answers import exit_logits
from repareto.trainers.exits.policies import POLICIES
from repareto.trainers.exits.temperature import softmax
from repareto.trainers.exits.thresholds import exits_taken
from tests.search.exits.exports import LABELS, export_stages, float_stages, fused_network
from tests.spaces.exits.test_network import SHAPE, X, network
from tests.spaces.networks import randomise_norms

TEMPERATURES = [0.7, 1.5, 1.0]


@pytest.fixture(scope="module")
def fused() -> MultiExit:
    return fused_network()


@pytest.fixture(scope="module")
def export(fused: MultiExit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    scores = POLICIES["confidence"](_probabilities(fused))
    # The first exit is sure of half of the examples, the second of none.
    bars = [float(np.median(scores[:, 0])), None]
    points = [
        {"policy": "confidence", "thresholds": bars, "rates": [0.5, 0.0, 0.5]},
        {"policy": "patience", "thresholds": [2.0, 2.0], "rates": [0.0, 0.5, 0.5]},
        {"policy": "entropy", "thresholds": [None, None], "rates": [0.0, 0.0, 1.0]},
    ]
    details = {"temperatures": TEMPERATURES, "points": points, "chosen": 0}
    write_manifest(folder, export_stages(fused, details, X, LABELS, folder))
    return folder


def _probabilities(fused: MultiExit) -> np.ndarray:
    return softmax(exit_logits(fused, X.numpy()) / np.array(TEMPERATURES)[:, None])


def write_manifest(folder: Path, exits: dict[str, Any], **changes: Any) -> None:
    manifest = {"labels": LABELS, "input": {"shape": ["batch", *SHAPE]}, "exits": exits, **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_files_answer_as_torch_does_for_any_batch(fused: MultiExit) -> None:
    files = float_stages()
    assert len(files) == 3
    for count in (1, 2, 5):
        assert staged_difference(OnnxStages(files), fused, X[:count]) < 1e-5
    other = fused_copy(randomise_norms(network(head="conv").eval(), seed=9))
    assert isinstance(other, MultiExit)
    assert staged_difference(OnnxStages(files), other, X) > 1e-3
    with pytest.raises(UserError, match="the stages' outputs differ from torch's"):
        refuse_other_stages(OnnxStages(files), other, X)


def test_int8_stages_are_smaller_and_answer_nearly_the_same(fused: MultiExit) -> None:
    rng = np.random.default_rng(0)
    samples, others = rng.standard_normal((2, 150, *SHAPE))
    files = float_stages()
    quantised = quantise_stages(files, samples)
    before, after = OnnxStages(files).all_answers(others), OnnxStages(quantised).all_answers(others)
    np.testing.assert_allclose(before, exit_logits(fused, others), atol=1e-4)
    assert before.shape == after.shape == (150, 3, 4)
    for number in range(3):
        difference = np.abs(after[:, number] - before[:, number]).mean() / np.abs(before[:, number]).mean()
        assert 0 < difference < 0.1
    named = dict(zip("abc", quantised, strict=True))
    assert unbundled(bundled(named)) == named
    assert bundled(named) == bundled(named)


@pytest.mark.parametrize("point", [0, 1, 2])
def test_the_runner_leaves_where_the_thresholds_say(fused: MultiExit, export: Path, point: int) -> None:
    model = StagedModel(export, point)
    told = read_manifest(export)["exits"]["points"][point]
    probabilities = _probabilities(fused)
    taken = exits_taken(POLICIES[told["policy"]](probabilities), told["thresholds"])
    answers = [model(features) for features in X.numpy()]
    assert [answer.exit - 1 for answer in answers] == taken.tolist()
    assert [answer.label for answer in answers] == [
        LABELS[row[exit].argmax()] for row, exit in zip(probabilities, taken, strict=True)
    ]
    if point == 0:
        assert set(taken) == {0, 2}
    if point == 2:
        assert set(taken) == {2}


def test_an_early_answer_runs_no_later_stage(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = StagedModel(export)
    ran: list[int] = []

    class Counted:
        def __init__(self, number: int, session: Any) -> None:
            self.number, self.session = number, session

        def run(self, *given: Any) -> Any:
            ran.append(self.number)
            return self.session.run(*given)

    stages = model._stop_early._stages
    assert isinstance(stages, OnnxStages)
    monkeypatch.setattr(stages, "_sessions", [Counted(n, s) for n, s in enumerate(stages._sessions, 1)])
    for features in X.numpy():
        ran.clear()
        assert model(features).exit == len(ran)
        assert ran == list(range(1, len(ran) + 1))


def test_what_the_manifest_says_of_time(export: Path) -> None:
    exits = read_manifest(export)["exits"]
    times = exits["latency_up_to_us"]
    assert 0 < times[0] < times[1] < times[2] and exits["latency_method"] == "estimated"
    point = exits["points"][0]
    assert point["expected_latency_of_files_us"] == pytest.approx(0.5 * times[0] + 0.5 * times[2])
    assert len(exits["joined"]["measured_latency_at_exit_us"]) == 3


def test_one_file_of_all_stages_has_to_answer_as_they_do(export: Path, tmp_path: Path) -> None:
    exits = read_manifest(export)["exits"]
    assert exits["joined"]["largest_difference_from_stages"] < 1e-12 and (export / exits["joined"]["file"]).exists()

    class Lying(OnnxStages):
        def answers(self, features: np.ndarray) -> Iterator[np.ndarray]:
            return (logits * 1.01 for logits in super().answers(features))

    for name in exits["stages"]:
        (tmp_path / name).write_bytes((export / name).read_bytes())
    with pytest.raises(UserError, match=r"exits.onnx: differs from the stages by"):
        write_joined(exits, Lying(float_stages()), LABELS, X.numpy(), tmp_path)
    assert not (tmp_path / "exits.onnx").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"thresholds": [1.5, None]},
            r"the threshold of exit 1 is 1.5 \(give 0 to 1, or null for an exit that is off\)",
        ),
        ({"thresholds": [0.5]}, r"1 thresholds for 3 stages"),
        ({"policy": "luck"}, r"exits go by 'luck', which is unknown"),
    ],
)
def test_thresholds_out_of_range_are_refused(export: Path, tmp_path: Path, changes: dict, complaint: str) -> None:
    exits = read_manifest(export)["exits"]
    exits["points"] = [{**exits["points"][0], **changes}]
    write_manifest(tmp_path, exits)
    with pytest.raises(UserError, match=complaint):
        StagedModel(tmp_path)


def test_folders_and_points_that_are_not(export: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no export"):
        read_manifest(tmp_path)
    with pytest.raises(UserError, match=r"has no operating point 3 \(0 to 2\)"):
        StagedModel(export, 3)
    write_manifest(tmp_path, {}, task="wakeword")
    with pytest.raises(UserError, match="its model is for wakeword, and only classifiers and transcribers answer"):
        read_manifest(tmp_path)
