"""The commands that help to begin."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from repareto.search import cli
from repareto.search.cli.common import studies_that_begin
from repareto.search.config import ConfigFile
from repareto.search.ledger import Ledger
from repareto.spaces.errors import UserError


def run(*words: str, answers: str = "") -> Result:
    return CliRunner().invoke(cli.app, list(words), input=answers)


def test_init_asks_again_and_writes_a_config(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    done = run("init", str(path), answers="digts\ndigits\nhost-onnxruntime\n2ms\nnone\n8\n")
    assert done.exit_code == 0
    assert '"digts" is unknown (did you mean digits?)' in done.stderr
    assert f"search:  repareto search {path}" in done.stdout
    config = ConfigFile(path).validated()
    assert (config.study, config.data, config.budgets) == ("tiny", {"source": "digits"}, {"latency": "2ms"})
    assert config.search.trials == 8


def test_init_replaces_nothing_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    refused = run("init", str(path))
    assert isinstance(refused.exception, UserError) and "exists already" in str(refused.exception)
    assert path.read_text() == "mine"
    assert run("init", str(path), "--force", answers="digits\n\n\n\n\n").exit_code == 0
    assert path.read_text().startswith("# repareto search mine.yaml")


def test_init_of_a_name_that_no_study_can_have(tmp_path: Path) -> None:
    refused = run("init", str(tmp_path / "my words.yaml"))
    assert isinstance(refused.exception, UserError) and '"my words" would be the study' in str(refused.exception)


@pytest.mark.parametrize("name", ["1", "yes", "1e3"])
def test_init_of_a_name_that_yaml_would_take_for_something_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.yaml"
    assert run("init", str(path), answers="digits\n\n\n\n\n").exit_code == 0
    assert ConfigFile(path).validated().study == name


def test_init_where_nothing_can_be_written_asks_nothing(tmp_path: Path) -> None:
    refused = run("init", str(tmp_path / "none" / "a.yaml"))
    assert isinstance(refused.exception, UserError) and "there is no folder" in str(refused.exception)
    assert "?" not in refused.stdout


@pytest.mark.parametrize(("there", "hint"), [((), "`repareto init"), (("digits.yaml",), "did you mean digits.yaml?")])
def test_a_config_that_is_not_there(tmp_path: Path, there: tuple[str, ...], hint: str) -> None:
    for name in there:
        (tmp_path / name).touch()
    refused = run("search", str(tmp_path / "digts.yaml"))
    assert isinstance(refused.exception, UserError) and hint in str(refused.exception)


def test_names_of_studies_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARETO_STORE", str(tmp_path))
    assert studies_that_begin("") == []
    for name in ("keywords", "digits", "keywords-2"):
        Ledger.create(tmp_path, name, {"reference": [1.0, 1.0]})
    assert studies_that_begin("") == ["digits", "keywords", "keywords-2"]
    assert studies_that_begin("key") == ["keywords", "keywords-2"]
    (tmp_path / "ledger.db").write_text("no database")
    assert studies_that_begin("") == []


def test_the_schema_is_json() -> None:
    assert json.loads(run("schema").stdout)["title"] == "A search by repareto"


def test_doctor_says_what_to_do_and_whether_a_search_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    well = run("doctor", "--store", str(tmp_path))
    assert well.exit_code == 0 and "processors" in well.stdout
    (tmp_path / "file").write_text("")
    ill = run("doctor", "--store", str(tmp_path / "file"))
    assert ill.exit_code == 1
    assert "-> choose another with REPARETO_STORE" in ill.stdout
