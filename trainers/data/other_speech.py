"""Synthetic speech in which the wake word is not: sentences of common words, and in them what sounds much like it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from . import espeak, hibari
from .synthetic import ENGINES, OTHER_WORDS, SPEECH_COMMANDS_WORDS, Engine, Utterance

_COMMON_WORDS = """
about above across after again against all almost along already also although always am among an and animal another
answer any apple are area around as ask at away back ball bank be because become before began begin behind being believe
below best better between big black blue body book both bottom bring brother brought build but buy call came can car
carry change children city close cold come could country course cut day decide did different dinner do does done draw
drive during each early earth easy eat end enough even evening ever every example face fact fall family far farm fast
father feel few field find fire first fish food foot for form found friend from front full game garden gave get girl
give glass good great green ground group had hand hard has have he head hear heart heavy help her here high him his hold
home horse hot hour how however hundred idea if important in inside is island it job just keep kind king know land large
last late laugh learn leave less let letter life like line list listen little live long look lost love low machine made
make man many mark may mean meet men might mile milk mind minute money month moon more morning most mother mountain move
much must my name near need never new next number ocean of old once only open or order other our out over own part pass
people perhaps person picture piece place plan plant play point poor possible power problem pull put question quick
quiet rain ran reach read ready real remember rest road rock room round run said same sat saw say school sea second
see seem sentence set several shall she ship short should show side simple since sing sister sit sky sleep slow small
snow so some song soon sound south space spring stand star start state stay still stood story street strong study such
summer sun sure system take talk tell ten than that the their them then there these they thing think this those though
thought thousand through time to today together told too took toward town train travel true try turn under until upon
us use usual very village voice wait walk wall want war warm was watch way we week well went were what wheel when where
which while who whole why wife will wind winter wish with woman wonder wood word work world would write year you young
your
"""
WORDS = tuple(sorted({*_COMMON_WORDS.split(), *OTHER_WORDS, *SPEECH_COMMANDS_WORDS}))
WORDS_A_SENTENCE = (4, 10)
CONFUSABLE_SHARE = 0.2
"""Of sentences: those with something in them that sounds like the wake word."""
CHANGED_SHARE = (0.25, 0.5)
"""Of a wake word's phonemes, in what sounds like it: people would not take it for the word."""
SENTENCES_A_CHUNK = 100
_VOWELS = ("I", "E", "a", "0", "V", "U", "i:", "u:", "O:", "A:", "3:", "eI", "aI", "OI", "oU", "aU", "@")
_CONSONANTS = (
    "p", "b", "t", "d", "k", "g", "f", "v", "T", "s", "z", "S", "h", "m", "n", "l", "r", "w", "j", "tS", "dZ",
)  # fmt: skip
_VOWEL_SIGNS = "aAeEiIoOuUV03@"
_STRESS = "',"


def confusable(phonemes: Sequence[Sequence[str]], rng: np.random.Generator) -> str:
    """Something close to a wake word in phonemes, for eSpeak: a quarter to a half of them another, or a part of it.

    ``phonemes`` are those of its words, see :func:`espeak.phonemes`. It never is the wake word itself.
    """
    said = [(word, place) for word, of_word in enumerate(phonemes) for place in range(len(of_word))]
    changed = [list(word) for word in phonemes]
    if rng.random() < 0.3 and len(said) > 3:
        # At least a third of the word is cut off, at its start or at its end.
        cut = int(rng.integers(max(1, len(said) // 3), len(said) - 1))
        gone = said[:cut] if rng.random() < 0.5 else said[-cut:]
        kept = [[p for place, p in enumerate(of) if (word, place) not in gone] for word, of in enumerate(changed)]
        return _text([word for word in kept if word])
    for index in rng.choice(len(said), max(1, round(rng.uniform(*CHANGED_SHARE) * len(said))), replace=False):
        word, place = said[index]
        changed[word][place] = _another(changed[word][place], rng)
    return _text(changed)


def _text(phonemes: Sequence[Sequence[str]]) -> str:
    return " ".join(f"[[{''.join(word)}]]" for word in phonemes)


def _another(phoneme: str, rng: np.random.Generator) -> str:
    """Another vowel for a vowel, with its stress, another consonant for a consonant."""
    bare = phoneme.lstrip(_STRESS)
    kind = _VOWELS if bare[:1] in _VOWEL_SIGNS else _CONSONANTS
    others = [other for other in kind if other.rstrip(":") != bare.rstrip(":#")]
    return phoneme[: len(phoneme) - len(bare)] + others[int(rng.integers(len(others)))]


def sentences(
    wake_word: str,
    voices: Sequence[str],
    seconds: float,
    sample_rate_hz: int,
    rng: np.random.Generator,
    engine: Engine = "espeak",
) -> Iterator[np.ndarray]:
    """Sentences of at least ``seconds`` in all, each (samples,) float32 of full scale 1; the wake word is in none.

    Only eSpeak, which takes phonemes, says what sounds like it.
    """
    # Far more than are needed: only those that are asked for are spoken.
    count = round(seconds) + SENTENCES_A_CHUNK
    drawn = list(_drawn(wake_word, voices, count, rng, engine))
    chunks = [drawn[start : start + SENTENCES_A_CHUNK] for start in range(0, count, SENTENCES_A_CHUNK)]
    samples = 0
    rendered = ENGINES[engine].render(chunks, sample_rate_hz)
    try:
        for chunk in rendered:
            for spoken in chunk:
                yield spoken / np.float32(32768)
                samples += len(spoken)
                if samples >= seconds * sample_rate_hz:
                    return
    finally:
        rendered.close()


def _drawn(
    wake_word: str, voices: Sequence[str], count: int, rng: np.random.Generator, engine: Engine
) -> Iterator[Utterance]:
    parts = {part.casefold() for part in wake_word.split()}
    words = [word for word in WORDS if word not in parts]
    phonemes = espeak.phonemes(wake_word) if engine == "espeak" else ()
    for _ in range(count):
        said = [words[index] for index in rng.integers(len(words), size=rng.integers(*WORDS_A_SENTENCE, endpoint=True))]
        if engine == "hibari":
            yield hibari.drawn_utterance(" ".join(said), rng)
            continue
        if rng.random() < CONFUSABLE_SHARE:
            said.insert(int(rng.integers(len(said) + 1)), confusable(phonemes, rng))
        yield espeak.drawn_utterance(" ".join(said) + ".", voices, rng)
