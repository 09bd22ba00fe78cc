"""The same clips through several front ends."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data.cache import SPLITS
from repareto.trainers.data.dataset import Dataset, SoundStream, Split
from repareto.trainers.data.digits import Digits
from repareto.trainers.data.front_ends import load_all, variants_of
from repareto.trainers.data.speech_commands import SpeechCommands
from repareto.trainers.detection import DetectionTask
from repareto.trainers.features import LogMel
from tests.tones import write_tones


def test_one_data_set_for_each_combination(tmp_path: Path) -> None:
    folder = write_tones(tmp_path / "tones", {"low": 500, "high": 2000})
    source = SpeechCommands(folder, log_mel=LogMel(window_ms=40.0), silence=True, cache=tmp_path / "cache")
    datasets = load_all(variants_of(source, {"bands": (20, 40), "hop_ms": (10, 20)}), seed=0)
    shapes = [dataset.input_shape for _, dataset in datasets.variants]
    assert shapes == [(20, 100), (20, 50), (40, 100), (40, 50)]
    assert datasets.first is datasets.of({"hop_ms": 10, "bands": 20})
    for overrides, dataset in datasets.variants:
        # As it is for a source that was set so: in the cache it is the same file.
        alone = replace(source, log_mel=LogMel(window_ms=40.0, **{"hop_ms": 20.0, **overrides})).load(seed=0)
        assert dataset.front_end == alone.front_end and dataset.front_end["window_ms"] == 40.0
        for split in SPLITS:
            assert np.array_equal(getattr(dataset, split).features, getattr(alone, split).features)
            assert np.array_equal(getattr(dataset, split).labels, getattr(datasets.first, split).labels)


def test_without_options_the_source_is_left_as_it_is() -> None:
    source = Digits()
    (variant,) = variants_of(source, {})
    assert variant.source is source and variant.overrides == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"band": (20,)}, "space.front_end.band: cannot be searched (did you mean bands?)"),
        ({"sample_rate_hz": (8000,)}, "space.front_end.sample_rate_hz: cannot be searched (known: bands, hop_ms, "),
        ({"bands": (20.5,)}, "space.front_end.bands 20.5: must be a whole number"),
        ({"hop_ms": (float("nan"),)}, "space.front_end.hop_ms nan: must be a number"),
        ({"hop_ms": ("10",)}, "space.front_end.hop_ms '10': must be a number"),
        ({"hop_ms": (True,)}, "space.front_end.hop_ms True: must be a number"),
        ({"bands": (20, 400)}, "space.front_end with bands = 400: log_mel bands 400: too many for an FFT of 512"),
        ({"bands": (0,)}, "space.front_end with bands = 0: log_mel bands 0: must be at least 1"),
        ({"hop_ms": (20,), "window_ms": (32, 16)}, "space.front_end with hop_ms = 20, window_ms = 16: log_mel hop_ms "),
        ({"hop_ms": (2000,), "window_ms": (2000,)}, "space.front_end with hop_ms = 2000, window_ms = 2000: speech_com"),
        (
            {"bands": tuple(range(20, 27)), "hop_ms": (10, 20)},
            "space.front_end: its options combine to 14 front ends, each with data of its own; at most 12 (name fewer",
        ),
    ],
)
def test_what_cannot_be_searched(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError) as raised:
        variants_of(SpeechCommands(tmp_path), options)
    assert str(raised.value).startswith(message)


def test_twelve_front_ends_are_not_too_many(tmp_path: Path) -> None:
    options = {"bands": (10, 15, 20, 25, 30, 40), "hop_ms": (10, 20)}
    assert len(variants_of(SpeechCommands(tmp_path), options)) == 12


def test_data_without_a_front_end_of_sound() -> None:
    with pytest.raises(UserError, match=r"space\.front_end: data source Digits has no log_mel to choose"):
        variants_of(Digits(), {"bands": (20, 40)})


@dataclass(frozen=True)
class Own:
    """A source of one's own, whose clips or words follow from the front end as the test says."""

    log_mel: LogMel = field(default_factory=LogMel)
    clips_follow: bool = False
    listens: bool = False
    words_follow: bool = False

    def load(self, *, seed: int) -> Dataset:
        assert seed == 0
        bands = self.log_mel.bands
        count = bands if self.clips_follow else 8
        split = Split(np.zeros((count, bands, 5), np.float32), np.arange(count) % 2)
        words = np.array([[0.0, float(bands) if self.words_follow else 1.0]])
        stream = SoundStream(np.zeros((bands, 50), np.float32), words)
        detection = DetectionTask("word", 1.0, 200.0, 1.0, patience_seconds=1.0)
        return Dataset(
            "own", ("word", "unknown"), split, split, split, self.log_mel.describe(),
            streams={"validation": stream, "test": stream} if self.listens else {},
            detection=detection if self.listens else None,
        )  # fmt: skip


@pytest.mark.parametrize("own", [Own(clips_follow=True), Own(listens=True, words_follow=True)])
def test_errors_on_other_clips_are_not_compared(own: Own) -> None:
    variants = variants_of(own, {"bands": (10, 20)})
    with pytest.raises(UserError, match="data own: has other clips with front_end bands = 20, so errors cannot"):
        load_all(variants, seed=0)


def test_the_windows_that_train_a_wake_word_may_follow_from_the_hop() -> None:
    variants = variants_of(Own(clips_follow=True, listens=True), {"bands": (10, 20)})
    assert [len(dataset.train) for _, dataset in load_all(variants, seed=0).variants] == [10, 20]
