"""Two hours of real speech without any wake word: the telephone prompts of five speakers in five languages.

They are in the Debian archive (``asterisk-core-sounds-*-g722``). Needs ``apt-get``, ``dpkg`` and ``ffmpeg``.

    python -m benchmarks.prompts FOLDER
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LANGUAGES = ("en", "es", "fr", "it", "ru")
SOUNDS = "usr/share/asterisk/sounds"


def fetch(language: str, folder: Path) -> Path:
    """Download and unpack a language's package into ``folder``; where its sounds are."""
    # The archive's own tool: it checks signature and digest.
    subprocess.run(["apt-get", "download", f"asterisk-core-sounds-{language}-g722"], cwd=folder, check=True)
    (package,) = folder.glob(f"asterisk-core-sounds-{language}-g722_*.deb")
    subprocess.run(["dpkg", "-x", package, folder], check=True)
    return folder / SOUNDS


def decode(source: Path, target: Path) -> None:
    """G.722 to FLAC at 16 kHz."""
    target.parent.mkdir(parents=True, exist_ok=True)
    words = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-f", "g722", "-i", source, target]
    subprocess.run(words, check=True)


def main() -> None:
    """Fetch all languages and decode them, a folder a speaker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the FLAC files go")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool:
        for language in LANGUAGES:
            fetch(language, Path(scratch))
        sounds = Path(scratch) / SOUNDS
        # Files of made silence, and one that is empty, are no speech.
        prompts = [
            path for path in sorted(sounds.rglob("*.g722")) if path.stat().st_size and path.parent.name != "silence"
        ]
        list(pool.map(lambda path: decode(path, folder / path.relative_to(sounds).with_suffix(".flac")), prompts))
    print(f"{len(prompts)} prompts in {folder}")


if __name__ == "__main__":
    main()
