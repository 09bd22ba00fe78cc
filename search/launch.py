"""Runs a search, or another command, as a job on a Ray cluster: the code travels with it, its log comes back."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spaces.errors import UserError
from ..spaces.imports import make_importable

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from .config import ConfigFile

PACKAGE = Path(__file__).parents[1]
# What a user's own modules may have in all: the head keeps them in memory.
MODULES_BYTES = 10 * 2**20
ANSWER_SECONDS = 10.0
# A stream that says nothing for so long is taken up anew: a head that lost its power closes nothing.
SILENCE_SECONDS = 60.0
# How long a head may take to come back before its job is no longer followed.
PATIENCE_SECONDS = 300.0
SECRET_IN_URL = re.compile(r"(\w+://[^/\s:@]*):[^/\s@]+@")


def launch(
    config: Path,
    address: str,
    overrides: list[str],
    trials: int | None,
    time_budget: str | None,
    detach: bool,
    say: Callable[[str], None],
    install: bool = False,
) -> int:
    """Run the search of ``config`` on the cluster whose dashboard is at ``address``; return its exit status.

    With ``detach`` that is 0 as soon as the cluster has the job. With ``install`` the nodes install what the project
    depends on. Raises :class:`UserError` for a mistake in the config, before anything is sent, and for an address
    that is no Ray dashboard or lets nobody in.
    """
    study, words = _checked_search(config, overrides, trials, time_budget)
    client = _connect(address)
    with tempfile.TemporaryDirectory(prefix="repareto-job-") as folder:
        job = _submit(client, f"repareto-{study}", words, Path(folder), {"study": study}, config, install)
    say(f"job {job}: study {study} on {address}")
    if detach:
        say(f"look at it:  repareto status {study} --address {address}")
        say(f"stop it:     repareto stop {study} --address {address}")
        return 0
    try:
        return _follow(client, job, address)
    except KeyboardInterrupt:
        say(f"the search goes on without you; it ends by:  repareto stop {study} --address {address}")
        return 130


def run_as_job(address: str, words: Sequence[str]) -> int:
    """Run ``repareto`` with these words on the cluster, print what it prints, and return its exit status."""
    client = _connect(address)
    with tempfile.TemporaryDirectory(prefix="repareto-job-") as folder:
        job = _submit(client, f"repareto-{words[0]}", words, Path(folder), {"command": words[0]})
    try:
        return _follow(client, job, address)
    except KeyboardInterrupt:
        client.stop_job(job)
        raise


# ------------------------------------------------------------------------------------------------ what is submitted


def _checked_search(
    config: Path, overrides: list[str], trials: int | None, time_budget: str | None
) -> tuple[str, list[str]]:
    """Return the name of the study and the words of ``repareto`` that search for it, once all that was tried here."""
    from .config import ConfigFile
    from .parts import Parts
    from .units import parse_quantity

    make_importable(config.parent, ".")
    settings = ConfigFile(config, overrides)
    more = _store(settings)
    if trials is not None:
        more += ["--trials", str(trials)]
    if time_budget is not None:
        try:
            parse_quantity(time_budget, "duration")
        except UserError as error:
            raise UserError(f"--time-budget {error}") from error
        more += ["--time-budget", time_budget]
    study = settings.validated()
    with settings.naming_lines():
        Parts(study)
    words = ["search", config.name, *(word for text in overrides for word in ("--set", text))]
    return study.study, [*words, *more, "--set", "workers.address=auto"]


def _store(settings: ConfigFile) -> list[str]:
    """Return the words that name the store, none where the config or the cluster does.

    Raises :class:`UserError` for a folder that would lie in the job's own.
    """
    named, place = settings.values.get("store"), settings.place(("store",))
    words: list[str] = []
    if named is None and (named := os.environ.get("REPARETO_STORE")):
        place, words = "REPARETO_STORE: ", ["--set", f"store={named}"]
    if isinstance(named, str) and "://" not in named and not Path(named).expanduser().is_absolute():
        raise UserError(
            f"{place}store {named!r}: would lie in the job's own folder, which is thrown away with it; "
            "name an absolute folder that all nodes share, or a bucket such as s3://bucket/prefix"
        )
    return words


def _submit(
    client: JobSubmissionClient,
    name: str,
    words: Sequence[str],
    folder: Path,
    labels: dict[str, str],
    config: Path | None = None,
    install: bool = False,
) -> str:
    """Submit ``repareto`` with these words, with all that it needs, and return the job's id."""
    for text in (*words, *([config.read_text(encoding="utf-8")] if config else [])):
        if found := SECRET_IN_URL.search(text):
            raise UserError(
                f"{found[1]}:…@: a password would stand in Ray's dashboard for all to see; "
                "leave it out and set it in the environment of the cluster's nodes"
            )
    environment: dict[str, Any] = {"py_modules": [str(copy_package(folder))]}
    if config is not None:
        environment["working_dir"] = str(copy_modules(config, folder / "work"))
    if install:
        environment["pip"] = requirements()
    return client.submit_job(
        entrypoint=shlex.join(["python", "-m", "repareto.search", *words]),
        submission_id=f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}",
        runtime_env=environment,
        metadata=labels,
    )


