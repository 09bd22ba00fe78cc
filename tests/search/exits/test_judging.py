"""The point that a trial stands for, and what is kept of the others."""

import numpy as np
import pytest

from repareto.search.devices.targets import device
from repareto.search.exits.bounds import Bounds
from repareto.search.exits.costs import stage_profiles
from repareto.search.exits.judging import judge_exits
from repareto.spaces.exits.network import MultiExit
from repareto.spaces.fusion import fused_copy
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.exits.answers import exit_logits
from repareto.trainers.exits.operating_points import Calibration, errors_by_exit, point_at
from repareto.trainers.exits.scoring import ScoredClasses
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig
from tests.spaces.exits.test_network import SHAPE, network


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    patterns = rng.standard_normal((4, *SHAPE))

    def split(count: int) -> Split:
        labels = rng.integers(0, 4, count)
        features = 0.5 * patterns[labels] + rng.standard_normal((count, *SHAPE))
        return Split(features.astype(np.float32), labels)

    return Dataset("made", ("a", "b", "c", "d"), split(160), split(120), split(80), {"kind": "pixels"})


@pytest.fixture(scope="module")
def trained(data: Dataset) -> MultiExit:
    trainer = SupervisedTrainer(network(), data, TrainingConfig(epochs=4, batch_size=32), seed=0)
    for _ in range(4):
        trainer.train_epoch()
    fused = fused_copy(trainer.model.eval())
    assert isinstance(fused, MultiExit)
    return fused


def test_every_kept_point_is_what_the_network_does_there(data: Dataset, trained: MultiExit) -> None:
    stages = stage_profiles(trained, SHAPE, device("reference"))
    judged = judge_exits(trained, data, stages, Bounds(), "cpu")
    exits = judged.details["exits"]
    logits = exit_logits(trained, data.test.features)
    validation = exit_logits(trained, data.validation.features)
    calibration = Calibration.of(validation, data.validation.labels, ScoredClasses())
    errors = errors_by_exit(ScoredClasses(), logits, data.test.labels)["error"]
    assert exits["temperatures"] == list(calibration.temperatures)
    for point in exits["points"]:
        again = point_at(
            point["policy"], point["thresholds"], calibration.probabilities(logits), errors,
            exits["costs_up_to"]["macs"],
        )  # fmt: skip
        assert (point["test_error"], point["test_rates"]) == (again.error, list(again.rates))
        assert point["expected_macs"] == pytest.approx(np.dot(point["rates"], exits["costs_up_to"]["macs"]))
        assert point["error"] <= exits["errors"][-1] + 0.1
    own = exits["points"][exits["chosen"]]
    assert judged.figures == {
        key: own[key] for key in ("error", "test_error", "expected_latency_us", "expected_macs")
    }  # fmt: skip
    # The cheapest that loses half a point at most.
    assert own["error"] <= exits["errors"][-1] + 0.005
    cheaper = [p for p in exits["points"] if p["expected_latency_us"] < own["expected_latency_us"]]
    assert all(point["error"] > exits["errors"][-1] + 0.005 for point in cheaper)


def test_bounds_drop_points_and_may_force_a_choice(data: Dataset, trained: MultiExit) -> None:
    stages = stage_profiles(trained, SHAPE, device("reference"))
    free = judge_exits(trained, data, stages, Bounds(), "cpu").details["exits"]["points"]
    assert len(free) > 2
    most = free[1]["expected_latency_us"]
    within = judge_exits(trained, data, stages, Bounds(expected_latency_us=most), "cpu")
    assert within.figures["expected_latency_us"] <= most
    assert within.details["exits"]["points"] == free[:2]
    impossible = judge_exits(trained, data, stages, Bounds(expected_latency_us=1e-3), "cpu")
    assert len(impossible.details["exits"]["points"]) == 1
    assert impossible.figures["expected_latency_us"] <= free[0]["expected_latency_us"]
