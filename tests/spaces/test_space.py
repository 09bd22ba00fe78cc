"""Dimensions, candidates and spaces."""

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from repareto.spaces.errors import UserError
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import (
    Candidate,
    Choice,
    Float,
    Int,
    Parameter,
    SearchSpace,
    load_class,
    load_space,
)

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
SETTINGS = st.one_of(VALUES, st.lists(VALUES, max_size=3), st.dictionaries(st.text(max_size=2), VALUES, max_size=2))


@st.composite
def ints(draw) -> Int:
    low, step = draw(st.integers(-20, 20)), draw(st.integers(1, 5))
    return Int(low, low + step * draw(st.integers(0, 6)), step)


@st.composite
def floats(draw) -> Float:
    log = draw(st.booleans())
    edge = st.floats(1e-6, 1e3) if log else st.floats(-1e3, 1e3)
    low, high = sorted((draw(edge), draw(edge)))
    return Float(low, high, log=log)


choices = st.lists(st.one_of(st.booleans(), st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=4).map(
    lambda options: Choice(tuple(options))
)
dimensions = st.one_of(ints(), floats(), choices)


@given(dimensions, st.integers(0, 2**32))
def test_what_is_drawn_and_the_middle_are_members(dimension, seed: int) -> None:
    assert dimension.draw(random.Random(seed)) in dimension
    assert dimension.middle() in dimension


@given(st.floats(1e-6, 1e3), st.integers(0, 2**32))
def test_a_single_number_is_drawn_as_it_is(value: float, seed: int) -> None:
    only = Float(1e-6, 1e3, log=True).narrow(value)
    assert only.middle() == value
    assert only.draw(random.Random(seed)) == value


@given(dimensions, SETTINGS)
def test_narrowing_gives_a_part_or_a_complaint_that_names_the_setting(dimension, setting: Any) -> None:
    part, complaint = dimension, repr(setting)
    try:
        part = dimension.narrow(setting)
    except UserError as error:
        complaint = str(error)
    assert repr(setting) in complaint
    assert type(part) is type(dimension)
    members = part.options if isinstance(part, Choice) else (part.low, part.high)
    assert all(member in dimension for member in members)


@given(ints())
def test_a_whole_range_by_brute_force(dimension: Int) -> None:
    members = [value for value in range(-60, 80) if value in dimension]
    assert members == list(range(dimension.low, dimension.high + 1, dimension.step))
    assert dimension.middle() == members[(len(members) - 1) // 2]
    rng = random.Random(0)
    assert {dimension.draw(rng) for _ in range(200)} == set(members)


@pytest.mark.parametrize(
    ("dimension", "setting", "part"),
    [
        (Int(1, 9), [2, 5], Int(2, 5)),
        (Int(1, 9), 4, Int(4, 4)),
        (Int(4, 96, step=4), (8, 16), Int(8, 16, step=4)),
        (Float(0.1, 10, log=True), [1, 5.5], Float(1.0, 5.5, log=True)),
        (Float(0, 1), 1, Float(1.0, 1.0)),
        (Choice((3, 5, 7)), [3, 7], Choice((3, 7))),
        (Choice((3, 5, 7)), 5, Choice((5,))),
        (Choice((False, True)), True, Choice((True,))),
        (Choice(("a", "b")), "b", Choice(("b",))),
    ],
)
def test_narrowing(dimension, setting: Any, part: Any) -> None:
    assert dimension.narrow(setting) == part


@pytest.mark.parametrize(
    ("dimension", "setting", "message"),
    [
        (Int(1, 9), [0, 5], r"\[0, 5\] is not within \[1, 9\]"),
        (Int(1, 9), [5, 2], r"\[5, 2\] is not within \[1, 9\]"),
        (Int(4, 96, step=4), 5, r"5 is not within \[4, 96\] in steps of 4"),
        (Int(1, 9), 2.0, r"2.0 is not within"),
        (Int(1, 9), True, r"True is not within"),
        (Int(1, 9), [1, 2, 3], r"\[1, 2, 3\] is neither a number nor \[low, high\]"),
        (Int(1, 9), "2", r"'2' is neither a number nor \[low, high\]"),
        (Int(1, 9), None, r"None is neither a number nor \[low, high\]"),
        (Float(0, 1), [0, float("nan")], r"\[0, nan\] is not within \[0, 1\]"),
        (Float(0, 1), float("inf"), r"inf is not within \[0, 1\]"),
        (Choice((3, 5)), 4, r"4 is not among \[3, 5\]"),
        (Choice((3, 5)), [], r"\[\] is not among \[3, 5\]"),
        (Choice((False, True)), 1, r"1 is not among \[false, true\]"),
        (Choice((0, 1)), [False], r"\[False\] is not among \[0, 1\]"),
        (Choice((3, 5)), [[3]], r"\[\[3\]\] is not among \[3, 5\]"),
    ],
)
def test_what_cannot_be_narrowed_to(dimension, setting: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$" if message.endswith("]") else f"^{message}"):
        dimension.narrow(setting)


@dataclass(frozen=True)
class Toy(SearchSpace):
    name: ClassVar[str] = "toy"

    form: Choice = Choice(("plain", "deep"))
    depth: Int = Int(2, 5)
    kernel: Choice = Choice((3, 5))
    rate: Float = Float(1e-4, 1e-1, log=True)
    title: str = "none"

    def parameters(self) -> tuple[Parameter, ...]:
        return (
            Parameter("form", self.form),
            Parameter("depth", self.depth, "form", ("deep",)),
            Parameter("kernel", self.kernel, "depth", (4, 5)),
            Parameter("training.rate", self.rate),
        )

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        raise NotImplementedError


PLAIN = {"form": "plain", "training.rate": 0.01}
DEEP = {"form": "deep", "depth": 4, "kernel": 3, "training.rate": 0.01}


@given(st.integers(0, 2**32))
def test_a_parameter_exists_only_under_its_parent(seed: int) -> None:
    candidate = Toy().draw(random.Random(seed))
    assert ("depth" in candidate) == (candidate["form"] == "deep")
    assert ("kernel" in candidate) == (candidate.get("depth") in (4, 5))
    assert Toy().candidate(dict(candidate)) == candidate
    assert Toy().draw(random.Random(seed)) == candidate


def test_the_middle_of_a_space() -> None:
    assert dict(Toy().middle()) == {"form": "plain", "training.rate": pytest.approx(10**-2.5)}
    deep = replace(Toy(), form=Choice(("deep",)))
    assert deep.middle()["depth"] == 3 and "kernel" not in deep.middle()


@pytest.mark.parametrize("values", [PLAIN, DEEP, {**DEEP, "depth": 2} | {"kernel": None}])
def test_valid_candidates(values: dict[str, Any]) -> None:
    values = {name: value for name, value in values.items() if value is not None}
    candidate = Toy().candidate(values)
    assert dict(candidate) == values
    assert len(candidate) == len(values) and list(candidate) == sorted(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**PLAIN, "depth": 3}, "space toy: parameter(s) depth missing or not in this space"),
        ({"form": "deep", "training.rate": 0.01}, "space toy: parameter(s) depth missing or not in this space"),
        ({**DEEP, "depth": 3}, "space toy: parameter(s) kernel missing or not in this space"),
        ({}, "space toy: parameter(s) form, training.rate missing or not in this space"),
        ({**PLAIN, "a": 1, "b": 2}, "space toy: parameter(s) a, b missing or not in this space"),
        ({**PLAIN, "form": "flat"}, """space toy: form = 'flat' is not in ["plain", "deep"]"""),
        ({**DEEP, "kernel": 5.0}, "space toy: kernel = 5.0 is not in [3, 5]"),
        ({**PLAIN, "training.rate": 1}, "space toy: training.rate = 1 is not in [0.0001, 0.1]"),
        ({**PLAIN, "training.rate": float("nan")}, "space toy: training.rate = nan is not in [0.0001, 0.1]"),
        ({**PLAIN, "training.rate": True}, "space toy: training.rate = True is not in [0.0001, 0.1]"),
    ],
)
def test_invalid_candidates(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        Toy().candidate(values)
    assert str(raised.value) == message


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(st.booleans(), st.integers(), st.text(max_size=4))))
def test_a_candidate_is_the_same_whatever_the_order_and_comes_back_from_json(values: dict[str, Any]) -> None:
    candidate = Candidate.of("toy", values)
    shuffled = Candidate.of("toy", dict(reversed(values.items())))
    assert candidate == shuffled and hash(candidate) == hash(shuffled)
    assert candidate.digest == shuffled.digest
    again = Candidate.from_json(candidate.to_json())
    assert again == candidate and again.to_json() == candidate.to_json()
    assert json.loads(candidate.to_json()) == {"space": "toy", "values": values}
    with pytest.raises(KeyError):
        candidate["no such name that was drawn"]


