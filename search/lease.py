"""One driver a study: a lease in the ledger's database with a heartbeat.

No clocks are compared. A holder is dead when its beats do not change for :data:`DEAD_SECONDS` of the watcher's own
time, or when it was a process of this machine that is gone. A holder whose beats could not be written for so long
holds nothing any more (Gray and Cheriton, 1989): each of its transactions looks at the lease before it commits.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from ..spaces.errors import UserError
from .addresses import LedgerAddress, without_password
from .database import open_storage
from .patience import AwayError, patiently

BEAT_SECONDS = 2.0
DEAD_SECONDS = 8.0
# The holder gives up before others may take over.
VALID_SECONDS = DEAD_SECONDS - BEAT_SECONDS
WATCH_SECONDS = 0.25
UNFENCED = "repareto_unfenced"

_METADATA = MetaData()
_LEASES = Table(
    "repareto_leases",
    _METADATA,
    Column("study", String(512), primary_key=True),
    Column("token", String(32), nullable=False),  # "" where nobody holds it
    Column("holder", Text, nullable=False),
    Column("beats", BigInteger, nullable=False),
    Column("stop_requested", Boolean, nullable=False),
)


class LeaseLostError(UserError):
    """Another driver has taken over."""


@dataclass(frozen=True)
class Holder:
    """A process that drives a study."""

    host: str
    process: int
    machine: str
    """Names the running kernel and the process namespace, in which ``process`` means something."""
    began: str
    """The process's start time, for process numbers are used again."""

    @classmethod
    def this_process(cls) -> Holder:
        return cls(socket.gethostname(), os.getpid(), _machine(), _began(os.getpid()))

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine that has ended. Of other machines nothing is known."""
        return self.machine != "" and self.machine == _machine() and _began(self.process) != self.began

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _began(process: int) -> str:
    """Return a process's start in clock ticks since boot, "" where there is no such process."""
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True)
class LeaseState:
    """What the ledger says of a study's driver."""

    holder: Holder | None
    """None where nobody holds the lease."""
    token: str = ""
    beats: int = 0
    stop_requested: bool = False


class Leases:
    """The leases of all studies in one database."""

    def __init__(self, engine: Engine) -> None:
        # Marked, for the leases' own transactions are not fenced.
        self._engine = engine.execution_options(**{UNFENCED: True})
        try:
            _METADATA.create_all(engine)
        except (IntegrityError, OperationalError, ProgrammingError):
            # Another process made the table between the look and the creation.
            if not sqlalchemy.inspect(engine).has_table(_LEASES.name):
                raise

    def read(self, study: str) -> LeaseState:
        with self._engine.begin() as connection:
            row = connection.execute(select(_LEASES).where(_LEASES.c.study == study)).mappings().first()
        if row is None or not row["token"]:
            return LeaseState(None)
        return LeaseState(Holder(**json.loads(row["holder"])), row["token"], row["beats"], row["stop_requested"])

    def is_held(self, study: str) -> bool:
        """Return whether a study's driver lives: watched for up to :data:`DEAD_SECONDS`, mostly much less."""
        return self._watch(study).holder is not None

    def _watch(self, study: str, pause: Callable[[float], None] = time.sleep) -> LeaseState:
        """Return the state of a lease, its holder None where it is dead."""
        first = self.read(study)
        seen = time.monotonic()
        while first.holder is not None and not first.holder.is_gone:
            if time.monotonic() - seen > DEAD_SECONDS:
                break
            pause(WATCH_SECONDS)
            now = self.read(study)
            if (now.token, now.beats) != (first.token, first.beats):
                return now
        return LeaseState(None, first.token, first.beats, first.stop_requested)

    def take(self, study: str) -> Lease:
        """Become a study's only driver; raises :class:`UserError` that names the other one."""
        while True:
            state = self._watch(study)
            if state.holder is not None:
                raise UserError(
                    f"study {study} is being searched already, by {state.holder}; wait for it, "
                    f"or stop it with: repareto stop {study}"
                )
            token = uuid.uuid4().hex
            if self._replace(study, state, token):
                return Lease(self._engine, study, token)

    def _replace(self, study: str, seen: LeaseState, token: str) -> bool:
        """Write this process as the holder unless somebody else was quicker."""
        values = {
            "token": token,
            "holder": json.dumps(asdict(Holder.this_process())),
            "beats": seen.beats + 1,
            "stop_requested": False,
        }
        try:
            with self._engine.begin() as connection:
                same = (_LEASES.c.study == study) & (_LEASES.c.token == seen.token)
                same &= (_LEASES.c.beats == seen.beats) | (_LEASES.c.token == "")
                if connection.execute(update(_LEASES).where(same).values(**values)).rowcount:
                    return True
                if seen.token:
                    return False
                connection.execute(insert(_LEASES).values(study=study, **values))
                return True
        except IntegrityError:
            return False

    def request_stop(self, study: str) -> None:
        """Ask a study's driver to end when its running epochs have."""
        with self._engine.begin() as connection:
            connection.execute(update(_LEASES).where(_LEASES.c.study == study).values(stop_requested=True))


