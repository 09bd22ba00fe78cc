"""One worker, without Ray's actors: epochs, checkpoints, the fused measurement, failures that are reported."""

import json
from pathlib import Path

import pytest
import torch

from repareto.search.files import CHECKPOINT, WEIGHTS, trial_folder
from repareto.search.worker import CandidateTrainable, Job
from repareto.spaces import load_space
from repareto.spaces.branches import BranchedConv
from repareto.trainers.data.digits import Digits
from repareto.trainers.supervised import TrainingConfig

SPACE = load_space({"name": "repcnn", "stages": 1, "width": [4, 8], "blocks": 1, "kernel": 3})


@pytest.fixture(scope="module")
def dataset():
    return Digits().load(seed=0)


def worker(dataset, folder: Path, number: int = 3) -> CandidateTrainable:
    job = Job(SPACE, TrainingConfig(epochs=3), folder, seed=0, threads=1, device="cpu")
    trainable = CandidateTrainable.__new__(CandidateTrainable)
    trainable.setup({"number": number, "candidate": SPACE.middle().to_json()}, job, dataset)
    return trainable


def train(trainable: CandidateTrainable) -> list[dict]:
    results = []
    while not results or not results[-1].get("done"):
        results.append(trainable.step())
    return results


def test_a_trial_to_its_end(dataset, tmp_path):
    results = train(worker(dataset, tmp_path))
    assert [len(json.loads(result["curve"])) for result in results] == [1, 2, 3]
    measurement = json.loads(results[-1]["measurement"])
    assert measurement["epochs"] == 3
    assert measurement["fusion"]["largest_relative_difference"] <= 1e-4
    # The last epoch's error is the branched model's, the measured one the fused model's: they are the same function.
    last_error = json.loads(results[-1]["curve"])[-1][0]
    assert measurement["figures"]["error"] == pytest.approx(last_error, abs=1 / len(dataset.validation))
    weights = torch.load(trial_folder(tmp_path, 3) / WEIGHTS, weights_only=True)
    assert not any("running_mean" in name for name in weights)


def test_a_killed_worker_goes_on_as_if_it_had_not_been(dataset, tmp_path):
    whole = train(worker(dataset, tmp_path / "whole"))
    first = worker(dataset, tmp_path / "killed")
    first.step()
    assert (trial_folder(tmp_path / "killed", 3) / CHECKPOINT).exists()
    rest = train(worker(dataset, tmp_path / "killed"))
    assert len(rest) == 2

    def without_seconds(result: dict) -> list:
        return [point[:2] for point in json.loads(result["curve"])]

    assert without_seconds(rest[-1]) == without_seconds(whole[-1])
    assert json.loads(rest[-1]["measurement"])["figures"] == json.loads(whole[-1]["measurement"])["figures"]


def test_a_worker_killed_after_its_last_epoch_only_measures(dataset, tmp_path):
    train(worker(dataset, tmp_path))
    (again,) = train(worker(dataset, tmp_path))
    assert again["done"]
    assert len(json.loads(again["curve"])) == 3


def test_reuse_leaves_nothing_of_the_last_candidate(dataset, tmp_path):
    fresh = train(worker(dataset, tmp_path / "fresh", number=5))
    reused = worker(dataset, tmp_path / "reused", number=4)
    train(reused)
    assert reused.reset_config({"number": 5, "candidate": SPACE.middle().to_json()})
    figures = [json.loads(results[-1]["measurement"])["figures"] for results in (fresh, train(reused))]
    assert figures[0] == figures[1]


def test_a_fusion_that_differs_fails_the_trial(dataset, tmp_path, monkeypatch):
    honest = BranchedConv.kernel_and_bias

    def wrong(self):
        kernel, bias = honest(self)
        return type(honest(self))(kernel, bias + 0.1)

    monkeypatch.setattr(BranchedConv, "kernel_and_bias", wrong)
    result = train(worker(dataset, tmp_path))[-1]
    assert "differs from the trained one" in result["failed"]
    assert (trial_folder(tmp_path, 3) / "error.txt").exists()


def test_a_full_disk_is_fatal_and_no_fault_of_the_candidate(dataset, tmp_path, monkeypatch):
    import errno

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("repareto.search.files.os.replace", full)
    result = worker(dataset, tmp_path).step()
    assert result["done"]
    assert "no space left" in result["fatal"]
