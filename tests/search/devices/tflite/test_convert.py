import json
import random

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.shipped import LABELS_KEY
from repareto.search.devices.tflite.convert import convert, float_twin
from repareto.search.devices.tflite.lower import lower
from repareto.search.devices.tflite.read import read_tflite
from repareto.search.devices.tflite.runtime import Interpreter, file_input, file_logits, read_metadata, run
from repareto.search.models import fused_skeleton
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Choice, Int
from tests.search.devices.tflite.models import MODELS, Calls, answers, features, make

# Largest difference of the int8 logits, over the largest magnitude. Random weights and few layers: about 0.02.
INT8_ERROR = 0.06


def in_micro(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """What TensorFlow Lite Micro answers, (n, values)."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=4_000_000)
    logits = []
    for row in file_input(content, inputs):
        interpreter.set_input(row, 0)
        interpreter.invoke()
        logits.append(interpreter.get_output(0))
    return file_logits(content, np.stack(logits))


@pytest.mark.parametrize("name", MODELS)
def test_the_float_file_answers_as_torch(name: str) -> None:
    module, shape = make(name)
    inputs = features(shape)
    content = convert(module, shape, "fp32")
    expected = answers(module, inputs).numpy()
    assert np.abs(run(content, inputs.numpy()) - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    assert np.abs(in_micro(content, inputs.numpy()[:2]) - expected[:2]).max() <= 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("name", MODELS)
def test_the_int8_file_answers_nearly_as_torch_in_both_runtimes(name: str) -> None:
    module, shape = make(name)
    inputs = features(shape)
    content = convert(module, shape, "int8", inputs.numpy())
    expected = answers(module, inputs).numpy()
    got = run(content, inputs.numpy())
    assert np.abs(got - expected).max() <= INT8_ERROR * np.abs(expected).max()
    # Kernels of different runtimes round differently: by a few steps of the output.
    step = Interpreter(content).output_scale
    assert np.abs(in_micro(content, inputs.numpy()[:2]) - got[:2]).max() <= 4.5 * step


@pytest.mark.parametrize("shape", [(40, 49), (1, 16, 16), (3, 15, 20)])
def test_random_candidates_of_the_space(shape: tuple[int, ...]) -> None:
    space, rng = RepCNN(), random.Random(1)
    torch.manual_seed(1)
    seen = 0
    while seen < 4:
        candidate = space.draw(rng)
        graph = read_module(fused_skeleton(space, candidate, shape, 10), (1, *shape))
        if graph.parameters > 150_000 or graph.macs > 20e6:
            continue
        seen += 1
        module = fused_copy(space.build(candidate, shape, 10).eval())
        inputs = torch.randn(8, *shape)
        expected = answers(module, inputs).numpy()
        largest = np.abs(expected).max()
        assert np.abs(run(convert(module, (1, *shape), "fp32"), inputs.numpy()) - expected).max() <= 1e-4 * largest
        content = convert(module, (1, *shape), "int8", inputs.numpy())
        got = run(content, inputs.numpy())
        assert np.abs(got - expected).max() <= INT8_ERROR * largest
        step = Interpreter(content).output_scale
        assert np.abs(in_micro(content, inputs.numpy()[:1]) - got[:1]).max() <= 4.5 * step
        for precision in ("fp32", "int8"):
            lowered = lower(graph, precision)
            assert not any(operator.kind == "pad" for operator in lowered.operators)
            assert read_tflite(convert(module, (1, *shape), precision, inputs.numpy())).digest == lowered.digest
            assert (lowered.macs, lowered.parameters) == (graph.macs, graph.parameters)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return (images[order] / 16).astype(np.float32).reshape(-1, 1, 8, 8), labels[order]


def test_int8_decides_as_float_on_digits(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    train, test = slice(0, 1300), slice(1300, None)
    space = RepCNN(
        form=Choice(("separable",)), stages=Int(2, 2), width=Int(16, 16), blocks=Int(1, 1), kernel=Choice((3,)),
        conv_branches=Int(2, 2), pointwise=Choice((True,)), identity=Choice((True,)),
    )  # fmt: skip
    torch.manual_seed(0)
    module = space.build(space.middle(), (1, 8, 8), 10)
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    for _ in range(12):
        for rows in torch.randperm(1300).split(64):
            loss = nn.functional.cross_entropy(
                module(torch.from_numpy(images[rows.numpy()])), torch.from_numpy(labels[rows.numpy()])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    fused = fused_copy(module.eval())
    expected = answers(fused, torch.from_numpy(images[test])).numpy().argmax(1)
    assert (expected == labels[test]).mean() > 0.9
    content = convert(fused, (1, 1, 8, 8), "int8", images[train])
    assert (run(content, images[test]).argmax(1) == expected).mean() >= 0.99


def test_labels_and_the_order_of_the_ends_are_kept_in_the_file() -> None:
    module, shape = make("conv1d")
    content = convert(module, shape, "fp32", labels=["yes", "no", "other"])
    notes = read_metadata(content)
    assert json.loads(notes[LABELS_KEY]) == ["yes", "no", "other"]
    assert json.loads(notes["repareto.ends"])["inputs"] == [{"layout": [[20, 1], [4, 20]], "torch_shape": [1, 4, 20]}]
    assert LABELS_KEY not in read_metadata(convert(module, shape, "fp32"))


def test_the_same_module_gives_the_same_bytes() -> None:
    module, shape = make("residual")
    inputs = features(shape).numpy()
    assert convert(module, shape, "int8", inputs) == convert(module, shape, "int8", inputs)


def test_a_skeleton_costs_what_the_real_model_costs() -> None:
    module, shape = make("residual")
    real = convert(module, shape, "int8", features(shape).numpy())
    skeleton = convert(module.to("meta"), shape, "int8")
    assert read_tflite(skeleton).digest == read_tflite(real).digest
    assert len(skeleton) == len(real)
    assert skeleton == convert(module, shape, "int8", features(shape).numpy())
    assert np.isfinite(run(skeleton, features(shape).numpy())).all()


def test_a_skeleton_with_a_batch_norm_that_no_convolution_took_in() -> None:
    module, shape = make("a batch norm in front")
    skeleton = convert(module.to("meta"), shape, "int8")
    assert np.isfinite(run(skeleton, features(shape).numpy())).all()


def test_the_float_twin_of_an_int8_graph_is_the_float_graph() -> None:
    for name in ("residual", "attention", "maximum pool with its own padding"):
        module, shape = make(name)
        graph = read_module(module, shape)
        assert [op.attributes for op in float_twin(lower(graph, "int8")).operators] == [
            op.attributes for op in lower(graph, "fp32").operators
        ]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((3, 4, 21), np.float32), r"samples of shape \(3, 4, 21\): the model takes \(n, 4, 20\)"),
        (np.zeros((0, 4, 20), np.float32), r"samples of shape \(0, 4, 20\)"),
        (np.full((3, 4, 20), np.nan, np.float32), "samples: hold values that are not finite"),
    ],
)
def test_samples_that_cannot_be_used(samples: np.ndarray, message: str) -> None:
    module, shape = make("conv1d")
    with pytest.raises(UserError, match=message):
        convert(module, shape, "int8", samples)


def test_weights_that_are_not_finite() -> None:
    module, shape = make("conv1d")
    with torch.no_grad():
        module[0].weight[0, 0, 0] = float("inf")  # type: ignore[index, union-attr]
    with pytest.raises(UserError, match=r"weight 0\.weight: holds values that are not finite"):
        convert(module, shape, "fp32")


def test_a_weight_that_is_read_in_two_orders() -> None:
    layer = nn.Linear(6, 6, bias=False)
    module = Calls(lambda x, a: a(x) @ a.weight, layer).eval()
    with pytest.raises(UserError, match=r"weight parts\.0\.weight: is read in two orders"):
        convert(module, (1, 6), "fp32")


def test_a_module_in_training_mode() -> None:
    with pytest.raises(UserError, match="in training mode"):
        convert(nn.Linear(3, 2), (1, 3), "fp32")
