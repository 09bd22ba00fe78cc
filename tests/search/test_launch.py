"""What is sent with a job, and how its log comes back; against a client in memory and servers that are no clusters."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from repareto.search import jobs
from repareto.search import launch as launching
from repareto.search.jobs import Log
from repareto.search.launch import copy_modules, copy_package, launch, requirements, run_as_job
from repareto.spaces.errors import UserError

CONFIG = """\
study: mine
data: {source: digits}
space: {name: "my_space:Mine"}
"""
SPACE = """
from dataclasses import dataclass
from repareto.spaces import SearchSpace

@dataclass(frozen=True)
class Mine(SearchSpace):
    name = "mine"

    def parameters(self):
        return ()

    def build(self, candidate, input_shape, classes):
        raise NotImplementedError
"""
NOBODY = "http://127.0.0.1:1"


class Client:
    """What the job server of a cluster does, one stream of the log after the other; ``None`` in one breaks it."""

    def __init__(self, *streams, log="", code=0, status="SUCCEEDED", message=None, answers=()):
        self.streams, self.log, self.submitted, self.stopped = list(streams), log, [], []
        self._info = SimpleNamespace(status=Status(status), driver_exit_code=code, message=message)
        # What it says before the job has ended: other infos, or errors to raise.
        self._answers = list(answers)

    def submit_job(self, **job):
        environment = job["runtime_env"]
        files = sorted(
            str(path.relative_to(root.parent if root.name == "repareto" else root))
            for root in map(launching.Path, [*environment["py_modules"], environment.get("working_dir", os.devnull)])
            for path in root.rglob("*")
            if path.is_file()
        )
        self.submitted.append(SimpleNamespace(**job, files=files))
        return job["submission_id"]

    async def tail_job_logs(self, job):
        for text in self.streams.pop(0) if self.streams else ():
            if text is None:
                raise RuntimeError("WebSocket connection closed unexpectedly with close code 1006")
            yield text.format(job=job)

    def get_job_info(self, _job):
        answer = self._answers.pop(0) if self._answers else self._info
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def get_job_logs(self, job):
        return self.log.format(job=job)

    def stop_job(self, job):
        self.stopped.append(job)


class Status(str):
    def is_terminal(self):
        return self in ("SUCCEEDED", "FAILED", "STOPPED")


RUNNING = SimpleNamespace(status=Status("RUNNING"), driver_exit_code=None, message=None)
BEGIN = "INFO Runtime env is setting up.\nRunning entrypoint for job {job}: python -m repareto.search\n"


@pytest.fixture
def cluster(monkeypatch):
    """Let the next launch reach the given client instead of a cluster."""

    def reach(client):
        monkeypatch.setattr(launching, "connect", lambda _address: client)
        monkeypatch.setattr(jobs.time, "sleep", lambda _seconds: None)
        return client

    monkeypatch.delenv("REPARETO_STORE", raising=False)
    return reach


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "my_space.py").write_text(SPACE)
    (folder / "search.yaml").write_text(CONFIG)
    yield folder / "search.yaml"
    sys.modules.pop("my_space", None)


def submit(config, *overrides, trials=None, time_budget=None, detach=True, said=None, install=False):
    say = [].append if said is None else said.append
    address = "http://head:8265"
    return launch(config, address, list(overrides), trials, time_budget, detach=detach, install=install, say=say)


# ------------------------------------------------------------------------------------------------ what is submitted


def test_job_has_the_package_the_config_and_the_users_modules(cluster, config):
    client = cluster(Client())
    assert submit(config, "store=/shared", "search.sampler=random", trials=7, time_budget="10m") == 0
    (job,) = client.submitted
    assert job.entrypoint == (
        "python -m repareto.search search search.yaml --set store=/shared --set search.sampler=random "
        "--trials 7 --time-budget 10m --set workers.address=auto"
    )
    assert job.metadata == {"study": "mine"}
    assert job.submission_id.startswith("repareto-mine-")
    assert set(job.runtime_env) == {"py_modules", "working_dir"}
    assert {"search.yaml", "my_space.py"} <= set(job.files)
    assert {"repareto/__init__.py", "repareto/search/__main__.py", "repareto/trainers/data/digits.py"} <= set(job.files)


def test_command_on_a_study_brings_the_modules_of_this_folder(cluster, config, monkeypatch):
    monkeypatch.chdir(config.parent)
    client = cluster(Client())
    assert run_as_job("http://head:8265", ["sync", "mine", "--store", "s3://b"]) == 0
    assert client.submitted[0].entrypoint == "python -m repareto.search sync mine --store s3://b"
    assert "my_space.py" in client.submitted[0].files and "search.yaml" not in client.submitted[0].files


def test_package_is_the_package_alone(tmp_path):
    copy = copy_package(tmp_path)
    assert copy.name == "repareto"
    assert sorted(path.name for path in copy.iterdir()) == ["__init__.py", "search", "spaces", "trainers"]
    assert not [path for path in copy.rglob("*") if path.suffix == ".pyc" or path.name.startswith(".")]
    done = subprocess.run(
        [sys.executable, "-c", "import repareto.search.cli as cli; print(cli.__file__)"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(copy / "search" / "cli" / "__init__.py")


def test_modules_are_those_beside_the_config(tmp_path):
    files = (
        "here/search.yaml",
        "here/other.yaml",
        "here/space.py",
        "here/parts/__init__.py",
        "here/parts/deep/table.csv",
        "here/parts/__pycache__/x.pyc",
        "here/recordings/yes/1.wav",
        "here/.venv/__init__.py",
        "here/repareto/__init__.py",
        "above.py",
    )
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    copy = copy_modules(tmp_path / "here", tmp_path / "copy")
    found = sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())
    assert found == ["parts/__init__.py", "parts/deep/table.csv", "space.py"]


def test_large_modules_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(launching, "MODULES_BYTES", 2**20)
    (tmp_path / "large.py").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(UserError, match=r"large\.py: .* 1 MiB.* its own modules only"):
        copy_modules(tmp_path, tmp_path / "copy")


def test_requirements_leave_ray_to_the_node(cluster, config):
    names = {Requirement(text).name for text in requirements()}
    assert {"torch", "optuna", "mlflow"} <= names
    assert not {"ray", "pytest", "ruff"} & names
    assert not any(";" in text for text in requirements())
    client = cluster(Client())
    submit(config, "store=/shared", install=True)
    assert client.submitted[0].runtime_env["pip"] == requirements()


@pytest.mark.parametrize("store", ["runs", "./runs", "some/where"])
def test_relative_store_is_refused(cluster, config, monkeypatch, store):
    client = cluster(Client())
    with pytest.raises(UserError, match=rf"--set: store '{store}': .* absolute"):
        submit(config, f"store={store}")
    monkeypatch.setenv("REPARETO_STORE", store)
    with pytest.raises(UserError, match=rf"REPARETO_STORE: store '{store}'"):
        submit(config)
    config.write_text(CONFIG + f"store: {store}\n")
    with pytest.raises(UserError, match=rf"search.yaml:4: store '{store}'"):
        submit(config)
    assert not client.submitted


def test_store_is_the_configs_the_clients_or_the_clusters(cluster, config, monkeypatch):
    client = cluster(Client())
    submit(config)
    monkeypatch.setenv("REPARETO_STORE", "s3://bucket/mine")
    submit(config, "ledger=postgresql://user@host/database")
    submit(config, "store=/shared")
    stores = [[word for word in job.entrypoint.split() if word.startswith("store=")] for job in client.submitted]
    assert stores == [[], ["store=s3://bucket/mine"], ["store=/shared"]]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"overrides": ["serch.trials=4"]}, "serch: unknown key"),
        ({"overrides": ["space.name=other:Mine"]}, "other:Mine"),
        ({"overrides": ["training.epochs=none"]}, "training.epochs"),
        ({"time_budget": "soon"}, "--time-budget"),
    ],
)
def test_mistakes_are_found_before_a_cluster_is_asked(config, mistake, message):
    mistake = {"overrides": [], "time_budget": None, **mistake}
    with pytest.raises(UserError, match=message):
        submit(config, "store=/shared", *mistake["overrides"], time_budget=mistake["time_budget"])


@pytest.mark.parametrize("key", ["ledger", "tracking"])
def test_password_is_not_sent(cluster, config, key):
    client = cluster(Client())
    with pytest.raises(UserError, match="password") as refusal:
        submit(config, "store=/shared", f"{key}=http://user:hunter2@host/x")
    assert "hunter2" not in str(refusal.value)
    config.write_text(CONFIG + "# once http://user:hunter2@host/x\n")
    with pytest.raises(UserError, match="password") as refusal:
        submit(config, "store=/shared")
    assert "hunter2" not in str(refusal.value)
    with pytest.raises(UserError, match="password"):
        run_as_job("http://head:8265", ["status", "mine", "--ledger", "postgresql://user:hunter2@host/x"])
    assert not client.submitted


# ---------------------------------------------------------------------------------------------------------- its log


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ({"code": 0}, 0),
        ({"code": 2, "status": "FAILED"}, 2),
        ({"code": 130, "status": "FAILED"}, 130),
        ({"code": -9, "status": "FAILED"}, 137),
        ({"code": None, "status": "STOPPED"}, 130),
        ({"code": None, "status": "FAILED", "message": "its head is gone\nTraceback"}, 1),
    ],
)
def test_status_is_the_drivers(cluster, capsys, info, code):
    cluster(Client([BEGIN, "a\n"], log=BEGIN + "a\n", **info))
    assert run_as_job("http://head:8265", ["status", "mine"]) == code
    output = capsys.readouterr()
    assert output.out == "a\n"
    assert ("its head is gone" in output.err) == (code == 1)


def test_broken_stream_is_taken_up_without_a_line_twice(cluster, config, capsys):
    client = Client(
        [BEGIN[:20], BEGIN[20:] + "one\ntw", None],
        [None],
        [BEGIN + "one\n", "two\nthree\n", None],
        log=BEGIN + "one\ntwo\nthree\nfour\n",
        answers=[RUNNING, ConnectionError("refused"), RUNNING],
    )
    cluster(client)
    assert submit(config, "store=/shared", detach=False) == 0
    assert capsys.readouterr().out == "one\ntwo\nthree\nfour\n"


def test_what_keeps_a_command_from_starting_is_shown(cluster, capsys):
    cluster(Client(log="pip: no such package\n", code=None, status="FAILED", message="runtime_env setup failed"))
    assert run_as_job("http://head:8265", ["status", "mine"]) == 1
    output = capsys.readouterr()
    assert output.out == "pip: no such package\n"
    assert "runtime_env setup failed" in output.err


def test_forgotten_job_and_lost_cluster_are_said(cluster, monkeypatch):
    gone = RuntimeError("Request failed with status code 404: Job does not exist.")
    cluster(Client(answers=[gone]))
    with pytest.raises(UserError, match="goes on from the ledger"):
        run_as_job("http://head:8265", ["status", "mine"])
    monkeypatch.setattr(jobs, "PATIENCE_SECONDS", -1.0)
    cluster(Client(answers=[ConnectionError("refused")]))
    with pytest.raises(UserError, match="has not answered"):
        run_as_job("http://head:8265", ["status", "mine"])


def test_interrupted_launch_leaves_the_search_and_says_how_to_stop_it(cluster, config):
    client, said = cluster(Client(answers=[KeyboardInterrupt()])), []
    assert submit(config, "store=/shared", detach=False, said=said) == 130
    assert not client.stopped
    assert "repareto stop mine --store /shared --address http://head:8265" in said[-1]


def test_interrupted_command_is_stopped(cluster):
    client = cluster(Client(answers=[KeyboardInterrupt()]))
    with pytest.raises(KeyboardInterrupt):
        run_as_job("http://head:8265", ["status", "mine"])
    assert len(client.stopped) == 1


def test_log_of_another_jobs_name_is_no_preamble():
    printed = []
    log = Log("a+b", printed.append)
    log.add("Running entrypoint for job aab: x\n")
    assert not printed
    log.add("Running entrypoint for job a+b: x\nRunning entrypoint for job a+b: y\n")
    assert printed == ["Running entrypoint for job a+b: y\n"]


# ------------------------------------------------------------------------------------------------------ the address


@contextmanager
def server(status, body):
    """Answer every request alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.parametrize("address", ["auto", "head", "ray://head:10001", "http://", "ftp://head:1", ""])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UserError, match="not the address of a Ray dashboard"):
        run_as_job(address, ["status", "mine"])


