"""Streaming TFLite files: how their states lie, and that equalised channels go through them."""

import json
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from repareto.search.devices.boards.micro_arena import TFLITE_MICRO, predict_arena, unmeasured_operators
from repareto.search.devices.boards.tflite_micro import measure_arena
from repareto.search.devices.memory import plan_memory
from repareto.search.devices.operator_order import EXACT_STATES, best_order
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.stream import hear_windows
from repareto.search.devices.tflite.equalize import equalize
from repareto.search.devices.tflite.lower import lower
from repareto.search.devices.tflite.read import read_tflite
from repareto.search.devices.tflite.runtime import make_interpreter, read_metadata
from repareto.search.devices.tflite.streams import STATES_KEY, TfliteStream, convert_stream
from repareto.spaces.errors import UserError
from repareto.spaces.streaming import streaming
from tests.search.devices.streams import (
    KEYWORD_SHAPE,
    LABELS,
    SHAPES,
    fused_network,
    keyword_stream,
    keywords,
    torch_hears,
    windows,
)


def in_micro(content: bytes, sound: np.ndarray) -> np.ndarray:
    """The logits (hops, classes) of TensorFlow Lite Micro, whose states are carried as firmware does it: as bytes."""
    from tflite_micro import runtime

    stream, host = TfliteStream(content), make_interpreter(content)
    micro = runtime.Interpreter.from_bytes(content, arena_size=1_000_000)
    (logits, *_), states, heard = host.get_output_details(), stream.states, []
    for hop in np.split(sound, sound.shape[-1] // stream.hop_shape[-1], axis=-1):
        (row,) = stream._ends.rows(hop[None])
        for place, values in enumerate((row, *states)):
            micro.set_input(values, place)
        micro.invoke()
        states = [micro.get_output(place + 1) for place in range(len(states))]
        scale, zero_point = logits["quantization"]
        heard.append((micro.get_output(0).ravel().astype(np.float32) - zero_point) * scale)
    return np.stack(heard)


def test_a_state_and_its_new_value_are_the_same_bytes() -> None:
    content = convert_stream(keyword_stream(), KEYWORD_SHAPE, "int8", keywords(16, 0)[0], LABELS)
    interpreter = make_interpreter(content)
    old, new = interpreter.get_input_details()[1:], interpreter.get_output_details()[1:]
    assert len(old) == len(new) == 4
    for coming, going in zip(old, new, strict=True):
        assert coming["quantization"] == going["quantization"] and coming["quantization"][0] > 0
        assert (coming["dtype"], tuple(coming["shape"])) == (np.int8, tuple(going["shape"]))
    notes = json.loads(read_metadata(content)[STATES_KEY])
    assert notes["inputs"] == ["features", "state0", "state1", "state2", "state3"]
    assert notes["outputs"] == ["logits", "new_state0", "new_state1", "new_state2", "new_state3"]
    assert "copy all of new_state0" in notes["carrying"]
    signature = interpreter.get_signature_list()["serving_default"]
    assert sorted(signature["inputs"]) == sorted(notes["inputs"])
    assert sorted(signature["outputs"]) == sorted(notes["outputs"])


def test_firmware_that_copies_bytes_hears_what_litert_hears() -> None:
    content = convert_stream(keyword_stream(), KEYWORD_SHAPE, "int8", keywords(16, 0)[0], LABELS)
    sound = np.concatenate(list(keywords(3, 1)[0]), axis=-1)
    stream = TfliteStream(content)
    expected = np.stack([stream.step(hop) for hop in np.split(sound, sound.shape[-1], axis=-1)])
    step = make_interpreter(content).get_output_details()[0]["quantization"][0]
    # Kernels of different runtimes round differently: by a few steps of the output.
    assert np.abs(in_micro(content, sound) - expected).max() <= 4.5 * step


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("seed", range(4))
def test_the_arena_is_the_one_that_was_planned(seed: int, precision: str) -> None:
    shape = SHAPES[seed % 2]
    stream = streaming(fused_network(seed, shape), shape)
    graph = lower(read_module(stream, stream.input_shapes(shape)), precision)
    content = convert_stream(stream, shape, precision, windows(shape, 2), LABELS)
    predicted, measured = predict_arena(graph), measure_arena(content)
    assert predicted.head_bytes == measured.head_bytes
    assert abs(predicted.tail_bytes - measured.tail_bytes) <= 16
    assert unmeasured_operators(graph) == ()
    assert read_tflite(content).digest == graph.digest
    assert all(operator.kind != "transpose" for operator in graph.operators)


@pytest.mark.parametrize("seed", range(3))
def test_the_quick_order_of_operators_needs_no_more_than_the_best(seed: int) -> None:
    stream = streaming(fused_network(seed, SHAPES[0]), SHAPES[0])
    graph = read_module(stream, stream.input_shapes(SHAPES[0]))
    quick = lower(graph, "int8", TFLITE_MICRO)
    best = best_order(quick, TFLITE_MICRO, EXACT_STATES)
    assert plan_memory(quick, TFLITE_MICRO).peak_bytes == plan_memory(best, TFLITE_MICRO).peak_bytes


def test_equalised_channels_go_through_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """One channel holds a hundred times what the others hold, before a convolution over time."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Unflatten(1, (6, 1)),
        nn.Conv2d(6, 8, 1), nn.ReLU(),
        nn.ConstantPad2d((2, 0, 0, 0), 0.0), nn.Conv2d(8, 8, (1, 3)), nn.ReLU(),
        nn.AvgPool2d((1, 20)), nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    with torch.no_grad():
        network[1].weight[0] *= 100
        network[4].weight[:, 0] /= 100
    stream, samples = streaming(network, (6, 20)), windows((6, 20), 16)
    with torch.no_grad():
        expected = network(torch.from_numpy(samples)).numpy()

    def error() -> float:
        heard = hear_windows(TfliteStream(convert_stream(stream, (6, 20), "int8", samples, LABELS)), samples)
        return float(np.abs(heard - expected).max() / np.abs(expected).max())

    equalised = error()
    seen: list[bool] = []

    def left_alone(graph: Any, constants: Any, observed: Any) -> Any:
        scaled, _ = equalize(graph, constants, observed)
        seen.append(any(not np.array_equal(scaled[name], constants[name]) for name in constants))
        return constants, observed

    # The package's name "convert" is the function.
    monkeypatch.setattr(sys.modules["repareto.search.devices.tflite.convert"], "equalize", left_alone)
    assert error() > 3 * equalised and seen == [True]
    assert equalised < 0.05


def test_activations_of_a_fixed_scale_are_joined_to_states() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Unflatten(1, (6, 1)), nn.Conv2d(6, 8, 1), nn.Sigmoid(), nn.ConstantPad2d((2, 0, 0, 0), 0.0),
        nn.Conv2d(8, 8, (1, 3)), nn.Tanh(), nn.AvgPool2d((1, 20)), nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    stream, samples = streaming(network, (6, 20)), windows((6, 20), 16)
    opened = TfliteStream(convert_stream(stream, (6, 20), "int8", samples, LABELS))
    sound = np.concatenate(list(samples), axis=-1)
    expected = torch_hears(stream, sound)
    heard = np.stack([opened.step(hop) for hop in np.split(sound, sound.shape[-1], axis=-1)])
    assert np.abs(heard - expected).max() <= 0.05 * np.abs(expected).max()


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_several_inputs_that_are_no_states_are_refused() -> None:
    graph = read_module(Sum().eval(), [(1, 4), (1, 4)])
    assert graph.inputs == ("input0", "input1") and graph.states == ()
    with pytest.raises(UserError, match="the model has 2 inputs; one is lowered to TFLite, and others only as states"):
        lower(graph, "fp32")
    with pytest.raises(UserError, match=r"does not run on inputs of shapes \(\(1, 4\), \(1, 5\)\)"):
        read_module(Sum().eval(), [(1, 4), (1, 5)])
