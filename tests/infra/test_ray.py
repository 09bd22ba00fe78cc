"""The Ray cluster that start-head and start-worker start: whoever has no token is refused."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import grpc
import psutil
import pytest

from tests.infra.manifests import compose
from tests.infra.servers import Script, clean_environment, run_script, status_of
from tests.integration.cluster import AGENT_PORTS, free_port, poll

INHERITED = ("PGPASSWORD", "MLFLOW_TRACKING_PASSWORD", "AWS_SHARED_CREDENTIALS_FILE", "REPARETO_STORE")
SHOW_ENVIRONMENT = f"""
import hashlib, os
for name in {INHERITED!r}:
    print(name, hashlib.sha256(os.environ[name].encode()).hexdigest())
"""
CONNECT = (
    "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print('inside', ray.nodes()[0]['Alive'])"
)


class Cluster:
    """A head and a worker on loopback, each with an address of its own, as the scripts start them."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        # Sockets lie in it, and the path of a socket is short.
        self.scratch = Path(tempfile.mkdtemp(prefix="ri", dir="/tmp"))
        self.secrets = secrets
        port, dashboard_port = free_port(), free_port()
        self.address, self.dashboard = f"127.0.0.2:{port}", f"http://127.0.0.1:{dashboard_port}"
        values = {
            "RAY_AUTH_TOKEN_PATH": secrets / "ray_token",
            # What the environment says of authentication must not switch it off.
            "RAY_AUTH_MODE": "disabled",
            "PGPASSWORD_FILE": secrets / "ledger_password",
            "MLFLOW_TRACKING_PASSWORD_FILE": secrets / "mlflow_password",
            "AWS_SHARED_CREDENTIALS_FILE": secrets / "s3_credentials",
            "REPARETO_STORE": "s3://repareto/store",
            "OMP_NUM_THREADS": 1,
        }
        common = ["--block", "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        health = f"{self.dashboard}/api/version"
        self.head = Script(
            folder,
            "start-head",
            [*common, *ports(), f"--ray-client-server-port={free_port()}", f"--temp-dir={self.scratch}"],
            {**values, "RAY_NODE_IP": "127.0.0.2", "RAY_PORT": port, "RAY_DASHBOARD_PORT": dashboard_port},
            health,
        )
        self.worker = Script(
            folder,
            "start-worker",
            # A folder of its own, as on a machine of its own: nodes that share one unpack a job's code over each other.
            [*common, *ports(), f"--temp-dir={self.scratch / 'w'}"],
            {**values, "RAY_NODE_IP": "127.0.0.3", "RAY_HEAD_ADDRESS": self.address, "RAY_NUM_CPUS": 1},
            health,
        )

    def get(self, path: str) -> dict:
        request = urllib.request.Request(self.dashboard + path, headers=self.authorization())
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.secrets / 'ray_token').read_text()}"}

    def alive(self) -> dict[str, dict[str, float]]:
        """Return the resources of each node that is alive, by its address."""
        nodes = self.get("/api/v0/nodes?detail=1&limit=100")["data"]["result"]["result"]
        return {node["node_ip"]: node["resources_total"] for node in nodes if node["state"] == "ALIVE"}


def ports() -> list[str]:
    return [f"--{name}={free_port()}" for name in AGENT_PORTS]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, secrets):
    cluster = Cluster(tmp_path_factory.mktemp("ray"), secrets)
    try:
        cluster.head.start()
        cluster.worker.launch()
        for _ in poll("the worker to join", cluster.worker.tail):
            if len(cluster.alive()) == 2:
                break
        yield cluster
    finally:
        # Killed, as there is nothing to save: to end in order takes Ray ten seconds a node.
        cluster.worker.kill()
        cluster.head.kill()
        shutil.rmtree(cluster.scratch, ignore_errors=True)


def test_trials_run_on_workers_and_not_on_the_head(cluster):
    cpus = {address: resources.get("CPU", 0) for address, resources in cluster.alive().items()}
    assert cpus == {"127.0.0.2": 0, "127.0.0.3": 1}


