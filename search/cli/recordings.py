"""The command that fetches recordings to search on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import example, say

commands = typer.Typer()


@commands.command(epilog=example("repareto download speech_commands recordings"))
def download(
    recordings: Annotated[str, typer.Argument(help="What to fetch: `speech_commands`, version 0.02, some 2.4 GB.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    url: Annotated[str | None, typer.Option(help="Take the archive from here.")] = None,
    sha256: Annotated[str | None, typer.Option(help="SHA-256 of an archive that is another.")] = None,
) -> None:
    """Fetch a public set of recordings to search on. After Ctrl-C or a failure the same command goes on."""
    from ...trainers.data.download import archive_of
    from ...trainers.data.download import download as fetch

    fetch(archive_of(recordings, url, sha256), folder, say)
