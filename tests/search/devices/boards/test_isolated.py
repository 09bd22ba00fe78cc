import sys
import time
from pathlib import Path

import pytest

from repareto.search.devices.boards.isolated import ToolError, run_python, run_tool
from repareto.spaces.errors import UserError


def test_what_a_tool_prints_comes_back_from_below_python_too() -> None:
    script = "import os, sys; print('above'); sys.stdout.flush(); os.write(1, b'below'); os.write(2, b'aside')"
    printed = run_python("probe", "nothing", script, [], 20)
    assert (printed.stdout.split(), printed.stderr) == (["above", "below"], "aside")


def test_arguments_and_one_thread_reach_the_script() -> None:
    script = "import os, sys; print(sys.argv[1:], os.environ['OMP_NUM_THREADS'])"
    assert run_python("probe", "nothing", script, ["a b", "-c"], 20).stdout.strip() == "['a b', '-c'] 1"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import os; os.abort()", "probe: crashed (SIGABRT) on model 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "probe: crashed (SIGSEGV) on model 7"),
        (
            "print('so far'); raise SystemExit('no such thing')",
            "probe: failed (exit status 1) on model 7: no such thing",
        ),
        ("import os; os._exit(3)", "probe: failed (exit status 3) on model 7"),
    ],
)
def test_a_crash_is_one_line_that_names_the_tool_and_its_input(script: str, message: str) -> None:
    with pytest.raises(ToolError) as caught:
        run_python("probe", "model 7", script, [], 20)
    assert str(caught.value) == message
    assert isinstance(caught.value, UserError)


def test_a_hanging_tool_is_ended_with_all_that_it_started() -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with pytest.raises(ToolError, match=r"^probe: no answer on model 7 within 2 s; it was stopped$") as caught:
        run_python("probe", "model 7", script, [], 2)
    child = int(caught.value.output)
    for _ in range(200):
        if not _runs(child):
            break
        time.sleep(0.05)
    assert not _runs(child)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(ToolError, match=r"^probe: cannot be started \(No such file or directory\)$"):
        run_tool("probe", "nothing", ["/nowhere/to/be/found"], 5)


def test_a_file_in_the_working_directory_stands_in_for_no_module(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    command = [sys.executable, "-P", "-c", "import json; print(json.dumps(1))"]
    assert run_tool("probe", "nothing", command, 20, folder=tmp_path).stdout == "1\n"
