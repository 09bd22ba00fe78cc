"""A study of transcribers that answer early, from the config to what ships and what it hears."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from repareto.search.cli import app
from repareto.search.exits.personalize import personalize
from repareto.search.exits.runner import StagedModel
from repareto.search.export import export_trial
from repareto.search.finish import complete_members
from repareto.search.models import trained_form
from repareto.search.records import at_point, at_points
from repareto.search.results import Results
from repareto.spaces.errors import UserError
from repareto.spaces.exits.conformer import ConformerExits
from repareto.trainers.exits.answers import exit_logits
from repareto.trainers.exits.operating_points import Calibration, errors_by_exit, point_at
from repareto.trainers.exits.scoring import scoring_of
from repareto.trainers.tokens import transcripts_of
from repareto.trainers.transcription import edit_rate
from tests.search.test_transcription import Searched

OF_TRANSCRIPTS = {"test_word_error", "test_character_error"}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    return Searched(tmp_path_factory.mktemp("strings"), exits={"count": 1, "head": "own"})


def test_points_are_of_token_errors_and_on_the_front_under_their_trial(searched: Searched) -> None:
    assert set(searched.figures) == {"error", "test_error", "expected_latency_us", "expected_macs"} | OF_TRANSCRIPTS
    form = trained_form(searched.ledger, searched.config, searched.record)
    assert isinstance(form.fused, ConformerExits)
    data = searched.datasets.first
    validation, test = (exit_logits(form.fused, split.features) for split in (data.validation, data.test))
    calibration = Calibration.of(validation, data.validation.labels, scoring_of(data))
    exits = searched.record.measurement.details["exits"]
    assert exits["temperatures"] == pytest.approx(calibration.temperatures, rel=1e-3)
    errors = errors_by_exit(scoring_of(data), test, data.test.labels)
    for point in exits["points"]:
        for name, own in errors.items():
            there = point_at(
                point["policy"], point["thresholds"], calibration.probabilities(test), own,
                exits["costs_up_to"]["macs"],
            )  # fmt: skip
            assert point[f"test_{name}"] == pytest.approx(there.error, abs=0.05)
    results = Results(searched.config.parsed_objectives(), searched.ledger.header()["reference"], [searched.record])
    assert {record.number for record in results.front} == {searched.number}
    assert at_point(searched.record).measurement.figures["error"] == searched.figures["error"]


def test_an_export_stops_early_and_errs_as_it_was_told(searched: Searched, tmp_path: Path) -> None:
    first = at_points(searched.record)[0]
    manifest = export_trial(searched.ledger, searched.config, first, tmp_path / "export")
    exits = manifest["exits"]
    assert manifest["ships"] == ["stage1.onnx", "stage2.onnx"] and exits["joined"]["file"] == "exits.onnx"
    assert exits["joined"]["largest_difference_from_stages"] < 1e-6
    assert manifest["streaming"] == {"refused": "a Conformer has no streaming form"}
    readme = (tmp_path / "export/README.md").read_text()
    assert "2 exits by" in readme and "word error" in readme and "beam" not in readme
    test, labels = searched.datasets.first.test, manifest["labels"]
    for place, point in enumerate(exits["points"]):
        model = StagedModel(tmp_path / "export", place)
        answers = [model(features) for features in test.features.astype(np.float32)]
        said = [[labels[token] for token in tokens] for tokens in transcripts_of(test.labels)]
        told = edit_rate(said, [answer.label.split() for answer in answers])
        assert told == pytest.approx(point["test_error"], abs=1.5 / sum(map(len, said)))
        rates = np.bincount([answer.exit - 1 for answer in answers], minlength=2) / len(test)
        assert rates == pytest.approx(point["test_rates"], abs=1.5 / len(test))
        assert all(0 < answer.probability <= 1 for answer in answers)
    with pytest.raises(UserError, match="its model transcribes, and only classifiers can be made a user's own"):
        personalize(tmp_path / "export", tmp_path, say=print)


def test_predict_hears_a_file_in_full(searched: Searched, tmp_path: Path) -> None:
    export_trial(searched.ledger, searched.config, searched.record, tmp_path / "export")
    recording = next((Path(searched.config.data["folder"]) / "low").glob("*.wav"))
    long = tmp_path / "long.wav"
    soundfile.write(long, 0.1 * np.ones(40_000), 16_000)
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "export"), str(recording), "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert set(answer) == {"file", "label", "probability", "exit", "exits"} and answer["exit"] in (1, 2)
    assert set(answer["label"].split()) <= {"high", "low"}
    with pytest.raises(UserError, match=r"long.wav: is 2.5 s long, and the model hears 1.3\d* s \(cut it there\)"):
        CliRunner().invoke(app, ["predict", str(tmp_path / "export"), str(long)], catch_exceptions=False)


def test_its_model_is_measured_and_logged(searched: Searched) -> None:
    said: list[str] = []
    complete_members(searched.ledger, searched.config, [searched.record], said.append)
    assert said == ["measuring 1 models of the front on reference and logging them"]
    assert searched.record.measured
