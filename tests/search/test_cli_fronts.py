"""The commands on what studies found, on ledgers that were written directly."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from repareto.search import cli
from repareto.search.config import Config
from repareto.search.ledger import Ledger
from tests.search.conftest import Lab


def write_study(lab: Lab, store: Path, name: str, seeds: range) -> None:
    config = Config(
        study=name, data={"source": "digits"}, space={"name": "repcnn"}, store=str(store), tracking="http://127.0.0.1:9"
    )
    ledger = Ledger.create(store, name, {**lab.header(), "config": config.model_dump(mode="json")})
    for seed in seeds:
        candidate = lab.candidate(seed)
        number = ledger.start(candidate, lab.distributions(candidate), asdict(lab.profile(candidate)))
        measurement = lab.measurement(candidate, complete=True)
        values = [measurement.figures[objective.key] for objective in lab.objectives]
        ledger.finish(number, measurement, values, {})


@pytest.fixture(scope="module")
def store(lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_study(lab, folder, "one", range(3))
    write_study(lab, folder, "other", range(3, 6))
    return folder


@pytest.fixture
def repareto(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path):
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["repareto", *words, "--store", str(store)])
        monkeypatch.setenv("COLUMNS", "160")
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_report_is_one_page(repareto, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert repareto("report", "one", "--out", str(page)) == (0, "", f"wrote {page}\n")
    assert "How it was made" in page.read_text()


def test_a_report_that_cannot_be_written(repareto, tmp_path: Path) -> None:
    code, _, err = repareto("report", "one", "--out", str(tmp_path / "none" / "report.html"))
    assert code == 2 and err.startswith("error: --out ") and "cannot be written (No such file" in err


def test_fronts_are_compared_as_table_page_and_json(repareto, tmp_path: Path) -> None:
    page = tmp_path / "both.html"
    code, out, _ = repareto("compare", "one", "other", "--html", str(page), "--no-log")
    assert code == 0
    assert "covers of other" in out and "front of all" in out
    assert "<title>one and other</title>" in page.read_text()
    told = json.loads(repareto("compare", "one", "other", "--json", "--no-log")[1])
    assert set(told["hypervolume"]) == {"one", "other"}


def test_mlflow_that_does_not_answer_is_told(repareto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, out, err = repareto("compare", "one", "other")
    assert code == 0 and "front of all" in out
    assert err.startswith("not logged to MLflow (") and "--no-log leaves it out" in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("compare", "one", "one"), "needs two different studies or more"),
        (("compare", "one", "twice"), 'study "twice" is not in'),
        (("report", "none", "--out", "x.html"), 'study "none" is not in'),
    ],
)
def test_mistakes_are_told_in_a_line(repareto, words: tuple[str, ...], complaint: str) -> None:
    code, out, err = repareto(*words)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and complaint in err and err.count("\n") == 1
