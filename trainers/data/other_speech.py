"""Synthetic speech in which the wake word is not: sentences of common words, and in them what sounds much like it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...spaces.errors import UserError
from . import espeak, hibari
from .confusables import Spelled, as_text, confusable, is_heard_in, near_homophone, sounds
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


@dataclass(frozen=True)
class Confusing:
    """Shares of sentences that have something in them that sounds like the wake word."""

    confusable: float
    near_homophone: float


TRAINS = Confusing(confusable=0.2, near_homophone=0.03)
JUDGES = Confusing(confusable=0.02, near_homophone=0.0)
"""People say such things seldom. More would decide the threshold, and the false alarms told were those of puns."""
SENTENCES_A_CHUNK = 100


def sentences(
    wake_word: str,
    voices: Sequence[str],
    seconds: float,
    sample_rate_hz: int,
    rng: np.random.Generator,
    engine: Engine = "espeak",
    confusing: Confusing = JUDGES,
) -> Iterator[np.ndarray]:
    """Sentences of at least ``seconds`` in all, each (samples,) float32 of full scale 1; the wake word is in none, nor
    what sounds the same.

    Only eSpeak, which takes phonemes, says what sounds like it.
    """
    # Far more than are needed: only those that are asked for are spoken.
    count = round(seconds) + SENTENCES_A_CHUNK
    drawn = list(_drawn(wake_word, voices, count, rng, engine, confusing))
    chunks = [drawn[start : start + SENTENCES_A_CHUNK] for start in range(0, len(drawn), SENTENCES_A_CHUNK)]
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
    wake_word: str,
    voices: Sequence[str],
    count: int,
    rng: np.random.Generator,
    engine: Engine,
    confusing: Confusing,
) -> Iterator[Utterance]:
    """At most ``count`` sentences: those in which the word would be heard are left out."""
    phonemes = espeak.phonemes(wake_word)
    parts = {part.casefold() for part in wake_word.split()}
    words = [word for word in WORDS if word not in parts]
    drawn = [_sentence(words, rng) for _ in range(count)]
    likes: list[Spelled | None] = [None] * count
    if engine == "espeak":
        for place, chance in enumerate(rng.random(count)):
            if chance < confusing.near_homophone:
                likes[place] = near_homophone(phonemes, rng)
            elif chance < confusing.near_homophone + confusing.confusable:
                likes[place] = confusable(phonemes, rng)
    # Spelled as a whole, for words run together ("a", "lexer") and are said otherwise in a sentence than alone.
    halves = espeak.phonemes_of([text for before_and_after in drawn for text in before_and_after])
    kept = 0
    for (before, after), like, spelled in zip(drawn, likes, zip(halves[::2], halves[1::2], strict=True), strict=True):
        heard = [*sounds(spelled[0]), *(() if like is None else sounds(like)), *sounds(spelled[1])]
        if is_heard_in(sounds(phonemes), heard):
            continue
        kept += 1
        text = f"{before} {'' if like is None else as_text(like)} {after}".strip()
        yield (
            hibari.drawn_utterance(text, rng) if engine == "hibari" else espeak.drawn_utterance(f"{text}.", voices, rng)
        )
    if not kept:
        raise UserError(f"data.word {wake_word!r}: is heard in every sentence of other speech (try a longer word)")


def _sentence(words: Sequence[str], rng: np.random.Generator) -> tuple[str, str]:
    """Words, cut in two at a random place."""
    size = int(rng.integers(*WORDS_A_SENTENCE, endpoint=True))
    said = [words[index] for index in rng.integers(len(words), size=size)]
    cut = int(rng.integers(size + 1))
    return " ".join(said[:cut]), " ".join(said[cut:])
