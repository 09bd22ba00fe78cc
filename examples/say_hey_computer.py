"""Writes hey.wav: some seconds of speech in which "hey computer" is said three times, each time by another voice.

Needs the extra speech: pip install "repareto[speech]".
"""

import numpy as np
import soundfile

from repareto.trainers.data.espeak import Utterance, render

RATE_HZ = 16_000
SENTENCES = ("what is the time", "hey computer", "a cup of coffee please", "hey computer", "come here", "hey computer")
VOICES = (("en-us", "Mario"), ("en-gb-x-rp", "Alicia"), ("en", "Storm"))


def main() -> None:
    """Say the sentences with a second of quiet noise between them."""
    said = [
        Utterance(text, *VOICES[number % len(VOICES)], rate_wpm=160, pitch=50, pitch_range=50, amplitude=80)
        for number, text in enumerate(SENTENCES)
    ]
    rng = np.random.default_rng(0)
    pieces = []
    for (sound,) in render([[one] for one in said], RATE_HZ):
        pieces += [rng.normal(0, 1e-3, RATE_HZ), sound / 2**15]
    soundfile.write("hey.wav", np.concatenate([*pieces, rng.normal(0, 1e-3, RATE_HZ)]), RATE_HZ)
    print("wrote hey.wav")


if __name__ == "__main__":
    main()