@pytest.mark.parametrize("path", ["/api/version", "/api/jobs/", "/api/v0/nodes", "/nodes?view=summary"])
def test_the_job_server_asks_for_the_token(cluster, path):
    assert status_of(cluster.dashboard + path) == 401
    assert status_of(cluster.dashboard + path, Authorization="Bearer " + "0" * 48) == 403
    assert status_of(cluster.dashboard + path, **cluster.authorization()) == 200


def call_gcs(cluster: Cluster, *metadata: tuple[str, str]) -> str:
    """Ask the cluster's own port for its nodes as a driver does, and return the status of the answer."""
    with grpc.insecure_channel(cluster.address) as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
        try:
            call(b"", timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"


def test_the_port_of_the_cluster_asks_for_the_token(cluster):
    assert call_gcs(cluster) == "UNAUTHENTICATED"
    assert call_gcs(cluster, ("authorization", "Bearer " + "0" * 48)) == "UNAUTHENTICATED"
    assert call_gcs(cluster, ("authorization", cluster.authorization()["Authorization"])) == "OK"


def test_a_driver_with_the_token_connects(cluster):
    driver = subprocess.run(
        [sys.executable, "-c", CONNECT, cluster.address],
        env=clean_environment(token_of(cluster)), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "inside True" in driver.stdout, driver.stderr


def token_of(cluster: Cluster) -> dict[str, object]:
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": cluster.secrets / "ray_token"}


def test_the_health_check_of_the_compose_file_needs_no_token(cluster):
    *_, address = compose()["services"]["ray-head"]["healthcheck"]["test"]
    here = address.replace("http://127.0.0.1:8265", cluster.dashboard)
    assert here != address
    with urllib.request.urlopen(here, timeout=20) as response:
        assert response.read() == b"success"


def test_a_job_has_the_secrets_of_its_node_in_its_environment(cluster, tmp_path):
    (tmp_path / "show.py").write_text(SHOW_ENVIRONMENT)
    job = subprocess.run(
        [Path(sys.executable).parent / "ray", "job", "submit", "--address", cluster.dashboard,
         "--working-dir", tmp_path, "--", sys.executable, "show.py"],
        env=clean_environment(token_of(cluster)), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert job.returncode == 0, job.stdout + job.stderr
    expected = {
        "PGPASSWORD": (cluster.secrets / "ledger_password").read_text(),
        "MLFLOW_TRACKING_PASSWORD": (cluster.secrets / "mlflow_password").read_text(),
        "AWS_SHARED_CREDENTIALS_FILE": str(cluster.secrets / "s3_credentials"),
        "REPARETO_STORE": "s3://repareto/store",
    }
    assert tuple(expected) == INHERITED
    for name, value in expected.items():
        assert f"{name} {hashlib.sha256(value.encode()).hexdigest()}" in job.stdout


def test_the_dashboard_and_the_job_server_listen_on_this_machine_only(cluster):
    port = int(cluster.dashboard.rpartition(":")[2])
    hosts = {
        socket.laddr.ip
        for process in cluster.head.processes()
        for socket in process.net_connections("tcp")
        if socket.status == psutil.CONN_LISTEN and socket.laddr.port == port
    }
    assert hosts == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("name", "values"), [("start-head", {}), ("start-worker", {"RAY_HEAD_ADDRESS": "127.0.0.2:1"})]
)
def test_no_node_starts_without_a_token(name, values, tmp_path):
    for path in (None, tmp_path / "missing"):
        started = run_script(
            name, "--block", timeout=20, **values, **({} if path is None else {"RAY_AUTH_TOKEN_PATH": path})
        )
        assert started.returncode == 1
        assert started.stderr.startswith(f"{name}: no token for Ray: set RAY_AUTH_TOKEN_PATH")


def test_a_worker_needs_the_address_of_its_head(secrets):
    started = run_script("start-worker", timeout=20, RAY_AUTH_TOKEN_PATH=secrets / "ray_token")
    assert (started.returncode, started.stderr) == (
        1,
        "start-worker: RAY_HEAD_ADDRESS is not set (docs/cluster.md lists the settings)\n",
    )
    assert os.environ.get("RAY_HEAD_ADDRESS") is None
