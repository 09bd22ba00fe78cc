"""What sounds like a wake word and what sounds the same, in eSpeak NG's phonemes.

What sounds the same, a homophone or words that run together to one, must never stand for other speech. What is near
should, or a model that has heard half of the word takes it for the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Spelled = Sequence[Sequence[str]]
"""The phonemes of each word, see :func:`espeak.phonemes`."""

CHANGED_SHARE = (0.25, 0.5)
"""Of a wake word's phonemes, in what sounds like it: people would not take it for the word."""
_CUT_OFF = 0.3
"""Of what sounds like it, those that are a part of it."""
_VOWELS = ("I", "E", "a", "0", "V", "U", "i:", "u:", "O:", "A:", "3:", "eI", "aI", "OI", "oU", "aU", "@")
_CONSONANTS = (
    "p", "b", "t", "d", "k", "g", "f", "v", "T", "s", "z", "S", "h", "m", "n", "l", "r", "w", "j", "tS", "dZ",
)  # fmt: skip
_VOWEL_SIGNS = "aAeEiIoOuUV03@"
_STRESS = "',"
# Who says one of a line and who says another do not hear themselves differ, or are of two accents.
_ALIKE = (
    ("a", "aa"), ("@", "@2", "@5", "@-", "a#", "3", "3:", "V"), ("I", "I2", "I#", "i", "i:"), ("U", "u", "u:"),
    ("A:", "A@", "0", "0#", "O", "O2", "O:", "O@", "o@"), ("E", "e@"), ("t", "t#", "t2"),
)  # fmt: skip
_SOUND = {phoneme: alike[0] for alike in _ALIKE for phoneme in alike}
# Marks, and an r that is heard only before a vowel.
_SILENT = ("", ":", ";", "!", "_", "r-")


def sounds(phonemes: Spelled) -> tuple[str, ...]:
    """What is heard of words said one after the other: one for all phonemes that sound alike, no stress, no marks."""
    bare = (phoneme.lstrip(_STRESS) for of_word in phonemes for phoneme in of_word)
    return tuple(_SOUND.get(phoneme, phoneme) for phoneme in bare if phoneme not in _SILENT)


def is_heard_in(word: Sequence[str], said: Sequence[str]) -> bool:
    """Whether ``said`` has the sounds of ``word`` in it, one after the other."""
    return any(tuple(said[start : start + len(word)]) == tuple(word) for start in range(len(said) - len(word) + 1))


def as_text(phonemes: Spelled) -> str:
    """Phonemes as eSpeak takes them in a text."""
    return " ".join(f"[[{''.join(word)}]]" for word in phonemes)


def confusable(phonemes: Spelled, rng: np.random.Generator) -> Spelled:
    """Something close to a wake word: a quarter to a half of its phonemes another, or a part of it."""
    said = _places(phonemes)
    if rng.random() < _CUT_OFF and len(said) > 3:
        # At least a third of the word is cut off, at its start or at its end.
        cut = int(rng.integers(max(1, len(said) // 3), len(said) - 1))
        gone = said[:cut] if rng.random() < 0.5 else said[-cut:]
        kept = [[p for place, p in enumerate(of) if (word, place) not in gone] for word, of in enumerate(phonemes)]
        return [word for word in kept if word]
    return _changed(phonemes, said, max(1, round(rng.uniform(*CHANGED_SHARE) * len(said))), rng)


def near_homophone(phonemes: Spelled, rng: np.random.Generator) -> Spelled:
    """The hardest of confusables: one consonant or one stressed vowel is another."""
    told_apart = [
        (word, place) for word, place in _places(phonemes)
        if "'" in phonemes[word][place] or not _is_vowel(phonemes[word][place])
    ]  # fmt: skip
    return _changed(phonemes, told_apart or _places(phonemes), 1, rng)


def _places(phonemes: Spelled) -> list[tuple[int, int]]:
    return [(word, place) for word, of_word in enumerate(phonemes) for place, phoneme in enumerate(of_word)
            if phoneme.lstrip(_STRESS) not in _SILENT]  # fmt: skip


def _changed(phonemes: Spelled, places: Sequence[tuple[int, int]], count: int, rng: np.random.Generator) -> Spelled:
    changed = [list(word) for word in phonemes]
    for index in rng.choice(len(places), min(count, len(places)), replace=False):
        word, place = places[index]
        changed[word][place] = _another(changed[word][place], rng)
    return changed


def _is_vowel(phoneme: str) -> bool:
    return phoneme.lstrip(_STRESS)[:1] in _VOWEL_SIGNS


def _another(phoneme: str, rng: np.random.Generator) -> str:
    """A vowel that sounds other than this vowel, with its stress; a consonant for a consonant."""
    bare = phoneme.lstrip(_STRESS)
    kind = _VOWELS if _is_vowel(phoneme) else _CONSONANTS
    others = [other for other in kind if _SOUND.get(other, other) != _SOUND.get(bare, bare)]
    return phoneme[: len(phoneme) - len(bare)] + others[int(rng.integers(len(others)))]
