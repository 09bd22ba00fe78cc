"""One page on a study to send to somebody: its front, what was measured, and how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from ..facts import StudyFacts
from ..importance import importances
from ..records import TrialRecord, estimate_errors, measured_figures, models_of
from ..results import Results
from .study import Section, study_page


def report_page(results: Results, facts: StudyFacts, header: Mapping[str, Any]) -> str:
    """Return the study's page with what its ledger's ``header`` says of config, data and versions."""
    more = [*_measured(models_of(results.front)), *_origin(facts, header)]
    return study_page(results, facts, importances(results), more=more)


def _measured(members: Sequence[TrialRecord]) -> Iterator[Section]:
    """What was measured at the end of the search, beside what the search used."""
    names = sorted({name for record in members for name in measured_figures(record.measured)})
    if not names:
        return
    rows = []
    for record in members:
        figures, errors = measured_figures(record.measured), estimate_errors(record.profile, record.measured)
        for name in names:
            if name in figures:
                method = record.measured[name]["method"]
                off = f"{100 * errors[name]:+.1f} %" if name in errors else ""
                rows.append([f"#{record.number}", name, f"{figures[name]:.6g}", method, off])
    columns = ["model", "figure", "value", "how", "the search's figure was off by"]
    yield {"title": "As measured", "charts": [{"kind": "table", "columns": columns, "rows": rows}]}


def _origin(facts: StudyFacts, header: Mapping[str, Any]) -> Iterator[Section]:
    examples = facts.data.get("examples", {})
    told = {
        "data": facts.data.get("name", ""),
        **{f"{split} examples": str(count) for split, count in examples.items()},
        "labels": ", ".join(map(str, facts.data.get("labels", []))),
        "device": facts.device,
        **header.get("versions", {}),
    }
    rows = [[name, text] for name, text in told.items() if text]
    config = yaml.safe_dump(_without_places(header["config"]), sort_keys=False, allow_unicode=True)
    charts = [{"kind": "table", "columns": ["", ""], "rows": rows}, {"kind": "text", "text": config}]
    yield {"title": "How it was made", "charts": charts}


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without where things were kept: that is nobody else's business."""
    return {key: value for key, value in config.items() if key not in ("store", "ledger", "tracking")}