def copy_package(folder: Path) -> Path:
    """Copy this package into ``folder`` as nodes import it, and return where it lies.

    What stands beside it in a checkout is left out: a folder of that name, tests and environments would be sent too.
    """
    copy = folder / "repareto"
    copy.mkdir(parents=True)
    shutil.copy(PACKAGE / "__init__.py", copy)
    for name in ("search", "spaces", "trainers"):
        shutil.copytree(PACKAGE / name, copy / name, ignore=_ignored)
    return copy


def copy_modules(config: Path, folder: Path) -> Path:
    """Copy a config and the modules and packages beside it into ``folder``: there a user's own space may be.

    Raises :class:`UserError` where they are larger than what is sent with a job.
    """
    folder.mkdir(parents=True)
    shutil.copy(config, folder)
    size = 0
    for path in sorted(config.absolute().parent.iterdir()):
        # The package itself, in a checkout of that name, travels on its own.
        if path.name.startswith(".") or path.name == "repareto":
            continue
        if path.suffix == ".py" and path.is_file():
            files = [path]
        elif (path / "__init__.py").is_file():
            files = list(_files(path))
        else:
            continue
        size += sum(file.stat().st_size for file in files)
        if size > MODULES_BYTES:
            raise UserError(
                f"{path}: with it the modules beside {config.name} have {size / 2**20:.0f} MiB, and a job takes "
                f"{MODULES_BYTES / 2**20:.0f}; put the config into a folder of its own, with its own modules only"
            )
        for file in files:
            target = folder / file.relative_to(path.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return folder


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        ignored = _ignored(parent, [*folders, *names])
        folders[:] = [name for name in folders if name not in ignored]
        yield from (Path(parent) / name for name in names if name not in ignored)


def _ignored(_folder: str, names: Sequence[str]) -> set[str]:
    return {name for name in names if name.startswith(".") or name == "__pycache__" or name.endswith(".pyc")}


def requirements() -> list[str]:
    """Return what the project depends on, as pip reads it, without Ray: a node's own has to stay."""
    from packaging.requirements import Requirement

    try:
        texts = metadata.requires("repareto") or []
    except metadata.PackageNotFoundError as error:
        raise UserError("--install: repareto is not installed here, so what it depends on is not known") from error
    found = [Requirement(text) for text in texts]
    wanted = [each for each in found if each.marker is None or each.marker.evaluate({"extra": "cluster"})]
    return [str(each).partition(";")[0].strip() for each in wanted if each.name != "ray"]


# ------------------------------------------------------------------------------------------------------ the cluster


def _connect(address: str) -> JobSubmissionClient:
    """Return a client of the jobs of the cluster at ``address``; raises :class:`UserError` where that is none."""
    address = _dashboard(address)
    if _asks_for_token(address):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        if path and not os.access(path, os.R_OK):
            raise UserError(f"RAY_AUTH_TOKEN_PATH {path}: cannot be read")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in (
        "",
        "._private.runtime_env.packaging",
        ".dashboard.modules.dashboard_sdk",
        ".dashboard.modules.job.sdk",
    ):
        logging.getLogger(f"ray{name}").setLevel(logging.WARNING)
    try:
        # Ray prefers these over the address that it is given.
        with _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise UserError(
            f"{address}: lets in only who has the cluster's token; set RAY_AUTH_TOKEN to it, "
            "or RAY_AUTH_TOKEN_PATH to a file with it"
        ) from error
    except (OSError, RuntimeError) as error:
        raise UserError(f"{address}: no jobs can be submitted there ({str(error).splitlines()[0]})") from error


def _dashboard(address: str) -> str:
    if re.fullmatch(r"[\w.-]+:\d+", address):
        address = f"http://{address}"
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", address):
        raise UserError(f"--address {address!r}: not the address of a Ray dashboard, such as http://head:8265")
    return address.rstrip("/")


def _asks_for_token(address: str) -> bool:
    """Ask who is there, with little patience; raises :class:`UserError` where it is no Ray dashboard."""
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=ANSWER_SECONDS) as answer:
            if "ray_version" not in json.load(answer):
                raise ValueError("no version of Ray")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            return True
        raise UserError(_not_a_dashboard(address, f"it answers {error.code} {error.reason}")) from error
    except urllib.error.URLError as error:
        raise UserError(f"{address}: nobody answers ({error.reason}); is the cluster up, and its port open?") from error
    except TimeoutError as error:
        raise UserError(f"{address}: no answer in {ANSWER_SECONDS:g} s; is the cluster up?") from error
    except (http.client.HTTPException, ValueError, OSError) as error:
        raise UserError(_not_a_dashboard(address, "it speaks of something else")) from error
    return False


