"""What models are for: what of them is profiled, what ships, and how it is judged."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.targets import device
from repareto.search.tasks import TASKS, task_named, task_of
from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Int
from repareto.trainers.data.dataset import Dataset, SoundStream, Source, Split
from repareto.trainers.detection import DetectionTask
from repareto.trainers.supervised import error_rate
from repareto.trainers.tokens import TranscriptionTask, padded
from repareto.trainers.transcription import answers_of, token_error
from tests.spaces.networks import randomise_norms

SHAPE = (6, 23)
LABELS = ("hey", "unknown")
FRONT_END = {"kind": "log_mel", "hop_ms": 20.0, "hop_samples": 320, "sample_rate_hz": 16_000, "mean": 0.0, "std": 1.0}


def dataset(*, detects: bool) -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(rng.standard_normal((40, *SHAPE)).astype(np.float16), rng.integers(0, 2, 40))
    if not detects:
        return Dataset("made", LABELS, split, split, split, FRONT_END)
    words = np.array([[1.0, 1.5], [4.0, 4.4]])
    streams = {
        name: SoundStream(rng.standard_normal((6, 600)).astype(np.float16), words, (Source(0.0, "a.wav"),))
        for name in ("validation", "test")
    }
    return Dataset(
        "made", LABELS, split, split, split, FRONT_END, streams=streams, detection=DetectionTask("hey", 1e4)
    )  # fmt: skip


def network(padding: str, seed: int = 1) -> nn.Module:
    space = RepCNN(width=Int(4, 8, step=4), stages=Int(1, 2), padding=padding)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    built = space.build(space.draw(random.Random(seed)), SHAPE, 2)
    return fused_copy(randomise_norms(built.eval(), seed))


def test_the_data_says_what_models_are_for() -> None:
    assert task_of(dataset(detects=False)).name == "classification"
    assert task_of(dataset(detects=True)).name == "wakeword"
    # A study that says nothing classifies.
    assert task_named({}).name == "classification" and task_named({"task": "wakeword"}).name == "wakeword"


def test_a_wake_word_costs_what_a_hop_costs() -> None:
    causal, same = network("causal"), network("same")
    wakeword = TASKS["wakeword"]
    window = read_module(causal, (1, *SHAPE))
    hop = wakeword.form(causal, SHAPE).graph()
    assert hop.macs < window.macs / 3 and len(hop.inputs) > 1
    assert TASKS["classification"].form(causal, SHAPE).graph().digest == window.digest
    # No streaming form: a whole window is looked at.
    assert wakeword.form(same, SHAPE).graph().digest == read_module(same, (1, *SHAPE)).digest


@pytest.mark.parametrize("padding", ["causal", "same"])
@pytest.mark.parametrize("target_name", ["reference", "host-litert"])
def test_the_file_that_ships_fares_as_the_network_does(padding: str, target_name: str) -> None:
    if target_name == "host-litert":
        pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
    data, fused, target = dataset(detects=True), network(padding), device(target_name)
    task = task_of(data)
    form = task.form(fused, SHAPE)
    content = form.convert(target, None, LABELS)
    expected, found = task.judge(fused, data, "cpu"), task.judge_file(target, content, form, data)
    # Sums in another order: a score on a threshold may fall on its other side.
    for key in ("error", "test_error"):
        assert found.figures[key] == pytest.approx(expected.figures[key], abs=0.5)
    assert found.figures["threshold"] == pytest.approx(expected.figures["threshold"], abs=0.02)
    assert found.details["detector"]["hop_seconds"] == expected.details["detector"]["hop_seconds"]
    name = target.stream_file_name if padding == "causal" else target.file_name
    assert form.file_name(target) == name


def test_a_classifier_is_judged_by_its_clips() -> None:
    data, fused, target = dataset(detects=False), network("same"), device("reference")
    task = task_of(data)
    form = task.form(fused, SHAPE)
    content = form.convert(target, None, LABELS)
    error = error_rate(fused, data.validation)
    assert task.validation_error(fused, data, "cpu") == error
    assert task.judge(fused, data, "cpu").figures == {"error": error, "test_error": error}
    assert task.judge_file(target, content, form, data).figures == {"error": error, "test_error": error}


def transcribed() -> Dataset:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((24, *SHAPE)).astype(np.float16)
    split = Split(features, padded([tuple(rng.integers(1, 4, 3).tolist()) for _ in features]))
    labels = ("<blank>", "a", "b", "c")
    return Dataset(
        "made", labels, split, split, split, FRONT_END, transcription=TranscriptionTask("character")
    )  # fmt: skip


@pytest.mark.parametrize("target_name", ["reference", "host-litert", "host-litert-int8"])
def test_a_transcriber_is_judged_by_its_tokens(target_name: str) -> None:
    if target_name != "reference":
        pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
    data, target, space = transcribed(), device(target_name), ConformerSpace()
    small = {"blocks": 1, "width": 16, "strides": 1, "conv_branches": 1, "expansion": 1}
    torch.manual_seed(0)
    model = space.build(space.candidate(dict(space.middle()) | small), SHAPE, len(data.labels))
    fused, task = fused_copy(randomise_norms(model.eval())), task_of(data)
    assert task.name == "transcription" and task_named({"task": "transcription"}) is task
    form = task.form(fused, SHAPE)
    content = form.convert(target, data.train.features.astype(np.float32), data.labels)
    logits = target.run(content, data.test.features)
    assert logits.shape == (24, 12, 4)
    # An answer of int8 is one of 255, over some range.
    expected = fused(torch.from_numpy(data.test.features).float()).detach().numpy()
    assert np.abs(logits - expected).max() < (0.1 * np.ptp(expected) if target.quantises else 1e-4)
    judged, shipped = task.judge(fused, data, "cpu"), task.judge_file(target, content, form, data)
    assert (
        judged.figures["error"]
        == task.validation_error(fused, data, "cpu")
        == token_error(answers_of(fused), data.test)
    )
    assert shipped.figures["error"] == pytest.approx(judged.figures["error"], abs=0.1 if target.quantises else 1e-9)
    assert shipped.figures.keys() == judged.figures.keys()
    task.refuse_device(target)


def test_a_wake_word_is_scored_with_branches_as_it_is_without() -> None:
    space = RepCNN(width=Int(4, 8, step=4), padding="causal")
    torch.manual_seed(3)
    branched = randomise_norms(space.build(space.draw(random.Random(3)), SHAPE, 2).eval(), 3)
    data = dataset(detects=True)
    judged = TASKS["wakeword"].judge(fused_copy(branched), data, "cpu")
    assert TASKS["wakeword"].validation_error(branched, data, "cpu") == judged.figures["error"]


def test_a_device_that_takes_no_streams_is_refused() -> None:
    target = device("reference")
    target.stream_file_name = None
    TASKS["classification"].refuse_device(target)
    with pytest.raises(UserError, match="device reference: takes no network that listens"):
        TASKS["wakeword"].refuse_device(target)
