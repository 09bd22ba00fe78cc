"""Tools of others in a process of their own: one that crashes or hangs costs a candidate, not the search."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....spaces.errors import UserError

_LONGEST_REASON = 200


class ToolError(UserError):
    """A tool crashed, hung or refused: one line that says which tool, on what, and how it ended.

    ``output`` is all that the tool printed, for who wants to look closer.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True)
class Output:
    """What a tool printed, down to its C libraries."""

    stdout: str
    stderr: str


def run_tool(tool: str, what: str, command: Sequence[str], limit_s: float, folder: Path | None = None) -> Output:
    """Run ``command`` in ``folder`` on one thread, for ``limit_s`` seconds at most, and return what it printed.

    ``tool`` and ``what`` name the tool and its input in messages. Raises ``ToolError`` where the command
    cannot be started, ends by a signal, with a status other than 0, or not in time; whatever it started is ended too.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"{tool}: cannot be started ({error.strerror or error})") from error
    try:
        stdout, stderr = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        output = _end(process)
        raise ToolError(f"{tool}: no answer on {what} within {limit_s:g} s; it was stopped", output) from error
    except BaseException:
        _end(process)
        raise
    printed = Output(stdout.decode(errors="replace"), stderr.decode(errors="replace"))
    if process.returncode:
        raise ToolError(f"{tool}: {_ending(process.returncode)} on {what}{_reason(printed)}", _joined(printed))
    return printed


def run_python(tool: str, what: str, script: str, arguments: Sequence[str], limit_s: float) -> Output:
    """``run_tool`` for a few lines of Python, which find ``arguments`` in ``sys.argv[1:]``."""
    # -P: a file of the user's in the working directory must not stand in for a module.
    return run_tool(tool, what, [sys.executable, "-P", "-c", script, *arguments], limit_s)


def _end(process: "subprocess.Popen[bytes]") -> str:
    """End a process and its children, and return what they had printed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        stdout, stderr = process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        # A grandchild in a session of its own holds the pipes open; do not wait for it.
        return ""
    return _joined(Output(stdout.decode(errors="replace"), stderr.decode(errors="replace")))


def _ending(returncode: int) -> str:
    if returncode < 0:
        try:
            return f"crashed ({signal.Signals(-returncode).name})"
        except ValueError:
            return f"crashed (signal {-returncode})"
    return f"failed (exit status {returncode})"


def _reason(printed: Output) -> str:
    """The last line that the tool printed, which is where tools put their reason."""
    lines = [line.strip() for line in _joined(printed).splitlines() if line.strip()]
    return f": {lines[-1][:_LONGEST_REASON]}" if lines else ""


def _joined(printed: Output) -> str:
    return f"{printed.stdout}\n{printed.stderr}".strip()
