import numpy as np
import pytest

from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.runtime import Interpreter, measure_latency_us, run
from repareto.spaces.errors import UserError
from tests.search.devices.tflite.models import answers, features, make


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_latency(precision: str) -> None:
    module, shape = make("conv1d")
    latency = measure_latency_us(convert(module, shape, precision, features(shape).numpy()), repeats=7, seconds=0.2)
    assert latency.runs == 7
    assert 0 < latency.min_us <= latency.median_us


def test_one_interpreter_runs_many_times() -> None:
    module, shape = make("conv1d")
    inputs = features(shape, 6)
    interpreter = Interpreter(convert(module, shape, "fp32"))
    first, second = interpreter.run(inputs[:3].numpy()), interpreter.run(inputs[3:].numpy())
    assert np.allclose(np.concatenate([first, second]), answers(module, inputs).numpy(), atol=1e-5)
    assert interpreter.output_scale == 0


def test_features_beyond_the_range_are_clipped() -> None:
    module, shape = make("conv1d")
    inputs = features(shape).numpy()
    content = convert(module, shape, "int8", inputs)
    large = np.full((1, *shape[1:]), 1e9, np.float32)
    assert (run(content, large) == run(content, np.full_like(large, inputs.max()))).all()


def test_features_of_another_size() -> None:
    module, shape = make("conv1d")
    with pytest.raises(UserError, match=r"features of shape \(2, 4, 21\): the model takes 80 values an example"):
        run(convert(module, shape, "fp32"), np.zeros((2, 4, 21), np.float32))


def test_a_file_that_litert_refuses() -> None:
    module, shape = make("conv1d")
    content = bytearray(convert(module, shape, "fp32"))
    with pytest.raises(UserError, match="TFLite model: LiteRT does not load it") as caught:
        run(bytes(content[: len(content) // 2]), np.zeros((1, 4, 20), np.float32))
    assert "\n" not in str(caught.value)
