"""The servers of the cluster tests behave as real ones do when they are killed."""

import os
import subprocess
import sys
import urllib.error
import urllib.request

import psycopg
import pytest
from mlflow import MlflowClient
from pyarrow.fs import FileSelector, FileSystem

from tests.integration.commands import environment


def test_postgresql_survives_a_kill_with_its_data(postgres):
    uri = postgres.create_database("survives")
    with psycopg.connect(uri) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    with psycopg.connect(uri) as connection:
        postgres.kill()
        assert postgres.processes() == []
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(uri, connect_timeout=5)
    postgres.start()
    with psycopg.connect(uri) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_postgresql_asks_for_its_password(postgres, monkeypatch):
    for name in ("PGPASSWORD", "PGPASSFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.uri(password=False))
    monkeypatch.setenv("PGPASSWORD", postgres.environment()["PGPASSWORD"])
    psycopg.connect(postgres.uri(password=False)).close()


def test_s3_keeps_files_and_a_log_of_requests(s3, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    files, _ = FileSystem.from_uri(s3.uri())
    for _ in range(2):
        with files.open_output_stream("repareto/a folder/weights.pt") as stream:
            stream.write(b"weights")
    with files.open_input_stream("repareto/a folder/weights.pt") as stream:
        assert stream.read() == b"weights"
    (found,) = files.get_file_info(FileSelector("repareto/a folder"))
    assert found.size == len(b"weights")
    assert s3.requests("PUT").count("repareto/a folder/weights.pt") == 2
    assert s3.requests("GET").count("repareto/a folder/weights.pt") == 1
    files.delete_file("repareto/a folder/weights.pt")
    assert "repareto/a folder/weights.pt" in s3.requests("DELETE")


def test_tracking_server_comes_back_with_its_runs(tracking_server, s3, monkeypatch, tmp_path):
    for name, value in tracking_server.environment().items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(tracking_server.address)
    experiment = client.create_experiment("parts")
    run = client.create_run(experiment).info.run_id
    (tmp_path / "front.json").write_text("[]")
    client.log_artifact(run, str(tmp_path / "front.json"))
    assert any(key.startswith("repareto/artifacts/") and key.endswith("front.json") for key in s3.requests("PUT"))
    tracking_server.kill()
    assert tracking_server.processes() == []
    with pytest.raises(OSError, match="refused"):
        tracking_server.answers()
    tracking_server.start()
    assert [found.info.run_id for found in client.search_runs([experiment])] == [run]
    assert [artifact.path for artifact in client.list_artifacts(run)] == ["front.json"]


def test_tracking_server_asks_for_its_password(tracking_server):
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{tracking_server.address}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout=30)
    refusal.value.close()
    assert refusal.value.code == 401


# Prints what its two actors' calls end with, and what the cluster says of each when it knows.
DRIVER = """
import time
import ray
from ray.exceptions import ActorUnavailableError, RayError

ray.init(address="auto", log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
class Candidate:
    def ready(self):
        return True
    def train(self):
        time.sleep(600)

actors = [Candidate.remote() for _ in range(2)]
ray.get([actor.ready.remote() for actor in actors])
calls = {actor.train.remote(): actor for actor in actors}
print("ready", flush=True)
while calls:
    (call,), _ = ray.wait(list(calls), num_returns=1)
    actor = calls.pop(call)
    try:
        ray.get(call)
    except RayError as error:
        print("first", type(error).__name__, flush=True)
    while True:
        try:
            ray.get(actor.ready.remote())
        except ActorUnavailableError:
            time.sleep(0.1)
        except RayError as error:
            reason = [line for line in str(error).splitlines() if "because" in line]
            print("then", type(error).__name__, *reason, flush=True)
            break
"""


def test_ray_tells_a_dead_worker_from_a_dead_node(ray_cluster):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        env={**environment(), **ray_cluster.environment()},
        stdout=subprocess.PIPE,
        text=True,
    )
    with driver:
        try:
            assert said(driver, "ready")
            assert len(ray_cluster.actors("Candidate")) == 2
            dead = ray_cluster.kill_a_worker("Candidate.train")
            assert said(driver, "first") == "first ActorDiedError"
            assert "ActorDiedError The actor is dead because its worker process has died" in said(driver, "then")
            (left,) = (i for i, node in enumerate(ray_cluster.nodes) if any("Candidate" in n for n in titles(node)))
            assert dead not in [process.pid for process in ray_cluster.nodes[left].workers]
            node = ray_cluster.kill_node(left)
            assert node.processes() == []
            # The cluster does not know yet that the node is gone.
            assert said(driver, "first") == "first ActorUnavailableError"
            assert "ActorDiedError The actor died because its node has died" in said(driver, "then")
            assert driver.wait(60) == 0
        finally:
            driver.kill()
    assert node.name not in ray_cluster.alive()
    assert ray_cluster.add_node().name in ray_cluster.alive()


def said(driver, word):
    """Return the driver's next line that begins with ``word``: Ray prints lines of its own between."""
    return next(line.strip() for line in driver.stdout if line.startswith(word))


def titles(node):
    return [" ".join(process.cmdline()) for process in node.workers]


def test_ray_lets_in_only_who_has_the_token(ray_cluster):
    assert os.stat(ray_cluster.token).st_mode & 0o077 == 0
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{ray_cluster.dashboard}/api/jobs/", timeout=30)
    refusal.value.close()
    assert refusal.value.code in (401, 403)
