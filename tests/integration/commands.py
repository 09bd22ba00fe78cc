"""The command line as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

REPARETO = str(Path(sys.executable).parent / "repareto")
EXAMPLES = Path(__file__).parents[2] / "examples"
# A few seconds a trial, and figures that are the same on every machine.
QUICK = ("--set", "training.epochs=4", "--set", "search.first_rung=2", "--set", "device=reference")


def repareto(*words: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [REPARETO, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=timeout, env=environment()
    )


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
