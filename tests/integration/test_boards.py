"""Searches for boards: what ships is int8, and the board's own tool says that it holds its budget."""

import json

import pytest

from repareto.search.devices.boards.tflite_micro import measure_arena
from repareto.search.devices.boards.vela import simulate
from repareto.search.devices.tflite.runtime import run
from repareto.trainers.data.digits import Digits
from tests.integration.commands import EXAMPLES, repareto

BUDGET_BYTES = 8 * 1024
# This sampler's first candidates hold the budget with their own weights too. Vela plans others with made-up weights in
# less SRAM than with real ones, which a search says at its end.
SETTINGS = (
    "training.epochs=3", "search.early_stopping=false", "search.sampler=tpe", f"budgets.peak_memory={BUDGET_BYTES}B",
)  # fmt: skip


def arena_bytes(content: bytes) -> int:
    return measure_arena(content).total_bytes


def sram_bytes(content: bytes) -> int:
    return simulate(content, "ethos-u55-128").sram_bytes


@pytest.mark.parametrize(
    ("device", "memory_of"),
    [("cortex-m4", arena_bytes), pytest.param("ethos-u55-128", sram_bytes, marks=pytest.mark.slow)],
)
def test_what_ships_holds_its_budget_where_its_own_tool_measures_it(tmp_path, device, memory_of):
    settings = [word for setting in (*SETTINGS, f"device={device}") for word in ("--set", setting)]
    done = repareto("search", EXAMPLES / "digits.yaml", *settings, "--trials", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    front = json.loads(repareto("front", "digits", "--json", cwd=tmp_path).stdout)["front"]
    dataset = Digits().load(seed=0)
    for member in front:
        content = (tmp_path / f"runs/studies/digits/trials/{member['trial']:05d}/model.tflite").read_bytes()
        assert memory_of(content) == member["measured"]["peak_memory_bytes"]["value"] <= BUDGET_BYTES
        for key, split in (("error", dataset.validation), ("test_error", dataset.test)):
            assert member["figures"][key] == (run(content, split.features).argmax(1) != split.labels).mean()
            assert 0 <= member["figures"][f"float32_{key}"] <= 1
    assert repareto("export", "digits", "--out", "out", cwd=tmp_path).returncode == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["ships"] == "model.tflite"
    shipped = (tmp_path / "out" / "model.tflite").read_bytes()
    assert memory_of(shipped) == manifest["profile"]["measured"]["peak_memory_bytes"]["value"]
