import sys
from pathlib import Path

import pytest

from repareto.search.devices.extras import installed_version, require
from repareto.spaces.errors import UserError


def test_a_module_that_is_there() -> None:
    assert require("json", "mcu").dumps(1) == "1"
    assert installed_version("numpy", "mcu")[0].isdigit()


def test_a_missing_module_names_the_extra_to_install() -> None:
    message = r'^no_such_tool needs the extra "mcu": pip install "repareto\[mcu\]"$'
    with pytest.raises(UserError, match=message):
        require("no_such_tool.runtime", "mcu")
    with pytest.raises(UserError, match="needs the extra"):
        installed_version("no-such-tool", "mcu")


def test_a_module_that_does_not_load_is_told_from_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="half_there is installed and does not load: No module named 'no_such_library'"):
        require("half_there", "mcu")
    sys.modules.pop("half_there", None)
