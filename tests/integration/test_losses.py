"""Searches on one machine whose workers die or hang, and that are asked to stop."""

import signal

import pytest

from repareto.search.records import State
from tests.integration.commands import repareto
from tests.integration.test_search import results_of, start_search, wait_for_epochs

DEADLY_SPACE = '''
import os, signal, time
from dataclasses import dataclass
from typing import ClassVar
from torch import nn
from repareto.spaces import Choice, Parameter, SearchSpace

class Deadly(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        if self.training and self.what == "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.training and self.what == "hangs":
            time.sleep(600)
        return x

@dataclass(frozen=True)
class DeadlySpace(SearchSpace):
    """Some candidates kill their workers, some never come back."""
    name: ClassVar[str] = "deadly"
    what: Choice = Choice(("trains", "kills", "hangs"))

    def parameters(self):
        return (Parameter("what", self.what),)

    def build(self, candidate, input_shape, classes):
        return nn.Sequential(Deadly(candidate["what"]), nn.Flatten(), nn.Linear(64, classes))
'''


def test_candidates_that_kill_or_hang_fail_and_the_search_goes_on(tmp_path):
    (tmp_path / "deadly_space.py").write_text(DEADLY_SPACE)
    (tmp_path / "config.yaml").write_text(
        "study: deadly\ndata: {source: digits}\nspace: {name: 'deadly_space:DeadlySpace'}\n"
        "training: {epochs: 2}\ndevice: reference\nsearch: {trials: 3, sampler: random, early_stopping: false}\n"
        "workers: {epoch_timeout: 8s}\nseed: 10\n"
    )
    done = repareto("search", "config.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lost its worker (its process was killed or crashed)" in done.stdout
    assert "an epoch may take 8 s (workers.epoch_timeout)" in done.stdout
    assert done.stderr == "" and "raylet" not in done.stdout, "what Ray has to say is for its own logs"
    records = results_of(tmp_path / "runs", "deadly").records
    by_kind = {record.candidate["what"]: record for record in records}
    assert set(by_kind) == {"trains", "kills", "hangs"} and len(records) == 3
    assert by_kind["trains"].state is State.FINISHED
    assert by_kind["kills"].reason == "its worker died 3 times; the last time: its process was killed or crashed"
    assert by_kind["hangs"].reason.startswith("its worker died 3 times; the last time: its process ended ")


@pytest.mark.parametrize("how", ["repareto stop", "SIGTERM"])
def test_a_search_that_is_asked_to_stop_keeps_its_epochs(tmp_path, how):
    # More trials than any machine trains in the seconds that it takes to ask.
    with start_search(tmp_path, "--trials", "500") as process:
        wait_for_epochs(tmp_path, 2, process)
        if how == "repareto stop":
            status = repareto("status", "digits", cwd=tmp_path)
            assert f"driven by process {process.pid} on " in status.stdout
            stopped = repareto("stop", "digits", cwd=tmp_path)
            assert stopped.returncode == 0, stopped.stderr
            assert "stopped; the same search command goes on" in stopped.stdout
        else:
            process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=150)
    assert process.returncode == 0, errors
    assert "stopped: the same command goes on from here" in output
    results = results_of(tmp_path / "runs")
    assert results.records and results.trained < 500
    for record in results.records:
        # Each epoch that was trained is known: what is left goes on from there.
        assert record.state is not State.RUNNING or record.curve
    assert "nobody drives it" in repareto("status", "digits", cwd=tmp_path).stdout


def test_a_second_driver_is_refused(tmp_path):
    with start_search(tmp_path, "--trials", "500") as process:
        wait_for_epochs(tmp_path, 1, process)
        with start_search(tmp_path, "--trials", "3") as second:
            _, errors = second.communicate(timeout=150)
        assert second.returncode == 2
        assert f"study digits is being searched already, by process {process.pid} on " in errors
        assert errors.count("\n") == 1
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=150)
