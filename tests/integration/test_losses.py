"""Searches on one machine whose candidates fail in every way there is."""

from repareto.search.records import State
from tests.integration.commands import repareto, results_of

SPACE = '''
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
    """Some candidates kill their workers, some never come back, some compute nonsense, some cannot be built."""
    name: ClassVar[str] = "deadly"
    what: Choice = Choice(("trains", "kills", "hangs", "computes nan", "raises"))

    def parameters(self):
        return (Parameter("what", self.what),)

    def build(self, candidate, input_shape, classes):
        if candidate["what"] == "raises":
            raise RuntimeError("this candidate cannot be built")
        last = nn.Linear(64, classes)
        if candidate["what"] == "computes nan":
            nn.init.constant_(last.weight, float("nan"))
        return nn.Sequential(Deadly(candidate["what"]), nn.Flatten(), last)
'''


def test_candidates_that_fail_do_not_end_the_search(tmp_path):
    (tmp_path / "deadly_space.py").write_text(SPACE)
    (tmp_path / "config.yaml").write_text(
        "study: deadly\ndata: {source: digits}\nspace: {name: 'deadly_space:DeadlySpace'}\n"
        "training: {epochs: 2}\ndevice: reference\nsearch: {trials: 4, early_stopping: false}\n"
        "workers: {epoch_timeout: 8s}\n"
    )
    done = repareto("search", "config.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lost its worker (its process was killed or crashed)" in done.stdout
    assert "an epoch may take 8 s (workers.epoch_timeout)" in done.stdout
    (told,) = done.stderr.splitlines()
    assert "candidates that cannot be built are passed over; the first: RuntimeError: this candidate" in told
    assert "raylet" not in done.stdout, "what Ray has to say is for its own logs"
    # No candidate is proposed twice, so that each that can be built has its turn.
    records = {record.candidate["what"]: record for record in results_of(tmp_path / "runs", "deadly").records}
    assert records.keys() == {"trains", "kills", "hangs", "computes nan"}
    assert records["trains"].state is State.FINISHED
    assert all(record.state is State.FAILED for what, record in records.items() if what != "trains")
    assert "loss is nan" in records["computes nan"].reason
    assert records["kills"].reason == "its worker died 3 times; the last time: its process was killed or crashed"
    assert records["hangs"].reason.startswith("its worker died 3 times; the last time: its process ended ")