@contextmanager
def hold_lease(address: LedgerAddress, study: str) -> Iterator[Lease]:
    """Be a study's only driver, for two would train the same trials.

    Raises :class:`UserError` that names the other driver, or says why the database cannot be used.
    """
    engine = open_storage(address, create=True).engine
    lease = patiently(lambda: Leases(engine).take(study), where=f"ledger {without_password(address)}")
    try:
        yield lease
    finally:
        lease.release()


class Lease:
    """A lease that this process holds, from its making to :meth:`release`. Its heart beats in a thread of its own."""

    def __init__(self, engine: Engine, study: str, token: str) -> None:
        self._engine, self._study, self._token = engine, study, token
        self._beaten = _now()
        self._lost_to: Holder | None = None
        self._stop_requested = False
        self._released = threading.Event()
        self._fenced: list[Engine] = []
        self._thread = threading.Thread(target=self._beat_on, name="lease", daemon=True)
        self._thread.start()

    @property
    def stop_requested(self) -> bool:
        return self._stop_requested

    def ensure(self) -> None:
        """Raise :class:`LeaseLostError` where another driver has taken over; to be called before each write."""
        if self._lost_to is None and _now() - self._beaten > VALID_SECONDS:
            # The thread did not get to it, as when this machine slept.
            self._beat()
        if self._lost_to is not None:
            raise self._lost_error()

    def _lost_error(self) -> LeaseLostError:
        return LeaseLostError(
            f"study {self._study}: {self._lost_to or 'another driver'} has taken over while this one did not answer; "
            "nothing is lost, that one goes on"
        )

    def fence(self, engine: Engine) -> None:
        """Have each transaction on that engine look at the lease before it commits."""
        event.listen(engine, "commit", self._refuse_unheld)
        self._fenced.append(engine)

    def _refuse_unheld(self, connection: Connection) -> None:
        """Let no transaction of this process's ledger through that another driver would be surprised by."""
        if connection.get_execution_options().get(UNFENCED):
            return
        # Locked until the commit is through, so that nobody takes over in between. SQLite locks the whole file.
        held = connection.execute(select(_LEASES.c.token).where(self._mine).with_for_update(read=True)).first()
        if held is None:
            raise self._lost_error()

    def release(self) -> None:
        """Let others drive at once."""
        self._released.set()
        self._thread.join()
        for engine in self._fenced:
            event.remove(engine, "commit", self._refuse_unheld)
        try:
            with self._engine.begin() as connection:
                connection.execute(update(_LEASES).where(self._mine).values(token=""))
        except (AwayError, sqlalchemy.exc.SQLAlchemyError):
            # It is dead by itself after its time.
            return

    @property
    def _mine(self) -> Any:
        return (_LEASES.c.study == self._study) & (_LEASES.c.token == self._token)

    def _beat_on(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            try:
                self._beat()
            except (sqlalchemy.exc.SQLAlchemyError, UserError):
                # Tried again; who writes meanwhile waits for the database as well.
                continue
            if self._lost_to is not None:
                return

    def _beat(self) -> None:
        before = _now()
        with self._engine.begin() as connection:
            beaten = connection.execute(update(_LEASES).where(self._mine).values(beats=_LEASES.c.beats + 1)).rowcount
            row = connection.execute(select(_LEASES).where(_LEASES.c.study == self._study)).mappings().first()
        if not beaten:
            self._lost_to = Holder(**json.loads(row["holder"])) if row else Holder("an unknown host", 0, "", "")
            return
        assert row is not None
        self._beaten = before
        self._stop_requested = bool(row["stop_requested"])


def _now() -> float:
    """Return seconds of a clock that goes on while the machine sleeps and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
