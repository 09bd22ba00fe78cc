"""A phone as a target: the real ExecuTorch makes the file, runs it here, and claims no latency."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from repareto.search.config import Config
from repareto.search.devices.executorch.device import MobileXnnpack, MobileXnnpackInt8
from repareto.search.devices.executorch.program import undelegated_operators
from repareto.search.devices.profile import Profile
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.report.compare import compare
from repareto.search.parts import Parts
from repareto.spaces.errors import UserError

SHAPE = (3, 1, 20)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, (1, 3), padding=(0, 1)),
        nn.ReLU(),
        nn.Conv2d(8, 8, (1, 3), groups=8, stride=(1, 2), padding=(0, 1)),
        nn.ReLU(),
        nn.AvgPool2d((1, 10)),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((12, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def contents(features: np.ndarray) -> dict[type[MobileXnnpack], bytes]:
    """The file of each precision; ExecuTorch takes seconds to make one."""
    labels = ["a", "b", "c", "d"]
    return {kind: kind().convert(net(), SHAPE, features, labels) for kind in (MobileXnnpack, MobileXnnpackInt8)}


@pytest.mark.parametrize(("kind", "tolerance"), [(MobileXnnpack, 1e-5), (MobileXnnpackInt8, 0.05)])
def test_the_file_answers_as_torch_does(
    kind: type[MobileXnnpack], tolerance: float, features: np.ndarray, contents: dict[type[MobileXnnpack], bytes]
) -> None:
    with torch.no_grad():
        expected = net()(torch.from_numpy(features)).numpy()
    difference = np.abs(kind().run(contents[kind], features) - expected).max()
    assert difference <= tolerance
    assert undelegated_operators(contents[kind]) == ()


def test_figures_are_planned_and_no_latency_is_claimed(contents: dict[type[MobileXnnpack], bytes]) -> None:
    graph = read_module(net(), (1, *SHAPE))
    device = MobileXnnpack()
    planned = device.profile(graph)
    assert planned.latency_us is None and "latency_us" not in planned.figures()
    with pytest.raises(UserError, match="mobile-xnnpack claims no latency_us"):
        planned.value("latency_us")
    assert Profile.from_json(planned.to_json()) == planned
    assert planned.value("peak_memory_bytes") == 4 * (8 * 20 + 8 * 10)

    content = contents[MobileXnnpack]
    measured = device.measure(content, planned)
    assert (measured.flash_bytes.value, measured.flash_bytes.method) == (len(content), "measured")
    assert planned.value("flash_bytes") == pytest.approx(len(content), rel=0.15)
    # The input and the output are ExecuTorch's own: 60 and 4 floats, each rounded up to a multiple of 64 bytes.
    assert "ExecuTorch sets 320 bytes" in str(measured.peak_memory_bytes.error)
    assert "latency_us" not in {difference.name for difference in compare(planned, measured)}
    int8 = MobileXnnpackInt8().profile(graph)
    assert int8.value("flash_bytes") == pytest.approx(len(contents[MobileXnnpackInt8]), rel=0.15)
    # Where features come in, they are float and become int8.
    assert int8.value("peak_memory_bytes") == 4 * 60 + 64


def test_what_xnnpack_does_not_take_is_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.LayerNorm((8, 1, 20)), nn.Flatten(), nn.Linear(160, 2)).eval()
    device = MobileXnnpack()
    content = device.convert(module, SHAPE, None, [])
    assert undelegated_operators(content) == ("aten::native_layer_norm",)
    measured = device.measure(content, device.profile(read_module(module, (1, *SHAPE))))
    assert "portable kernels run aten::native_layer_norm" in str(measured.peak_memory_bytes.error)


def test_a_file_that_is_no_program_is_refused(features: np.ndarray) -> None:
    for content in (b"", b"nonsense" * 40):
        with pytest.raises(UserError, match="not an ExecuTorch program"):
            MobileXnnpack().run(content, features)


@pytest.mark.parametrize(
    ("settings", "place"),
    [({}, "objectives"), ({"objectives": ("error", "flash"), "budgets": {"latency": "1ms"}}, "budgets")],
)
def test_a_search_by_latency_is_refused(settings: dict[str, object], place: str, tmp_path: Path) -> None:
    config = Config(
        study="s",
        store=str(tmp_path),
        device="mobile-xnnpack",
        data={"source": "digits"},
        space={"name": "repcnn"},
        **settings,  # type: ignore[arg-type]
    )
    with pytest.raises(UserError, match=f"{place}: latency: mobile-xnnpack claims none"):
        Parts(config).refuse_unclaimed()
