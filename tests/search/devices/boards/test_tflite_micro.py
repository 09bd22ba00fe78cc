import json

import pytest
from torch import nn

from repareto.search.devices.boards.isolated import ToolError
from repareto.search.devices.boards.tflite_micro import measure_arena
from repareto.search.devices.tflite.convert import convert
from repareto.spaces.errors import UserError


def small_model(precision: str = "int8") -> bytes:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(8, 4))
    return convert(layers.eval(), (1, 3, 8, 8), precision)


def test_the_arena_of_a_model_that_was_planned_by_hand() -> None:
    arena = measure_arena(small_model())
    # The convolution reads 8 * 8 * 3 bytes and writes 8 * 8 * 8.
    assert arena.head_bytes == 192 + 512
    assert arena.total_bytes == arena.head_bytes + arena.tail_bytes
    parts = dict(arena.parts)
    assert parts["NodeAndRegistration struct"] % 64 == 0
    assert sum(parts.values()) < arena.tail_bytes
    assert measure_arena(small_model("fp32")).head_bytes == 4 * arena.head_bytes


def test_a_file_that_is_no_model() -> None:
    with pytest.raises(UserError, match="is no TFLite model"):
        measure_arena(json.dumps({"a": "model"}).encode())


def test_a_file_that_was_cut_short_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^TensorFlow Lite Micro: ") as caught:
        measure_arena(small_model()[:600])
    assert "\n" not in str(caught.value)


def test_an_operator_that_the_runtime_has_not_is_named() -> None:
    # The table of operators names BUILTIN code 14, LOGISTIC, once; 147 is BUCKETIZE, which the runtime has not.
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    layers = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sigmoid())
    model = schema.ModelT.InitFromPackedBuf(convert(layers.eval(), (1, 3, 8, 8), "int8"))
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.LOGISTIC:
            code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.BUCKETIZE, 127
    builder = Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(UserError, match=r"^TensorFlow Lite Micro: has no operator BUCKETIZE; "):
        measure_arena(bytes(builder.Output()))


def test_an_operator_that_cannot_be_prepared_is_named_with_its_place() -> None:
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    layers = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sigmoid())
    model = schema.ModelT.InitFromPackedBuf(convert(layers.eval(), (1, 3, 8, 8), "int8"))
    model.subgraphs[0].tensors[-1].type = schema.TensorType.FLOAT32
    builder = Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ToolError, match=r"operator \d \(\w+\) cannot be prepared \("):
        measure_arena(bytes(builder.Output()))


def test_a_time_limit_holds() -> None:
    with pytest.raises(ToolError, match="no answer on this model within"):
        measure_arena(small_model(), limit_s=0.01)
