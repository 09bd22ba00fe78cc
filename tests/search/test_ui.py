"""The MLflow UI: what is refused before a server is started."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from repareto.search.ui import HOST, serve
from repareto.spaces.errors import UserError


def sleep_in_its_own_session(popen=subprocess.Popen) -> subprocess.Popen:
    return popen(["sleep", "60"], start_new_session=True)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have started a server: none is started here (tests/integration does)."""
    commands: list[list[str]] = []

    class Server:
        code = 0

        def __init__(self, command: list[str], **_options: object) -> None:
            commands.append(command)
            # A session of its own to be ended in the server's place.
            self._sleeper = sleep_in_its_own_session()
            self.pid = self._sleeper.pid

        def wait(self) -> int:
            if self._sleeper.poll() is None and commands and self.waited:
                assert self._sleeper.wait(10) == -signal.SIGTERM, "it was ended with all that it had started"
            self.waited = True
            return self.code

        waited = False

    monkeypatch.setattr(subprocess, "Popen", Server)
    return commands


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "mlflow.db").touch()
    return tmp_path


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def test_a_missing_store(tmp_path: Path, started: list[list[str]]) -> None:
    with pytest.raises(UserError, match=r"nowhere: no MLflow store there \(run a search first"):
        serve(tmp_path / "nowhere", 5000)
    assert not started


def test_a_port_in_use(store: Path, started: list[list[str]]) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use; choose another with --port {port + 1}"):
            serve(store, port)
    assert not started


def test_the_server_gets_this_store(
    store: Path, free_port: int, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    serve(store, free_port)
    (command,) = started
    assert command[command.index("--port") + 1] == str(free_port)
    assert command[command.index("--host") + 1] == "127.0.0.1", "nobody else may look"
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{store}/mlflow.db"
    assert f"http://127.0.0.1:{free_port}" in capsys.readouterr().out


def test_a_server_that_ends_by_itself_is_an_error(store: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess.Popen, "code", 3)
    with pytest.raises(UserError, match="exit code 3"):
        serve(store, free_port)
