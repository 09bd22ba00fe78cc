"""Two profiles side by side: ratios, and the honest word where a ratio means nothing."""

from dataclasses import replace

import pytest

from repareto.search.devices.profile import FIGURES, Figure, Profile
from repareto.search.devices.report.compare import compare


def profile(**changes: Figure) -> Profile:
    figures = {
        "latency_us": Figure(100.0, "us", "estimated", None, 90.0, 110.0),
        "peak_memory_bytes": Figure(2048, "bytes", "planned"),
        "flash_bytes": Figure(4096, "bytes", "exact"),
        "macs": Figure(1000, "MACs", "exact"),
        "parameters": Figure(0, "values", "exact"),
    }
    return Profile("a", "r", "fp32", "0" * 32, **{**figures, **changes})


def test_every_figure_is_compared() -> None:
    first = profile()
    differences = compare(first, profile(macs=Figure(1500, "MACs", "exact")))
    assert tuple(difference.name for difference in differences) == FIGURES
    by_name = {difference.name: difference for difference in differences}
    assert (by_name["macs"].ratio, by_name["macs"].note) == (1.5, "")
    assert (by_name["flash_bytes"].ratio, by_name["flash_bytes"].note) == (1.0, "equal")
    assert by_name["parameters"].ratio is None


@pytest.mark.parametrize(
    ("second", "note"),
    [
        (Figure(120.0, "us", "estimated", None, 108.0, 132.0), "within the error"),
        (Figure(140.0, "us", "estimated", None, 126.0, 154.0), ""),
        (Figure(140.0, "us", "estimated"), ""),
        (Figure(105.0, "us", "estimated"), "within the error"),
        (Figure(140.0, "us", "measured"), "estimated against measured"),
        (Figure(100.0, "us", "measured"), "equal"),
    ],
)
def test_two_latencies(second: Figure, note: str) -> None:
    assert compare(profile(), profile(latency_us=second))[0].note == note
    swapped = " against ".join(reversed(note.split(" against ")))
    assert compare(profile(latency_us=second), profile())[0].note == swapped


def test_measured_times_that_noise_explains() -> None:
    first = profile(latency_us=Figure(100.0, "us", "measured"))
    near, far = (replace(first, latency_us=Figure(value, "us", "measured")) for value in (106.0, 112.0))
    assert [compare(first, other)[0].note for other in (near, far)] == ["within the error", ""]
    # Sizes are what they are.
    sizes = [replace(first, flash_bytes=Figure(value, "bytes", "measured")) for value in (100, 101)]
    assert compare(*sizes)[2].note == ""
