"""Stages on every device: they answer as torch does, pass their maps on as they are, and cost what was planned."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from repareto.search.devices.tflite import lower, read_tflite
from repareto.search.devices.tflite.runtime import make_interpreter
from repareto.search.devices.tflite.stages import TfliteStages, convert_stages
from repareto.search.exits.costs import stage_graphs
from repareto.spaces.exits.network import MultiExit
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space
from repareto.trainers.exits.answers import exit_logits
from tests.spaces.networks import randomise_norms

LABELS = ["a", "b", "c", "d"]
SHAPES = {"repcnn": (6, 20), "ds_cnn": (10, 20), "bc_resnet": (40, 20)}
SPACES = {"repcnn": {"stages": 2, "blocks": 2, "width": 8}, "ds_cnn": {"width": 16}, "bc_resnet": {"width": 8}}
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
