"""The page of a study in a real browser: what is drawn, what hovering and clicking do, that nothing is loaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from repareto.search.facts import StudyFacts
from repareto.search.importance import importances
from repareto.search.objectives import Budget
from repareto.search.pages.study import study_page
from repareto.search.records import State, TrialRecord
from repareto.search.results import Results
from tests.integration.browser import Watched, chromium, needs_chromium
from tests.search.conftest import Lab

pytestmark = needs_chromium
FACTS = StudyFacts(
    "keywords",
    (Budget.parse("latency", "2ms"),),
    "host",
    {"examples": {"validation": 400}},
    tracking="http://127.0.0.1:5000",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Watched]:
    with chromium() as watched:
        yield watched


def results_of(trials: int) -> Results:
    """A study whose errors fall with latency; of seven trials one was stopped and one rejected."""
    lab = Lab()
    states = {3: State.STOPPED, 4: State.REJECTED}

    def record(number: int) -> TrialRecord:
        size = number % 50
        state = states.get(number % 7, State.FINISHED)
        return lab.record(number, 0.5 / (1 + size), 100.0 + 60 * size, 2048.0 + number, state=state)

    return lab.results(*map(record, range(trials)))


def opened(browser: Watched, folder: Path, results: Results) -> Watched:
    page = folder / "front.html"
    runs = {record.number: f"{record.number:032x}" for record in results.records}
    page.write_text(study_page(results, FACTS, importances(results), runs=runs, experiment="7"), encoding="utf-8")
    browser.requests.clear()
    browser.complaints.clear()
    browser.page.goto(page.as_uri())
    browser.page.wait_for_selector("body[data-ready]")
    return browser


@pytest.mark.parametrize("trials", [1, 3, 300])
def test_every_trial_is_drawn_and_nothing_is_loaded(browser: Watched, tmp_path: Path, trials: int) -> None:
    results = results_of(trials)
    watched = opened(browser, tmp_path, results)
    page = watched.page
    finished, stopped, rejected = (results.counts[state] for state in (State.FINISHED, State.STOPPED, State.REJECTED))
    # Three pairs of objectives; what was never trained has no error and stands in one of them.
    assert page.locator("circle.point").count() == 3 * (finished + stopped) + rejected
    assert page.locator("path.line").count() == finished
    assert page.locator("path.budget").count() == 2, "latency is on two of the pairs"
    assert page.locator("path.curve").count() == 2
    assert page.locator("tr[data-item]").count() == len(results.front)
    assert [url for url in watched.requests if not url.startswith("file:")] == []
    assert watched.complaints == []


def test_hovering_shows_a_candidate_everywhere(browser: Watched, tmp_path: Path) -> None:
    results = results_of(3)
    page = opened(browser, tmp_path, results).page
    member = results.front[0]
    page.locator(f'circle[data-item="{member.number}"]').first.hover()
    shown = page.locator("#tip").inner_text()
    assert f"#{member.number} " in shown
    assert "error (%): " in shown and " to " in shown, "the error has an interval"
    assert all(name in shown for name in member.candidate if name != "skip")
    assert page.locator(f'.lit[data-item="{member.number}"]').count() == 3 + 2 + 1 + 1, "points, bars, line, row"
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()
    assert page.locator(".lit").count() == 0


def test_clicking_leads_to_the_run_in_mlflow(browser: Watched, tmp_path: Path) -> None:
    results = results_of(3)
    page = opened(browser, tmp_path, results).page
    page.locator('circle[data-item="1"]').first.click()
    assert page.locator("#detail h2").inner_text().startswith("#1 ")
    address = f"http://127.0.0.1:5000/#/experiments/7/runs/{1:032x}"
    assert page.locator("#run").get_attribute("href") == address
    page.locator("#detail button").click()
    assert page.locator("#detail").is_hidden()
    page.locator("tr[data-item]").first.click()
    assert page.locator("#detail").is_visible()


def test_kinds_of_candidates_can_be_hidden(browser: Watched, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, results_of(30)).page
    key = page.locator(".key", has_text="stopped")
    points = page.locator("circle.point:visible")
    shown = points.count()
    key.click()
    assert points.count() < shown
    key.click()
    assert points.count() == shown
