import contextlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.lower import lower
from repareto.search.devices.tflite.read import read_tflite
from repareto.spaces.errors import UserError
from tests.search.devices.tflite.models import MODELS, features, make


def file_of(name: str, precision: str = "int8") -> bytes:
    module, shape = make(name)
    return convert(module, shape, precision, features(shape, 2).numpy())


@pytest.fixture(scope="module")
def small() -> bytes:
    return file_of("conv1d")


def edited(content: bytes, edit: Any) -> bytes:
    """The file after ``edit`` changed its unpacked model."""
    model = schema.ModelT.InitFromPackedBuf(content)
    edit(model)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_a_file_of_ours_is_the_graph_that_was_lowered(name: str, precision: str) -> None:
    module, shape = make(name)
    lowered, read = lower(read_module(module, shape), precision), read_tflite(file_of(name, precision))
    assert read.digest == lowered.digest
    assert (read.parameters, read.weight_bytes, read.macs) == (lowered.parameters, lowered.weight_bytes, lowered.macs)
    assert set(read.weights) == set(lowered.weights)


def test_from_a_path(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(small)
    assert read_tflite(path).digest == read_tflite(small).digest


def test_data_are_aligned_for_a_microcontroller(small: bytes) -> None:
    model = schema.Model.GetRootAs(small)
    start = np.frombuffer(small, np.uint8).ctypes.data
    held = [model.Buffers(number).DataAsNumpy() for number in range(model.BuffersLength())]
    offsets = [values.ctypes.data - start for values in held if isinstance(values, np.ndarray)]
    assert len(offsets) > 4
    assert all(offset % 16 == 0 for offset in offsets)


def test_unnamed_tensors_and_a_bias_that_is_left_out(small: bytes) -> None:
    def edit(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = b"same"
        model.subgraphs[0].operators[0].inputs = [*model.subgraphs[0].operators[0].inputs[:2], -1]

    read = read_tflite(edited(small, edit))
    assert [op.attribute("operator") for op in read.operators] == ["CONV_2D", "FULLY_CONNECTED"]
    assert len(read.operators[0].inputs) == 2
    assert read.macs == read_tflite(small).macs


def test_an_operator_that_is_not_known(small: bytes) -> None:
    def custom(model: Any) -> None:
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].customCode = b"ethos-u"

    def foreign(model: Any) -> None:
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM

    assert read_tflite(edited(small, custom)).unknown == ("ethos-u",)
    assert read_tflite(edited(small, foreign)).unknown == ("UNIDIRECTIONAL_SEQUENCE_LSTM",)


def test_a_dynamic_batch_counts_as_one(small: bytes) -> None:
    def edit(model: Any) -> None:
        model.subgraphs[0].tensors[0].shapeSignature = [-1, 1, 20, 4]

    assert read_tflite(edited(small, edit)).digest == read_tflite(small).digest


def _two_subgraphs(model: Any) -> None:
    model.subgraphs.append(model.subgraphs[0])


def _dynamic_length(model: Any) -> None:
    model.subgraphs[0].tensors[0].shapeSignature = [1, 1, -1, 4]


def _batch_of_eight(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [8, 1, 20, 4]


def _no_subgraph(model: Any) -> None:
    model.subgraphs = []


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_two_subgraphs, "TFLite model: has 2 subgraphs; one is read"),
        (_no_subgraph, "TFLite model: has 0 subgraphs; one is read"),
        (_dynamic_length, "TFLite model: tensor input: axis 2 is dynamic"),
        (_batch_of_eight, "TFLite model: input input: a batch of 8; one is read"),
    ],
)
def test_what_is_refused(small: bytes, edit: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_tflite(edited(small, edit))
    assert "\n" not in str(caught.value)


def test_paddings_that_are_computed() -> None:
    def edit(model: Any) -> None:
        paddings = model.subgraphs[0].operators[0].inputs[1]
        model.subgraphs[0].tensors[paddings].buffer = 0

    with pytest.raises(UserError, match="PAD: its paddings is computed while the model runs"):
        read_tflite(edited(file_of("causal"), edit))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.tflite: cannot be read: No such file"):
        read_tflite(tmp_path / "missing.tflite")
    for content in (b"", b"PK\x03\x04 a zip", b"\x00" * 100):
        with pytest.raises(UserError, match="TFLite model: not a TFLite model"):
            read_tflite(content)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 40), st.booleans())
def test_a_corrupt_file_is_refused_or_read(small: bytes, rng: random.Random, count: int, cut: bool) -> None:
    content = bytearray(small[: rng.randrange(9, len(small))] if cut else small)
    for _ in range(count):
        content[rng.randrange(8, len(content))] = rng.randrange(256)
    # Whatever else it raises fails the test, and so does a walk through a list without end.
    with contextlib.suppress(UserError):
        read_tflite(bytes(content))


def test_vela_takes_the_files(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(file_of("squeeze and excite"))
    tool = Path(sys.executable).with_name("vela")
    command = [str(tool), str(path), "--accelerator-config", "ethos-u55-128", "--output-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "CPU operators = 0" in done.stdout
