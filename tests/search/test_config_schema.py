"""The schema of a config: it takes what repareto takes, and marks what it refuses."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from repareto.search.config import ConfigFile
from repareto.search.config_schema import config_schema

EXAMPLES = Path(__file__).parents[2] / "examples"
GOOD = {"study": "s", "data": {"source": "digits"}, "space": {"name": "repcnn"}}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_every_example_holds(validator: Draft202012Validator) -> None:
    examples = sorted(EXAMPLES.glob("*.yaml"))
    assert examples
    for path in examples:
        assert [error.message for error in validator.iter_errors(ConfigFile(path).values)] == [], path.name


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"trials": 3}, ""),
        ({"search": {"trails": 3}}, "search"),
        ({"search": {"trials": 0}}, "search.trials"),
        ({"data": {"source": "nope"}}, "data.source"),
        ({"data": {"source": "digits", "clips": 3}}, "data"),
        ({"data": {}}, "data"),
        ({"space": {"name": "no_such_space"}}, "space.name"),
        ({"device": "toaster"}, "device"),
        ({"budgets": {"latncy": "2ms"}}, "budgets"),
        ({"training": {"epochs": "many"}}, "training.epochs"),
        ({"training": {"epoch": 3}}, "training"),
        ({"objectives": ["error", "beauty"]}, "objectives.1"),
        ({"study": "a b"}, "study"),
    ],
)
def test_a_mistake_is_marked_where_it_is(validator: Draft202012Validator, change: dict, place: str) -> None:
    found = list(validator.iter_errors({**GOOD, **change}))
    assert [".".join(map(str, error.absolute_path)) for error in found] == [place]


@pytest.mark.parametrize(
    "change",
    [{}, {"device": "mine.toml"}, {"space": {"name": "my_space:Mine", "any": 1}}, {"budgets": {"latency": "2ms"}}],
)
def test_what_a_user_brings_is_let_pass(validator: Draft202012Validator, change: dict) -> None:
    assert list(validator.iter_errors({**GOOD, **change})) == []
