"""The end of a search, where MLflow may be away for a moment or for good."""

from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from requests import ConnectionError as NoAnswer

from repareto.search import finish
from repareto.search.config import Config
from repareto.spaces.errors import UserError


class Runs:
    """Knows of no model, and remembers whether the front was written when the members were complete."""

    def __init__(self) -> None:
        self.fronts: list[bool] = []

    def write_front(self, _results: object, *, complete: bool) -> None:
        self.fronts.append(complete)

    def model_uri(self, _record: object) -> None:
        return None


@pytest.fixture
def complete(lab, monkeypatch):
    """Complete three members, each call of the stand-ins failing as told; return what was done and said."""

    runs = Runs()

    def complete(connecting: list[Exception], logging: dict[int, list[Exception]]) -> tuple[list[int], list[str]]:
        done: list[int] = []
        said: list[str] = []
        runs.fronts.clear()

        def connect(_config: Config, _header: object) -> Runs:
            if connecting:
                raise connecting.pop(0)
            return runs

        def member(_ledger, _config, _runs, record) -> None:
            if logging.get(record.number):
                raise logging[record.number].pop(0)
            done.append(record.number)

        monkeypatch.setattr(finish, "connect_runs", connect)
        monkeypatch.setattr(finish, "_complete_member", member)
        monkeypatch.setattr(finish, "PAUSES_SECONDS", (0.0, 0.0, 0.0))
        config = Config(study="s", data={"source": "digits"}, space={"name": "repcnn"}, tracking="http://server")
        ledger = SimpleNamespace(header=lambda: {"id": "a", "reference": lab.reference}, records=list)
        finish.complete_members(ledger, config, [lab.record(number) for number in range(3)], said.append)
        return done, said

    complete.runs = runs
    return complete


def test_a_server_that_is_started_again_costs_nothing(complete) -> None:
    done, said = complete([NoAnswer("refused")] * 2, {1: [MlflowException("500"), NoAnswer("reset")]})
    assert done == [0, 1, 2]
    assert len(said) == 1 and said[0].startswith("measuring 3 models")
    assert complete.runs.fronts == [True], "with what was measured"


def test_a_server_that_stays_away_is_told_in_a_line(complete) -> None:
    done, said = complete([], {1: [MlflowException("no answer\nat all")] * 9})
    assert done == [0]
    assert said[1:] == [
        "http://server: the front's models cannot be logged (no answer); "
        "when it answers again, `repareto sync s` logs what is missing"
    ]
    assert complete([NoAnswer("refused")] * 9, {})[0] == []


def test_lost_weights_of_one_member_hold_up_no_other(complete) -> None:
    done, said = complete([], {0: [UserError("trial 0: its weights are gone")]})
    assert done == [1, 2]
    assert said[1] == ("trial 0 is not complete (trial 0: its weights are gone); the same command tries it again")
