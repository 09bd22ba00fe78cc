"""Which of a manifest's fields another export of the same trial has otherwise: what is timed, anew each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

TIMED_PARTS = ("streaming", "exits")
TIMED = {
    "hop_latency_us",
    "longest_hop_us",
    "stage_latency_us",
    "latency_up_to_us",
    "expected_latency_of_files_us",
    "measured_latency_at_exit_us",
}
WHY = "timed by this export, on the machine that it ran on"


def not_reproducible(manifest: Mapping[str, Any], *, is_measured_anew: bool) -> dict[str, str]:
    """Return why, by dotted path of the field; all else, and each file, is the same for the same trial."""
    fields = [path for part in TIMED_PARTS if part in manifest for path in _times(manifest[part], part)]
    if is_measured_anew:
        fields.append("profile.measured")
    told = dict.fromkeys(fields, WHY)
    return {**told, "sha256.README.md": "tells times that were taken by this export"} if told else {}


def _times(value: Any, path: str) -> Iterator[str]:
    """The paths of times below a place."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            place = f"{path}.{key}"
            if key in TIMED:
                yield place
            else:
                yield from _times(inner, place)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _times(inner, f"{path}.{number}")
