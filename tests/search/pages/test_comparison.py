"""The page of several fronts."""

from repareto.search.compare import Comparison
from repareto.search.facts import StudyFacts
from repareto.search.pages.comparison import comparison_page
from tests.search.pages.documents import document_of


def test_each_front_has_its_colour_and_what_is_dominated_is_faded(lab) -> None:
    studies = {
        "one": lab.results(lab.record(0, 0.1, 300), lab.record(1, 0.3, 100)),
        "other": lab.results(lab.record(0, 0.2, 300), lab.record(1, 0.05, 900)),
    }
    document = document_of(comparison_page(Comparison.of(studies, {name: StudyFacts(name) for name in studies})))
    assert document["title"] == "one and other"
    names = [group["name"] for group in document["groups"]]
    assert names == ["one", "one, dominated", "other", "other, dominated"]
    assert [names[group] for group in document["items"]["group"]] == ["one", "one", "other", "other, dominated"]
    assert [name.split("#")[0] for name in document["items"]["name"]] == ["one ", "one ", "other ", "other "]
    sections = {section["title"]: section["charts"] for section in document["sections"]}
    assert [row[0] for row in sections["Front of all"][0]["rows"]] == ["other", "one", "one"]
    assert sections["Coverage"][0]["rows"] == [["one", "", "50 %"], ["other", "0 %", ""]]
    curves = sections["Hypervolume"][1]["series"]
    assert [curve["name"] for curve in curves] == ["one", "other"]
    assert len({curve["colour"] for curve in curves}) == 2
