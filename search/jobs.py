"""Jobs on a Ray cluster: who answers at an address, a job's log as it grows, how it ended."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..spaces.errors import UserError, first_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ANSWER_SECONDS = 10.0
# A stream that says nothing for so long is taken up anew: a head that lost its power closes nothing.
SILENCE_SECONDS = 60.0
# How long a head may take to come back before its job is no longer followed.
PATIENCE_SECONDS = 300.0


def connect(address: str) -> JobSubmissionClient:
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
        raise UserError(f"{address}: no jobs can be submitted there ({first_line(error)})") from error


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


def follow(client: JobSubmissionClient, job: str, address: str) -> int:
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
            if "status code 404" in str(error):
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
            # Not wait_for, which in Python 3.11 loses a Ctrl-C that comes together with a line.
            async with asyncio.timeout(SILENCE_SECONDS):
                text = await anext(chunks)
        except StopAsyncIteration:
            return
        log.add(text)


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
