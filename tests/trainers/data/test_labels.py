"""Which classes a keyword task has."""

from __future__ import annotations

import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data.labels import as_words, extra_labels


def test_extra_classes_follow_the_words() -> None:
    assert extra_labels("x", ("yes",), unknown=True, silence=True) == ("unknown", "silence")
    assert extra_labels("x", ("yes", "no"), unknown=False, silence=False) == ()


@pytest.mark.parametrize(
    ("words", "unknown", "message"),
    [
        (("yes", "yes"), False, "'yes' is there twice"),
        (("yes",), False, r"only one class \(yes\)"),
        ((), False, r"only one class \(none\)"),
        (("yes", "unknown"), True, "'unknown' is also an extra class"),
    ],
)
def test_classes_that_cannot_be(words: tuple[str, ...], unknown: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        extra_labels("x", words, unknown=unknown, silence=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [("yes", "must be a list"), (["left", True], "True is no text; quote it"), (["yes", " "], "empty")],
)
def test_words_that_cannot_be(words: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_words("x", words)  # type: ignore[arg-type]
