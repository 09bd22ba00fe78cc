"""The examples of docs/python.md, as they stand there, on a study that is finished."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import yaml

from repareto.search.config import ConfigFile
from tests.integration.commands import EXAMPLES, QUICK

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_every_example_runs(finished_study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished_study.folder)
    config = ConfigFile(EXAMPLES / "digits.yaml", [word for word in QUICK if word != "--set"])
    Path("digits.yaml").write_text(yaml.safe_dump(config.values))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 7
    told, names = io.StringIO(), {}
    with contextlib.redirect_stdout(told):
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    assert "study digits has its 6 trials already" in told.getvalue()
    assert "wrote trial" in told.getvalue()
    assert '"digtis" is not in runs (did you mean digits?)' in told.getvalue()
    assert names["rows"][0].keys() >= {"error", "latency_us", "stages"}
    assert names["study"].results.trained == 6
    assert all("digits: " in Path(page).read_text(encoding="utf-8") for page in ("front.html", "report.html"))
    assert 0 < names["answer"].probability <= 1
