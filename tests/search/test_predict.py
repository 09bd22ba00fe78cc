"""Features of files, as training made them, and a whole prediction where torch is not installed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from repareto.search import predict
from repareto.search.packaging.front_end import write_front_end
from repareto.spaces.errors import UserError
from repareto.trainers.data.audio import loudest_window
from repareto.trainers.features import LogMel, Normalisation

LOG_MEL = LogMel(bands=20)
NORMALISATION = Normalisation(mean=-3.0, std=2.0)
MANIFEST = {
    "input": {"shape": ["batch", 20, 25]},
    "front_end": {"kind": "log_mel", **LOG_MEL.describe(), "mean": -3.0, "std": 2.0},
}


def features_of(path: Path, manifest=MANIFEST) -> np.ndarray:
    return predict.features_of(path, manifest, predict.front_end_of(path.parent, manifest))


def test_sound_is_cut_and_made_features_as_in_training(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).standard_normal(20_000).astype(np.float32) * np.linspace(0, 0.1, 20_000)
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    expected = NORMALISATION.apply(LOG_MEL(loudest_window(sound.astype(np.float32), 8000)[None]))[0]
    np.testing.assert_allclose(features_of(tmp_path / "a.wav"), expected, atol=1e-4)
    with_graph = MANIFEST | write_front_end(MANIFEST["front_end"], (20, 25), tmp_path)
    np.testing.assert_allclose(features_of(tmp_path / "a.wav", with_graph), expected, atol=1e-3)


def test_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    features = np.arange(500.0).reshape(20, 25)
    np.save(tmp_path / "a.npy", features)
    assert (features_of(tmp_path / "a.npy") == features).all()


def test_a_transcriber_hears_all_and_silence_behind(tmp_path: Path) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal(5_000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    expected = NORMALISATION.apply(LOG_MEL(np.pad(sound, (0, 3_000))[None]))[0]
    transcriber = {**MANIFEST, "transcription": {"unit": "word"}}
    np.testing.assert_allclose(features_of(tmp_path / "a.wav", transcriber), expected, atol=1e-4)
    soundfile.write(tmp_path / "long.wav", np.tile(sound, 2), 16_000)
    with pytest.raises(UserError, match=r"long.wav: is 0.6 s long, and the model hears 0.5 s \(cut it there\)"):
        features_of(tmp_path / "long.wav", transcriber)


def test_what_cannot_be_heard_is_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(9000), 16_000)
    (tmp_path / "text.wav").write_text("no sound")
    np.save(tmp_path / "odd.npy", np.zeros((3, 3)))
    (tmp_path / "text.npy").write_text("no array")
    for name, complaint in (
        ("silent.wav", "is silent"),
        ("text.wav", "text.wav: "),
        ("odd.npy", r"has features of shape \(3, 3\), and the model takes \(20, 25\)"),
        ("text.npy", "holds no array of numbers"),
        ("missing.npy", "holds no array of numbers"),
    ):
        with pytest.raises(UserError, match=complaint):
            features_of(tmp_path / name)
    pixels = {**MANIFEST, "front_end": {"kind": "pixels"}}
    with pytest.raises(UserError, match="the model takes pixels and no sound"):
        features_of(tmp_path / "silent.wav", pixels)


WITHOUT_TORCH = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Missing())
from repareto.search.cli import main
main()
"""


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder whose model says how loud the first band is."""
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Flatten", ["features"], ["flat"]),
                helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
            ],
            "loudness",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 20, 25])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
            [numpy_helper.from_array(np.eye(500, 2, dtype=np.float32) * np.float32([1, 0]), "weight")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    graph = write_front_end(MANIFEST["front_end"], (20, 25), folder)
    manifest = {**MANIFEST, "labels": ["loud", "quiet"], "ships": "model.onnx", **graph}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_predict_needs_no_torch(export: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    for name, level in (("loud", 0.3), ("quiet", 1e-5)):
        soundfile.write(tmp_path / f"{name}.flac", level * noise, 16_000, subtype="PCM_24")
    command = [sys.executable, "-c", WITHOUT_TORCH, "predict", str(export), "loud.flac", "quiet.flac", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(answer["file"], answer["label"]) for answer in answers] == [("loud.flac", "loud"), ("quiet.flac", "quiet")]
