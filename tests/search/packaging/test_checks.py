"""Files that answer otherwise, or worse, than torch are refused."""

import numpy as np
import pytest
import torch
from torch import nn

from repareto.search.packaging.checks import MOST_EXAMPLES, Checker
from repareto.search.packaging.samples import Samples
from repareto.search.tasks import TASKS
from repareto.spaces.errors import UserError
from repareto.trainers.data.dataset import Dataset, Split

CLASSES = 4


def dataset(examples: int) -> Dataset:
    """Each example has its class marked; one in ten is labelled with another one."""
    labels = np.arange(examples) % CLASSES
    split = Split(
        np.eye(CLASSES, dtype=np.float16)[labels] * 4, np.where(np.arange(examples) % 10, labels, (labels + 1) % 4)
    )
    return Dataset("marks", tuple("abcd"), split, split, split, {"kind": "marks"})


@pytest.fixture
def model() -> nn.Module:
    linear = nn.Linear(CLASSES, CLASSES, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(CLASSES))
    return linear.eval()


def checker(model: nn.Module, data: Dataset | None) -> Checker:
    samples = None if data is None else Samples.of(data)
    return Checker.of(model, TASKS["classification"], (CLASSES,), samples)


def test_the_same_answers_are_told_with_their_errors(model: nn.Module) -> None:
    told = checker(model, dataset(200)).check("model.onnx", "onnxruntime", lambda x: x.copy())
    assert told == {
        "runtime": "onnxruntime",
        "examples": 200,
        "of": "the test split of marks",
        "difference": 0.0,
        "difference_is": "largest, over the largest logit above 1",
        "tolerance": 1e-4,
        "error": 0.1,
        "error_of_torch": 0.1,
    }


def test_other_outputs_are_refused(model: nn.Module) -> None:
    check = checker(model, dataset(40)).check
    told = check("a", "r", lambda x: x + 3e-4)
    # Of the largest logit, which is 4.
    assert told["difference"] == pytest.approx(0.75e-4, rel=0.01)
    for answers in (lambda x: x + 5e-4, lambda x: x * np.nan, lambda x: x[:, :3]):
        with pytest.raises(UserError, match=r"a.tflite: its outputs differ from torch's by .* \(tolerance 0.0001\)"):
            check("a.tflite", "r", answers)


def test_a_quantised_file_may_round_and_not_lose_half_a_point(model: nn.Module) -> None:
    check = checker(model, dataset(400)).check
    rounded = check("a", "r", lambda x: np.round(x / 0.3) * 0.3, quantised=True)
    assert 0.01 < rounded["difference"] < 0.25 and rounded["error"] == rounded["error_of_torch"]

    def confused(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[1:13:4], x[2:14:4] = x[2:14:4].copy(), x[1:13:4].copy()
        return x

    with pytest.raises(UserError, match=r"a: makes 11\.\d+ % errors on the test split of marks, and torch 10\.00 %"):
        check("a", "r", confused, quantised=True)


def test_examples_are_taken_evenly_or_made_up(model: nn.Module) -> None:
    many = checker(model, dataset(4 * MOST_EXAMPLES))
    assert len(many.inputs) == MOST_EXAMPLES and len(np.unique(many.split.labels)) == CLASSES
    made_up = checker(model, None)
    assert not made_up.is_labelled and made_up.inputs.dtype == np.float32
    assert "error" not in made_up.check("a", "r", lambda x: x)


def test_a_file_that_was_scored_is_held_against_its_score(model: nn.Module) -> None:
    check = checker(model, dataset(400)).check_scored

    def shifted(x: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(x))[:, None] < 40, 0.9 * np.roll(x, 1, 1), x)

    told = check("a", "r", shifted, 0.18)
    assert told["error"] == 0.18 and told["error_of_torch"] == 0.1
    assert check("a", "r", shifted, None)["error"] == 0.18
    with pytest.raises(UserError, match=r"a: makes 18\.00 % errors on .*, and 17\.00 % when the search scored it"):
        check("a", "r", shifted, 0.17)
    with pytest.raises(UserError, match="its outputs differ"):
        check("a", "r", lambda x: np.roll(x, 1, 1), 0.9)
