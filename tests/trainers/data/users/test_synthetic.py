"""Synthetic users: voices that neither training nor validation has, each in a manner of their own."""

import numpy as np
import pytest

from repareto.trainers.data import espeak, synthetic
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.data.users.options import Users
from repareto.trainers.data.users.synthetic import Speaker, drawn_speakers

RATE_HZ = 16000


def test_users_are_made_beside_the_same_splits(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(synthetic, "UTTERANCES_A_CHUNK", 60)
    rendered: list = []
    render = espeak.render

    def recorded(chunks, sample_rate_hz: int):
        rendered.append([list(chunk) for chunk in chunks])
        return render(chunks, sample_rate_hz)

    monkeypatch.setattr(espeak, "render", recorded)
    settings = {"words": ("yes", "stop"), "clips": 120, "cache": tmp_path}
    options = Users(count=3, labelled=8, unlabelled=4, tested=4)
    data = Synthetic(users=options, **settings).load(seed=0)
    splits, of_users = rendered
    plain = Synthetic(**settings).load(seed=0)
    np.testing.assert_array_equal(plain.train.features, data.train.features)
    np.testing.assert_array_equal(plain.test.features, data.test.features)
    for user, chunk in zip(data.users, of_users, strict=True):
        assert user.own.features.shape == (12, 40, 50) and user.own.features.dtype == np.float16
        assert (user.own.labels >= 0).sum() == 8 and np.isfinite(user.test.features).all()
        # One voice in one manner, which varies a little.
        assert len({(utterance.variant, utterance.accent) for utterance in chunk}) == 1
        assert np.ptp([utterance.rate_wpm for utterance in chunk]) <= 20
    heard = [utterance.variant for chunk in splits[: -len(splits) // 6] for utterance in chunk]
    assert not {chunk[0].variant for chunk in of_users} & set(heard)
    assert len({chunk[0].variant for chunk in of_users}) == 3


def test_noise_is_as_loud_as_the_user_has_it() -> None:
    rng = np.random.default_rng(0)
    clips = (0.1 * np.sin(np.arange(RATE_HZ) * 0.3) * np.ones((20, 1))).astype(np.float32)
    manner = espeak.Utterance("", "en", "x", 175, 50, 50, 100)
    for kind in ("white", "pink", "babble"):
        heard = Speaker(manner, None, None, kind, 10.0).heard(clips, RATE_HZ, rng.standard_normal((9, RATE_HZ)), rng)
        ratios = 10 * np.log10((clips**2).mean(1) / ((heard - clips) ** 2).mean(1))
        assert ratios.min() > 6.5 and ratios.max() < 13.5


def test_the_same_speakers_again_and_as_many_voices_as_there_are() -> None:
    first, again = (drawn_speakers(4, ["a", "b", "c"], RATE_HZ, np.random.default_rng(3)) for _ in range(2))
    assert [one.manner for one in first] == [other.manner for other in again]
    assert {speaker.manner.variant for speaker in first} == {"a", "b", "c"}
    rooms = [speaker.response for speaker in drawn_speakers(40, ["a"], RATE_HZ, np.random.default_rng(4))]
    assert 10 < sum(room is None for room in rooms) < 30
