"""One finished study that several tests look at, made by the command line on a real Ray cluster."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.commands import EXAMPLES, QUICK, repareto


@dataclass(frozen=True)
class FinishedStudy:
    """A store with the study ``digits`` and the words that made it."""

    folder: Path
    words: tuple[str, ...]
    output: str

    @property
    def store(self) -> Path:
        return self.folder / "runs"


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory) -> FinishedStudy:
    folder = tmp_path_factory.mktemp("study")
    words = ("search", str(EXAMPLES / "digits.yaml"), "--trials", "6", *QUICK)
    done = repareto(*words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return FinishedStudy(folder, words, done.stdout)
