"""A supernet in a search: one training, a point of the front for each network, each with files of its own."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from repareto.search.choose import choose
from repareto.search.config import Config
from repareto.search.export import export_trial
from repareto.search.files import study_folder
from repareto.search.finish import complete_members
from repareto.search.front_table import print_front
from repareto.search.ledger import Ledger
from repareto.search.objectives import Budget
from repareto.search.parts import Parts
from repareto.search.records import Measurement, at_point, at_points, models_of, network_of, point_of, points_of
from repareto.search.results import Results
from repareto.search.run import appraiser_for, load_data, make_proposer, new_header, read_results, write_view
from repareto.search.study import Study
from repareto.search.tracking import connect_runs
from repareto.search.worker import CandidateTrainable, Job
from repareto.spaces.errors import UserError

LEVELS = [0.0, 0.4, 0.7]
EPOCHS = 3


class Searched:
    """A study of one trial."""

    def __init__(self, folder: Path, device: str) -> None:
        space = {
            "name": "repcnn", "form": "full", "stages": 2, "width": 12, "blocks": 1, "kernel": 3, "conv_branches": 1,
            "sparsity": {"method": "supernet", "supernet": LEVELS},
        }  # fmt: skip
        self.config = Config(
            study="digits", data={"source": "digits"}, space=space, training={"epochs": EPOCHS, "batch_size": 32},
            device=device, objectives=("error", "macs"), store=str(folder / "store"),
        )  # fmt: skip
        parts = Parts(self.config)
        self.datasets = load_data(parts, lambda _: None)
        appraiser = appraiser_for(parts, self.datasets)
        header = new_header(parts, self.datasets, appraiser)
        self.ledger = Ledger.create(self.config.ledger_address, self.config.study, header)
        study = Study(
            self.ledger, appraiser, make_proposer(parts, appraiser, header["reference"]),
            objectives=self.config.parsed_objectives(), budgets=(), reference=header["reference"],
            trials=1, epochs=EPOCHS, rungs=None,
        )  # fmt: skip
        trial = study.next_trial()
        assert trial is not None
        self.number, self.profile = trial.number, trial.profile
        store = study_folder(self.config.store, "digits")
        job = Job(parts.space, parts.training, "id", store, seed=0, threads=1, target=parts.device)
        worker = CandidateTrainable.__new__(CandidateTrainable)
        worker.setup({"number": trial.number, "candidate": trial.candidate.to_json()}, job, self.datasets)
        for _ in range(EPOCHS):
            result = worker.step()
        assert result["done"] and "failed" not in result, result
        self.curve = json.loads(result["curve"])
        study.finish(trial.number, Measurement.from_dict(json.loads(result["measurement"])))

    @property
    def results(self) -> Results:
        return read_results(self.ledger)


@pytest.fixture(scope="module", params=["reference", "host-onnxruntime-int8"])
def searched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    from repareto.search.devices.latency import calibration
    from repareto.search.devices.latency.roofline import REFERENCE

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "load_or_calibrate", lambda *_: REFERENCE)
        yield Searched(tmp_path_factory.mktemp("supernet"), request.param)


def test_each_network_is_a_point_with_a_profile_of_its_own(searched: Searched, capsys) -> None:
    results = searched.results
    (trial,) = results.finished
    assert points_of(trial) == (0, 1, 2)
    points = at_points(trial)
    for name in ("parameters", "macs", "flash_bytes"):
        sizes = [point.profile[name]["value"] for point in points]
        assert sizes == [point.measurement.figures[name] for point in points]
        assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3
    # The trial stands for the widest, in what is known before training and after it.
    own = at_point(trial)
    assert point_of(own) == 0 and at_point(points[2], 0) == own
    assert own.measurement.figures == trial.measurement.figures
    assert own.profile["macs"] == searched.profile["macs"]
    if not searched.config.device.endswith("int8"):
        assert own.measurement.figures["error"] == searched.curve[-1][0]
    front = results.front
    assert len(front) > 1 and {record.number for record in front} == {searched.number}
    print_front(results)
    assert f"front: 1 of 1 models trained in full, {len(front)} operating points" in capsys.readouterr().out


def test_a_bound_or_a_number_chooses_a_network(searched: Searched) -> None:
    results = searched.results
    least = min(results.front, key=lambda record: record.measurement.figures["macs"])
    bound = replace(Budget.parse("macs", "1"), bound=least.measurement.figures["macs"])
    assert point_of(choose(results, bounds=[bound])) == 2
    assert point_of(choose(results, number=searched.number)) == 0
    with pytest.raises(UserError, match="--operating-point 3: trial 0 has operating points 0, 1, 2"):
        choose(results, number=searched.number, point=3)


def test_what_is_exported_is_what_was_recorded(searched: Searched, tmp_path: Path) -> None:
    for point in (0, 2):
        record = choose(searched.results, number=searched.number, point=point)
        out = tmp_path / f"point{point}"
        manifest = export_trial(searched.ledger, searched.config, record, out)
        assert manifest["operating_point"] == point
        assert f"# digits, trial 0, operating point {point}" in (out / "README.md").read_text()
        test = searched.datasets.first.test
        session = onnxruntime.InferenceSession(out / manifest["ships"], providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {"features": test.features.astype(np.float32)})
        error = float((logits.argmax(1) != test.labels).mean())
        assert error == manifest["test_error"] == record.measurement.figures["test_error"]
        tensors = onnx.load(out / "model.onnx").graph.initializer
        weights = sum(int(np.prod(tensor.dims)) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT)
        assert weights == record.profile["parameters"]["value"]


def test_each_network_of_the_front_is_measured_and_logged(searched: Searched) -> None:
    assert write_view(searched.config, searched.ledger, "FINISHED") == ""
    front = searched.results.front
    said: list[str] = []
    complete_members(searched.ledger, searched.config, front, said.append)
    assert said == [f"measuring {len(front)} models of the front on {searched.config.device} and logging them"]
    runs = connect_runs(searched.config, searched.ledger.header())
    measured = searched.results.front
    assert all(record.measured for record in measured)
    assert len({record.measured["graph_digest"] for record in measured}) == len(front)
    assert len({runs.model_uri(record) for record in measured} - {None}) == len(front)
    assert [network_of(record) for record in models_of(measured)] == [network_of(record) for record in measured]
    # Nothing is left to do.
    complete_members(searched.ledger, searched.config, measured, said.append)
    assert len(said) == 1
