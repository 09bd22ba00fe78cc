"""Secrets, and the servers that several tests look at: PostgreSQL, S3 and MLflow, started once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.manifests import compose
from tests.infra.servers import S3, Postgres, Script, free_port, run_script


@pytest.fixture(scope="session")
def secrets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "secrets"
    made = run_script("make-secrets", folder)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="session")
def postgres(tmp_path_factory, secrets) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres"), (secrets / "postgres_password").read_text()) as server:
        yield server


@pytest.fixture(scope="session")
def superuser(postgres, secrets) -> dict[str, object]:
    """What create-databases has in its environment."""
    return {
        "PGHOST": "127.0.0.1",
        "PGPORT": postgres.port,
        "PGUSER": "postgres",
        "PGPASSWORD_FILE": secrets / "postgres_password",
        "LEDGER_PASSWORD_FILE": secrets / "ledger_password",
        "MLFLOW_DATABASE_PASSWORD_FILE": secrets / "mlflow_database_password",
    }


@pytest.fixture(scope="session")
def store(tmp_path_factory, secrets) -> Iterator[dict[str, object]]:
    """What a client of the S3 store has in its environment."""
    with S3(tmp_path_factory.mktemp("s3")) as server:
        yield {
            "AWS_ENDPOINT_URL": server.address,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_SHARED_CREDENTIALS_FILE": secrets / "s3_credentials",
        }


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory, secrets, postgres, superuser, store) -> Iterator[str]:
    """Return the address of an MLflow server that start-mlflow started on PostgreSQL and S3."""
    for made in (run_script("create-databases", **superuser), run_script("create-bucket", "repareto", **store)):
        assert made.returncode == 0, made.stderr
    port = free_port()
    values = {
        **store,
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://mlflow@127.0.0.1:{postgres.port}/mlflow",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://repareto/mlflow",
        "MLFLOW_PORT": port,
        # As in compose.yaml, but for the port.
        "MLFLOW_SERVER_ALLOWED_HOSTS": compose()["services"]["mlflow"]["environment"][
            "MLFLOW_SERVER_ALLOWED_HOSTS"
        ].replace("5000", str(port)),
        "PGPASSWORD_FILE": secrets / "mlflow_database_password",
        "MLFLOW_AUTH_ADMIN_PASSWORD_FILE": secrets / "mlflow_password",
        "MLFLOW_FLASK_SERVER_SECRET_KEY_FILE": secrets / "mlflow_secret_key",
    }
    address = f"http://127.0.0.1:{port}"
    with Script(tmp_path_factory.mktemp("mlflow"), "start-mlflow", [], values, f"{address}/health"):
        yield address
