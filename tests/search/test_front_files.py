"""The files of a front: which are made when."""

import io

import matplotlib.image
import pytest

from repareto.search.facts import StudyFacts
from repareto.search.front_files import FrontFiles

ALWAYS = {"front.html", "front.json", "front.csv", "trials.json", "trials.csv"}
PICTURES = {"front.png", "hypervolume.png", "parameters.png"}


def made(files: FrontFiles, lab, trials: int, **options: bool) -> dict:
    results = lab.results(*(lab.record(number, 0.5 - number / 100, 100.0 + number) for number in range(trials)))
    return files.of(results, runs={}, experiment="1", **options)


def test_what_takes_long_is_made_when_the_study_has_grown(lab) -> None:
    files = FrontFiles(StudyFacts("s"))
    assert set(made(files, lab, 20)) == ALWAYS | PICTURES | {"importance.png"}
    assert set(made(files, lab, 21)) == ALWAYS
    assert set(made(files, lab, 22)) == ALWAYS | PICTURES | {"importance.png"}
    assert set(made(files, lab, 23)) == ALWAYS
    assert set(made(files, lab, 23, complete=True)) == ALWAYS | PICTURES | {"importance.png"}


def test_the_page_keeps_what_mattered_meanwhile(lab) -> None:
    files = FrontFiles(StudyFacts("s"))
    for trials in (20, 21):
        assert "What mattered" in made(files, lab, trials)["front.html"]


@pytest.mark.parametrize("trials", [1, 3])
def test_a_small_study_has_its_pictures(lab, trials: int) -> None:
    files = made(FrontFiles(StudyFacts("s")), lab, trials)
    assert set(files) == ALWAYS | PICTURES
    for name in PICTURES:
        assert matplotlib.image.imread(io.BytesIO(files[name])).shape[0] == 400
