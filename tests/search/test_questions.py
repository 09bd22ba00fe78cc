"""A first config from five questions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repareto.search.config import ConfigFile
from repareto.search.parts import Parts
from repareto.search.questions import ask_all, config_text
from repareto.spaces.errors import UserError


class Person:
    """Answers in turn; None takes the default. What a check refuses is remembered, and the next answer given."""

    def __init__(self, *answers: str | None) -> None:
        self._answers: Iterator[str | None] = iter(answers)
        self.asked: list[str] = []
        self.told: list[str] = []

    def __call__(self, question: str, default: str, check: Callable[[str], object]) -> str:
        self.asked.append(question)
        while True:
            answer = next(self._answers) or default
            try:
                check(answer)
            except UserError as error:
                self.told.append(str(error))
            else:
                return answer


def written(path: Path, person: Person) -> dict:
    path.write_text(config_text(ask_all(person), path))
    config = ConfigFile(path).validated()
    return config.model_dump()


def test_the_defaults_are_a_config(tmp_path: Path) -> None:
    person = Person(*[None] * 5)
    config = written(tmp_path / "first.yaml", person)
    assert len(person.asked) == 5
    assert config["study"] == "first"
    assert config["data"] == {"source": "synthetic"}
    assert config["objectives"] == ("error", "latency", "peak_memory")
    assert config["budgets"] == {}
    assert config["search"]["trials"] == 16


def test_every_answer_is_in_the_config(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    folder = str(tmp_path / "words")
    config = written(
        tmp_path / "mine.yaml", Person("recordings", folder, "host-onnxruntime-int8", "2ms", "64KiB", "40")
    )
    assert config["data"] == {"source": "speech_commands", "folder": folder}
    assert config["device"] == "host-onnxruntime-int8"
    assert config["budgets"] == {"latency": "2ms", "peak_memory": "64KiB"}
    assert config["search"]["trials"] == 40


def test_a_wake_word_listens_hop_by_hop(tmp_path: Path) -> None:
    person = Person("wakeword", "hey you", "host-litert-int8", None, None, None)
    config = written(tmp_path / "hey.yaml", person)
    assert "Which word or words?" in person.asked
    assert config["data"] == {"source": "wakeword", "word": "hey you"}
    assert config["space"]["padding"] == "causal"
    Parts(ConfigFile(tmp_path / "hey.yaml").validated())


def test_a_device_that_claims_no_latency_has_none_as_objective(tmp_path: Path) -> None:
    config = written(tmp_path / "quick.yaml", Person("digits", "reference", None, None, "3"))
    assert config["data"] == {"source": "digits"}
    from repareto.search.devices.targets import device

    assert ("latency" in config["objectives"]) == device("reference").claims_latency


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        (["digit", "digits", None, None, None, None], '"digit" is unknown (did you mean digits?)'),
        ([None, "host-onnx", None, None, None, None], '"host-onnx" is unknown (did you mean host-onnxruntime?)'),
        (["recordings", "nowhere", ".", None, None, None, None], "nowhere: there is no such folder"),
        ([None, None, "2 mss", None, None, None], 'budget latency "2 mss": not a duration (try "2 ms")'),
        ([None, None, None, "64", None, None], 'budget peak_memory "64": not a size (try "64 KiB")'),
        ([None, None, None, None, "0", None], '"0" is not a number of candidates (try 16)'),
    ],
)
def test_an_answer_that_cannot_be_is_asked_again(answers: list[str | None], complaint: str) -> None:
    person = Person(*answers)
    ask_all(person)
    assert person.told == [complaint]
