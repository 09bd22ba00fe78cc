"""Members of the front on other seeds: a lucky one leaves, whom that lets in is trained again too."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import WorkerCrashedError

from repareto.search import repeats
from repareto.search.config import WorkersSection
from repareto.search.files import Files
from repareto.search.ledger import Ledger
from repareto.search.records import EpochPoint
from repareto.search.worker import Job
from repareto.spaces import load_space
from repareto.trainers.data.digits import Digits
from repareto.trainers.data.front_ends import Datasets
from repareto.trainers.supervised import TrainingConfig

SPACE = load_space({"name": "repcnn", "stages": 1, "width": 4, "blocks": 1, "kernel": 3})


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Ray in this process: a task runs when its answer is asked for; returns what was trained again, and how often."""
    trained: list[tuple[int, int]] = []

    def remote(**_: Any) -> Any:
        def task(job: Job, _datasets: Datasets, record: Any, repeat: int) -> Any:
            trained.append((record.number, repeat))
            return lambda: job(record, repeat)

        return lambda _function: SimpleNamespace(remote=task)

    fake = SimpleNamespace(
        remote=remote, put=lambda value: value, wait=lambda answers, **_: (answers, []), get=lambda answer: answer()
    )
    monkeypatch.setattr(repeats, "ray", fake)
    monkeypatch.setattr(repeats, "Places", lambda _: SimpleNamespace(gpus_a_trial=0.0))
    monkeypatch.setattr(repeats, "replace", lambda job, **_: job)
    return trained


def searched(lab, store: Path, *errors: float):
    """A study whose trials have these errors, each as dear as the others."""
    study = lab.study(store, trials=len(errors), appraise=lambda _: lab.profile({"width": 8}))
    for error in errors:
        record = study.next_trial()
        for epoch in range(1, lab.epochs + 1):
            study.report_epoch(record.number, epoch, EpochPoint(error, 1.0, 0.1))
        study.finish(record.number, lab.measurement(record.candidate, error=error))
    return study


def test_a_lucky_member_leaves_and_the_next_one_is_tried(lab, cluster, tmp_path: Path) -> None:
    study, said = searched(lab, tmp_path, 0.10, 0.12, 0.30), []
    later = {0: (0.20, 0.22), 1: (0.13, 0.11), 2: (0.0, 0.0)}
    repeats.repeat_front(
        study, lambda record, repeat: (later[record.number][repeat - 1], ""), None, WorkersSection(), 2, said.append
    )
    assert cluster == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [record.number for record in study.results.front] == [1]
    assert "trial 0: 21.0% errors on 2 other seeds (20.0% to 22.0%); the first training made 10.0%" in said
    # Who opens the ledger knows it, and goes on with what is lacking: nothing.
    known = {record.number: record.repeats for record in Ledger.open(tmp_path, "study").records()}
    assert known == {0: (0.20, 0.22), 1: (0.13, 0.11), 2: ()}
    repeats.repeat_front(study, None, None, WorkersSection(), 2, said.append)
    assert len(cluster) == 4


def test_what_cannot_be_trained_again_keeps_its_error(lab, cluster, tmp_path: Path) -> None:
    study, said = searched(lab, tmp_path, 0.10), []

    def fails(_record: Any, repeat: int) -> tuple[float | None, str]:
        if repeat == 1:
            return None, "the loss is nan"
        raise WorkerCrashedError

    repeats.repeat_front(study, fails, None, WorkersSection(), 2, said.append)
    assert [record.repeats for record in study.results.front] == [()]
    assert "trial 0 cannot be trained again: the loss is nan" in said
    assert len(cluster) == 2


def test_another_seed_trains_another_network_and_the_same_one_the_same(tmp_path: Path) -> None:
    job = Job(SPACE, TrainingConfig(epochs=1), "a study", Files(str(tmp_path)), seed=0, threads=1)
    record = SimpleNamespace(number=3, candidate=SPACE.middle())
    datasets = Datasets.single(Digits().load(seed=0))
    first, second, again = (repeats._train_again(job, datasets, record, repeat) for repeat in (1, 2, 1))
    assert first[1] == second[1] == ""
    assert first == again and first[0] != second[0]
