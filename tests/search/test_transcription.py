"""A study of transcribers, from the config to what ships."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pytest

from repareto.search.config import Config
from repareto.search.export import export_trial
from repareto.search.files import study_folder
from repareto.search.finish import complete_members
from repareto.search.ledger import Ledger
from repareto.search.parts import Parts
from repareto.search.profiles import middle_of, report_on
from repareto.search.records import Measurement, TrialRecord, profile_figures
from repareto.search.run import appraiser_for, load_data, new_header
from repareto.search.sampling import distribution
from repareto.search.study_data import data_of
from repareto.search.tracking import connect_runs
from repareto.search.worker import CandidateTrainable, Job
from repareto.trainers.tokens import transcripts_of
from repareto.trainers.transcription import edit_rate
from tests.tones import write_tones


class Searched:
    """A study with one finished trial, of a network with exits where ``exits`` says of what kind."""

    def __init__(self, folder: Path, device: str = "reference", exits: Mapping[str, object] | None = None) -> None:
        write_tones(folder / "recordings", {"low": 500, "high": 2000})
        data = {
            "source": "joined_recordings", "folder": str(folder / "recordings"), "cache": str(folder / "cache"),
            "utterances": 40, "fewest_words": 1, "most_words": 2, "window_seconds": 1.3,
        }  # fmt: skip
        space = {"name": "conformer_ctc", "blocks": [1, 2], "width": 16, "strides": 2, "heads": 1, "head_width": 8}
        if exits is not None:
            space |= {"blocks": 2, "exits": exits}
        self.config = Config(
            study="strings", data=data, space=space, training={"epochs": 1, "batch_size": 8},
            device=device, store=str(folder / "store"),
        )  # fmt: skip
        self.said: list[str] = []
        parts = Parts(self.config)
        self.datasets = load_data(parts, self.said.append)
        appraiser = appraiser_for(parts, self.datasets)
        self.ledger = Ledger.create(
            self.config.ledger_address, self.config.study, new_header(parts, self.datasets, appraiser)
        )  # fmt: skip
        candidate = parts.space.middle()
        profile = asdict(appraiser(candidate))
        distributions = {p.name: distribution(p.dimension) for p in parts.space.parameters()}
        self.number = self.ledger.start(candidate, distributions, profile)
        store = study_folder(self.config.store, "strings")
        job = Job(parts.space, parts.training, "id", store, seed=0, threads=1, target=parts.device)
        worker = CandidateTrainable.__new__(CandidateTrainable)
        worker.setup({"number": self.number, "candidate": candidate.to_json()}, job, self.datasets)
        result = worker.step()
        assert result["done"] and "failed" not in result, result
        measurement = Measurement(**json.loads(result["measurement"]))
        self.figures = dict(measurement.figures)
        measurement.figures.update(profile_figures(profile))
        values = [measurement.figures[o.key] for o in self.config.parsed_objectives()]
        self.ledger.finish(self.number, measurement, values, {})

    @property
    def record(self) -> TrialRecord:
        return self.ledger.records()[self.number]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    return Searched(tmp_path_factory.mktemp("strings"))


def test_the_study_knows_what_its_models_are_for(searched: Searched) -> None:
    data = data_of(searched.ledger.header(), searched.record.candidate)
    assert data["task"] == "transcription" and data["transcription"] == {"unit": "word"}
    assert data["labels"] == ["<blank>", "high", "low"]
    assert searched.said[-1].startswith("data: joined_recordings, 3 tokens, 28 train")


def test_what_ships_says_what_the_manifest_tells(searched: Searched, tmp_path: Path) -> None:
    manifest = export_trial(searched.ledger, searched.config, searched.record, tmp_path / "export")
    assert manifest["task"] == "transcription"
    assert manifest["output"] == {"name": "logits", "dtype": "float32", "shape": ["batch", 17, 3]}
    assert manifest["streaming"] == {"refused": "ConformerCTC() has no streaming form"}
    assert searched.record.measurement is not None
    figures = searched.record.measurement.figures
    assert manifest["transcription"] == {"unit": "word", "blank": 0} | {
        key: figures[key] for key in figures if key.startswith("test_")
    }
    readme = (tmp_path / "export/README.md").read_text()
    assert "3 tokens, the first CTC's blank: <blank>, high, low" in readme and "token error on the test split" in readme
    # As the README says: the likeliest token of each step, repeats joined, blanks left out.
    test = searched.datasets.first.test
    session = onnxruntime.InferenceSession(tmp_path / "export/model.onnx")
    (logits,) = session.run(None, {"features": test.features.astype(np.float32)})
    heard = [
        tuple(int(t) for place, t in enumerate(path) if t != 0 and (place == 0 or path[place - 1] != t))
        for path in logits.argmax(2)
    ]
    assert manifest["test_error"] == edit_rate(transcripts_of(test.labels), heard)


def test_mlflow_serves_steps_of_tokens(searched: Searched) -> None:
    said: list[str] = []
    complete_members(searched.ledger, searched.config, [searched.record], said.append)
    uri = connect_runs(searched.config, searched.ledger.header()).model_uri(searched.record)
    assert uri is not None
    (logits,) = mlflow.models.get_model_info(uri).signature.outputs.inputs
    assert logits.shape == (-1, 17, 3)


def test_the_middle_is_profiled(searched: Searched) -> None:
    subject = middle_of(searched.config, lambda _: None)
    report = report_on(subject, Parts(searched.config).device)
    assert subject.graph.unknown == () and report.profile.value("macs") == subject.graph.macs
