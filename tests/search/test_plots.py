"""Pictures of a front."""

import io

import matplotlib.image
import pytest

from repareto.search.objectives import Budget
from repareto.search.plots import front_png, hypervolume_png, importance_png, parameters_png
from repareto.search.records import State
from repareto.search.results import Results


@pytest.fixture
def results(lab):
    return lab.results(
        lab.record(0, 0.10, 3000, 40960),
        lab.record(1, 0.20, 2000, 20480),
        lab.record(2, 0.40, 4000, 51200),
        lab.record(3, state=State.STOPPED),
        lab.record(4, 0.01, 10, 10, feasible=False),
    )


def test_the_picture_is_a_png(results) -> None:
    picture = front_png(results, [Budget.parse("latency", "2.5ms")], "keywords")
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    pixels = matplotlib.image.imread(io.BytesIO(picture))
    assert pixels.shape[:2] == (400, 1500)
    red = (abs(pixels[..., :3] - [0xC0 / 255, 0x39 / 255, 0x2B / 255]) < 0.02).all(-1)
    assert red.any(), "members of the front are drawn"


def test_a_budget_far_away_is_named_and_leaves_the_picture_to_the_models(results) -> None:
    def reds(budget: str) -> tuple[int, int]:
        """The first and the last column with a member of the front, in the picture of error over latency."""
        picture = front_png(results, [Budget.parse("latency", budget)], "keywords")
        pixels = matplotlib.image.imread(io.BytesIO(picture))[:, 60:500, :3]
        found = (abs(pixels - [0xC0 / 255, 0x39 / 255, 0x2B / 255]) < 0.02).all(-1).any(0).nonzero()[0]
        return found[0], found[-1]

    (near_first, near_last), (far_first, far_last) = reds("5ms"), reds("500ms")
    assert far_last - far_first > near_last - near_first > 20


def test_a_picture_of_one_trial_with_no_error_at_all(lab) -> None:
    assert front_png(lab.results(lab.record(0, 0.0)), [], "one").startswith(b"\x89PNG")


def test_two_objectives_are_one_picture(lab) -> None:
    results = Results(lab.objectives[:2], lab.reference[:2], [lab.record(0), lab.record(1, 0.05, 200)])
    pixels = matplotlib.image.imread(io.BytesIO(front_png(results, [], "two")))
    assert pixels.shape[:2] == (400, 500)


def test_the_hypervolume_of_two_studies(lab, results) -> None:
    one, two = (
        matplotlib.image.imread(io.BytesIO(hypervolume_png(studies)))
        for studies in ({"a": results}, {"a": results, "b": lab.results(lab.record(0, 0.5))})
    )
    assert one.shape == two.shape == (400, 1000, 4)
    assert (one != two).any()


def test_parameters_and_what_mattered(results) -> None:
    found = {"error": {"width": 0.9, "skip": 0.1}, "latency": {"width": 0.2, "depth": 0.8}}
    assert matplotlib.image.imread(io.BytesIO(parameters_png(results, found, "t"))).shape[0] == 400
    assert matplotlib.image.imread(io.BytesIO(importance_png(found, "t"))).shape[:2] == (400, 900)
