"""A chosen candidate trained again, and what its card says."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from repareto.search.devices.host.onnx_runtime import run_onnx
from repareto.search.export import Retraining, export_retrained
from repareto.search.models import load_trained_model
from repareto.search.retraining import interval_of, retrain
from tests.search.studies import EPOCHS, Trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("digits"))


def test_the_best_of_several_seeds_ships_and_the_mean_is_told(trained: Trained, tmp_path: Path) -> None:
    said: list[str] = []
    manifest = export_retrained(
        trained.ledger, trained.config, trained.record, tmp_path / "out", Retraining(4, 2), say=said.append
    )
    told = manifest["retrained"]
    assert manifest["epochs"] == told["epochs"] == 4
    assert told["seeds"][0] == trained.record.measurement.seed and len(set(told["seeds"])) == 2
    assert sum(line.startswith("seed ") for line in said) == 2
    assert told["mean_test_error"] == pytest.approx(np.mean(told["test_errors"]))
    assert told["test_error"] == told["test_errors"][told["seeds"].index(told["ships"])] == manifest["test_error"]
    test = trained.datasets.first.test
    answers = run_onnx((tmp_path / "out/model.onnx").read_bytes(), test.features)
    assert (answers.argmax(1) != test.labels).mean() == pytest.approx(manifest["test_error"])
    card = (tmp_path / "out/README.md").read_text()
    assert "Trained again in full, 4 epochs" in card and "Test error over the seeds: " in card
    # The trial itself is what it was.
    assert trained.record.measurement.epochs == EPOCHS


def test_as_many_epochs_from_the_searchs_seed_give_the_searchs_model(trained: Trained) -> None:
    parts = trained.ledger, trained.config, trained.record
    again = retrain(*parts, trained.datasets.first, epochs=EPOCHS, seeds=1, say=lambda _: None)
    searched = load_trained_model(*parts).state_dict()
    assert all((value == searched[name]).all() for name, value in again.shipped.fused.state_dict().items())
    assert again.record.measurement.figures == trained.record.measurement.figures


def test_the_interval_of_a_mean_and_of_one_seed(trained: Trained) -> None:
    dataset, errors = trained.datasets.first, [0.10, 0.12, 0.17]
    low, high = interval_of(errors, dataset)
    assert (low + high) / 2 == pytest.approx(0.13)
    standard_error = np.std(errors, ddof=1) / np.sqrt(3)
    assert t.cdf((high - 0.13) / standard_error, 2) == pytest.approx(0.95)
    low, high = interval_of([0.1], dataset)
    assert low < 0.1 < high
