"""A study of networks with early exits, from the config to what ships, and who is on its front."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest

from repareto.search.choose import choose
from repareto.search.config import Config
from repareto.search.devices.latency import calibration
from repareto.search.devices.latency.roofline import REFERENCE
from repareto.search.exits.personalize import personalize
from repareto.search.exits.runner import StagedModel
from repareto.search.export import export_trial
from repareto.search.files import study_folder
from repareto.search.finish import complete_members
from repareto.search.front_table import print_front
from repareto.search.ledger import Ledger
from repareto.search.objectives import Budget
from repareto.search.parts import Parts
from repareto.search.records import Measurement, at_point, at_points, point_of, profile_figures
from repareto.search.results import Results
from repareto.search.run import appraiser_for, load_data, new_header, read_results
from repareto.search.sampling import distribution
from repareto.search.tracking import connect_runs
from repareto.search.worker import CandidateTrainable, Job
from repareto.spaces.errors import UserError
from repareto.trainers.data.dataset import Split

USERS = {"count": 2, "labelled": 40, "unlabelled": 20, "tested": 40}


class Searched:
    """A study with one finished trial."""

    def __init__(self, folder: Path, device: str) -> None:
        space = {
            "name": "repcnn", "form": "full", "stages": 2, "width": 12, "blocks": 1, "kernel": 3, "conv_branches": 1,
            "exits": {"count": 2, "head": "pool-linear"}, "sparsity": {"method": "magnitude", "level": 0.4},
        }  # fmt: skip
        self.config = Config(
            study="digits", data={"source": "digits", "users": USERS}, space=space,
            training={"epochs": 2, "batch_size": 32},
            device=device, objectives=("error", "expected_latency"), store=str(folder / "store"),
        )  # fmt: skip
        parts = Parts(self.config)
        self.datasets = load_data(parts, lambda _: None)
        appraiser = appraiser_for(parts, self.datasets)
        header = new_header(parts, self.datasets, appraiser)
        self.ledger = Ledger.create(self.config.ledger_address, self.config.study, header)
        candidate = parts.space.middle()
        self.profile = asdict(appraiser(candidate))
        distributions = {p.name: distribution(p.dimension) for p in parts.space.parameters()}
        self.number = self.ledger.start(candidate, distributions, self.profile)
        store = study_folder(self.config.store, "digits")
        job = Job(parts.space, parts.training, "id", store, seed=0, threads=1, target=parts.device)
        worker = CandidateTrainable.__new__(CandidateTrainable)
        worker.setup({"number": self.number, "candidate": candidate.to_json()}, job, self.datasets)
        for _ in range(2):
            result = worker.step()
        assert result["done"] and "failed" not in result, result
        measurement = Measurement(**json.loads(result["measurement"]))
        self.figures = dict(measurement.figures)
        measurement.figures.update(profile_figures(self.profile))
        values = [measurement.figures[o.key] for o in self.config.parsed_objectives()]
        self.ledger.finish(self.number, measurement, values, {})

    @property
    def results(self) -> Results:
        return read_results(self.ledger)


def test_what_users_would_get_stands_on_the_front(searched: Searched, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 <= searched.figures["personal_error"] < 1
    assert searched.figures["personal_memory_bytes"] > 4 * 60 * 3
    monkeypatch.setenv("COLUMNS", "200")
    print_front(searched.results)
    shown = capsys.readouterr().out
    assert all(title in shown for title in ("users' error", "personal error", "personal memory"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    return Searched(tmp_path_factory.mktemp("digits"), "reference")


@pytest.fixture(scope="module", params=["host-onnxruntime-int8", "cortex-m4"])
def quantised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "load_or_calibrate", lambda *_: REFERENCE)
        yield Searched(tmp_path_factory.mktemp("int8"), request.param)


def test_a_worker_tells_what_is_expected_and_the_profile_what_is_worst(searched: Searched) -> None:
    of_users = {"users_error", "personal_error", "personal_memory_bytes"}
    assert set(searched.figures) == {"error", "test_error", "expected_latency_us", "expected_macs"} | of_users
    assert searched.figures["expected_latency_us"] <= searched.profile["latency_us"]["value"]
    assert searched.figures["expected_macs"] <= searched.profile["macs"]["value"]


def test_each_operating_point_is_on_the_front_under_its_trial(searched: Searched, capsys) -> None:
    results = searched.results
    (trial,) = results.finished
    points = at_points(trial)
    assert len(points) > 1
    front = results.front
    assert {record.number for record in front} == {searched.number}
    assert sorted(point_of(record) for record in front) == list(range(len(points)))
    assert [r.measurement.figures["error"] for r in front] == sorted(p.measurement.figures["error"] for p in points)
    own = at_point(trial)
    assert {key: own.measurement.figures[key] for key in searched.figures} == searched.figures
    assert results.hypervolume > Results(results.objectives, results.reference, []).hypervolume
    print_front(results)
    assert f"front: 1 of 1 models trained in full, {len(points)} operating points" in capsys.readouterr().out


def test_a_bound_or_a_number_chooses_a_point(searched: Searched) -> None:
    results = searched.results
    cheapest = min(results.front, key=lambda record: record.measurement.figures["expected_latency_us"])
    bound = Budget.parse("expected_latency", f"{cheapest.measurement.figures['expected_latency_us'] + 1e-6}us")
    assert point_of(choose(results, bounds=[bound])) == point_of(cheapest)
    assert point_of(choose(results, number=searched.number, point=0)) == 0
    chosen = results.record(searched.number).measurement.details["exits"]["chosen"]
    assert point_of(choose(results, number=searched.number)) == chosen
    with pytest.raises(UserError, match=r"--operating-point 99: trial 0 has operating points 0, "):
        choose(results, number=searched.number, point=99)
    with pytest.raises(UserError, match=r"--operating-point 0: is of one trial \(name it: --trial NUMBER\)"):
        choose(results, point=0)


def test_an_export_stops_early_and_errs_as_it_was_told(searched: Searched, tmp_path: Path) -> None:
    record = at_point(searched.results.record(searched.number), 0)
    manifest = export_trial(searched.ledger, searched.config, record, tmp_path / "export")
    exits = manifest["exits"]
    assert exits["chosen"] == 0 and {f"stage{n}.onnx" for n in (1, 2, 3)} <= set(manifest["sha256"])
    model = StagedModel(tmp_path / "export")
    test = searched.datasets.first.test
    answers = [model(features) for features in test.features.astype(np.float32)]
    wrong = np.mean([manifest["labels"].index(a.label) != label for a, label in zip(answers, test.labels, strict=True)])
    assert wrong == pytest.approx(manifest["test_error"], abs=1.5 / len(test))
    rates = np.bincount([answer.exit - 1 for answer in answers], minlength=3) / len(test)
    assert rates == pytest.approx(exits["points"][0]["test_rates"], abs=1.5 / len(test))
    assert rates[0] > 0
    assert "3 exits by" in (tmp_path / "export/README.md").read_text()
    # Without its stages an export is one network that never stops early.
    del manifest["exits"]
    manifest["ships"] = "model.onnx"
    (tmp_path / "export/manifest.json").write_text(json.dumps(manifest))
    assert StagedModel(tmp_path / "export")(test.features[0]).exit == 1


def test_sparse_exits_in_int8_are_judged_as_they_ship(quantised: Searched, tmp_path: Path) -> None:
    assert {"float32_error", "float32_expected_latency_us"} <= set(quantised.figures)
    record = at_point(quantised.results.record(quantised.number), 0)
    manifest = export_trial(quantised.ledger, quantised.config, record, tmp_path / "export")
    suffix = ".tflite" if quantised.config.device == "cortex-m4" else ".int8.onnx"
    assert manifest["ships"] == [f"stage{n}{suffix}" for n in (1, 2, 3)]
    model = StagedModel(tmp_path / "export")
    test = quantised.datasets.first.test
    answers = [model(features) for features in test.features.astype(np.float32)]
    named = [manifest["labels"].index(answer.label) for answer in answers]
    assert np.mean(named != test.labels) == pytest.approx(manifest["test_error"])
    rates = np.bincount([answer.exit - 1 for answer in answers], minlength=3) / len(test)
    assert rates == pytest.approx(manifest["exits"]["points"][0]["test_rates"])
    measured = manifest["profile"]["measured"]
    if suffix == ".tflite":
        assert "joined" not in manifest["exits"]
        assert measured["peak_memory_bytes"]["method"] == "measured" and measured["resident_bytes"] > 0
        assert "one arena for 3 stages" in measured["peak_memory_bytes"]["error"]
    else:
        assert manifest["exits"]["latency_method"] == "measured" and (tmp_path / "export/exits.onnx").exists()
        stage = onnx.load(tmp_path / "export/stage1.int8.onnx")
        assert "QuantizeLinear" in {node.op_type for node in stage.graph.node}
    with pytest.raises(UserError, match="only ONNX stages in float32 can learn"):
        personalize(tmp_path / "export", _recordings(tmp_path / "user", test), say=print)


def _recordings(folder: Path, split: Split) -> Path:
    for number, (features, label) in enumerate(zip(split.features[:20], split.labels, strict=False)):
        path = folder / str(label) / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, features.astype(np.float32))
    return folder


def test_a_trial_at_many_points_is_measured_and_logged_once(searched: Searched) -> None:
    said: list[str] = []
    complete_members(searched.ledger, searched.config, searched.results.front, said.append)
    assert said == ["measuring 1 models of the front on reference and logging them"]
    runs = connect_runs(searched.config, searched.ledger.header())
    assert runs.model_uri(searched.results.front[0]) is not None
    assert all(record.measured for record in searched.results.front)
