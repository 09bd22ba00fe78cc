import json
from pathlib import Path

import pytest
import torch
from torch import nn

from repareto.search.devices.boards import vela
from repareto.search.devices.boards.isolated import ToolError
from repareto.search.devices.boards.vela import simulate
from repareto.search.devices.tflite.convert import convert
from repareto.spaces.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path))
    return tmp_path / "vela"


def model(precision: str = "int8", channels: int = 8) -> bytes:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten())
    return convert(nn.Sequential(*layers, nn.Linear(channels, 4)).eval(), (1, 3, 8, 8), precision)


def test_a_model_on_a_small_and_a_large_accelerator() -> None:
    small, large = (simulate(model(channels=64), f"ethos-u55-{macs}") for macs in (32, 256))
    assert large.cycles < small.cycles
    assert small.latency_us == pytest.approx(small.cycles / 500, rel=1e-3)  # at 500 MHz
    assert small.sram_bytes >= 64 * 64
    assert small.off_chip_flash_bytes > 0
    assert small.cpu_operators == ()


def test_what_falls_back_to_the_processor_is_named_as_tflite_does() -> None:
    result = simulate(model("fp32"), "ethos-u55-128")
    assert set(result.cpu_operators) >= {"CONV_2D", "AVERAGE_POOL_2D", "FULLY_CONNECTED"}
    assert result.latency_us == 0


def test_an_answer_is_kept_by_content_and_options(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = simulate(model(), "ethos-u55-128")
    assert len(list(cache.glob("*.json"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(vela, "_compile", None)  # what is kept needs no compiler
        assert simulate(model(), "ethos-u55-128") == first
    assert simulate(model(channels=12), "ethos-u55-128") != first
    assert simulate(model(), "ethos-u55-128", system_config="Ethos_U55_Deep_Embedded").latency_us > first.latency_us
    assert len(list(cache.glob("*.json"))) == 3


def test_a_kept_answer_that_is_not_whole_is_made_again(cache: Path) -> None:
    first = simulate(model(), "ethos-u55-128")
    (place,) = cache.glob("*.json")
    place.write_text(place.read_text()[:20])
    assert simulate(model(), "ethos-u55-128") == first
    assert json.loads(place.read_text())["cycles"] == first.cycles


def test_refusals_are_one_line() -> None:
    with pytest.raises(UserError, match="is no TFLite model"):
        simulate(b"not a model at all", "ethos-u55-128")
    with pytest.raises(ToolError, match=r"^Vela: refuses this model: .*Nowhere") as refused:
        simulate(model(), "ethos-u55-128", system_config="Nowhere")
    with pytest.raises(ToolError, match=r"^Vela: ") as cut:
        simulate(model()[:700], "ethos-u55-128")
    assert "\n" not in str(refused.value) + str(cut.value)


def test_a_time_limit_holds_and_keeps_nothing(cache: Path) -> None:
    with pytest.raises(ToolError, match="no answer on this model for ethos-u55-128 within"):
        simulate(model(), "ethos-u55-128", limit_s=0.01)
    assert not list(cache.glob("*.json"))


def test_a_cache_that_cannot_be_written_costs_no_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path / "a file"))
    assert simulate(model(), "ethos-u55-128").cycles > 0


def test_a_summary_without_a_row_is_one_line() -> None:
    with pytest.raises(ToolError, match="its summary is not as expected"):
        vela._summary("", ())
