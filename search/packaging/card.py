"""What a package's README says as a model card: data, errors with intervals, the front, what was checked, licences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..noise import share_interval
from ..objectives import Objective
from ..tables import KINDS_OF_FIGURES
from ..units import format_quantity

WHAT_FILES_ARE = {
    "README.md": "this card",
    "model.onnx": "the model, float32, any batch",
    "model.pt2": "the same for torch.export.load",
    "front_end.onnx": "a waveform to the features that the model takes",
    "examples.npz": "inputs with the logits that are to come out",
    "streaming.onnx": "the model hop by hop, float32",
    "exits.onnx": "all stages in one, stops early by itself",
    "decoder.c": "reads weights without zeros",
    "model_data.c": "the int8 TFLite model as a byte array",
    "model_data.h": "its header: operators to register, arena",
}


def card(manifest: Mapping[str, Any], objectives: Sequence[Objective], files: Sequence[str]) -> list[str]:
    """Return the lines of the card, in Markdown."""
    return [
        *_data(manifest),
        *_error(manifest),
        *_front(manifest, objectives),
        *_device(manifest),
        *_front_end(manifest),
        *_checks(manifest),
        *_files(files),
        *_licences(manifest),
    ]


def _data(manifest: Mapping[str, Any]) -> list[str]:
    if "examples_of_data" not in manifest:
        return ["", "## Data", "", f"{manifest['data']}."]
    sizes = ", ".join(f"{count} {name}" for name, count in manifest["examples_of_data"].items())
    return ["", "## Data", "", f"{manifest['data']}: {sizes} examples."]


def _error(manifest: Mapping[str, Any]) -> list[str]:
    """The test error with its interval, where it is a share of examples."""
    if "retrained" in manifest:
        return ["", "## How well", "", *_retrained(manifest["retrained"])]
    if manifest["task"] != "classification" or "test_error" not in manifest:
        return []
    count = manifest["examples_of_data"]["test"]
    low, high = share_interval(manifest["test_error"], count)
    return [
        "", "## How well", "",
        f"Error on the test split: {_percent(manifest['test_error'])} ({_between(low, high)}, for it is of {count} "
        "examples). Data that differs from the test split will fare otherwise.",
    ]  # fmt: skip


def _retrained(told: Mapping[str, Any]) -> list[str]:
    mean = _percent(told["mean_test_error"])
    between = _between(*told["interval"]) if told["interval"] else "of one seed, and no share of examples"
    begun = f"Trained again in full, {told['epochs']} epochs, seeds {', '.join(map(str, told['seeds']))}."
    if len(told["seeds"]) == 1:
        return [begun, f"Test error: {mean} ({between})."]
    return [
        begun,
        f"Test error over the seeds: {mean} on average ({between}); this is seed {told['ships']}, of the least "
        f"validation error, with {_percent(told['test_error'])}.",
    ]


def _front(manifest: Mapping[str, Any], objectives: Sequence[Objective]) -> list[str]:
    if not manifest.get("front"):
        return []
    names = [objective.name.replace("_", " ") for objective in objectives]
    rows = []
    for member in manifest["front"]:
        point = f", point {member['operating_point']}" if "operating_point" in member else ""
        title = f"trial {member['trial']}{point}"
        told = [objective.format(member[objective.key]) for objective in objectives]
        rows.append(
            "| " + " | ".join([f"**{title}**" if member["trial"] == manifest["trial"] else title, *told]) + " |"
        )
    return [
        "", "## The front that it is from", "",
        "| model | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
        *rows,
    ]  # fmt: skip


def _device(manifest: Mapping[str, Any]) -> list[str]:
    figures = [
        f"| {name} | {format_quantity(figure['value'], KINDS_OF_FIGURES[name])} | {figure['method']} | "
        f"{figure['error'] or ''} |"
        for name, figure in manifest["profile"]["measured"].items()
        if name in KINDS_OF_FIGURES and figure
    ]
    return ["", f"## On {manifest['device']}", "", "| figure | value | how | error |", "|---|---|---|---|", *figures]


def _front_end(manifest: Mapping[str, Any]) -> list[str]:
    if "front_end_graph" not in manifest:
        return []
    told, settings = manifest["front_end_graph"], manifest["front_end"]
    return [
        "", "## Front end", "",
        f"`{told['file']}` takes `{told['input']['name']}`, float32 samples of full scale 1 at "
        f"{settings['sample_rate_hz']} Hz, and gives `features`. On made-up sounds they differ from training's by "
        f"{told['largest_difference']:.1g} at most. Hop by hop, {told['hop_by_hop']}.",
    ]  # fmt: skip


def _checks(manifest: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, check in manifest["checks"].items():
        errors = f"{_percent(check['error'])} | {_percent(check['error_of_torch'])}" if "error" in check else " | "
        rows.append(
            f"| `{name}` | {check['runtime']} | {check['difference']:.1g} of {check['tolerance']:g} | {errors} |"
        )
    first = next(iter(manifest["checks"].values()))
    return [
        "", "## Checked against torch", "",
        f"On {first['examples']} examples of {first['of']}, each file in its own runtime:", "",
        "| file | runtime | difference of outputs, of at most | error | error of torch |",
        "|---|---|---|---|---|",
        *rows,
    ]  # fmt: skip


def _files(files: Sequence[str]) -> list[str]:
    rows = [f"- `{name}`{': ' + WHAT_FILES_ARE[name] if name in WHAT_FILES_ARE else ''}" for name in files]
    return ["", "## Files", "", *rows]


def _licences(manifest: Mapping[str, Any]) -> list[str]:
    return ["", "## Licences", "", *(f"- {part}: {note}" for part, note in manifest["licences"].items())]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _between(low: float, high: float) -> str:
    return f"{_percent(low)} to {_percent(high)} in nine cases of ten"
