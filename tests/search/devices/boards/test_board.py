import re
from pathlib import Path

import pytest

from repareto.search.devices.boards.board import (
    ACCELERATORS,
    FOLDER,
    CortexMBoard,
    EthosUBoard,
    OperatorCost,
    board_names,
    load_board,
)
from repareto.spaces.errors import UserError

BOARD = (FOLDER / "cortex-m4.toml").read_text()
COSTS = "[cost.CONV_2D]\ncycles_per_mac = 3.6\ncycles_per_output = 15.0\ncycles_per_call = 2000.0\n"


def test_every_board_of_ours_loads_and_says_where_its_numbers_come_from() -> None:
    boards = [load_board(name) for name in board_names()]
    assert [board.name for board in boards] == list(board_names())
    assert board_names()[:3] == ("cortex-m4", "cortex-m7", "cortex-m55")
    assert {board.accelerator for board in boards if isinstance(board, EthosUBoard)} == set(ACCELERATORS)
    assert all(board.origin and board.error and board.description for board in boards)


def test_a_users_own_board(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_text(BOARD.replace("120_000_000", "64_000_000").replace('"cortex-m4"', '"mine"'))
    board = load_board(str(path))
    assert isinstance(board, CortexMBoard)
    assert (board.name, board.clock_hz) == ("mine", 64e6)
    assert board.costs["CONV_2D"] == OperatorCost(cycles_per_mac=3.6, cycles_per_output=15, cycles_per_call=2000)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("clock_hz = 120_000_000", "", "clock_hz is missing (see boards/ of the package for an example)"),
        ("clock_hz = 120_000_000", "clock_hz = 0", "clock_hz = 0: give the clock in hertz, such as 120_000_000"),
        ("clock_hz = 120_000_000", 'clock_hz = "fast"', "clock_hz = 'fast': give a number"),
        ("clock_hz = 120_000_000", "clock_hz = inf", "clock_hz = inf: give a number"),
        ("clock_hz = 120_000_000", f"clock_hz = 1{400 * '0'}", "give a number"),
        (COSTS, "[cost.CONV_2D]", "cost.CONV_2D costs nothing; give one of cycles_per_mac, "),
        ("clock_hz = 120_000_000", "clock_hz = true", "clock_hz = True: give a number"),
        ("error_share = 0.4", "error_share = 0.4\nspeed = 3", "speed is unknown (known: "),
        ("cycles_per_mac = 3.6", "cycles_per_mac = -3.6", "cost.CONV_2D.cycles_per_mac = -3.6: is negative; give 0"),
        ("cycles_per_mac = 3.6", "cycles_per_mc = 3.6", "cost.CONV_2D.cycles_per_mc is unknown (did you mean"),
        ("[cost.SOFTMAX]", "[cost.SOFTMAXX]", "cost.SOFTMAXX is unknown (did you mean SOFTMAX?)"),
        ("[cost.OTHER]", "[cost.ADD]", "cost.OTHER is missing"),
        ('kernels = "cmsis-nn-dsp"', 'kernels = "cmsis"', 'kernels = "cmsis" is unknown ('),
        ('kind = "cortex-m"', 'kind = "cortex"', 'kind = "cortex" is unknown (did you mean cortex-m?)'),
        ('kind = "cortex-m"', "kind = 4", "kind = 4: give a text in quotes"),
        ('name = "cortex-m4"', 'name = ""', "name = '': give a text in quotes"),
        ("[cost.CONV_2D]", "[cost.CONV_2D", "is no TOML: "),
        ("error_share = 0.4", "error_share = 0.4\ncode_bytes = 3", "code_bytes = 3: give a table, such as [co"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_that_names_the_field(tmp_path: Path, before: str, after: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    assert before in BOARD
    path.write_text(BOARD.replace(before, after, 1))
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_board(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_an_accelerator_that_vela_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((FOLDER / "ethos-u55-128.toml").read_text().replace('or = "ethos-u55-128"', 'or = "ethos-u55-129"'))
    with pytest.raises(UserError, match=r'accelerator = "ethos-u55-129" is unknown \(did you mean ethos-u55-128\?\)'):
        load_board(str(path))


def test_boards_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'^board "cortex-m44" is unknown \(did you mean cortex-m4\?\)$'):
        load_board("cortex-m44")
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\)"):
        load_board(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('memory_mode = "Shared_Sram"\n', "", "memory_mode is missing"),
        ('"Shared_Sram"', '"Sram_Only"', 'memory_mode = "Sram_Only" is unknown (known: Shared_Sram)'),
        ("High_End_Embedded", "Hig_End_Embedded", "is unknown (did you mean Ethos_U55_High_End_Embedded?)"),
        ('system_config = "Ethos_U55_High_End_Embedded"\n', "", "system_config is missing"),
    ],
)
def test_an_accelerator_whose_memories_would_be_misread(tmp_path: Path, before: str, after: str, message: str) -> None:
    path, text = tmp_path / "mine.toml", (FOLDER / "ethos-u55-128.toml").read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(UserError, match=re.escape(message)):
        load_board(str(path))
