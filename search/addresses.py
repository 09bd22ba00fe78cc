"""Where a study's parts are: its store of files and its ledger. Passwords come from the environment, not from here."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..spaces.errors import UserError

if TYPE_CHECKING:
    from .config import Config

LedgerAddress = Path | str
"""A store's folder, where the ledger is an SQLite file, or the URL of a PostgreSQL database."""


def default_store() -> str:
    """Return the store that commands use when none is named: ``REPARETO_STORE`` or ``runs``."""
    return os.environ.get("REPARETO_STORE", "runs")


def is_url(store: str) -> bool:
    """Return whether a store is on another machine, and not a folder of this one."""
    return "://" in store


def absolute(store: str) -> str:
    """Return a store as processes with other working folders must name it."""
    return store if is_url(store) else str(Path(store).expanduser().absolute())


def folder_of(store: str, wanted_for: str, mend: str) -> Path:
    """Return a store's folder; raises :class:`UserError` that says what for where it is not a folder."""
    if is_url(store):
        raise UserError(f"store {store}: {wanted_for} needs a folder; {mend}")
    return Path(store)


def ledger_address(store: str, named: str | None = None) -> LedgerAddress:
    """Return where a ledger is: as named, as ``REPARETO_LEDGER`` says, or in the store's folder."""
    named = named or os.environ.get("REPARETO_LEDGER")
    return named or folder_of(
        store,
        "a ledger in SQLite",
        "name a PostgreSQL database: `ledger: postgresql://user@host/database`, --ledger or REPARETO_LEDGER",
    )


# As people write them, and not only as the standard has it: passwords with slashes in them, or in the query.
_PASSWORD = re.compile(r"(?P<before>\w://[^:/@\s]*):[^\s]*@|(?P<query>[?&](?:ssl)?password=)[^&\s]*")


def has_password(text: str) -> bool:
    """Return whether a password stands in an address, or in an address in a text."""
    return _PASSWORD.search(text) is not None


def without_password(address: LedgerAddress) -> str:
    """Return an address as it may be shown."""

    def hidden(found: re.Match[str]) -> str:
        return f"{found['before']}@" if found["before"] else f"{found['query']}***"

    return _PASSWORD.sub(hidden, str(address))


def options_of(config: Config) -> str:
    """Return the options by which other commands find a study that its config, and not the environment, places."""
    store = "" if config.store == default_store() else f" --store {config.store}"
    return store + (f" --ledger {config.ledger}" if config.ledger else "")
