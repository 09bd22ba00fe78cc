"""What commands share: options, the study that a name means, and how they speak."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...spaces.errors import UserError

if TYPE_CHECKING:
    from ..ledger import Ledger

Store = Annotated[
    str | None,
    typer.Option(help="Folder or bucket of the study; the environment variable REPARETO_STORE or `runs` by default."),
]
LedgerUrl = Annotated[
    str | None,
    typer.Option("--ledger", help="PostgreSQL database; REPARETO_LEDGER, or SQLite in the store, by default."),
]


def studies_that_begin(incomplete: str) -> list[str]:
    """Return the studies of the default store that a shell may complete a word to, without waiting for Optuna."""
    import sqlite3

    from ..addresses import default_store

    ledger = Path(default_store()) / "ledger.db"
    if not ledger.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
            names = [name for (name,) in database.execute("SELECT study_name FROM studies ORDER BY study_name")]
    except sqlite3.Error:
        return []  # while somebody types is no time for complaints
    return [name for name in names if name.startswith(incomplete)]


StudyName = Annotated[str, typer.Argument(help="Name of the study.", autocompletion=studies_that_begin)]
SparseWeights = Annotated[
    bool, typer.Option("--sparse-weights", help="Write the weights without their zeros, too, with a decoder in C.")
]


def example(text: str) -> str:
    """The last line of a command's help."""
    return f"Example: `{text}`"


def open_ledger(study: str, store: str | None, ledger_url: str | None) -> Ledger:
    from ..addresses import default_store, ledger_address
    from ..ledger import Ledger

    return Ledger.open(ledger_address(store or default_store(), ledger_url), study)


def print_json(data: object) -> None:
    import json

    print(json.dumps(data, indent=2))


def write_page(path: Path, page: str, option: str) -> None:
    """Write a page where an option says."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be written ({error.strerror})") from error


def say(text: str) -> None:
    print(text, flush=True)


def say_to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ask(question: str, default: str, check: Callable[[str], object]) -> str:
    """Ask until a check raises no :class:`UserError`, and return the answer."""
    while True:
        answer: str = typer.prompt(question, default=default).strip()
        try:
            check(answer)
        except UserError as error:
            say_to_stderr(str(error))
        else:
            return answer