@given(st.floats(1e-6, 1e3))
def test_every_digit_of_a_float_survives(value: float) -> None:
    candidate = Candidate.of("toy", {"x": value})
    assert Candidate.from_json(candidate.to_json())["x"] == value


def test_the_canonical_form_and_the_digest_are_frozen() -> None:
    candidate = Toy().candidate(DEEP)
    assert candidate.to_json() == '{"space":"toy","values":{"depth":4,"form":"deep","kernel":3,"training.rate":0.01}}'
    assert candidate.digest == "e611a27fbaca9421", "a change makes every old study's candidates others"
    assert Candidate.of("other", DEEP).digest != candidate.digest


def test_what_a_candidate_hands_out() -> None:
    candidate = Toy().candidate(DEEP)
    assert candidate.training() == {"rate": 0.01}
    assert candidate.integer("depth") == 4
    with pytest.raises(AssertionError, match="form"):
        candidate.integer("form")
    assert candidate.get("zzz", 3) == 3


def test_a_description_tells_spaces_apart() -> None:
    description = Toy().describe()
    assert json.loads(json.dumps(description))[1] == {
        "name": "depth", "kind": "Int", "low": 2, "high": 5, "step": 1, "parent": "form", "parent_values": ["deep"],
    }  # fmt: skip
    assert description == Toy().describe()
    for other in (
        replace(Toy(), depth=Int(2, 4)),
        replace(Toy(), form=Choice(("deep",))),
        replace(Toy(), rate=Float(1e-4, 0.1)),
    ):
        assert other.describe() != description


