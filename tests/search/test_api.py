"""The functions that `import repareto` offers: light until they are called, and told of by help()."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import repareto
from repareto.search.api.study import OpenStudy, run_search
from repareto.search.ledger import Ledger
from repareto.spaces.errors import UserError


def test_names_are_there_and_have_help() -> None:
    for name in repareto.__all__:
        found = getattr(repareto, name)
        assert name in dir(repareto)
        assert name == "__version__" or len(inspect.getdoc(found) or "") > 60, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = repareto.no_such_name


def test_importing_loads_nothing_that_is_heavy() -> None:
    code = "import repareto, sys; print(json.dumps([m for m in ('numpy', 'pydantic', 'torch') if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True)
    assert json.loads(done.stdout) == []


@pytest.fixture
def study(lab, tmp_path: Path) -> OpenStudy:
    header = {"config": {"study": "toy", "data": {"source": "digits"}, "space": {"name": "repcnn"}}}
    ledger = Ledger.create(tmp_path, "toy", header | {"reference": list(lab.reference)})
    return OpenStudy(ledger, str(tmp_path))


def test_an_open_study_is_read_anew(study: OpenStudy) -> None:
    assert study.front == ()
    assert study.as_dict()["trials"]["finished"] == 0
    assert repr(study) == "OpenStudy('toy', 0 trials trained)"
    assert json.dumps(study.as_dict())


def test_bounds_stand_beside_the_studys_budgets(study: OpenStudy) -> None:
    (bound,) = study.bounds({"latency": "2ms"})
    assert bound.bound == 2000
    with pytest.raises(UserError, match="latncy"):
        study.bounds({"latncy": "2ms"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sede": 1}, "sede: unknown key (did you mean seed?)"),
        ({"data": {}}, "data: needs a 'source'"),
        ({"budgets": {"latency": "2 mss"}}, '"2 mss": not a duration'),
    ],
)
def test_a_mapping_is_complained_of_by_its_keys(change: dict, message: str) -> None:
    config = {"study": "s", "data": {"source": "digits"}, "space": {"name": "repcnn"}, **change}
    with pytest.raises(UserError) as error:
        run_search(config)
    assert message in str(error.value)
    assert "config" not in str(error.value)


def test_a_mapping_is_left_as_it_was() -> None:
    config = {"study": "s", "data": {"source": "digits"}, "space": {"name": "no_such"}}
    with pytest.raises(UserError, match="no_such"):
        run_search(config, overrides=["space.width=[4, 8]"])
    assert config["space"] == {"name": "no_such"}


def test_a_time_budget_is_a_duration() -> None:
    with pytest.raises(UserError, match="not a duration"):
        run_search({}, time_budget="soon")
