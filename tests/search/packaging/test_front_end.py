"""The front end as an ONNX graph, held equal to what training hears."""

from pathlib import Path

import numpy as np
import pytest

from repareto.search.devices.host.onnx_runtime import make_session
from repareto.search.packaging import front_end
from repareto.search.packaging.front_end import front_end_difference, front_end_onnx, write_front_end
from repareto.spaces.errors import UserError
from repareto.trainers.features import FeatureStream, LogMel, Normalisation

NORMALISATION = Normalisation(-5.0, 3.0)
FRONT_ENDS = (
    LogMel(),
    LogMel(window_ms=25, hop_ms=10, bands=20),
    LogMel(sample_rate_hz=8000, high_hz=3800, bands=32),
    LogMel(window_ms=20, hop_ms=20, low_hz=0),
)


def described(log_mel: LogMel) -> dict[str, object]:
    return {**log_mel.describe(), "mean": NORMALISATION.mean, "std": NORMALISATION.std}


@pytest.mark.parametrize("log_mel", FRONT_ENDS)
def test_it_gives_the_features_of_training(log_mel: LogMel) -> None:
    content = front_end_onnx(log_mel, NORMALISATION, (log_mel.bands,))
    assert front_end_difference(content, log_mel, NORMALISATION) < 5e-4
    other = Normalisation(-5.0, 2.9)
    assert front_end_difference(content, log_mel, other) > 1e-2


def test_any_number_of_clips_of_any_length_and_a_shape_of_ones_own() -> None:
    log_mel = FRONT_ENDS[1]
    session = make_session(front_end_onnx(log_mel, NORMALISATION, (1, log_mel.bands)))
    sound = np.random.default_rng(1).standard_normal((3, 4000)).astype(np.float32)
    for samples in (160, 1000, 4000):
        (features,) = session.run(None, {"waveform": sound[:, :samples]})
        assert features.shape == (3, 1, 20, samples // 160)
        np.testing.assert_allclose(features[:, 0], NORMALISATION.apply(log_mel(sound[:, :samples])), atol=1e-4)


def test_hop_by_hop_as_the_manifest_says(tmp_path: Path) -> None:
    log_mel = LogMel()
    part = write_front_end(described(log_mel), (40, 50), tmp_path)["front_end_graph"]
    assert part["hop_by_hop"] == "give the last 2 hops of samples and take the last frame"
    session = make_session(tmp_path / part["file"])
    sound = np.random.default_rng(1).standard_normal(3200).astype(np.float32)
    expected = NORMALISATION.apply(FeatureStream(log_mel).push(sound))
    for hop in range(2, 11):
        (features,) = session.run(None, {"waveform": sound[None, (hop - 2) * 320 : hop * 320]})
        np.testing.assert_allclose(features[0, :, -1], expected[:, hop - 1], atol=1e-4)


def test_other_features_are_refused_and_other_data_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_front_end({"kind": "pixels"}, (1, 8, 8), tmp_path) == {}
    monkeypatch.setattr(front_end, "POWER_FLOOR", 1e-3)
    with pytest.raises(UserError, match=r"front_end.onnx: its features differ from training's by .* \(tolerance 0.001"):
        write_front_end(described(LogMel()), (40, 50), tmp_path)
    assert not list(tmp_path.iterdir())
