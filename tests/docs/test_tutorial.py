"""The tutorial, word for word: its commands run one after another in an empty folder, on little data and few epochs."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.integration.commands import REPARETO, environment

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
# Of the environment, which a test has already.
INSTALLING = ("make .venv/installed", "source .venv/bin/activate")
TINY = {
    "data": {"source": "wakeword", "word": "hey computer", "synthetic_hours": 0.05},
    "space": {"stages": 2, "width": [8, 16], "blocks": 1, "kernel": 5, "stride": 2},
    "search": {"trials": 1},
}


def test_it_goes_from_installing_to_hearing() -> None:
    assert tuple(COMMANDS[:2]) == INSTALLING
    first_words = [line.split()[0:2] for line in COMMANDS]
    steps = (["repareto", "search"], ["repareto", "front"], ["repareto", "export"], ["repareto", "stream"])
    places = [first_words.index(step) for step in map(list, steps)]
    assert places == sorted(places)


@pytest.mark.skipif("REPARETO_SLOW" not in os.environ, reason="minutes; `make tutorial` runs it")
@pytest.mark.timeout(1200)
def test_every_command_runs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(REPARETO).parent}{os.pathsep}{os.environ['PATH']}"
    told = {}
    for line in COMMANDS[len(INSTALLING) :]:
        done = subprocess.run(
            ["bash", "-ec", line], cwd=tmp_path, capture_output=True, text=True, env={**environment(), "PATH": path}
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        told[line.split()[1]] = done.stdout + done.stderr
        config = tmp_path / "hey.yaml"
        if line.startswith("cp "):
            values = yaml.safe_load(config.read_text())
            config.write_text(yaml.safe_dump({**values, **TINY, "space": {**values["space"], **TINY["space"]}}))
    assert "4/4 trials" in told["search"]
    assert {"manifest.json", "README.md", "streaming.tflite"} <= {path.name for path in (tmp_path / "wake").iterdir()}
    assert "detections of hey computer in" in told["stream"]
