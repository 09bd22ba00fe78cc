"""Candidates that choose their front end, from the config to what ships."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pytest

from repareto.search.config import Config
from repareto.search.export import export_trial
from repareto.search.files import Files, study_folder
from repareto.search.finish import complete_members
from repareto.search.ledger import Ledger
from repareto.search.models import load_trained_model
from repareto.search.parts import Parts
from repareto.search.profiles import middle_of
from repareto.search.records import Measurement, profile_figures
from repareto.search.run import appraiser_for, load_data, new_header
from repareto.search.sampling import distribution
from repareto.search.study_data import data_of, describe_data
from repareto.search.tracking import connect_runs
from repareto.search.worker import CandidateTrainable, Job
from repareto.spaces.errors import UserError
from repareto.spaces.space import Candidate
from repareto.trainers.data.front_ends import Datasets
from tests.tones import write_tones

FRONT_END = {"bands": [20, 40], "hop_ms": [10, 20]}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones") / "recordings", {"low": 500, "high": 2000})


def config_in(store: Path, tones: Path, front_end: dict[str, Any] | None) -> Config:
    space = {"name": "repcnn", "stages": 1, "width": 4, "blocks": 1, "kernel": 3}
    return Config(
        study="tones",
        data={"source": "speech_commands", "folder": str(tones), "cache": str(tones.parent / "cache")},
        space=space if front_end is None else {**space, "front_end": front_end},
        training={"epochs": 1},
        device="reference",
        store=str(store),
    )


def candidate_of(parts: Parts, **front_end: float) -> Candidate:
    changes = {f"front_end.{field}": value for field, value in front_end.items()}
    return parts.space.candidate({**parts.space.middle(), **changes})


class Searched:
    """A study of which each named candidate was trained by a worker, as a driver leaves it."""

    def __init__(self, config: Config) -> None:
        self.config, self.parts = config, Parts(config)
        self.said: list[str] = []
        self.datasets = load_data(self.parts, self.said.append)
        self.appraiser = appraiser_for(self.parts, self.datasets)
        header = new_header(self.parts, self.datasets, self.appraiser)
        self.ledger = Ledger.create(config.ledger_address, config.study, header)

    def train(self, candidate: Candidate) -> int:
        profile = asdict(self.appraiser(candidate))
        distributions = {p.name: distribution(p.dimension) for p in self.parts.space.parameters()}
        distributions = {name: distributions[name] for name in candidate}
        number = self.ledger.start(candidate, distributions, profile)
        folder = study_folder(self.config.store, self.config.study)
        job = Job(self.parts.space, self.parts.training, "id", folder, seed=0, threads=1)
        worker = CandidateTrainable.__new__(CandidateTrainable)
        worker.setup({"number": number, "candidate": candidate.to_json()}, job, self.datasets)
        result = worker.step()
        assert result["done"] and "failed" not in result, result
        measurement = Measurement(**json.loads(result["measurement"]))
        measurement.figures.update(profile_figures(profile))
        values = [measurement.figures[o.key] for o in self.config.parsed_objectives()]
        self.ledger.finish(number, measurement, values, {})
        return number


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tones: Path) -> Searched:
    return Searched(config_in(tmp_path_factory.mktemp("store"), tones, FRONT_END))


def test_a_candidate_is_profiled_for_its_own_front_end(searched: Searched) -> None:
    macs = {
        (bands, hop_ms): searched.appraiser(candidate_of(searched.parts, bands=bands, hop_ms=hop_ms)).value("macs")
        for bands in (20, 40)
        for hop_ms in (10, 20)
    }
    # But for the linear layer, all work is for each frame.
    assert macs[20, 10] / macs[20, 20] == pytest.approx(2, rel=0.01)
    assert macs[40, 10] / macs[40, 20] == pytest.approx(2, rel=0.01)
    assert macs[40, 20] > macs[20, 20]


def test_what_is_said_of_the_data_is_said_once(searched: Searched) -> None:
    assert searched.said == ["data: speech_commands, 2 classes, 16 train, 4 validation, 4 test, 4 front ends"]


@pytest.mark.parametrize(("bands", "hop_ms", "frames"), [(20, 20, 50), (40, 10, 100)])
def test_what_ships_is_for_the_front_end_of_its_candidate(
    searched: Searched, tmp_path: Path, bands: int, hop_ms: int, frames: int
) -> None:
    number = searched.train(candidate_of(searched.parts, bands=bands, hop_ms=hop_ms))
    record = searched.ledger.records()[number]
    dataset = searched.datasets.of({"bands": bands, "hop_ms": hop_ms})
    manifest = export_trial(searched.ledger, searched.config, record, tmp_path / "export")
    assert manifest["input"]["shape"] == ["batch", bands, frames]
    assert manifest["front_end"] == dataset.front_end
    assert (manifest["front_end"]["bands"], manifest["front_end"]["hop_ms"]) == (bands, hop_ms)
    assert f"features = np.zeros((1, *({bands}, {frames})), np.float32)" in (tmp_path / "export/README.md").read_text()
    # The error in the manifest is that of the file, on the features that the manifest describes.
    session = onnxruntime.InferenceSession(tmp_path / "export/model.onnx")
    (logits,) = session.run(None, {"features": dataset.test.features.astype(np.float32)})
    assert manifest["test_error"] == (logits.argmax(1) != dataset.test.labels).mean()


def test_mlflow_serves_each_model_with_its_own_input(searched: Searched) -> None:
    number = searched.train(candidate_of(searched.parts, bands=40, hop_ms=20))
    record = searched.ledger.records()[number]
    said: list[str] = []
    complete_members(searched.ledger, searched.config, [record], said.append)
    assert len(said) == 1 and said[0].startswith("measuring 1 models")
    uri = connect_runs(searched.config, searched.ledger.header()).model_uri(record)
    assert uri is not None
    (feature,) = mlflow.models.get_model_info(uri).signature.inputs.inputs
    assert feature.shape == (-1, 40, 50)


def test_the_middle_is_profiled_with_its_own_front_end_alone(searched: Searched) -> None:
    said: list[str] = []
    subject = middle_of(searched.config, said.append)
    assert subject.candidate is not None and subject.candidate.front_end() == {"bands": 20, "hop_ms": 10}
    assert subject.graph.macs == searched.appraiser(subject.candidate).value("macs")
    assert said == ["data: speech_commands, 2 classes, 16 train, 4 validation, 4 test"]


def test_a_study_continues_with_the_same_front_ends(searched: Searched, tones: Path) -> None:
    floats = Parts(config_in(Path(searched.config.store), tones, {"bands": [20, 40], "hop_ms": [10.0, 20.0]}))
    searched.ledger.refuse_another("identity", floats.identity())
    searched.ledger.refuse_another("data", describe_data(load_data(floats, print)))
    other = Parts(config_in(Path(searched.config.store), tones, {"bands": [20, 40], "hop_ms": 20}))
    with pytest.raises(UserError, match="with another space"):
        searched.ledger.refuse_another("identity", other.identity())


def test_a_study_without_front_ends_is_as_it_always_was(tmp_path: Path, tones: Path) -> None:
    parts = Parts(config_in(tmp_path, tones, None))
    identity = parts.identity()
    assert "front_end" not in json.dumps(identity["space"])
    datasets = load_data(parts, print)
    described = describe_data(datasets)
    assert described == {
        "name": "speech_commands",
        "labels": ["high", "low"],
        "input_shape": [40, 50],
        "examples": {"train": 16, "validation": 4, "test": 4},
        "front_end": datasets.first.front_end,
    }
    assert data_of({"data": described}, parts.space.middle()) == described


def test_one_front_end_named_is_no_variant(tmp_path: Path, tones: Path) -> None:
    parts = Parts(config_in(tmp_path, tones, {"bands": 20}))
    described = describe_data(load_data(parts, print))
    assert described["input_shape"] == [20, 50] and "variants" not in described
    assert data_of({"data": described}, parts.space.middle()) == described


def test_a_header_has_one_variant_of_each_candidate(searched: Searched) -> None:
    described = describe_data(Datasets(searched.datasets.variants[:2]))
    own = data_of({"data": described}, candidate_of(searched.parts, bands=20, hop_ms=20))
    assert own["input_shape"] == [20, 50] and not {"variants", "overrides"} & set(own)


def test_a_worker_that_is_reused_takes_the_next_candidates_features(searched: Searched, tmp_path: Path) -> None:
    texts = [candidate_of(searched.parts, bands=bands, hop_ms=20).to_json() for bands in (20, 40)]
    job = Job(searched.parts.space, searched.parts.training, "id", Files(str(tmp_path)), seed=0, threads=1)
    worker = CandidateTrainable.__new__(CandidateTrainable)
    worker.setup({"number": 0, "candidate": texts[0]}, job, searched.datasets)
    worker.step()
    assert worker.reset_config({"number": 1, "candidate": texts[1]})
    assert "measurement" in worker.step()


def test_a_trained_model_takes_its_own_features(searched: Searched) -> None:
    number = searched.train(candidate_of(searched.parts, bands=20, hop_ms=10))
    model = load_trained_model(searched.ledger, searched.config, searched.ledger.records()[number])
    (first, *_), features = model.children(), searched.datasets.of({"bands": 20, "hop_ms": 10}).test.features
    assert features.shape[1:] == (20, 100)
    assert first.unflattened_size == (20, 1)


def test_what_a_config_cannot_ask_for(tmp_path: Path, tones: Path) -> None:
    with pytest.raises(UserError, match=r"space\.front_end with bands = 400: log_mel bands 400"):
        Parts(config_in(tmp_path, tones, {"bands": [20, 400]}))
