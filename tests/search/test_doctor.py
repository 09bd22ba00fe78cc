"""What a search needs of a machine."""

import socket
from importlib import metadata
from pathlib import Path

import pytest

from repareto.search import doctor
from repareto.search.doctor import Finding, examine


def found(store: Path, tracking: str | None = None, ledger: str | None = None) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(str(store), ledger, tracking)}


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("REPARETO_LEDGER", raising=False)


def test_a_machine_that_can_do_it(lab, tmp_path: Path) -> None:
    lab.ledger(tmp_path, "keywords")
    findings = found(tmp_path)
    assert {"processors", "GPUs", "torch", "store", "ledger", *(f"extra {name}" for name in doctor.EXTRAS)} == set(
        findings
    )
    assert not any(finding.is_needed for finding in findings.values())
    assert findings["ledger"].told.endswith(": keywords")
    assert "GiB free" in findings["store"].told


def test_a_store_that_does_not_exist_yet_is_fine(tmp_path: Path) -> None:
    findings = found(tmp_path / "a" / "b")
    assert not findings["store"].is_needed
    assert "the first search makes it" in findings["ledger"].told
    assert not (tmp_path / "a").exists(), "looking makes nothing"


def test_a_store_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    finding = found(tmp_path / "runs")["store"]
    assert finding.is_needed and "cannot be written" in finding.told and "REPARETO_STORE" in finding.mend


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SCARCE_BYTES", 2**80)
    assert found(tmp_path)["store"].mend.startswith("make room")


def test_an_extra_that_is_not_here_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "executorch":
            raise metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(doctor.metadata, "version", version)
    findings = found(tmp_path)
    assert findings["extra executorch"].mend == 'pip install "repareto[executorch]"'
    assert findings["extra litert"].mend == ""


def test_servers_that_answer_and_that_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert found(tmp_path, address)["MLflow"] == Finding("MLflow", f"{address.removeprefix('http://')} answers")
    monkeypatch.setenv("RAY_ADDRESS", address)
    findings = found(tmp_path, address)
    for what, variable in (("MLflow", "MLFLOW_TRACKING_URI"), ("Ray cluster", "RAY_ADDRESS")):
        assert findings[what].is_needed and "does not answer" in findings[what].told
        assert variable in findings[what].mend


def test_a_ledger_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not a database")
    finding = found(tmp_path)["ledger"]
    assert finding.is_needed and finding.told
