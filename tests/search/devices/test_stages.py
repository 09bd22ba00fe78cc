"""Stages on every device: they answer as torch does, pass their maps on as they are, and cost what was planned."""

import json
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from repareto.search.devices.base import Device
from repareto.search.devices.host.devices import HostLiteRt, HostLiteRtInt8, HostOnnxRuntime, HostOnnxRuntimeInt8
from repareto.search.devices.latency.roofline import REFERENCE
from repareto.search.devices.shipped import LABELS_KEY
from repareto.search.devices.targets import device
from repareto.search.devices.tflite.lower import lower
from repareto.search.devices.tflite.read import read_tflite
from repareto.search.devices.tflite.run_stages import TfliteStages
from repareto.search.devices.tflite.runtime import make_interpreter, read_metadata
from repareto.search.devices.tflite.stages import convert_stages
from repareto.search.exits.costs import stage_graphs, stage_profiles, whole_profile
from repareto.spaces.errors import UserError
from repareto.spaces.exits.network import MultiExit
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space
from repareto.trainers.exits.answers import exit_logits
from tests.spaces.networks import randomise_norms

LABELS = ["a", "b", "c", "d"]
SHAPES = {"repcnn": (6, 20), "ds_cnn": (10, 20), "bc_resnet": (40, 20), "conformer_ctc": (6, 20)}
SPACES = {
    "repcnn": {"stages": 2, "blocks": 2, "width": 8}, "ds_cnn": {"width": 16}, "bc_resnet": {"width": 8},
    "conformer_ctc": {"blocks": 3, "width": 16, "strides": 1, "heads": 2},
}  # fmt: skip
HEADS = ("linear", "pool-linear", "conv")


@cache
def fused(name: str = "repcnn", head: str = "conv") -> MultiExit:
    space = load_space({"name": name, **SPACES[name], "exits": {"count": 2, "head": head}})
    torch.manual_seed(0)
    model = fused_copy(randomise_norms(space.build(space.middle(), SHAPES[name], len(LABELS)).eval()))
    assert isinstance(model, MultiExit)
    return model


@cache
def samples(name: str, count: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *SHAPES[name])).astype(np.float32)


def device_named(name: str) -> Device:
    kinds = {kind.name: kind for kind in (HostOnnxRuntime, HostOnnxRuntimeInt8, HostLiteRt, HostLiteRtInt8)}
    return kinds[name](REFERENCE) if name in kinds else device(name)


HOSTS = ("host-onnxruntime", "host-onnxruntime-int8", "host-litert", "host-litert-int8")
BOARDS = ("cortex-m4", "cortex-m55", "ethos-u55-128")


@pytest.mark.parametrize("name", [*HOSTS, *BOARDS])
def test_every_device_writes_runs_and_measures_stages(name: str) -> None:
    target, network, x = device_named(name), fused(), samples("repcnn", 8, 1)
    files = target.convert_stages(network, SHAPES["repcnn"], samples("repcnn"), LABELS)
    assert list(files) == [target.file_name.replace("model", f"stage{number}") for number in (1, 2, 3)]
    contents = list(files.values())
    stages = target.open_stages(contents)
    expected, answers = exit_logits(network, x), stages.all_answers(x)
    error = np.abs(answers - expected).max()
    assert error < (0.1 * np.abs(expected).max() if target.quantises else 1e-4)
    # One example alone, and nothing after the exit that was asked for.
    first = next(stages.answers(x[0]))
    np.testing.assert_allclose(first, answers[0, 0], atol=1e-5)
    planned = stage_profiles(network, SHAPES["repcnn"], target)
    measured = target.measure_stages(contents, planned)
    for before, after in zip(planned, measured, strict=True):
        assert after.graph_digest == before.graph_digest and after.value("macs") == before.value("macs")
        assert after.value("flash_bytes") <= before.value("flash_bytes") + 150
        if name in BOARDS[:2]:
            assert after.value("peak_memory_bytes") <= before.value("peak_memory_bytes")
            assert 0 < after.resident_bytes <= before.resident_bytes < before.value("peak_memory_bytes")
    whole = whole_profile(measured)
    assert whole.value("latency_us") == pytest.approx(sum(stage.value("latency_us") for stage in measured))
    if name in BOARDS[:2]:
        heads = [stage.value("peak_memory_bytes") - stage.resident_bytes for stage in measured]
        assert whole.value("peak_memory_bytes") == max(heads) + sum(stage.resident_bytes for stage in measured)
    else:
        assert whole.value("peak_memory_bytes") == max(stage.value("peak_memory_bytes") for stage in measured)


