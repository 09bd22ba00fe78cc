import pytest

from repareto.search.devices.roofline import REFERENCE, Calibration, HeldOutError, Rate
from repareto.search.devices.workload import Work

CALIBRATION = Calibration(
    runtime="onnxruntime 1",
    machine="a core",
    network_overhead_us=5.0,
    rates={"elementwise": Rate(1.0, 100.0, 10.0), "conv": Rate(0.5, 200.0, 20.0)},
    held_out=HeldOutError(48, 0.08, 0.2, 0.98),
)


def test_the_larger_roof_counts_and_overheads_add_up() -> None:
    bound_by_macs = Work("conv", macs=400, nbytes=20, calls=2)
    bound_by_bytes = Work("elementwise", macs=0, nbytes=30)
    assert CALIBRATION.latency_us([bound_by_macs]) == pytest.approx(5 + 2 * 0.5 + 2)
    assert CALIBRATION.latency_us([bound_by_macs, bound_by_bytes]) == pytest.approx(5 + 3 + 1 + 3)


def test_a_kind_that_was_never_timed_moves_bytes() -> None:
    assert CALIBRATION.latency_us([Work("concat", 0, 100)]) == pytest.approx(5 + 1 + 10)


def test_the_reference_core() -> None:
    """1 GMAC/s, 4 GB/s."""
    assert REFERENCE.latency_us([Work("conv", macs=10**6, nbytes=4)]) == pytest.approx(10 + 1 + 1000)
    assert REFERENCE.latency_us([Work("pool", macs=0, nbytes=4 * 10**6)]) == pytest.approx(10 + 1 + 1000)


@pytest.mark.parametrize("calibration", [CALIBRATION, REFERENCE], ids=["fitted", "reference"])
def test_json_round_trip(calibration: Calibration) -> None:
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 0}', '{"format": 1}', '{"format": 1, "held_out": null}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a calibration"):
        Calibration.from_json(text)


def test_the_error_in_words() -> None:
    assert str(CALIBRATION.held_out) == ("median 8.0%, 90th percentile 20.0%, Spearman 0.980 on 48 held-out networks")
