"""The classes of a keyword task: its words and, where wanted, everything else that a microphone hears."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...spaces.errors import UserError

UNKNOWN = "unknown"
"""Class of words that are none of the task's."""
SILENCE = "silence"
"""Class of clips in which nobody speaks."""


def as_words(source: str, words: Sequence[str]) -> tuple[str, ...]:
    """``words`` as a tuple; raises :class:`UserError` for one text in place of a list, and for what is no text."""
    if isinstance(words, str):
        raise UserError(f"{source} words {words!r}: must be a list of words")
    for word in words:
        if not isinstance(word, str):
            raise UserError(
                f"{source} words: {word!r} is no text; quote it (YAML takes yes, no, on and off for true and false)"
            )
        if not word.strip():
            raise UserError(f"{source} words: one of them is empty")
    return tuple(words)


def extra_labels(source: str, words: Sequence[str], *, unknown: bool, silence: bool) -> tuple[str, ...]:
    """The classes that follow ``words``: "unknown" and "silence" where asked for.

    Raises :class:`UserError` for a repeated word, for a word that is called like an extra class, and where fewer than
    two classes are there in all.
    """
    extra = (UNKNOWN,) * unknown + (SILENCE,) * silence
    repeated = [word for word, times in Counter(words).items() if times > 1]
    if repeated:
        raise UserError(f"{source} words: {repeated[0]!r} is there twice")
    for word in set(words) & set(extra):
        raise UserError(f"{source} words: {word!r} is also an extra class; rename the word or set {word} to false")
    if len(words) + len(extra) < 2:
        raise UserError(
            f"{source}: only one class ({', '.join((*words, *extra)) or 'none'}); add words, unknown or silence"
        )
    return extra