def _not_a_dashboard(address: str, reason: str) -> str:
    return f"{address}: not a Ray dashboard ({reason}); its port is 8265 where nobody chose another"


@contextmanager
def _without(*names: str) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


# ---------------------------------------------------------------------------------------------------------- its log


class Log:
    """Prints a job's log as it grows, without what Ray writes before the command's first line.

    A stream that was cut begins anew with the log's first character: what was heard before is left out then.
    """

    def __init__(self, job: str, write: Callable[[str], Any]) -> None:
        self._preamble = re.compile(rf"\A(?:.*\n)*?Running entrypoint for job {re.escape(job)}: .*\n")
        self._write = write
        self._heard = 0
        self._streamed = 0
        # The text so far while the command's own has not begun, None afterwards.
        self._before: str | None = ""

    def begin(self) -> None:
        """A new stream follows."""
        self._streamed = 0

    def add(self, text: str) -> None:
        new = text[max(0, self._heard - self._streamed) :]
        self._streamed += len(text)
        self._heard = max(self._heard, self._streamed)
        if self._before is not None:
            self._before += new
            preamble = self._preamble.match(self._before)
            if preamble is None:
                return
            new, self._before = self._before[preamble.end() :], None
        if new:
            self._write(new)

    def end(self) -> None:
        """Print what was held back where the command never began: it says why."""
        if self._before:
            self._write(self._before)


def _follow(client: JobSubmissionClient, job: str, address: str) -> int:
    """Print the log of a job until it ends, and return its exit status."""
    import aiohttp

    log = Log(job, _print)
    heard = time.monotonic()
    while True:
        log.begin()
        # A stream that breaks says nothing of the job: that is asked afterwards.
        with suppress(OSError, RuntimeError, aiohttp.ClientError):
            asyncio.run(_stream(client, job, log))
        try:
            info = client.get_job_info(job)
            heard = time.monotonic()
            if info.status.is_terminal():
                log.begin()
                log.add(client.get_job_logs(job))
                log.end()
                return _status(info)
        except (OSError, RuntimeError) as error:
            if "404" in str(error):
                raise UserError(
                    f"{address}: does not know the job {job} any more (was its head started anew?); "
                    "the same command again goes on from the ledger"
                ) from error
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise UserError(
                    f"{address}: has not answered for {PATIENCE_SECONDS:g} s; the job may still run there"
                ) from error
        time.sleep(1)


async def _stream(client: JobSubmissionClient, job: str, log: Log) -> None:
    chunks = client.tail_job_logs(job)
    while True:
        try:
            log.add(await asyncio.wait_for(anext(chunks), SILENCE_SECONDS))
        except StopAsyncIteration:
            return


def _status(info: Any) -> int:
    """Return the exit status of a job that has ended; what Ray has to say of it goes to standard error."""
    if info.driver_exit_code is not None:
        # A driver that a signal ended has its negative number; a shell makes it 128 and more.
        code = int(info.driver_exit_code)
        return code if code >= 0 else 128 - code
    if info.status == "STOPPED":
        print("the job was stopped", file=sys.stderr)
        return 130
    reason = (info.message or "no reason given").strip().splitlines()
    print(f"error: the job did not run to its end: {reason[0]}", *reason[-1:], file=sys.stderr)
    return 1


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
