"""Data sources by name, and what naming them must not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data import SOURCES, data_source
from repareto.trainers.data.digits import Digits

OWN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Source:
    size: int = 1
    def load(self, *, seed): ...

class Plain: ...
"""


@pytest.mark.parametrize("name", SOURCES)
def test_each_name_has_its_class(name: str) -> None:
    assert callable(data_source(name).load)  # type: ignore[attr-defined]
    assert data_source("digits") is Digits


def test_an_import_path_leads_to_a_class_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_source.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    assert data_source("own_source:Source").__name__ == "Source"
    with pytest.raises(UserError, match="must be a dataclass with the method load"):
        data_source("own_source:Plain")
    with pytest.raises(UserError, match="Missing"):
        data_source("own_source:Missing")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "did you mean digits"),
        ("zzz", "known: digits, joined_recordings, .*, wakeword; your own"),
        ("no_such_package.module:Class", "cannot be imported.*no_such_package"),
        (":Class", "cannot be imported"),
    ],
)
def test_unknown_names_are_told(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        data_source(name)


def test_the_package_imports_nothing_heavy() -> None:
    heavy = ("torch", "sklearn", "soundfile", "soxr", "espeakng_loader", "numpy")
    code = f"import repareto.trainers.data, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_rendering_speech_imports_no_torch() -> None:
    code = "import repareto.trainers.data.espeak, sys; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
