"""The MLflow server that start-mlflow starts: a password for everything, artifacts through the server."""

import base64
import json
import os
import subprocess
import sys
import urllib.request

import boto3
import pytest

from tests.infra.servers import clean_environment, run_script, status_of

# A client as a trial is one: it has the server's password and no key of the store.
LOG_AND_FETCH = """
import sys
import mlflow

mlflow.set_experiment("front")
with mlflow.start_run() as run:
    mlflow.log_metric("error", 0.25)
    mlflow.log_text("<html>the front</html>", "front.html")
assert mlflow.get_run(run.info.run_id).data.metrics == {"error": 0.25}
print(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/front.html"))
print(run.info.artifact_uri)
"""


def authorization(secrets, password: str | None = None) -> dict[str, str]:
    password = password or (secrets / "mlflow_password").read_text()
    return {"Authorization": "Basic " + base64.b64encode(f"repareto:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "path",
    ["/", "/api/2.0/mlflow/experiments/get?experiment_id=0", "/api/2.0/mlflow-artifacts/artifacts?path=1"],
)
def test_nothing_is_shown_without_a_password(mlflow, secrets, path):
    assert status_of(mlflow + path) == 401
    assert status_of(mlflow + path, **authorization(secrets, "password1234")) == 401
    assert status_of(mlflow + path, **authorization(secrets)) == 200


def test_health_is_open_for_the_orchestrator(mlflow):
    assert status_of(mlflow + "/health") == 200


def test_a_client_logs_and_fetches_an_artifact_without_a_key_of_the_store(mlflow, secrets, store):
    values = {
        "MLFLOW_TRACKING_URI": mlflow,
        "MLFLOW_TRACKING_USERNAME": "repareto",
        "MLFLOW_TRACKING_PASSWORD": (secrets / "mlflow_password").read_text(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    client = subprocess.run(
        [sys.executable, "-c", LOG_AND_FETCH],
        env=clean_environment(values),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert client.returncode == 0, client.stderr
    text, uri = client.stdout.splitlines()[-2:]
    assert text == "<html>the front</html>" and uri.startswith("mlflow-artifacts:/")
    bucket = boto3.resource(
        "s3", endpoint_url=store["AWS_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id="anybody", aws_secret_access_key="anything",
    ).Bucket("repareto")  # fmt: skip
    assert any(item.key.startswith("mlflow/") and item.key.endswith("/front.html") for item in bucket.objects.all())


def test_another_host_name_than_those_allowed_is_refused(mlflow, secrets):
    path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    port = mlflow.rpartition(":")[2]
    for name in ("mlflow", "localhost", "127.0.0.1"):
        assert status_of(mlflow + path, Host=f"{name}:{port}", **authorization(secrets)) == 200
    assert status_of(mlflow + path, Host="evil.example", **authorization(secrets)) == 403


def test_who_is_not_the_administrator_makes_no_users(mlflow, secrets):
    def post(path: str, headers: dict[str, str], **body: str) -> int:
        request = urllib.request.Request(
            mlflow + path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        )
        try:
            return urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    path = "/api/2.0/mlflow/users/create"
    assert post(path, authorization(secrets), username="guest", password="a-guest-of-the-front") == 200
    guest = {"Authorization": "Basic " + base64.b64encode(b"guest:a-guest-of-the-front").decode()}
    assert post(path, guest, username="other", password="another-password") == 403


@pytest.mark.usefixtures("mlflow")
def test_no_password_stands_in_a_command_line(secrets):
    passwords = [path.read_text() for path in secrets.iterdir()]
    listed = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "--artifacts-destination" in listed
    assert [password for password in passwords if password in listed] == []


@pytest.mark.parametrize(
    ("left_out", "complaint"),
    [
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD is not set"),
        ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_BACKEND_STORE_URI is not set"),
    ],
)
def test_it_does_not_start_without(left_out, complaint):
    values = {
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg://mlflow@127.0.0.1:1/mlflow",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://repareto/mlflow",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "twelve-signs-or-more",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "key",
    }
    del values[left_out]
    started = run_script("start-mlflow", timeout=20, **values)
    assert started.returncode == 1
    assert started.stderr.startswith(f"start-mlflow: {complaint}") and started.stderr.count("\n") == 1


def test_an_empty_password_file_is_refused(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    started = run_script("start-mlflow", timeout=20, MLFLOW_AUTH_ADMIN_PASSWORD_FILE=empty)
    assert started.returncode == 1
    assert started.stderr.startswith(f'start-mlflow: MLFLOW_AUTH_ADMIN_PASSWORD_FILE "{empty}": no such file')
    assert os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD") is None
