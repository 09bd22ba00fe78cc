"""start-store with a stand-in for SeaweedFS, whose image alone has the real one: what it is told, and when it ends."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.infra.manifests import documents
from tests.infra.servers import run_script, script
from tests.integration.cluster import poll

# Writes down what it was told and its process, and goes on until it is ended.
STAND_IN = """#!/bin/sh
echo "$@" > "$TOLD/$1.new"
echo $$ > "$TOLD/$1.pid"
mv "$TOLD/$1.new" "$TOLD/$1.args"
exec sleep 60
"""


@pytest.fixture
def started(tmp_path, secrets):
    (tmp_path / "weed").write_text(STAND_IN)
    (tmp_path / "weed").chmod(0o755)
    values = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TOLD": str(tmp_path)}
    process = subprocess.Popen(script("start-store"), env={**values, "S3_USERS_FILE": str(secrets / "s3_users.json")})
    try:
        for _ in poll("both parts"):
            if all((tmp_path / f"{name}.args").exists() for name in ("server", "s3")):
                break
        yield process, tmp_path
    finally:
        for name in ("server", "s3"):
            if is_alive(tmp_path, name):
                os.kill(int((tmp_path / f"{name}.pid").read_text()), signal.SIGKILL)
        process.kill()
        process.wait()


def is_alive(folder: Path, name: str) -> bool:
    return Path(f"/proc/{(folder / f'{name}.pid').read_text().strip()}").exists()


def test_only_the_gateway_is_reached_from_outside_and_it_knows_its_users(started, secrets):
    _, folder = started
    server, gateway = ((folder / f"{name}.args").read_text().split() for name in ("server", "s3"))
    assert {"-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-dir=/data"} <= set(server)
    assert "-s3" not in server
    assert {"-ip.bind=0.0.0.0", f"-config={secrets / 's3_users.json'}"} <= set(gateway)


def test_the_pod_is_told_the_same(started):
    _, folder = started
    store = next(d for d in documents("services") if d["kind"] == "StatefulSet" and d["metadata"]["name"] == "store")
    for container, name in zip(store["spec"]["template"]["spec"]["containers"], ("server", "s3"), strict=True):
        told = (folder / f"{name}.args").read_text().split()
        assert [word for word in told if "-config" not in word] == [
            word for word in container["args"] if "-config" not in word
        ]


@pytest.mark.parametrize("name", ["server", "s3"])
def test_when_one_part_dies_the_whole_ends(started, name):
    process, folder = started
    os.kill(int((folder / f"{name}.pid").read_text()), signal.SIGKILL)
    assert process.wait(30) == 1
    assert not is_alive(folder, "server") and not is_alive(folder, "s3")


def test_it_ends_when_it_is_told_to(started):
    process, folder = started
    process.terminate()
    process.wait(30)
    assert not is_alive(folder, "server") and not is_alive(folder, "s3")


def test_it_lets_nobody_in_without_users(tmp_path):
    refused = run_script("start-store", timeout=20, S3_USERS_FILE=tmp_path / "missing")
    assert refused.returncode == 1 and refused.stderr.startswith("start-store: S3_USERS_FILE")
