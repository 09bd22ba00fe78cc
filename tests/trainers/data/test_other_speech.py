"""Synthetic speech without the wake word, and what sounds like it."""

import numpy as np
import pytest

from repareto.trainers.data import espeak
from repareto.trainers.data.other_speech import CHANGED_SHARE, WORDS, confusable, sentences

pytest.importorskip("espeakng_loader", reason="needs the extra speech")


def phonemes_in(text: str) -> list[str]:
    return [part.strip("[]") for part in text.split()]


def test_espeak_spells_words_in_phonemes() -> None:
    hey, computer = espeak.phonemes("hey computer")
    assert hey == ("h", "'eI") and computer[:4] == ("k", "@", "m", "p")
    # More than a clause.
    assert len(espeak.phonemes("one, two. three")) == 3


def test_confusables_are_near_the_word_and_never_it() -> None:
    word = (("m", "'A@", "v", "I", "n"),)
    rng = np.random.default_rng(0)
    drawn = [confusable(word, rng) for _ in range(300)]
    assert "[[m'A@vIn]]" not in drawn and len(set(drawn)) > 60
    whole = [text for text in drawn if len(text) >= len("[[m'A@vIn]]") - 2]
    assert len(whole) > 100  # most have as many phonemes, some are parts of the word
    assert any(text in ("[[m'A@v]]", "[[m'A@]]", "[[vIn]]", "[[In]]") for text in drawn)
    assert all(0 < share < 1 for share in CHANGED_SHARE)


def test_espeak_says_phonemes_as_it_says_the_word() -> None:
    def spoken(text: str) -> np.ndarray:
        utterance = espeak.Utterance(text, "en-us", espeak.variants()[0], 150, 50, 50, 100)
        return next(espeak.render([[utterance]], 16_000))[0]

    word, spelled, other = spoken("marvin"), spoken("[[m'A@vIn]]"), spoken("[[s'i:kuf]]")
    assert abs(len(word) - len(spelled)) < 0.1 * len(word)
    assert spelled.any() and other.any() and len(other) != len(spelled)


def test_sentences_last_as_long_as_asked_and_are_the_same_from_the_same_seed() -> None:
    voices = espeak.variants()[:5]
    first = list(sentences("river", voices, 6.0, 16_000, np.random.default_rng(3)))
    again = list(sentences("river", voices, 6.0, 16_000, np.random.default_rng(3)))
    seconds = [len(sentence) / 16_000 for sentence in first]
    assert sum(seconds) >= 6.0 > sum(seconds[:-1])
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert first[0].dtype == np.float32 and np.abs(np.concatenate(first)).max() <= 1.0
    assert "river" in WORDS  # which is why it must be left out
