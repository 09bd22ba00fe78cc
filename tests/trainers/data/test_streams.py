"""Long sounds put together of pieces, and the windows of them."""

import numpy as np
import pytest

from repareto.trainers.data.dataset import SoundStream
from repareto.trainers.data.streams import Sound, StreamBuilder, Windows
from repareto.trainers.features import LogMel


def test_a_stream_has_the_features_of_the_whole_sound_and_knows_its_pieces() -> None:
    log_mel, rng = LogMel(), np.random.default_rng(0)
    pieces = [rng.standard_normal(size).astype(np.float32) * 0.1 for size in (5_000, 16_000, 777, 9_000)]
    builder = StreamBuilder(log_mel)
    builder.add(Sound(pieces[0], "a.wav"))
    builder.add(Sound(pieces[1], "b.wav", 20.0, word=(4_000, 12_000)))
    builder.add(Sound(pieces[2], "b.wav", 21.0))
    builder.add(Sound(pieces[3], "c.wav"))
    stream = builder.built()
    whole = log_mel(np.concatenate(pieces)[None])[0]
    np.testing.assert_allclose(stream.features, whole, atol=1e-4)
    assert stream.words.tolist() == [[9_000 / 16_000, 17_000 / 16_000]]
    assert [source.name for source in stream.sources] == ["a.wav", "b.wav", "b.wav", "c.wav"]
    # Of a recording that was cut up it is told where in the recording.
    assert stream.source_at(0.1) == "a.wav at 0.1 s" and stream.source_at(5_000 / 16_000 + 0.5) == "b.wav at 20.5 s"
    assert SoundStream(whole, np.zeros((0, 2))).source_at(1.5) == "the stream at 1.5 s"


def test_a_stream_without_words_has_none() -> None:
    builder = StreamBuilder(LogMel())
    builder.add(Sound(np.zeros(16_000, np.float32), "silence"))
    stream = builder.built()
    assert stream.words.shape == (0, 2)
    windows = Windows(stream, 20, 0.02)
    assert windows.without_word(7, 100).tolist() == [0, 7, 14, 21, 28]
    assert len(windows.with_word(3, np.random.default_rng(0))) == 0


def stream_of(frames: int, *words: tuple[float, float]) -> SoundStream:
    return SoundStream(np.arange(2 * frames, dtype=np.float32).reshape(2, frames), np.array(words).reshape(-1, 2))


@pytest.mark.parametrize("step", [1, 3])
def test_windows_without_a_word_are_those_of_which_no_frame_is_of_a_word(step: int) -> None:
    # Frames of 0.1 s: the words are in frames 20 to 29 (from 2.05 s on) and 50 to 54.
    windows = Windows(stream_of(100, (2.05, 2.95), (5.0, 5.5)), 8, 0.1)
    spoken = {*range(20, 30), *range(50, 55)}
    slowly = [start for start in range(0, 93, step) if not spoken & set(range(start, start + 8))]
    assert windows.without_word(step, 1000).tolist() == slowly
    few = windows.without_word(step, 10).tolist()
    assert len(few) <= 10 and set(few) <= set(slowly) and few[-1] > 60


def test_a_word_is_whole_in_its_windows_and_at_any_place_there() -> None:
    stream = stream_of(100, (2.05, 2.35), (5.0, 5.5))
    windows = Windows(stream, 8, 0.1)
    starts = windows.with_word(200, np.random.default_rng(0))
    # Frames 20 to 23 in eight, frames 50 to 54 in eight.
    assert set(starts[:200]) == set(range(16, 21)) and set(starts[200:]) == set(range(47, 51))
    cut = windows.cut(starts)
    assert cut.shape == (400, 2, 8)
    np.testing.assert_array_equal(cut[0], stream.features[:, starts[0] : starts[0] + 8])


def test_a_word_that_does_not_fit_is_heard_to_its_end() -> None:
    rng = np.random.default_rng(0)
    assert Windows(stream_of(100, (2.0, 4.0)), 8, 0.1).with_word(2, rng).tolist() == [32, 32]
    # At the edges of the stream there is no other window.
    assert Windows(stream_of(100, (0.1, 0.3)), 8, 0.1).with_word(2, rng).max() <= 1
    assert Windows(stream_of(100, (9.8, 10.0)), 8, 0.1).with_word(2, rng).tolist() == [92, 92]


def test_a_stream_shorter_than_a_window_has_none() -> None:
    windows = Windows(stream_of(5), 8, 0.1)
    assert len(windows.without_word(1, 10)) == 0 and windows.cut(np.zeros(0, np.int64)).shape == (0, 2, 8)
