"""The page of a study."""

import pytest

from repareto.search.facts import StudyFacts
from repareto.search.importance import importances
from repareto.search.objectives import Budget
from repareto.search.pages.note import CHARACTERS, front_note
from repareto.search.pages.study import study_page
from repareto.search.records import State
from tests.search.pages.documents import document_of

FACTS = StudyFacts("keywords", (Budget.parse("latency", "2.5ms"),), "host", tracking="http://mlflow:5000/")


@pytest.fixture
def results(lab):
    return lab.results(
        lab.record(0, 0.10, 3000, 40960),
        lab.record(1, 0.20, 2000, 20480),
        lab.record(2, 0.40, 4000, 51200),
        lab.record(3, state=State.STOPPED, reason="dominated"),
    )


def test_the_page_has_every_trial_and_what_is_known_of_it(results) -> None:
    document = document_of(study_page(results, FACTS, {}, runs={0: "a", 1: "b"}, experiment="7"))
    assert document["title"] == "keywords: 2 models on the front of 3 trained in full"
    assert "latency at most 2.5 ms" in document["subtitle"]
    assert [name.split()[0] for name in document["items"]["name"]] == ["#0", "#1", "#2", "#3"]
    assert document["items"]["group"] == [0, 0, 1, 2]
    assert document["items"]["run"] == ["a", "b", None, None]
    assert document["items"]["note"][3] == "dominated"
    assert (document["experiment"], document["tracking"]) == ("7", "http://mlflow:5000")
    error, latency, memory = document["axes"][:3]
    assert error["values"][:3] == [10, 20, 40]
    assert latency["values"][:3] == [3000, 2000, 4000]
    assert latency["bound"] == 2500 and "bound" not in memory
    assert memory["values"][:3] == [40, 20, 50]


def sections_of(page: str) -> dict[str, list]:
    return {section["title"]: section["charts"] for section in document_of(page)["sections"]}


def test_each_pair_of_objectives_and_the_hypervolume_over_trials_and_epochs(results) -> None:
    sections = sections_of(study_page(results, FACTS, {}))
    assert [(chart["x"], chart["y"]) for chart in sections["Front"]] == [(1, 0), (2, 0), (2, 1)]
    by_trial, by_epoch = (chart["series"][0] for chart in sections["Hypervolume"])
    assert by_trial["x"] == [1, 2, 3, 4]
    assert by_epoch["x"] == [9, 18, 27, 30]
    assert by_trial["y"] == by_epoch["y"] == [pytest.approx(v, rel=1e-5) for _, v, _ in results.hypervolume_by_trial()]
    assert [row[0].split()[0] for row in sections["Models of the front"][0]["rows"]] == ["#0", "#1"]
    assert sections["Models of the front"][0]["items"] == [0, 1]


def test_important_parameters_come_first(lab) -> None:
    results = lab.results(*(lab.record(n, 100 / lab.candidate(n)["width"]) for n in range(30)))
    found = importances(results)
    page = study_page(results, FACTS, found)
    rows = sections_of(page)["What mattered for each objective"][0]["rows"]
    assert rows[0]["name"] == "width"
    assert document_of(page)["axes"][3]["label"] == "width"


def test_a_study_without_trials_has_a_page(lab) -> None:
    document = document_of(study_page(lab.results(), FACTS, {}))
    assert document["items"]["name"] == []
    assert "no trials yet" in document["subtitle"]


def test_the_note_leads_to_the_models(results) -> None:
    note = front_note(results, FACTS, experiment="7", parent="p", runs={0: "a", 1: "b"})
    assert "#/experiments/7/runs/p/artifacts/front.html" in note
    rows = [line for line in note.splitlines() if line.startswith("| [#")]
    assert len(rows) == 2
    assert "#/experiments/7/runs/a)" in rows[0] and "#/experiments/7/runs/b)" in rows[1]
    assert "10.00 % | 3 ms | 40 KiB" in rows[0]


def test_a_long_front_fits_into_what_mlflow_keeps(lab) -> None:
    results = lab.results(*(lab.record(n, 0.5 - n / 1000, 100.0 + n) for n in range(200)))
    note = front_note(results, FACTS, experiment="7", parent="p", runs=dict.fromkeys(range(200), "x" * 32))
    assert CHARACTERS - 300 < len(note) <= CHARACTERS