@pytest.mark.parametrize("name", [*HOSTS, "cortex-m4"])
def test_a_conformer_answers_early_on_every_device(name: str) -> None:
    target, network, x = device_named(name), fused("conformer_ctc", "shared"), samples("conformer_ctc", 4, 1)
    files = target.convert_stages(network, SHAPES["conformer_ctc"], samples("conformer_ctc"), LABELS)
    answers, expected = target.open_stages(list(files.values())).all_answers(x), exit_logits(network, x)
    assert answers.shape == expected.shape == (4, 3, 10, len(LABELS))
    error = np.abs(answers - expected).max()
    assert error < (0.2 * np.abs(expected).max() if target.quantises else 1e-4)


def test_executorch_has_a_method_a_stage_in_one_file() -> None:
    target, network, x = device("mobile-xnnpack"), fused(head="pool-linear"), samples("repcnn", 4, 1)
    files = target.convert_stages(network, SHAPES["repcnn"], None, LABELS)
    assert list(files) == ["stages.pte"]
    contents = list(files.values())
    np.testing.assert_allclose(target.open_stages(contents).all_answers(x), exit_logits(network, x), atol=1e-5)
    planned = stage_profiles(network, SHAPES["repcnn"], target)
    measured = target.measure_stages(contents, planned)
    assert whole_profile(measured).value("flash_bytes") == pytest.approx(len(contents[0]))
    assert all(stage.latency_us is None for stage in measured)
    with pytest.raises(UserError, match="not an ExecuTorch program"):
        target.open_stages([b"no program"])


@pytest.mark.parametrize(
    ("name", "head"), [*(("repcnn", head) for head in HEADS), ("ds_cnn", "conv"), ("bc_resnet", "linear")]
)
def test_tflite_stages_answer_as_torch_does_and_pass_bytes_on(name: str, head: str) -> None:
    network, x = fused(name, head), samples(name, 8, 1)
    expected = exit_logits(network, x)
    for precision in ("fp32", "int8"):
        files = convert_stages(network, (1, *SHAPES[name]), precision, samples(name), LABELS)
        assert len(files) == 3
        answers = TfliteStages(files).all_answers(x)
        assert answers.shape == expected.shape
        error = np.abs(answers - expected).max()
        assert error < (1e-4 if precision == "fp32" else 0.1 * np.abs(expected).max()), (precision, error)
        interpreters = [make_interpreter(content) for content in files]
        for earlier, later in pairwise(interpreters):
            gives, takes = earlier.get_output_details()[0], later.get_input_details()[0]
            assert gives["dtype"] == takes["dtype"] == (np.float32 if precision == "fp32" else np.int8)
            assert gives["quantization"] == takes["quantization"]
            assert gives["shape"].tolist() == takes["shape"].tolist()
        signatures = [interpreter.get_signature_list()["serving_default"] for interpreter in interpreters]
        assert [signature["inputs"] for signature in signatures] == [["features"], ["hidden_in"], ["hidden_in"]]
        assert [sorted(signature["outputs"]) for signature in signatures] == [["hidden", "logits"]] * 2 + [["logits"]]
        for graph, content in zip(stage_graphs(network, SHAPES[name]), files, strict=True):
            # What was profiled before training is what ships.
            assert lower(graph, precision).digest == read_tflite(content).digest


def test_firmware_that_copies_bytes_hears_what_litert_hears() -> None:
    """TensorFlow Lite Micro, an interpreter a stage, and the map between two as bytes."""
    from tflite_micro import runtime

    network, x = fused(), samples("repcnn", 4, 1)
    files = list(device("cortex-m4").convert_stages(network, SHAPES["repcnn"], samples("repcnn"), LABELS).values())
    expected, hosts = TfliteStages(files), [make_interpreter(content) for content in files]
    micros = [runtime.Interpreter.from_bytes(content, arena_size=1_000_000) for content in files]
    for example in x:
        (values,) = expected._ends[0].rows(example[None])
        for micro, host, logits in zip(micros, hosts, expected.answers(example), strict=True):
            micro.set_input(values, 0)
            micro.invoke()
            details = host.get_output_details()
            scale, zero_point = details[-1]["quantization"]
            got = (micro.get_output(len(details) - 1).ravel().astype(np.float32) - zero_point) * scale
            # Kernels of different runtimes round differently: by a few steps of the output.
            assert np.abs(got - logits).max() <= 4.5 * scale
            values = micro.get_output(0)


def test_labels_are_in_every_file() -> None:
    files = convert_stages(fused(), (1, *SHAPES["repcnn"]), "fp32", None, LABELS)
    assert [json.loads(read_metadata(content)[LABELS_KEY]) for content in files] == [LABELS] * 3
