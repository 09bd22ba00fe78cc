"""Following a job's log."""

import asyncio
import os
import signal
from types import SimpleNamespace

import pytest

from repareto.search.jobs import follow


class Client:
    """Of a cluster whose job writes a line at a time, until it has ended or is left."""

    def __init__(self, lines: int, at_each_line=lambda: None) -> None:
        self.log, self._at_each_line = [f"line {number}\n" for number in range(lines)], at_each_line
        self.begins = "Running entrypoint for job j: repareto\n"

    async def tail_job_logs(self, _job: str):
        yield self.begins
        for line in self.log:
            self._at_each_line()
            yield line
            # As where the next line is yet to come.
            await asyncio.sleep(0.01)

    def get_job_info(self, _job: str):
        status = SimpleNamespace(is_terminal=lambda: True)
        return SimpleNamespace(status=status, driver_exit_code=3)

    def get_job_logs(self, _job: str) -> str:
        return self.begins + "".join(self.log)


def test_the_log_is_printed_once_and_the_status_is_the_drivers(capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(Client(3), "j", "http://head:8265") == 3
    assert capsys.readouterr().out == "line 0\nline 1\nline 2\n"


def test_who_presses_ctrl_c_while_a_line_comes_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    presses = iter([lambda: os.kill(os.getpid(), signal.SIGINT)])

    def press_once() -> None:
        next(presses, lambda: None)()

    # The processes that run tests side by side ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            follow(Client(3, press_once), "j", "http://head:8265")
    finally:
        signal.signal(signal.SIGINT, before)
    assert "line 1" not in capsys.readouterr().out
