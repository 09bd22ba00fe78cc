"""What several tests look at: a finished study, made by the command line on a real Ray cluster, and real servers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.cluster import S3, Postgres, RayCluster, Server, TrackingServer
from tests.integration.commands import EXAMPLES, QUICK, repareto


@dataclass(frozen=True)
class FinishedStudy:
    """A store with the study ``digits`` and the words that made it."""

    folder: Path
    words: tuple[str, ...]
    output: str

    @property
    def store(self) -> Path:
        return self.folder / "runs"


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory) -> FinishedStudy:
    folder = tmp_path_factory.mktemp("study")
    words = ("search", str(EXAMPLES / "digits.yaml"), "--trials", "6", *QUICK)
    done = repareto(*words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return FinishedStudy(folder, words, done.stdout)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # noqa: ARG001
    """Show the end of each server's log with a test that failed."""
    report = yield
    if report.failed:
        servers = sorted(Server.started, key=lambda server: server.name)
        report.sections += [(f"log of {server.name}", server.tail()) for server in servers]
    return report


# A test that kills one of these starts it again.


@pytest.fixture(scope="session")
def postgres(tmp_path_factory) -> Iterator[Postgres]:
    """PostgreSQL; a test makes a database of its own by ``create_database``."""
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory, postgres, s3) -> Iterator[TrackingServer]:
    """An MLflow server that asks for a password, on PostgreSQL and S3."""
    with TrackingServer(
        tmp_path_factory.mktemp("mlflow"),
        backend=postgres.create_database("mlflow"),
        artifacts=s3.uri("artifacts"),
        password="a-password-for-tests",
        environment=s3.environment(),
    ) as server:
        yield server


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory) -> Iterator[RayCluster]:
    """A head and two nodes of one CPU each, for drivers on this machine."""
    with RayCluster(tmp_path_factory.mktemp("ray")) as cluster:
        yield cluster
