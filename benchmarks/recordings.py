"""Real recordings the whole way: the front of each example on a folder of speech, and what it cost."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .report import arguments, publish

COMMAND = str(Path(sys.executable).parent / "repareto")
EXAMPLES = {"digits": "spoken_digits", "keywords": "wake_words"}


def search(example: str, folder: Path, *, quick: bool) -> dict[str, Any]:
    """Search one example on its folder of recordings."""
    with tempfile.TemporaryDirectory() as scratch:
        store = f"{scratch}/runs"
        words = [
            COMMAND,
            "search",
            f"examples/{example}.yaml",
            "--set",
            f"data.folder={folder}",
            "--set",
            f"store={store}",
        ]
        if quick:
            words += ["--trials", "3", "--set", "training.epochs=3"]
        start = time.perf_counter()
        output = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds = time.perf_counter() - start
        print(output)
        study = example.replace("_", "-")
        shown = subprocess.run(
            [COMMAND, "front", study, "--store", store, "--json"], check=True, stdout=subprocess.PIPE, text=True
        )
    front = json.loads(shown.stdout)
    return {
        "example": example,
        "seconds": seconds,
        "trials": front["trials"],
        "hypervolume": front["hypervolume"],
        "notes": [line for line in output.splitlines() if "unreadable" in line or "skipped" in line],
        "front": [
            {
                "trial": member["trial"],
                **member["figures"],
                "measured_latency_us": member["measured"]["latency_us"]["value"],
            }
            for member in front["front"]
        ],
    }


def main() -> None:
    """Search both examples and publish their fronts."""
    options = arguments(
        __doc__, ("--data", {"type": Path, "required": True, "help": "folder that holds digits/ and keywords/"})
    )
    rows = [search(example, options.data / name, quick=options.quick) for name, example in EXAMPLES.items()]
    command = "make bench-recordings DATA=folder"
    publish("recordings", command, [], rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
