"""A search on a cluster whose nodes never saw the project: code by the job, all state in PostgreSQL, S3 and MLflow."""

import json
import re
import signal
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.integration.cluster import RayCluster, poll
from tests.integration.commands import EXAMPLES, QUICK, REPARETO, environment


class Cluster:
    """A Ray cluster with all secrets in the environment of its nodes, and the command line beside it with the token."""

    def __init__(self, ray: RayCluster, secrets: Mapping[str, str]) -> None:
        self.ray, self._secrets = ray, secrets
        self.environment = {**environment(), **ray.authentication()}

    def run(self, *words: object, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words), env={**self.environment, **changes}, capture_output=True, text=True, timeout=240
        )

    def words(self, command: str, *words: object) -> list[str]:
        return [REPARETO, command, "--address", self.ray.dashboard, *map(str, words)]

    def status(self, study: str) -> str:
        """Ask the ledger from here: quicker than by a job."""
        words = [REPARETO, "status", study]
        return subprocess.run(
            words, env={**environment(), **self._secrets}, capture_output=True, text=True, timeout=60
        ).stdout

    def job(self, study: str) -> dict[str, Any]:
        (job,) = (job for job in self.ray.get("/api/jobs/") if (job["metadata"] or {}).get("study") == study)
        return job

    def wait_for_the_end_of(self, study: str) -> dict[str, Any]:
        for _ in poll(f"the job of study {study} to end"):
            if (job := self.job(study))["status"] not in ("PENDING", "RUNNING"):
                return job
        raise AssertionError


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, postgres, s3, tracking_server):
    secrets = {
        "REPARETO_STORE": s3.uri("launched"),
        "REPARETO_LEDGER": postgres.create_database("launched"),
        **s3.environment(),
        **tracking_server.environment(),
    }
    with RayCluster(tmp_path_factory.mktemp("ray"), environment=secrets, knows_the_project=False) as ray:
        yield Cluster(ray, secrets)


@pytest.fixture(scope="module")
def launched(cluster):
    """A search over a space of the user's own, run to its end; its front is trained again on other seeds."""
    words = (*QUICK, "--set", "search.repeats=2")
    done = cluster.run("launch", EXAMPLES / "my_space.yaml", "--trials", 3, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_search_comes_to_its_end_before_the_users_eyes(launched):
    assert "3/3 trials" in launched.stdout
    assert "Running entrypoint" not in launched.stdout
    assert "models trained in full" in launched.stdout
    assert "models of the front again, on 2 other seeds each" in launched.stdout
    assert launched.stderr == ""


@pytest.mark.usefixtures("launched")
def test_front_is_in_mlflow(cluster, tracking_server, monkeypatch):
    for name, value in tracking_server.environment().items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(tracking_server.address)
    experiment = client.get_experiment_by_name("my-space").experiment_id
    (parent,) = client.search_runs([experiment], "tags.role = 'study'")
    assert parent.info.status == "FINISHED"
    assert {"front.html", "front.json"} <= {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    front = json.loads(cluster.run("front", "my-space", "--json").stdout)
    assert front["front"] and all(len(member["repeats"]) == 2 for member in front["front"])
    on_front = client.search_runs([experiment], "tags.on_front = 'true'")
    assert {int(run.data.tags["repareto.trial"]) for run in on_front} == {one["trial"] for one in front["front"]}
    assert parent.data.metrics["hypervolume"] == pytest.approx(front["hypervolume"])


@pytest.mark.usefixtures("launched")
def test_weights_are_in_the_bucket(s3):
    assert [key for key in s3.requests("PUT") if key.startswith("repareto/launched/studies/my-space/trials/00000/")]


@pytest.mark.usefixtures("launched")
def test_dashboard_shows_no_secret(cluster, postgres, tracking_server):
    shown = json.dumps(cluster.ray.get("/api/jobs/"))
    assert "repareto.search search my_space.yaml" in shown
    passwords = (postgres.password, tracking_server.environment()["MLFLOW_TRACKING_PASSWORD"], "test-secret")
    assert not [password for password in passwords if password in shown]


@pytest.mark.usefixtures("launched")
def test_status_is_the_commands_own(cluster):
    done = cluster.run("status", "my-space")
    assert done.returncode == 0
    assert "my-space: 3 of" in done.stdout
    assert "nobody drives it" in done.stdout
    unknown = cluster.run("status", "nothing")
    assert unknown.returncode == 2
    assert "nothing" in unknown.stdout


def test_search_goes_on_without_its_launch_until_it_is_stopped(cluster):
    # More trials than any machine trains in the seconds that it takes to ask.
    words = (EXAMPLES / "my_space.yaml", *QUICK, "--set", "study=left", "--trials", 500)
    with subprocess.Popen(
        cluster.words("launch", *words),
        env=cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
        # Jobs in the background of a script ignore it, and so does what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as launch:
        assert "study left" in launch.stdout.readline()
        # Ray may have something to say before the search does.
        assert any(line.startswith("data:") for line in launch.stdout)
        launch.send_signal(signal.SIGINT)
        rest = launch.stdout.read()
    assert launch.returncode == 130
    assert f"repareto stop left --address {cluster.ray.dashboard}" in rest
    for _ in poll("the search to train"):
        if re.search(r"[1-9] running", cluster.status("left")):
            break
    assert cluster.run("stop", "left").returncode == 0
    assert cluster.wait_for_the_end_of("left")["driver_exit_code"] is not None
    status = cluster.status("left")
    assert "nobody drives it" in status
    assert "500 of 500" not in status and "of 500 trials trained" in status


def test_only_the_token_opens(cluster):
    for changes in ({"RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_TOKEN_PATH": "/none"}):
        done = cluster.run("status", "my-space", **changes)
        assert done.returncode == 2
        assert "RAY_AUTH_TOKEN" in done.stderr
        assert done.stderr.count("\n") == 1
