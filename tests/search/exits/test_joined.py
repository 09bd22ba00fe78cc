"""One file that stops early by itself answers as its stages do, at the exit that the policy names."""

import json
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.search.devices.host.onnx_runtime import make_session
from repareto.search.devices.host.onnx_stages import OnnxStages, stage_files
from repareto.search.exits.joined import (
    EXIT,
    PROBABILITIES,
    TEMPERATURES,
    THRESHOLDS,
    joined_difference,
    joined_latencies_us,
    joined_onnx,
)
from repareto.spaces.exits.conformer import CTC_POLICIES
from repareto.trainers.exits.policies import POLICIES
from repareto.trainers.exits.temperature import softmax
from repareto.trainers.exits.thresholds import exits_taken
from tests.search.exits.exports import LABELS, float_stages
from tests.spaces.conformer.test_network import SHAPE as CONFORMER_SHAPE
from tests.spaces.conformer.test_network import X as CONFORMER_X
from tests.spaces.exits.test_conformer import network as conformer
from tests.spaces.exits.test_network import X


@cache
def session(policy: str) -> Any:
    return make_session(joined_onnx(float_stages(), [1.0, 1.0, 1.0], policy, [0.5, None], LABELS))


@cache
def stage_logits() -> np.ndarray:
    """Of each example alone, (n, e, c), as the stages give them."""
    stages = OnnxStages(float_stages())
    return np.stack([np.stack(list(stages.answers(example))) for example in X.numpy()]).astype(float)


LEVELS = st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.35, 0.5, 0.9, 1.0, 2.0, float("inf")])


@given(
    policy=st.sampled_from(sorted(POLICIES)),
    temperatures=st.lists(st.floats(0.05, 20), min_size=3, max_size=3),
    thresholds=st.lists(LEVELS, min_size=2, max_size=2),
    example=st.integers(0, len(X) - 1),
)
@settings(max_examples=60, deadline=None)
def test_it_leaves_where_the_policy_says_with_the_probabilities_of_that_exit(
    policy: str, temperatures: list[float], thresholds: list[float], example: int
) -> None:
    given_values = {
        "features": X[example : example + 1].numpy(),
        TEMPERATURES: np.array(temperatures),
        THRESHOLDS: np.array(thresholds),
    }
    probabilities, exit = session(policy).run([PROBABILITIES, EXIT], given_values)
    expected = softmax(stage_logits()[example : example + 1] / np.array(temperatures)[:, None])
    (taken,) = exits_taken(POLICIES[policy](expected), thresholds)
    assert exit == taken + 1
    np.testing.assert_allclose(probabilities[0], expected[0, taken], rtol=1e-5, atol=1e-9)


def test_what_was_chosen_is_the_default_and_may_be_replaced() -> None:
    content = joined_onnx(float_stages(), [0.7, 1.5, 1.0], "confidence", [0.0, None], LABELS)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    chosen = make_session(content)
    assert [source.name for source in chosen.get_inputs()] == ["features"]
    assert json.loads(chosen.get_modelmeta().custom_metadata_map["repareto.labels"]) == LABELS
    features = {"features": X[:1].numpy()}
    probabilities, exit = chosen.run(None, features)
    assert exit == 1
    np.testing.assert_allclose(probabilities[0], softmax(stage_logits()[0, 0], 0.7), rtol=1e-5)
    assert chosen.run([EXIT], {**features, THRESHOLDS: np.array([np.inf, 0.0])})[0] == 2
    assert (
        make_session(joined_onnx(float_stages(), [1.0] * 3, "entropy", [None, None], LABELS)).run([EXIT], features)[0]
        == 3
    )


@pytest.mark.parametrize("policy", CTC_POLICIES)
def test_transcribers_leave_by_the_mean_of_their_steps(policy: str) -> None:
    files = stage_files(conformer().eval(), CONFORMER_SHAPE)
    stages, temperatures = OnnxStages(files), [0.7, 1.5, 1.0]
    scores = POLICIES[policy](softmax(stages.all_answers(CONFORMER_X.numpy()) / np.array(temperatures)[:, None, None]))[
        :, :2
    ]
    # Exactly a score would be a matter of rounding.
    point = {"policy": policy, "thresholds": [float(bar) + 1e-6 for bar in np.sort(scores, axis=0)[1]]}
    content = joined_onnx(files, temperatures, policy, point["thresholds"], LABELS)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    assert joined_difference(content, stages, temperatures, point, CONFORMER_X.numpy()) < 1e-9
    exits = {int(make_session(content).run([EXIT], {"features": x[None].numpy()})[0]) for x in CONFORMER_X}
    assert len(exits) > 1


def test_a_branch_that_is_not_taken_is_not_computed() -> None:
    """A stage that would fail where it ran: its map has another shape than it takes."""
    broken = [*float_stages()[:2], _with_failure(float_stages()[2])]
    joined = make_session(joined_onnx(broken, [1.0] * 3, "confidence", [0.0, 0.0], LABELS))
    features = {"features": X[:1].numpy()}
    assert joined.run([EXIT], features)[0] == 1
    assert joined.run([EXIT], {**features, THRESHOLDS: np.array([np.inf, 0.0])})[0] == 2
    with pytest.raises(Exception, match="Reshape"):
        joined.run([EXIT], {**features, THRESHOLDS: np.array([np.inf, np.inf])})


def _with_failure(content: bytes) -> bytes:
    """The stage with a check of its input that never holds: a reshape to a size that is computed to be too large."""
    model = onnx.load_from_string(content)
    source = model.graph.input[0].name
    one = onnx.numpy_helper.from_array(np.array([1], np.int64), "one")
    nodes = [
        onnx.helper.make_node("Size", [source], ["size"]),
        onnx.helper.make_node("Add", ["size", "one"], ["more"]),
        onnx.helper.make_node("Reshape", [source, "more"], ["flat"]),
        onnx.helper.make_node("ReduceSum", ["flat"], ["sum"], keepdims=0),
        onnx.helper.make_node("Add", [source, "sum"], ["checked"]),
    ]
    for node in model.graph.node:
        node.input[:] = ["checked" if name == source else name for name in node.input]
    old = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *old])
    model.graph.initializer.append(one)
    return bytes(model.SerializeToString())


def test_the_time_to_each_exit_grows() -> None:
    times = joined_latencies_us(joined_onnx(float_stages(), [1.0] * 3, "patience", [1.0, 1.0], LABELS))
    assert len(times) == 3 and 0 < times[0] < times[2]
