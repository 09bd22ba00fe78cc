"""An export as a version of a registered model, and a server that answers with it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
from mlflow import MlflowClient

from repareto.search.export import export_trial
from repareto.search.finish import register
from tests.search.studies import Trained

NAME = "models:/digits@champion"
# MLflow warns of its own imports when it first loads a model.
pytestmark = pytest.mark.filterwarnings("ignore")


class Registered:
    """A package that was registered twice."""

    def __init__(self, folder: Path) -> None:
        trained = Trained(folder)
        self.package = folder / "package"
        self.manifest = export_trial(trained.ledger, trained.config, trained.record, self.package)
        self.said = [register(trained.ledger, trained.config, trained.record, self.package) for _ in range(2)]
        self.uri = f"sqlite:///{folder / 'store' / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=self.uri)
        self.examples = np.load(self.package / "examples.npz")

    def is_answered_by(self, url: str) -> None:
        """Ask a server of the model, and hold its answer against the package's own."""
        answer = requests.post(f"{url}/invocations", json={"inputs": {"features": self.examples["features"].tolist()}})
        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(answer.json()["predictions"]["logits"], self.examples["logits"], atol=1e-4)
        refused = requests.post(f"{url}/invocations", json={"inputs": {"features": [[1.0, 2.0]]}})
        assert refused.status_code == 400


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    return Registered(tmp_path_factory.mktemp("registry"))


def test_each_export_is_a_version_and_the_last_one_champion(registered: Registered) -> None:
    assert registered.said == [f"registered in MLflow as {NAME} (version {number})" for number in (1, 2)]
    champion = registered.client.get_model_version_by_alias("digits", "champion")
    assert champion.version in ("2", 2)
    manifest = registered.manifest
    assert champion.tags == {
        "study": "digits", "trial": "0", "task": "classification", "device": "reference",
        "digest": manifest["digest"], "test_error": str(manifest["test_error"]), "ships": "model.onnx",
        "data": "digits", "sha256": manifest["sha256"]["model.onnx"],
    }  # fmt: skip


def test_a_version_has_a_signature_and_an_example(registered: Registered) -> None:
    mlflow.set_tracking_uri(registered.uri)
    model = mlflow.pyfunc.load_model(NAME)
    (source,) = model.metadata.signature.inputs.inputs
    assert (source.name, source.shape) == ("features", (-1, 1, 8, 8))
    example = model.input_example
    np.testing.assert_allclose(np.asarray(example["features"]), registered.examples["features"][:1], atol=1e-6)
    np.testing.assert_allclose(model.predict(example)["logits"], registered.examples["logits"][:1], atol=1e-4)


@contextmanager
def scoring_server(model: Any) -> Iterator[str]:
    """The server of `mlflow models serve` in a thread of this process."""
    import uvicorn
    from mlflow.pyfunc import scoring_server

    server = uvicorn.Server(uvicorn.Config(scoring_server.init(model), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_mlflows_server_answers_with_it(registered: Registered) -> None:
    mlflow.set_tracking_uri(registered.uri)
    with scoring_server(mlflow.pyfunc.load_model(NAME)) as url:
        registered.is_answered_by(url)


@pytest.mark.slow
def test_mlflow_models_serve_answers_with_it(registered: Registered, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", NAME, "--env-manager", "local", "-p", str(port)]
    # It starts its server by a shell, which has to find it.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registered.uri, "PATH": path}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                assert server.poll() is None, (tmp_path / "log").read_text()
                try:
                    if requests.get(f"{url}/ping", timeout=5).ok:
                        break
                except requests.ConnectionError:
                    time.sleep(0.1)
            registered.is_answered_by(url)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
