"""Waiting for a server that is away for a while: a database, a bucket."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from ..spaces.errors import UserError

PATIENCE_SECONDS = 600.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0

T = TypeVar("T")
logger = logging.getLogger("repareto")


class AwayError(UserError):
    """A server did not answer. Whether what was asked of it was done is not known."""


class GoneError(UserError):
    """A server has not answered for longer than one waits."""


def patiently(
    attempt: Callable[[], T],
    *,
    where: str,
    patience_seconds: float = PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> T:
    """Return what ``attempt`` returns, called again while it raises :class:`AwayError`.

    An attempt must be one that can be made twice. Raises :class:`GoneError` after ``patience_seconds``.
    """
    deadline: float | None = None
    seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            result = attempt()
        except AwayError as error:
            now = time.monotonic()
            if deadline is None:
                deadline = now + patience_seconds
                logger.warning("%s does not answer (%s); waiting for it", where, error)
            if now >= deadline:
                raise GoneError(
                    f"{where}: has not answered for {patience_seconds:.0f} s ({error}); "
                    "start it and run the same command again: nothing is lost"
                ) from error
            pause(seconds)
            seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)
        else:
            if deadline is not None:
                logger.warning("%s answers again", where)
            return result
