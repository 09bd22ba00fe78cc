"""Long sounds put together of pieces."""

import numpy as np

from repareto.trainers.data.streams import StreamBuilder, windows
from repareto.trainers.features import LogMel


def test_a_stream_has_the_features_of_the_whole_sound_and_knows_its_pieces() -> None:
    log_mel, rng = LogMel(), np.random.default_rng(0)
    pieces = [rng.standard_normal(size).astype(np.float32) * 0.1 for size in (5_000, 16_000, 777, 9_000)]
    builder = StreamBuilder(log_mel)
    builder.add(pieces[0], "a.wav")
    builder.add(pieces[1], "b.wav", word=(4_000, 12_000))
    builder.add(pieces[2], "b.wav")
    builder.add(pieces[3], "c.wav")
    stream = builder.built()
    whole = log_mel(np.concatenate(pieces)[None])[0]
    np.testing.assert_allclose(stream.features, whole, atol=1e-4)
    assert stream.words.tolist() == [[9_000 / 16_000, 17_000 / 16_000]]
    assert [name for _, name in stream.sources] == ["a.wav", "b.wav", "c.wav"]
    assert stream.source_at(0.1) == "a.wav at 0.1 s" and stream.source_at(5_000 / 16_000 + 0.5) == "b.wav at 0.5 s"


def test_a_stream_without_words_has_none() -> None:
    builder = StreamBuilder(LogMel())
    builder.add(np.zeros(16_000, np.float32), "silence")
    assert builder.built().words.shape == (0, 2)


def test_windows_begin_a_step_apart() -> None:
    builder = StreamBuilder(LogMel())
    builder.add(np.random.default_rng(1).standard_normal(16_000).astype(np.float32), "noise")
    stream = builder.built()
    cut = windows(stream, 20, 7)
    assert cut.shape == (5, 40, 20)
    for index, window in enumerate(cut):
        np.testing.assert_array_equal(window, stream.features[:, 7 * index : 7 * index + 20])
    assert windows(stream, 51, 7).shape == (0, 40, 51)
