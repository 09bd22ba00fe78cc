"""Commands that help to begin: a first config, what this machine lacks, and a schema for editors."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from ...spaces.errors import UserError
from .common import LedgerUrl, Store, ask, example, print_json, say

commands = typer.Typer()


@commands.command(epilog=example("repareto init keywords.yaml"))
def init(
    config: Annotated[Path, typer.Argument(help="The file to write; its name is the study's.")],
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Ask five questions and write a commented config to search with. Enter takes the answer in brackets."""
    from ..config import STUDY_NAME, ConfigFile
    from ..questions import ask_all, config_text

    if not re.match(STUDY_NAME, config.stem):
        raise UserError(f'{config}: "{config.stem}" would be the study\'s name, which has letters, digits and ._- only')
    if config.exists() and not force:
        raise UserError(f"{config}: exists already (choose another name, or --force)")
    if not config.parent.is_dir():
        raise UserError(f"{config}: there is no folder {config.parent} to write to (make it, or choose another)")
    text = config_text(ask_all(ask), config)
    try:
        config.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{config}: cannot be written ({error.strerror})") from error
    ConfigFile(config).validated()
    say(f"wrote {config}\nsearch:  repareto search {config}")


@commands.command(epilog=example("repareto doctor"))
def doctor(store: Store = None, ledger_url: LedgerUrl = None) -> None:
    """Look at this machine, the extras, the store, the ledger and the servers named, and say what to do."""
    from ..addresses import default_store
    from ..doctor import examine

    is_well = True
    for finding in examine(store or default_store(), ledger_url, os.environ.get("MLFLOW_TRACKING_URI")):
        say(f"{finding.what:<18}{finding.told}")
        if finding.mend:
            say(f"{'':<18}-> {finding.mend}")
        is_well = is_well and not (finding.is_needed and finding.mend)
    raise typer.Exit(0 if is_well else 1)


@commands.command(epilog=example("repareto schema > repareto.schema.json"))
def schema() -> None:
    """Print the JSON schema of a config: with it an editor completes keys and marks what is wrong."""
    from ..config_schema import config_schema

    print_json(config_schema())
