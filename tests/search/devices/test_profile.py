import pytest

from repareto.search.devices.profile import FIGURES, Figure, Profile
from repareto.spaces.errors import UserError

PROFILE = Profile(
    device="reference",
    runtime="none",
    precision="fp32",
    graph_digest="0" * 32,
    latency_us=Figure(12.5, "us", "estimated", "median 8 %"),
    peak_memory_bytes=Figure(1024, "bytes", "planned"),
    flash_bytes=Figure(2048, "bytes", "exact"),
    macs=Figure(10_000, "MACs", "exact"),
    parameters=Figure(512, "values", "exact"),
    unknown_operators=("aten.erfinv",),
)


def test_values_by_name() -> None:
    assert [PROFILE.value(name) for name in FIGURES] == [12.5, 1024, 2048, 10_000, 512]
    assert PROFILE.figure("latency_us").error == "median 8 %"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r'profile figure "latency_ms" is unknown .did you mean latency_us'):
        PROFILE.value("latency_ms")
    with pytest.raises(UserError, match="known: latency_us, "):
        PROFILE.value("device")


def test_json_round_trip() -> None:
    assert Profile.from_json(PROFILE.to_json()) == PROFILE
    assert hash(Profile.from_json(PROFILE.to_json())) == hash(PROFILE)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"device": "x"}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a profile"):
        Profile.from_json(text)