def test_unreachable_address_is_said_at_once():
    with pytest.raises(UserError, match=f"{NOBODY}: nobody answers"):
        run_as_job(NOBODY, ["status", "mine"])
    with pytest.raises(UserError, match=f"{NOBODY}: nobody answers"):
        run_as_job("127.0.0.1:1", ["status", "mine"])


@pytest.mark.parametrize(("status", "body"), [(404, b""), (200, b"<html>"), (200, b"{}"), (200, b"[]"), (500, b"")])
def test_server_that_is_no_dashboard_is_said(status, body):
    with server(status, body) as address, pytest.raises(UserError, match="not a Ray dashboard"):
        run_as_job(address, ["status", "mine"])


@pytest.mark.parametrize("status", [401, 403])
def test_missing_token_is_said(monkeypatch, status):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    with server(status, b"") as address, pytest.raises(UserError, match="RAY_AUTH_TOKEN_PATH to a file"):
        run_as_job(address, ["status", "mine"])


def test_token_file_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with server(401, b"") as address, pytest.raises(UserError, match=f"{tmp_path / 'none'}: cannot be read"):
        run_as_job(address, ["status", "mine"])


def test_address_given_goes_before_rays_own_variables(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:2")
    with server(200, b'{"ray_version": "2.60.0"}') as address:
        client = jobs.connect(address)
    assert client.get_address() == address
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:2"
