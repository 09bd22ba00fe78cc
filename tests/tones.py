"""A folder of recordings that takes no time: a word is a tone."""

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16000


def write_tones(folder: Path, hertz: dict[str, float], recordings: int = 12) -> Path:
    """Write half a second of tone in noise for each recording of a word; of each word, two validate and two test."""
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for word, pitch in hertz.items():
        (folder / word).mkdir(parents=True)
        rng = np.random.default_rng(int(pitch))
        for number in range(recordings):
            tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(RATE_HZ // 2) / RATE_HZ)
            name = f"{word}/{number}.wav"
            soundfile.write(folder / name, tone + rng.normal(0, 0.01, len(tone)), RATE_HZ)
            if number < 4:
                lists["validation_list.txt" if number < 2 else "testing_list.txt"].append(name)
    for name, files in lists.items():
        (folder / name).write_text("\n".join(files))
    return folder