# Spaces by name.


def test_the_built_in_space_narrowed() -> None:
    space = load_space({"name": "repcnn", "stages": [1, 2], "kernel": [3, 5], "form": "full", "learning_rate": 0.01})
    expected = RepCNN(
        stages=Int(1, 2), kernel=Choice((3, 5)), form=Choice(("full",)), learning_rate=Float(0.01, 0.01, log=True)
    )
    assert space == expected
    assert load_space({"name": "repcnn"}) == RepCNN()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "repcn"}, "space 'repcn' is unknown (did you mean repcnn?; your own: package.module:Class)"),
        (
            {"name": "zzz"},
            "space 'zzz' is unknown (known: repcnn, bc_resnet,",
        ),
        (
            {"name": ""},
            "space '' is unknown (known: repcnn, bc_resnet,",
        ),
        ({"name": "repcnn", "stage": 2}, "space.stage: repcnn has no such dimension (did you mean stages?)"),
        ({"name": "repcnn", "zzz": 2}, "space.zzz: repcnn has no such dimension (known: form, stages, width, "),
        ({"name": "repcnn", "stages": [1, 9]}, "space.stages: [1, 9] is not within [1, 4]"),
        ({"name": "repcnn", "kernel": 4}, "space.kernel: 4 is not among [3, 5, 7, 9, 11, 13]"),
        ({"name": "repcnn", "bands": 20}, "space.bands: repcnn has no such dimension (known: form, "),
        ({"name": "repcnn", "front_end": [20]}, "space.front_end [20]: must be fields with their options (try bands"),
        ({"name": "repcnn", "front_end": {}}, "space.front_end {}: must be fields with their options (try bands"),
        ({"name": "repcnn", "front_end": {"bands": []}}, "space.front_end.bands []: must be a number or a list of"),
        (
            {"name": "repcnn", "front_end": {"bands": "many"}},
            "space.front_end.bands 'many': must be a number or a",
        ),
        ({"name": "repcnn", "front_end": {"bands": [True]}}, "space.front_end.bands [True]: must be a number or a"),
        ({"name": "repcnn", "front_end": {"bands": [20, 20.0]}}, "space.front_end.bands [20, 20.0]: names an option t"),
        ({"name": "no.such:Space"}, "space 'no.such:Space' cannot be imported: No module named 'no'"),
        ({"name": "json:Space"}, "space 'json:Space' cannot be imported: module 'json' has no attribute 'Space'"),
        ({"name": "json:dumps"}, "space 'json:dumps' is not a class"),
        ({"name": "json:"}, "space 'json:' cannot be imported"),
        ({"name": "json:JSONDecoder"}, "space 'json:JSONDecoder' is not a dataclass derived from repareto.spaces."),
    ],
)
def test_what_cannot_be_loaded(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        load_space(settings)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("name", [":Space", ".relative:Space", "a..b:Space", "json:dumps.real"])
def test_a_path_that_is_none(name: str) -> None:
    with pytest.raises(UserError, match=f"^space '{name}' "):
        load_space({"name": name})


@pytest.mark.parametrize("name", ["repcnn", "ds_cnn", "mlperf_tiny"])
def test_any_space_with_a_front_end(name: str) -> None:
    plain = load_space({"name": name})
    space = load_space({"name": name, "front_end": {"bands": [20, 40], "hop_ms": [10.0, 12.5], "window_ms": 32}})
    assert space.name == plain.name
    assert space.describe()[:-3] == plain.describe()
    assert space.front_end_options() == {"bands": (20, 40), "hop_ms": (10, 12.5), "window_ms": (32,)}
    assert space.middle().front_end() == {"bands": 20, "hop_ms": 10, "window_ms": 32}
    drawn = [space.draw(random.Random(seed)) for seed in range(40)]
    assert {(c["front_end.bands"], c["front_end.hop_ms"]) for c in drawn} == {
        (20, 10), (20, 12.5), (40, 10), (40, 12.5),
    }  # fmt: skip
    assert all(Candidate.from_json(c.to_json()) == c == space.candidate(dict(c)) for c in drawn)


def test_a_space_without_a_front_end_is_as_it_always_was() -> None:
    """Studies go on, and their candidates keep their digests."""
    space = load_space({"name": "repcnn", "stages": 1, "width": 8, "blocks": 1, "kernel": 3})
    assert not any(parameter["name"].startswith("front_end") for parameter in space.describe())
    assert space.front_end_options() == {} and space.middle().front_end() == {}
    assert type(space) is RepCNN
    assert space.middle().digest == "7847a971ecae2b3d"


@dataclass(frozen=True)
class Hearing(Toy):
    """A space that chooses the front end by itself."""

    bands: Any = Choice((20, 40))
    parent: str | None = None

    def parameters(self) -> tuple[Parameter, ...]:
        parent = (self.parent, ("deep",)) if self.parent else ()
        return (*super().parameters(), Parameter("front_end.bands", self.bands, *parent))


def test_a_space_of_ones_own_that_chooses_the_front_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Hearing().front_end_options() == {"bands": (20, 40)}
    for odd in (Hearing(bands=Int(20, 40)), Hearing(parent="form")):
        with pytest.raises(UserError, match=r"space toy: front_end\.bands must be a Choice without a parent"):
            odd.front_end_options()
    monkeypatch.setitem(sys.modules, "hearing", sys.modules[__name__])
    with pytest.raises(UserError, match=r"^space\.front_end\.bands: toy has this dimension itself"):
        load_space({"name": "hearing:Hearing", "front_end": {"bands": [20]}})


OWN = """
from dataclasses import dataclass
from typing import ClassVar

from repareto.spaces import Candidate, Choice, Int, Parameter, SearchSpace
from torch import nn


@dataclass(frozen=True)
class Own(SearchSpace):
    name: ClassVar[str] = "own"
    bias: str
    width: Int = Int(1, 8)

    def parameters(self):
        return (Parameter("width", self.width),)

    def build(self, candidate, input_shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], classes, bias=self.bias == "yes"))


class Unfinished(SearchSpace):
    pass
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_own_space.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_own_space"
    sys.modules.pop("my_own_space", None)


def test_a_users_own_space(own_module: str) -> None:
    space = load_space({"name": f"{own_module}:Own", "width": [2, 4], "bias": "yes"})
    assert space.name == "own"
    assert dict(space.middle()) == {"width": 3}
    model = space.build(space.middle(), (3,), 2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 8
    with pytest.raises(UserError, match=r"space.width: 9 is not within \[1, 8\]"):
        load_space({"name": f"{own_module}:Own", "width": 9, "bias": "yes"})
    with pytest.raises(UserError, match="not a dataclass derived from"):
        load_space({"name": f"{own_module}:Unfinished"})


def test_a_users_own_space_that_lacks_a_setting(own_module: str) -> None:
    with pytest.raises(UserError, match="bias"):
        load_space({"name": f"{own_module}:Own"})


def test_a_class_of_any_kind_by_name() -> None:
    assert load_class("a", {"a": "json:JSONDecoder"}, "source") is json.JSONDecoder
    message = r"^source 'ab' is unknown \(did you mean abc\?; your own: package.module:Class\)$"
    with pytest.raises(UserError, match=message):
        load_class("ab", {"abc": "json:JSONDecoder"}, "source")
