"""The study's teacher: trained once, found again, trained again when it is lost, and learnt from by workers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from repareto.search import teacher
from repareto.search.checkpoints import SLOTS
from repareto.search.files import WEIGHTS, Files
from repareto.search.ray_teacher import _teach
from repareto.search.teacher import has_teacher, teacher_of
from repareto.search.worker import CandidateTrainable, Job
from repareto.spaces.errors import UserError
from repareto.spaces.space import load_space
from repareto.trainers.data.digits import Digits
from repareto.trainers.data.front_ends import Datasets
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig, error_rate

NARROW = {"name": "repcnn", "stages": 1, "width": 4, "blocks": 1, "kernel": 3, "conv_branches": 2}
TEACHING = {"from": "teacher", "logits": 0.5, "layers": 0.5, "teacher": {"width": 12, "blocks": 2}}


@pytest.fixture(scope="module")
def dataset():
    return Digits().load(seed=0)


def job_in(folder: Path, distillation=TEACHING, study_id: str = "a study", **others) -> Job:
    space = load_space({**NARROW, "distillation": distillation, **others})
    return Job(space, TrainingConfig(epochs=2), study_id, Files(str(folder)), seed=0, threads=1)


def weights_of(job: Job, dataset) -> dict[str, torch.Tensor]:
    return dict(teacher_of(job, dataset, lambda _: None).state_dict())


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_is_trained_once_and_again_where_it_is_lost(dataset, tmp_path, monkeypatch):
    job, said = job_in(tmp_path), []
    assert has_teacher(job.space) and not has_teacher(load_space(NARROW))
    first = teacher_of(job, dataset, said.append)
    (note,) = said
    assert f"{error_rate(first, dataset.validation):.1%} errors" in note
    assert not first.training and len(first) > 5
    folder = Files(str(tmp_path)).inside("teacher")
    assert folder.read(SLOTS[0]) is None, "its checkpoints are gone"
    with monkeypatch.context() as patched:
        patched.setattr(teacher, "_train", None)
        assert_equal(weights_of(job, dataset), first.state_dict())
    folder.delete(WEIGHTS)
    torch.manual_seed(17)
    assert_equal(weights_of(job, dataset), first.state_dict())
    folder.write(WEIGHTS, folder.read(WEIGHTS)[:-9])
    assert_equal(dict(teacher_of(job, dataset, said.append).state_dict()), first.state_dict())
    assert "its checksum is wrong; the teacher is trained again" in said[1]


def test_a_teacher_of_another_study_is_left_alone(dataset, tmp_path):
    said = []
    for study in ("an older study", "a study"):
        teacher_of(job_in(tmp_path, study_id=study), dataset, said.append)
    assert len(said) == 2


def test_it_goes_on_where_it_was_interrupted(dataset, tmp_path, monkeypatch):
    whole = weights_of(job_in(tmp_path / "whole"), dataset)
    honest = SupervisedTrainer.train_epoch

    def interrupted(trainer):
        if trainer.epoch == 1:
            raise KeyboardInterrupt
        return honest(trainer)

    job = job_in(tmp_path / "cut")
    monkeypatch.setattr(SupervisedTrainer, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        teacher_of(job, dataset, print)
    epochs = []
    monkeypatch.setattr(SupervisedTrainer, "train_epoch", lambda trainer: epochs.append(1) or honest(trainer))
    assert_equal(weights_of(job, dataset), whole)
    assert len(epochs) == 1


def test_what_keeps_it_from_learning_is_told(dataset, tmp_path):
    features = dataset.train.features.copy()
    features[0] = float("nan")
    dataset = replace(dataset, train=replace(dataset.train, features=features))
    with pytest.raises(UserError, match=r"space.distillation.teacher: it cannot be trained: the loss is nan"):
        teacher_of(job_in(tmp_path), dataset, print)
    notes, trouble = _teach(job_in(tmp_path), Datasets.single(dataset))
    assert notes == [] and "it cannot be trained" in trouble


def test_another_worker_finds_what_one_has_trained(dataset, tmp_path):
    notes, trouble = _teach(job_in(tmp_path), Datasets.single(dataset))
    assert len(notes) == 1 and trouble == ""
    assert _teach(job_in(tmp_path), Datasets.single(dataset)) == ([], "")


def trained(job: Job, dataset) -> dict:
    trainable = CandidateTrainable.__new__(CandidateTrainable)
    trainable.setup({"number": 3, "candidate": job.space.middle().to_json()}, job, Datasets.single(dataset))
    result: dict = {}
    while not result.get("done"):
        result = trainable.step()
    return {**result, "losses": [point[1] for point in json.loads(result["curve"])]}


def test_workers_learn_from_it(dataset, tmp_path):
    taught = trained(job_in(tmp_path / "taught"), dataset)
    plain = trained(job_in(tmp_path / "plain", {"from": "none"}), dataset)
    assert (tmp_path / "taught" / "teacher" / WEIGHTS).exists()
    # The same network from the same seed, with more to minimise.
    assert taught["losses"][0] > plain["losses"][0]
    assert (
        json.loads(taught["measurement"])["branched_parameters"]
        == (json.loads(plain["measurement"])["branched_parameters"])
    )


def test_a_sparse_candidate_learns_from_itself(dataset, tmp_path):
    sparsity = {"method": "magnitude", "level": 0.5}
    own = {"from": "self", "logits": 1.0, "layers": 1.0}
    jobs = [job_in(tmp_path / name, how, sparsity=sparsity) for name, how in (("own", own), ("none", {"from": "none"}))]
    taught, plain = (trained(job, dataset) for job in jobs)
    assert taught["losses"][-1] != plain["losses"][-1]
    assert not (tmp_path / "own" / "teacher").exists()
