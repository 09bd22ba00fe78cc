"""The tutorial, word for word: its commands run one after another in an empty folder, on little data and few epochs."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from repareto.search.config import ConfigFile
from repareto.search.parts import Parts
from tests.integration.commands import REPARETO, environment

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.S)
# Of the environment, which a test has already.
INSTALLING = "make .venv/installed\nsource .venv/bin/activate\n"
TINY = ("data.synthetic_hours=0.05", "space.stages=2", "space.width=[8, 16]", "training.epochs=2", "search.trials=2")


def test_it_goes_from_installing_to_hearing() -> None:
    text = "".join(BLOCKS)
    steps = (INSTALLING, "repareto search hey.yaml\n", "repareto export hey ", "repareto stream wake ")
    places = [text.index(step) for step in steps]
    assert places == sorted(places)


def test_what_it_searches_is_a_config(tmp_path: Path) -> None:
    write_config(tmp_path)
    config = ConfigFile(tmp_path / "hey.yaml").validated()
    assert (config.study, config.device) == ("hey", "host-litert-int8")
    Parts(config)


def write_config(folder: Path) -> None:
    (block,) = (block for block in BLOCKS if block.startswith("cat > hey.yaml"))
    subprocess.run(["bash", "-ec", block], cwd=folder, check=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_runs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    variables = {**environment(), "PATH": f"{Path(REPARETO).parent}{os.pathsep}{os.environ['PATH']}"}
    told = ""
    for block in BLOCKS:
        script = block.removeprefix(INSTALLING)
        done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, env=variables)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        told += done.stdout + done.stderr
        if "hey.yaml <<" in script:
            small = ConfigFile(tmp_path / "hey.yaml", TINY).values
            (tmp_path / "hey.yaml").write_text(yaml.safe_dump(small))
    assert "2/2 trials" in told
    assert {"manifest.json", "README.md", "streaming.tflite"} <= {path.name for path in (tmp_path / "wake").iterdir()}
    assert "detections of hey computer in" in told
