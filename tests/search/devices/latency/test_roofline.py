from dataclasses import replace

import pytest

from repareto.search.devices.latency.roofline import REFERENCE, Calibration, Conditions, HeldOutError, Rate
from repareto.search.devices.latency.workload import Work

CALIBRATION = Calibration(
    runtime="onnxruntime 1",
    machine="a core",
    network_overhead_us=5.0,
    rates={"elementwise": Rate(1.0, 100.0, 10.0), "conv": Rate(0.5, 200.0, 20.0)},
    held_out=HeldOutError(48, 0.08, 0.2, 0.98),
)
FITTED = replace(
    CALIBRATION,
    costs_ns={"conv.calls": 500.0, "conv.cycles": 0.5},
    held_out_layers=HeldOutError(10, 0.05, 0.1, 0.99),
    interval=(0.9, 1.1),
    conditions=Conditions("2026-11-23", 0.005, 0.9),
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


@pytest.mark.parametrize("calibration", [CALIBRATION, FITTED, REFERENCE], ids=["roofline", "fitted", "reference"])
def test_json_round_trip(calibration: Calibration) -> None:
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 0}', '{"format": 2}', '{"format": 2, "held_out": null}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a calibration"):
        Calibration.from_json(text)


def test_the_error_in_words() -> None:
    assert str(CALIBRATION.held_out) == ("median 8.0%, 90th percentile 20.0%, Spearman 0.980 on 48 held-out networks")


def test_terms_are_added_up_and_the_roofline_serves_where_a_cost_is_unknown() -> None:
    known = Work("conv", 400, 20, terms=(("conv.calls", 1.0), ("conv.cycles", 3000.0)), kernel=1)
    unknown = Work("conv", 400, 20, terms=(("conv.calls", 1.0), ("conv.other", 3000.0)), kernel=0)
    assert FITTED.time_us(known) == pytest.approx(0.5 + 1.5)
    assert FITTED.time_us(unknown) == CALIBRATION.time_us(unknown) == pytest.approx(0.5 + 2)
    assert FITTED.latency_us([known, unknown]) == pytest.approx(5 + 2 + 2.5)
    assert FITTED.kernel_times_us([unknown, known, known], 3) == pytest.approx((2.5, 4.0, 0.0))


def test_times_taken_under_load_are_told() -> None:
    assert FITTED.stated_error == str(FITTED.held_out)
    for conditions in (Conditions("2026-11-23", 0.1, 0.9), Conditions("2026-11-23", 0.005, 0.01)):
        assert "under load" in str(replace(FITTED, conditions=conditions).stated_error)
    assert REFERENCE.stated_error is None


def test_an_estimate_of_what_nobody_timed_says_so() -> None:
    timed = Work("conv", 10, 10, terms=(("conv.macs", 10_000.0),))
    guess = Work("softmax", 0, 4_000, terms=(("softmax.values", 1_000.0),))
    calibration = replace(
        REFERENCE, held_out=HeldOutError(20, 0.05, 0.1, 0.9), costs_ns={"conv.macs": 1.0}, network_overhead_us=0.0
    )  # fmt: skip
    # The guess takes 2 us: a fifth of a hundredth of 1,000 products, and more than a tenth of one.
    assert calibration.error_of([timed] * 100 + [guess]) == (calibration.stated_error, True)
    error, is_known = calibration.error_of([timed, guess])
    assert not is_known
    assert error == "unknown: 17% of it is a guess, for no network that the costs were fitted to had softmax"
