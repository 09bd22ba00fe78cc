"""The front end of an export as an ONNX graph: a waveform comes in, and the features that the model takes come out.

The spectrum is a convolution with windowed cosines and sines and no FFT, so that any runtime of ONNX has all it needs.

Shape legend: n clips, s samples, b mel bands, k frequencies, t frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...spaces.errors import UserError
from ...trainers.features import POWER_FLOOR, LogMel, Normalisation
from ..devices.host.onnx_runtime import BATCH_NAME, make_session
from ..devices.shipped import INPUT_NAME

FRONT_END_FILE = "front_end.onnx"
WAVEFORM_NAME = "waveform"
OPSET, IR_VERSION = 18, 10
TOLERANCE = 1e-3
"""Of normalised features. The logarithm of a power near the floor shows how each side rounds what is far louder."""


def write_front_end(front_end: Mapping[str, Any], input_shape: Sequence[int], folder: Path) -> dict[str, Any]:
    """Write the front end of sound as an ONNX file, and return what the manifest says of it; nothing for other data.

    Raises :class:`UserError` where its features are not those that training saw.
    """
    if front_end["kind"] != "log_mel":
        return {}
    log_mel = LogMel.from_front_end(front_end)
    normalisation = Normalisation.from_front_end(front_end)
    content = front_end_onnx(log_mel, normalisation, input_shape[:-1])
    difference = front_end_difference(content, log_mel, normalisation)
    # Written so that NaN is refused.
    if not difference <= TOLERANCE:
        raise UserError(
            f"{FRONT_END_FILE}: its features differ from training's by {difference:.2g} (tolerance {TOLERANCE:g})"
        )
    (folder / FRONT_END_FILE).write_bytes(content)
    frames = -(-log_mel.window_samples // log_mel.hop_samples)
    return {
        "front_end_graph": {
            "file": FRONT_END_FILE,
            "input": {"name": WAVEFORM_NAME, "dtype": "float32", "shape": [BATCH_NAME, "samples"]},
            "output": {"name": INPUT_NAME, "dtype": "float32", "shape": [BATCH_NAME, *input_shape[:-1], "frames"]},
            "hop_by_hop": f"give the last {frames} hops of samples and take the last frame",
            "largest_difference": difference,
            "tolerance": TOLERANCE,
        }
    }


def front_end_onnx(log_mel: LogMel, normalisation: Normalisation, lead: Sequence[int]) -> bytes:
    """Return an ONNX file that takes waveforms (n, s), full scale 1, and gives normalised features (n, *lead, t).

    As :class:`LogMel` has them: a frame a full hop, zeros before the clip; s is at least one hop.
    """
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "past": np.array([0, log_mel.past_samples, 0, 0]),
        "channel": np.array([1]),
        **_spectrum(log_mel),
        "floor": np.float32(POWER_FLOOR),
        "mean": np.float32(normalisation.mean),
        "std": np.float32(normalisation.std),
        "shape": np.array([0, *lead, -1]),
    }
    nodes = [
        helper.make_node("Pad", [WAVEFORM_NAME, "past"], ["padded"]),
        helper.make_node("Unsqueeze", ["padded", "channel"], ["samples"]),
        helper.make_node("Conv", ["samples", "waves"], ["spectrum"], strides=[log_mel.hop_samples]),
        helper.make_node("Split", ["spectrum"], ["real", "imaginary"], axis=1, num_outputs=2),
        helper.make_node("Mul", ["real", "real"], ["real2"]),
        helper.make_node("Mul", ["imaginary", "imaginary"], ["imaginary2"]),
        helper.make_node("Add", ["real2", "imaginary2"], ["powers"]),
        helper.make_node("MatMul", ["mel", "powers"], ["bands"]),
        helper.make_node("Max", ["bands", "floor"], ["audible"]),
        helper.make_node("Log", ["audible"], ["log_mel"]),
        helper.make_node("Sub", ["log_mel", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalised"]),
        helper.make_node("Reshape", ["normalised", "shape"], [INPUT_NAME]),
    ]
    graph = helper.make_graph(
        nodes,
        "front_end",
        [helper.make_tensor_value_info(WAVEFORM_NAME, TensorProto.FLOAT, [BATCH_NAME, "samples"])],
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [BATCH_NAME, *lead, "frames"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    content: bytes = model.SerializeToString()
    return content


def _spectrum(log_mel: LogMel) -> dict[str, np.ndarray]:
    """Windowed cosines, then sines (2 k, 1, window), of the frequencies that a band hears, and their weights (b, k)."""
    mel = log_mel.mel_matrix()
    heard = np.flatnonzero(mel.any(axis=1))
    samples = np.arange(log_mel.window_samples)
    angles = 2 * np.pi / log_mel.fft_size * np.outer(heard, samples)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi / log_mel.window_samples * samples)
    waves = np.concatenate([np.cos(angles), np.sin(angles)]) * hann
    return {"waves": waves[:, None].astype(np.float32), "mel": mel[heard].T.astype(np.float32)}


def front_end_difference(content: bytes, log_mel: LogMel, normalisation: Normalisation) -> float:
    """Return the largest absolute difference of normalised features between a file in ONNX Runtime and training's."""
    session = make_session(content)
    largest = 0.0
    for waveform in example_waveforms(log_mel):
        expected = normalisation.apply(log_mel(waveform[None]))[0]
        (features,) = session.run(None, {WAVEFORM_NAME: waveform[None]})
        largest = max(largest, float(np.abs(features.reshape(expected.shape) - expected).max()))
    return largest


def example_waveforms(log_mel: LogMel) -> Iterator[np.ndarray]:
    """Yield waveforms (s,) of one second on which front ends are compared: silence, noise of three levels, a chirp in
    noise, a click; the last one no whole number of hops."""
    rate = log_mel.sample_rate_hz
    seconds = np.arange(rate) / rate
    noise = np.random.default_rng(0).standard_normal((5, rate))
    chirp = np.sin(2 * np.pi * (log_mel.low_hz + 0.5 * (log_mel.high_hz - log_mel.low_hz) * seconds) * seconds)
    click = np.zeros(rate)
    click[rate // 2] = 1.0
    waves = [np.zeros(rate), *(level * row for level, row in zip((1e-4, 1e-2, 0.3), noise, strict=False))]
    waves += [0.5 * chirp + 1e-3 * noise[3], click + 1e-4 * noise[4]]
    for number, wave in enumerate(waves, 1):
        length = rate if number < len(waves) else rate - log_mel.hop_samples // 3
        yield wave[:length].astype(np.float32)
