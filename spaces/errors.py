"""The one exception that stands for a user's mistake, and the hint that such messages end with."""

import difflib
from collections.abc import Collection


class UserError(ValueError):
    """Something that the user can mend: the message names the thing, its value, the place and the way out.

    The command line prints it as one line and exits with code 2. Broken invariants of our own
    are plain ``assert`` or other exceptions, and keep their traceback.
    """


def nearest_hint(word: str, known: Collection[str]) -> str:
    """Return ``did you mean X?`` for a word that is close to a known one, else ``known: X, Y, Z``."""
    close = difflib.get_close_matches(word, known, 1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def first_line(error: BaseException) -> str:
    """Return what an exception says in its first line; the name of its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
