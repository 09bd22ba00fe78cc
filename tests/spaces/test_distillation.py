"""Distillation as dimensions of a space, and who the teacher is."""

import random
from typing import Any

import pytest

from repareto.spaces.distillation import SELF, TEACHER, Distillation, WithDistillation
from repareto.spaces.errors import UserError
from repareto.spaces.space import load_space
from repareto.spaces.sparsity.space import WithSparsity

SMALL = {"name": "ds_cnn", "width": [8, 64], "blocks": [1, 2]}
ALL = {"from": ["none", "teacher", "self"], "logits": [0.1, 0.5], "layers": 0.9, "teacher": {"width": 80}}


def space(distillation: Any, **others: Any) -> Any:
    return load_space({**SMALL, **others, "distillation": distillation})


def test_parameters_exist_only_where_they_mean_something() -> None:
    sparse = space(ALL, sparsity={"method": ["none", "magnitude"]})
    assert isinstance(sparse, WithDistillation) and isinstance(sparse.space, WithSparsity)
    seen = set()
    for seed in range(40):
        candidate = sparse.draw(random.Random(seed))
        values = candidate.distillation()
        seen.add(values["from"])
        assert set(values) == ({"from"} if values["from"] == "none" else {"from", "logits", "layers"})
        assert sparse.candidate(dict(candidate)) == candidate
        asked = Distillation.of(candidate)
        is_dense = candidate.sparsity()["method"] == "none"
        if values["from"] == "none" or (values["from"] == SELF and is_dense):
            assert asked is None
        else:
            assert asked == Distillation(str(values["from"]), float(values["logits"]), 0.9)
    assert seen == {"none", "teacher", "self"}


def test_a_space_without_distillation_asks_for_none() -> None:
    assert Distillation.of(load_space(SMALL).middle()) is None


def test_the_teacher_is_the_middle_of_the_space_but_for_what_is_said() -> None:
    distilled = space({"from": TEACHER, "teacher": {"width": 80}})
    assert distilled.teacher_space == load_space({**SMALL, "width": 80})


def test_the_teacher_may_be_of_another_space() -> None:
    distilled = space({"from": TEACHER, "teacher": {"name": "bc_resnet", "width": 16}})
    assert distilled.teacher_space == load_space({"name": "bc_resnet", "width": 16})


def test_a_study_with_another_teacher_is_another() -> None:
    one, other = (space({"from": TEACHER, "teacher": {"width": width}}) for width in (72, 80))
    assert one != other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "space.distillation {}: must have keys (try from: [none, teacher])"),
        ({"form": "teacher"}, "space.distillation.form: unknown key (did you mean from?)"),
        ({"from": "parent"}, "space.distillation.from: 'parent' is not among"),
        ({"from": "none", "logits": 2}, "space.distillation.logits: 2 is not within [0, 1]"),
        ({"from": "none", "layers": "all"}, "space.distillation.layers: 'all' is neither a number nor [low, high]"),
        ({"from": "none", "teacher": {"width": 80}}, "space.distillation.teacher: nobody learns from it"),
        ({}, "space.distillation {}"),
        ({"from": "teacher"}, "space.distillation.teacher: this key is needed where candidates learn from a teacher"),
        (
            {"from": "teacher", "teacher": {"widht": 8}},
            "space.distillation.teacher.widht: ds_cnn has no such dimension",
        ),
        ({"from": "teacher", "teacher": {"width": 9}}, "space.distillation.teacher.width: 9 is not within"),
        ({"from": "teacher", "teacher": {"sparsity": {}}}, "space.distillation.teacher.sparsity: a teacher has none"),
        ({"from": "self"}, "space.distillation.from: self is for sparse candidates"),
    ],
)
def test_what_cannot_be_asked_for(settings: Any, message: str) -> None:
    with pytest.raises(UserError) as raised:
        space(settings)
    assert str(raised.value).startswith(message)


def test_self_is_for_spaces_that_can_be_sparse() -> None:
    with pytest.raises(UserError, match="none is sparse here"):
        space({"from": "self"}, sparsity={"method": "none"})
    assert space({"from": "self"}, sparsity={"method": "l0"}).teacher_space is None


def test_a_teacher_hears_what_its_students_hear() -> None:
    with pytest.raises(UserError, match="they have several front ends"):
        space({"from": "teacher", "teacher": {"width": 80}}, front_end={"bands": [20, 40]})
    assert space({"from": "teacher", "teacher": {"width": 80}}, front_end={"bands": [20]}).front_end_options()
