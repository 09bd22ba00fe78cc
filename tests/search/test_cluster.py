"""How a cluster's resources are shared, without a cluster."""

import pytest

from repareto.search import cluster
from repareto.search.cluster import Places
from repareto.search.config import WorkersSection
from repareto.spaces.errors import UserError


@pytest.fixture
def resources(monkeypatch):
    """Set what the cluster is said to have: CPUs and GPUs."""
    known = {"CPU": 0.0, "GPU": 0.0}
    monkeypatch.setattr("ray.cluster_resources", lambda: known)

    def have(cpus: float, gpus: float = 0) -> None:
        known.update(CPU=cpus, GPU=gpus)

    return have


@pytest.mark.parametrize(
    ("workers", "cpus", "gpus", "expected"),
    [
        ({}, 2, 0, (2, 0)),
        ({"cpus": 2}, 8, 0, (4, 0)),
        ({"count": 3}, 8, 0, (3, 0)),
        ({}, 4, 1, (4, 0.25)),
        ({}, 3, 1, (3, 0.3333)),
        ({"count": 2}, 16, 1, (2, 0.5)),
        ({}, 2, 8, (2, 1)),
        ({"gpus": 0}, 4, 1, (4, 0)),
        ({"gpus": 0.5}, 16, 1, (2, 0.5)),
    ],
)
def test_resources_are_shared_fairly(resources, workers, cpus, gpus, expected) -> None:
    resources(cpus, gpus)
    places = Places(WorkersSection(**workers))
    assert (places.now(), places.gpus_a_trial) == expected


@pytest.mark.parametrize("workers", [{"cpus": 4}, {"gpus": 1}])
def test_a_trial_that_fits_nowhere(resources, workers) -> None:
    resources(2)
    with pytest.raises(UserError, match=r"a trial wants .* the cluster has 2 and 0"):
        Places(WorkersSection(**workers))


def test_places_follow_the_cluster(resources, monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now)
    resources(2)
    places = Places(WorkersSection())
    assert places.now() == 2
    resources(5)
    assert places.now() == 2, "not asked for each trial"
    now += cluster.SECONDS_BETWEEN_COUNTS
    assert places.now() == 5
    resources(0)
    now += cluster.SECONDS_BETWEEN_COUNTS
    assert places.now() == 0


def test_what_is_asked_for_may_come_later(resources) -> None:
    """An autoscaler adds nodes for trials that wait."""
    resources(0)
    assert Places(WorkersSection(count=8)).now() == 8


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster answers there (.*refused.*); is its head running"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
        ("nonsense", "no Ray cluster answers there (.*nonsense.*)"),
    ],
)
def test_an_address_at_which_no_cluster_answers(address: str, message: str) -> None:
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(UserError, match=f"workers.address '{address}': {pattern}"):
        cluster.connect(WorkersSection(address=address))


def test_auto_is_the_address_of_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UserError, match=r"workers.address '127.0.0.1:9': no Ray cluster answers"):
        cluster.connect(WorkersSection(address="auto"))
