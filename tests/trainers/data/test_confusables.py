"""What sounds like a wake word, and what sounds the same."""

import numpy as np
import pytest

from repareto.trainers.data.confusables import (
    CHANGED_SHARE,
    as_text,
    confusable,
    is_heard_in,
    near_homophone,
    sounds,
)

MARVIN = (("m", "'A@", "v", "I", "n"),)


def test_confusables_are_near_the_word_and_never_it() -> None:
    rng = np.random.default_rng(0)
    drawn = [confusable(MARVIN, rng) for _ in range(300)]
    assert all(sounds(like) != sounds(MARVIN) for like in drawn) and len({as_text(like) for like in drawn}) > 60
    whole = [like for like in drawn if len(like[0]) == 5]
    assert len(whole) > 100  # most have as many phonemes, some are parts of the word
    assert any(as_text(like) in ("[[m'A@v]]", "[[m'A@]]", "[[vIn]]", "[[In]]") for like in drawn)
    low, high = CHANGED_SHARE
    for (like,) in whole:
        changed = sum(one != other for one, other in zip(like, MARVIN[0], strict=True))
        assert round(low * 5) <= changed <= round(high * 5)


def test_a_near_homophone_is_one_sound_away() -> None:
    rng = np.random.default_rng(0)
    word = (("h", "'eI"), ("k", "@", "m", "p", "j", "'u:", "t#", "3"))
    for _ in range(200):
        like = near_homophone(word, rng)
        pairs = list(zip(sounds(word), sounds(like), strict=True))
        (heard,) = [pair for pair in pairs if pair[0] != pair[1]]
        assert heard[0] not in ("@",)  # nobody tells one unstressed vowel from another
    assert "'" in near_homophone((("'a",),), rng)[0][0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((("r", "'aI", "t"),), (("r", ",aI", "t#"),)),  # another stress
        ((("a#", "l", "'E", "k", "s", "@"),), (("a#",), ("l", "'E", "k", "s", "3"))),  # two words
        ((("f", "'A@", "r-"),), (("f", "'A:"),)),  # another accent
        ((("i:", "", ":"),), (("I",),)),  # marks
    ],
)
def test_what_nobody_tells_apart_has_the_same_sounds(
    one: tuple[tuple[str, ...], ...], other: tuple[tuple[str, ...], ...]
) -> None:
    assert sounds(one) == sounds(other)


def test_a_word_is_heard_in_words_that_run_together() -> None:
    assert is_heard_in("bc", "abcd") and is_heard_in("ab", "ab")
    assert not is_heard_in("bd", "abcd") and not is_heard_in("abc", "ab")
