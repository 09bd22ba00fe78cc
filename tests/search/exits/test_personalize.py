"""A user's folder makes an export the user's own, or leaves it as it was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from repareto.search.devices.host.onnx_runtime import make_session
from repareto.search.exits import personalize as module
from repareto.search.exits.personalize import GLOBAL_KEY, personalize
from repareto.search.exits.runner import StagedModel
from repareto.spaces.errors import UserError
from repareto.spaces.exits.network import MultiExit
from repareto.spaces.fusion import fused_copy
from repareto.trainers.exits.answers import exit_logits, head_features, heads_of
from repareto.trainers.features import LogMel
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig
from tests.search.exits.exports import export_stages
from tests.search.exits.test_judging import data as made_data
from tests.spaces.exits.test_network import SHAPE, network

LABELS = ["a", "b", "c", "d"]
dataset = pytest.fixture(scope="module", name="dataset")(made_data.__wrapped__)


@pytest.fixture(scope="module")
def fused(dataset) -> MultiExit:
    trainer = SupervisedTrainer(network(), dataset, TrainingConfig(epochs=8, batch_size=32), seed=0)
    for _ in range(8):
        trainer.train_epoch()
    model = fused_copy(trainer.model.eval())
    assert isinstance(model, MultiExit)
    return model


@pytest.fixture(scope="module")
def pristine(fused: MultiExit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    details = {
        "temperatures": [1.0, 1.0, 0.05], "errors": [0.2, 0.1, 0.1], "cost_unit": "macs",
        "costs_up_to": {"macs": [1e5, 2e5, 3e5]}, "chosen": 0,
        "points": [{"policy": "confidence", "thresholds": [0.9, 0.9], "rates": [0.2, 0.2, 0.6]}],
    }  # fmt: skip
    exits = export_stages(fused, details, torch.zeros(2, *SHAPE), LABELS, folder)
    manifest = {"labels": LABELS, "input": {"shape": ["batch", *SHAPE]}, "exits": exits}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def export(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "export"))


def write_user(folder: Path, features: np.ndarray, labels: np.ndarray, labelled: int) -> Path:
    for number, (own, label) in enumerate(zip(features, labels, strict=True)):
        place = folder / LABELS[label] if number < labelled else folder
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{number}.npy", own)
    return folder


def test_what_is_personalised_runs_with_the_heads_that_were_learnt(dataset, export: Path, tmp_path: Path) -> None:
    split = dataset.validation
    user = write_user(tmp_path / "user", split.features, split.labels, labelled=90)
    said: list[str] = []
    before = StagedModel(export)
    report = personalize(export, user, labels=40, say=said.append)
    assert said == [] and report.labelled == 40
    assert report.before is not None and report.after is not None
    assert report.cost.macs < report.fine_tuning_macs / 2.2
    own = json.loads((export / "manifest.json").read_text())
    assert not set(own["exits"]["stages"]) & {"stage1.onnx", "stage2.onnx", "stage3.onnx"}
    after = StagedModel(export)
    assert after.policy == "confidence" and len(after.thresholds) == 2
    assert len(own["exits"]["joined"]["measured_latency_at_exit_us"]) == 3
    joined = make_session(export / own["exits"]["joined"]["file"])
    for features in split.features[:8].astype(np.float32):
        probabilities, exit = joined.run(None, {"features": features[None]})
        answer = after(features)
        assert (answer.exit, answer.label) == (exit, LABELS[probabilities[0].argmax()])
    # The old model's files are as they were, and doing it again does it anew from them.
    assert before(split.features[0]) == before(split.features[0])
    personalize(export, user, labels=40, say=said.append)
    assert json.loads((export / "manifest.json").read_text()) == own
    assert own[GLOBAL_KEY]["stages"][0] == "stage1.onnx"
    unlabelled = personalize(export, user, labels=0, say=said.append)
    assert unlabelled.labelled == 0 and unlabelled.pseudo_labelled > 0


def test_cached_features_are_what_heads_take(fused: MultiExit, export: Path, dataset) -> None:
    files = [(export / f"stage{number}.onnx").read_bytes() for number in (1, 2, 3)]
    features = dataset.test.features
    expected = exit_logits(fused, features)
    in_torch = zip(heads_of(fused), head_features(fused, features, batch_size=7), strict=True)
    for index, (seen, (head, seen_in_torch)) in enumerate(zip(module._run(files, features), in_torch, strict=True)):
        np.testing.assert_allclose(module._head_of(files[index])(seen), expected[:, index], atol=1e-4)
        np.testing.assert_allclose(head(seen_in_torch), expected[:, index], atol=1e-4)


def test_an_interruption_leaves_the_old_model_in_use(dataset, export: Path, tmp_path: Path, monkeypatch) -> None:
    split = dataset.validation
    user = write_user(tmp_path / "user", split.features, split.labels, labelled=60)
    features = split.features[:5]
    before = [StagedModel(export)(own) for own in features]
    manifest = (export / "manifest.json").read_bytes()
    written: list[Path] = []

    def write(path: Path, content: bytes) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr(module, "write_atomically", write)
    with pytest.raises(KeyboardInterrupt):
        personalize(export, user, say=lambda _: None)
    assert (export / "manifest.json").read_bytes() == manifest
    assert [StagedModel(export)(own) for own in features] == before


def test_folders_that_teach_nothing(dataset, export: Path, tmp_path: Path) -> None:
    split = dataset.validation
    for name, labels, count, complaint in (
        ("few", split.labels[:3], 3, "has 3 recordings that can be used; give 15 or more"),
        ("one", np.zeros(20, int), 20, "all labels are 'a', so that exits would learn to say nothing else"),
    ):
        user = write_user(tmp_path / name, split.features[: len(labels)], labels, labelled=count)
        with pytest.raises(UserError, match=complaint):
            personalize(export, user, say=lambda _: None)
    (tmp_path / "odd" / "zebra").mkdir(parents=True)
    np.save(tmp_path / "odd" / "zebra" / "0.npy", split.features[0])
    with pytest.raises(UserError, match=r"the model does not know 'zebra' \(it knows a, b, c, d\)"):
        personalize(export, tmp_path / "odd", say=lambda _: None)
    with pytest.raises(UserError, match="there is no such folder"):
        personalize(export, tmp_path / "none", say=lambda _: None)
    said: list[str] = []
    user = write_user(tmp_path / "broken", split.features[:20], split.labels[:20], labelled=0)
    (user / "odd.npy").write_text("no array")
    report = personalize(export, user, say=said.append)
    assert said[0].startswith("left out: ") and report.labelled == 0 and report.before is None
    manifest = json.loads((export / "manifest.json").read_text())
    (export / "manifest.json").write_text(
        json.dumps({k: v for k, v in manifest.items() if k not in ("exits", GLOBAL_KEY)})
    )
    with pytest.raises(UserError, match="has no early exits to personalise"):
        personalize(export, user, say=said.append)


def test_a_folder_of_silence_is_named_and_leaves_the_model_as_it_was(export: Path, tmp_path: Path) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    manifest["front_end"] = {**LogMel(bands=SHAPE[0]).describe(), "mean": 0.0, "std": 1.0}
    (export / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "silent" / "a").mkdir(parents=True)
    for number in range(20):
        soundfile.write(tmp_path / "silent" / "a" / f"{number}.wav", np.zeros(8000), 16000)
    said: list[str] = []
    with pytest.raises(UserError, match="has 0 recordings that can be used"):
        personalize(export, tmp_path / "silent", say=said.append)
    assert len(said) == 20 and all(line.endswith(".wav: is silent") for line in said)
    assert json.loads((export / "manifest.json").read_text()) == manifest
