"""The database under a ledger: SQLite in a folder or PostgreSQL. It may go away for a while, and writes wait for it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url

from ..spaces.errors import UserError, first_line
from .addresses import LedgerAddress, without_password
from .patience import AwayError, patiently

START_PATIENCE_SECONDS = 30.0
# A server that went away without a word is given up after this long.
SILENCE_SECONDS = 10


def open_storage(address: LedgerAddress, *, create: bool) -> RDBStorage:
    """Return Optuna's storage on that database, its tables made where they are missing.

    Raises :class:`UserError` for a folder without a ledger unless ``create``, and for a database that cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if isinstance(address, Path):
        return _sqlite(address, create=create)
    return _postgresql(address)


def _sqlite(store: Path, *, create: bool) -> RDBStorage:
    path = store / "ledger.db"
    if not path.exists():
        if not create:
            raise UserError(f"{store}: no ledger there (run a search first, or name its store with --store)")
        try:
            store.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"store {store}: cannot be made ({error.strerror}); name another folder") from error
    try:
        storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})
    except (sqlalchemy.exc.DatabaseError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be used as a ledger ({_reason(error)}); name another store") from error
    sqlalchemy.event.listen(storage.engine, "handle_error", _tell_full_disk)
    # A write-ahead log survives a killed process as the rollback journal does, and waits less for the disk.
    sqlalchemy.event.listen(storage.engine, "connect", _use_write_ahead_log)
    storage.engine.dispose()
    return storage


def _use_write_ahead_log(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


@lru_cache
def _postgresql(address: str) -> RDBStorage:
    """Return the one storage of this process on that database: its connections are shared."""
    url = postgresql_url(address)
    where = without_password(address)

    def connect() -> RDBStorage:
        try:
            return RDBStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs={
                    "pool_pre_ping": True,
                    "connect_args": {
                        "application_name": "repareto",
                        "connect_timeout": SILENCE_SECONDS,
                        "keepalives_idle": SILENCE_SECONDS,
                        "tcp_user_timeout": 1000 * SILENCE_SECONDS,
                    },
                },
            )
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            if "starting up" in str(error):
                raise AwayError("it is starting up") from error
            raise UserError(f"ledger {where}: {_explain(error, url)}") from error

    storage = patiently(connect, where=f"ledger {where}", patience_seconds=START_PATIENCE_SECONDS)
    sqlalchemy.event.listen(storage.engine, "handle_error", _tell_full_disk)
    sqlalchemy.event.listen(storage.engine, "handle_error", _tell_that_it_is_away)
    return storage


def postgresql_url(address: str) -> URL:
    """Return SQLAlchemy's URL of a PostgreSQL database; raises :class:`UserError` for any other address."""
    try:
        url = make_url(address)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in ("postgresql", "postgres") or not url.database:
        raise UserError(f'ledger "{without_password(address)}": not of the form postgresql://user@host:5432/database')
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise UserError('a ledger in PostgreSQL needs psycopg: pip install "repareto[cluster]"') from error
    return url.set(drivername="postgresql+psycopg")


def _explain(error: BaseException, url: URL) -> str:
    """Return what is wrong with a database, and how to mend it."""
    text = str(getattr(error, "orig", None) or error.__cause__ or error)
    if "password" in text and ("authentication failed" in text or "no password supplied" in text):
        return f'the password of user "{url.username}" is missing or wrong; set PGPASSWORD or PGPASSFILE'
    if "does not exist" in text and "database" in text:
        return f'there is no database "{url.database}"; make it with: createdb {url.database}'
    if "role" in text and "does not exist" in text:
        return f'there is no user "{url.username}"; make it with: createuser {url.username}'
    if "permission denied" in text:
        return f'user "{url.username}" may not make tables there; make it the owner of the database'
    if isinstance(error, RuntimeError):
        return f"was made by another version of Optuna ({_reason(error)})"
    return f"cannot be reached ({text.strip().splitlines()[-1].strip()}); is the server running, and the address right?"


def _tell_full_disk(context: Any) -> None:
    text = str(context.original_exception)
    if "disk is full" in text or "No space left on device" in text:
        where = "the ledger" if context.engine is None else describe_engine(context.engine)
        raise UserError(f"{where}: no space left on the disk; free some and run the same command again")


def describe_engine(engine: Any) -> str:
    """Return where an engine's database is, without a password."""
    url = engine.url
    return url.database if url.get_backend_name() == "sqlite" else without_password(str(url))


def _tell_that_it_is_away(context: Any) -> None:
    # Raised in the place of SQLAlchemy's error, for Optuna repeats what failed with one of those: a trial whose
    # creation was done, but not heard of, would be made twice.
    if context.is_disconnect or isinstance(context.sqlalchemy_exception, sqlalchemy.exc.OperationalError):
        raise AwayError(_reason(context.original_exception)) from context.original_exception


def _reason(error: BaseException) -> str:
    return first_line(getattr(error, "orig", None) or error)
