"""Synthetic speech without the wake word, and what sounds like it."""

import numpy as np
import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data import espeak
from repareto.trainers.data.other_speech import TRAINS, WORDS, sentences

pytest.importorskip("espeakng_loader", reason="needs the extra speech")


def test_espeak_spells_words_in_phonemes() -> None:
    hey, computer = espeak.phonemes("hey computer")
    assert hey == ("h", "'eI") and computer[:4] == ("k", "@", "m", "p")
    # More than a clause.
    assert len(espeak.phonemes("one, two. three")) == 3
    assert espeak.phonemes_of(["hey computer", "hey"]) == [(hey, computer), (hey,)]


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


@pytest.mark.parametrize(
    ("word", "never", "sometimes"),
    [("write", "right", "lexer"), ("alexer", "a lexer", "lexer")],
)
def test_what_sounds_the_same_is_in_no_sentence(
    word: str, never: str, sometimes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    engine = type("Kept", (), {"render": lambda chunks, _rate: kept(chunks, said)})
    monkeypatch.setattr("repareto.trainers.data.other_speech.WORDS", ("right", "left", "a", "lexer", "sofa", "go"))
    monkeypatch.setattr("repareto.trainers.data.other_speech.ENGINES", {"espeak": engine})
    list(sentences(word, ["m1"], 300.0, 100, np.random.default_rng(0), confusing=TRAINS))
    assert len(said) > 40 and any("[[" in text for text in said)
    assert not any(never in text for text in said) and any(sometimes in text for text in said)


def kept(chunks: list[list[espeak.Utterance]], said: list[str]):  # type: ignore[no-untyped-def]
    """Say nothing, and note what should be said."""

    def rendered():  # type: ignore[no-untyped-def]
        for chunk in chunks:
            said.extend(utterance.text for utterance in chunk)
            yield [np.zeros(100, np.int16) for _ in chunk]

    return rendered()


def test_a_word_that_is_in_every_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repareto.trainers.data.other_speech.WORDS", ("eye", "high"))
    with pytest.raises(UserError, match=r"data\.word .I.: is heard in every sentence"):
        next(sentences("I", ["m1"], 1.0, 16_000, np.random.default_rng(0)))
