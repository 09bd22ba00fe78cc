"""The page on a study to send to somebody."""

from dataclasses import replace

from repareto.search.facts import StudyFacts
from repareto.search.pages.report import report_page
from tests.search.pages.documents import document_of

HEADER = {
    "config": {"study": "kw", "seed": 3, "store": "/my/secret", "tracking": "http://mine:5000", "space": {"name": "x"}},
    "versions": {"torch": "2.13.0"},
}  # fmt: skip


def test_what_was_measured_and_how_it_was_made(lab) -> None:
    record = lab.record(0, 0.1)
    estimated = record.profile["latency_us"]["value"]
    measured = {"latency_us": {"value": estimated / 1.25, "unit": "us", "method": "measured"}}
    data = {"name": "digits", "labels": ["yes", "no"], "examples": {"train": 100, "validation": 20}}
    page = report_page(
        lab.results(replace(record, measured=measured)), StudyFacts("kw", device="host", data=data), HEADER
    )
    sections = {section["title"]: section["charts"] for section in document_of(page)["sections"]}
    (row,) = sections["As measured"][0]["rows"]
    assert row == ["#0", "latency_us", f"{estimated / 1.25:.6g}", "measured", "+25.0 %"]
    table, config = sections["How it was made"]
    assert ["data", "digits"] in table["rows"] and ["torch", "2.13.0"] in table["rows"]
    assert ["validation examples", "20"] in table["rows"] and ["labels", "yes, no"] in table["rows"]
    assert config["text"] == "study: kw\nseed: 3\nspace:\n  name: x\n"
    assert "secret" not in page and "mine" not in page


def test_a_study_that_measured_nothing_yet(lab) -> None:
    page = report_page(lab.results(), StudyFacts("kw"), HEADER)
    assert "As measured" not in page
