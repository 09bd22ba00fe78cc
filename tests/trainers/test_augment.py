"""Augmentation against closed forms: the drawn SNR is the SNR, a decay is a recursion, a shift is a shift."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.spaces.errors import UserError
from repareto.trainers.augment import Augment, reverberate, shift
from repareto.trainers.features import Normalisation

N, B, T = 16, 8, 20
NOTHING = {f"{name}_probability": 0.0 for name in ("room", "shift", "noise", "gain", "mask")}
NORMALISATION = Normalisation(mean=-3.0, std=2.5)


def only(name: str, **settings: object) -> Augment:
    """An augmentation that does one thing, always."""
    return Augment(**{**NOTHING, f"{name}_probability": 1.0, "normalisation": NORMALISATION, **settings})  # type: ignore[arg-type]


def features(seed: int = 0) -> torch.Tensor:
    return torch.randn(N, B, T, generator=generator(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def power(normalised: torch.Tensor) -> torch.Tensor:
    return NORMALISATION.undo(normalised.double()).exp()


def test_nothing_changes_where_nothing_is_asked_for() -> None:
    batch = features()
    same = Augment(**NOTHING)(batch, features(1), generator())  # type: ignore[arg-type]
    torch.testing.assert_close(same, batch)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 17.0])
def test_noise_has_the_drawn_snr_in_power(snr_db: float) -> None:
    batch, bank = features(), features(1)[:3]
    noisy = only("noise", noise_snr_db=(snr_db, snr_db))(batch, bank, generator())
    added = power(noisy) - power(batch)
    ratio = power(batch).mean((1, 2)) / added.mean((1, 2))
    torch.testing.assert_close(10 * ratio.log10(), torch.full((N,), snr_db).double(), atol=0.05, rtol=0)


def test_what_is_added_is_one_noise_of_the_bank_at_one_scale() -> None:
    batch, bank = features(), features(1)[:3]
    noisy = only("noise", noise_snr_db=(-10.0, -10.0))(batch, bank, generator())
    added = power(noisy) - power(batch)
    scales = added[:, None] / power(bank)[None]
    spread = (scales.amax((2, 3)) / scales.amin((2, 3))).amin(1)
    assert (spread < 1.2).all()


def test_snr_is_drawn_within_its_range() -> None:
    batch = features()
    noisy = only("noise", noise_snr_db=(5.0, 20.0))(batch, features(1), generator())
    snr_db = 10 * (power(batch).mean((1, 2)) / (power(noisy) - power(batch)).mean((1, 2))).log10()
    assert 4.9 < snr_db.min() < 9
    assert 16 < snr_db.max() < 20.1


def test_without_a_bank_there_is_no_noise() -> None:
    batch = features()
    for bank in (None, batch[:0]):
        torch.testing.assert_close(only("noise")(batch, bank, generator()), batch)


def test_gain_adds_one_constant_within_its_range() -> None:
    batch = features()
    difference = only("gain", gain_db=6.0)(batch, None, generator()) - batch
    gain_db = difference * NORMALISATION.std * 10 / math.log(10)
    assert gain_db.abs().max() <= 6.001
    assert gain_db[:, 0, 0].unique().numel() == N
    torch.testing.assert_close(gain_db, gain_db[:, :1, :1].expand(-1, B, T), atol=1e-3, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-T - 2, T + 2), min_size=1, max_size=5))
def test_shift_moves_frames_and_repeats_the_edge(frames: list[int]) -> None:
    batch = torch.rand(len(frames), 3, T, generator=generator())
    moved = shift(batch, torch.tensor(frames))
    for example, by in enumerate(frames):
        for frame in range(T):
            source = min(max(frame - by, 0), T - 1)
            assert torch.equal(moved[example, :, frame], batch[example, :, source])


def test_shift_stays_within_its_range() -> None:
    ramp = torch.arange(T, dtype=torch.float32).expand(N, B, T) / T
    moved = only("shift", shift_ms=60.0, hop_ms=20.0)(ramp, None, generator())
    frames = ((ramp - moved)[:, 0, T // 2] * T).round().long()
    assert set(frames.tolist()) == {-3, -2, -1, 0, 1, 2, 3}


def test_room_is_the_recursion_of_an_exponential_decay() -> None:
    sound = torch.rand(4, 3, T, generator=generator()).double()
    decay = torch.tensor([0.0, 0.3, 0.7, 0.95]).double()
    state = torch.zeros(4, 3).double()
    for frame, heard in enumerate(reverberate(sound, decay).unbind(-1)):
        state = decay[:, None] * state + (1 - decay[:, None]) * sound[..., frame]
        torch.testing.assert_close(heard, state)
    assert torch.equal(reverberate(sound, decay)[0], sound[0])


def test_room_falls_by_60_db_in_its_rt60() -> None:
    click = torch.full((1, B, 30), -200.0)
    click[..., 0] = 8.0
    room = only("room", room_rt60_s=(0.4, 0.4), hop_ms=20.0)
    heard = power(room(click, None, generator()))[0, 0]
    assert 10 * math.log10(heard[0] / heard[20]) == pytest.approx(60.0, abs=0.01)


def test_masks_blank_one_stripe_of_frames_and_one_of_bands() -> None:
    batch = features()
    masked = only("mask", mask_frames=4, mask_bands=3)(batch, None, generator())
    blank = masked == 0
    torch.testing.assert_close(masked[~blank], batch[~blank])
    bands, frames = blank.all(2), blank.all(1)
    assert torch.equal(blank, bands[:, :, None] | frames[:, None, :])
    for stripes, widest in ((bands, 3), (frames, 4)):
        assert stripes.sum(1).max() == widest
        edges = stripes.long().diff(dim=1).clamp_min(0).sum(1) + stripes[:, 0]
        assert edges.max() == 1


def test_normalisation_makes_no_difference_to_the_sound() -> None:
    raw, bank = features() * 2 - 3, features(1)
    plain = Augment(mask_probability=0.0)
    fitted = plain.fitted_to({"mean": -3.0, "std": 2.5, "hop_ms": 20.0})
    heard = fitted(NORMALISATION.apply(raw), NORMALISATION.apply(bank), generator())
    torch.testing.assert_close(NORMALISATION.undo(heard), plain(raw, bank, generator()), atol=1e-4, rtol=1e-4)


def test_the_generator_decides_all() -> None:
    batch, bank = features(), features(1)
    augment = Augment(mask_probability=0.5)
    assert torch.equal(augment(batch, bank, generator(3)), augment(batch, bank, generator(3)))
    assert not torch.equal(augment(batch, bank, generator(3)), augment(batch, bank, generator(4)))


def test_half_precision_comes_in_and_the_batch_stays_as_it_was() -> None:
    batch = features().half()
    before = batch.clone()
    assert Augment()(batch, features(1).half(), generator()).dtype == torch.float32
    assert torch.equal(batch, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_probability": 1.5}, "noise_probability 1.5"),
        ({"noise_snr_db": (30, 5)}, "reversed"),
        ({"room_rt60_s": (0.0, 0.5)}, "positive"),
        ({"shift_ms": -1}, "shift_ms -1"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augment(**change)  # type: ignore[arg-type]
