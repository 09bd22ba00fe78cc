"""What an export's README says, from its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..trainers.transcription import BEAM
from .objectives import Objective
from .packaging.card import card
from .records import FLOAT_PREFIX
from .tables import KINDS_OF_FIGURES
from .units import format_quantity


def readme(manifest: dict[str, Any], objectives: tuple[Objective, ...], files: Sequence[str]) -> str:
    """Return the text: how to begin, and then the model's card."""
    figures = [f"- {o.name}: {o.format(manifest['objectives'][o.key])}" for o in objectives]
    measured = manifest["profile"]["measured"]
    told = [
        f"- {name}, {figure['method']}: {format_quantity(figure['value'], KINDS_OF_FIGURES[name])} ({figure['error']})"
        for name, figure in measured.items()
        if name in ("latency_us", "peak_memory_bytes") and figure
    ]
    shape = manifest["input"]["shape"]
    return "\n".join(
        [
            f"# {manifest['title']}{_told_point(manifest)}",
            "",
            f"A fused model for {_told_labels(manifest)}.",
            "",
            *figures,
            *_about_the_test(manifest),
            *told,
            *_about_exits(manifest),
            "",
            *_about_what_ships(manifest),
            f"`model.onnx` and `model.pt2` take float32 features {shape} and return logits. `manifest.json` has how",
            "features are made (`front_end`), where each figure comes from, and the SHA-256 of each file.",
            *_about_the_stream(manifest["streaming"]),
            *_about_sparse_weights(manifest),
            "",
            "```python",
            "import numpy as np, onnxruntime",
            'session = onnxruntime.InferenceSession("model.onnx")',
            f"features = np.zeros((1, *{tuple(shape[1:])}), np.float32)",
            'logits = session.run(["logits"], {"features": features})[0]',
            "```",
            *card(manifest, objectives, files),
            "",
        ]
    )


def _told_point(manifest: dict[str, Any]) -> str:
    return f", operating point {manifest['operating_point']}" if "operating_point" in manifest else ""


def _told_labels(manifest: dict[str, Any]) -> str:
    kind = "classes" if "transcription" not in manifest else "tokens, the first CTC's blank"
    return f"{len(manifest['labels'])} {kind}: {', '.join(manifest['labels'])}"


def _about_the_test(manifest: dict[str, Any]) -> list[str]:
    if "transcription" in manifest:
        told = manifest["transcription"]
        # Early exits are judged by their best path alone.
        beam = f", with a beam of {BEAM} {100 * told['test_beam_error']:.2f} %" if "test_beam_error" in told else ""
        return [
            f"- token error on the test split: {100 * manifest['test_error']:.2f} %{beam}; word error "
            f"{100 * told['test_word_error']:.2f} %, character error {100 * told['test_character_error']:.2f} %",
            "- of the likeliest token of each step: join repeats, then leave out blanks",
        ]
    if "test_error" not in manifest:
        return []
    if "detector" not in manifest:
        return [f"- error on the test split: {100 * manifest['test_error']:.2f} %"]
    detector = manifest["detector"]
    lines = [
        f"- at a threshold of {detector['threshold']:.3f} for scores averaged over {detector['smoothing_hops']} hops, "
        f"with a pause of {detector['pause_seconds']:g} s after a detection",
    ]
    for row in manifest["misses"]:
        low, high = row["test_misses_interval"]
        lines.append(
            f"- {row['false_alarms_per_hour']:g} false alarms an hour in calibration: {100 * row['test_misses']:.1f} % "
            f"of words missed in the test ({100 * low:.1f} to {100 * high:.1f} %) at "
            f"{row['test_false_alarms_per_hour']:.2g} false alarms an hour"
        )
    return lines


def _about_exits(manifest: dict[str, Any]) -> list[str]:
    if "exits" not in manifest:
        return []
    exits = manifest["exits"]
    point = exits["points"][exits["chosen"]]
    rates = ", ".join(f"{100 * rate:.0f} %" for rate in point["rates"])
    off = [str(number) for number, threshold in enumerate(point["thresholds"], 1) if threshold is None]
    return [
        f"- {len(point['rates'])} exits by {point['policy']}, at which {rates} of the validation split leave",
        *_about_exit_times(exits, point),
        *([f"- off, for they are not good enough at this operating point: exit {', '.join(off)}"] if off else []),
        "- `repareto predict` runs the stages and stops early; `model.onnx` is the last exit alone",
    ]


def _about_exit_times(exits: dict[str, Any], point: dict[str, Any]) -> list[str]:
    if "latency_up_to_us" not in exits:
        return []
    told = ", ".join(f"{value:.1f}" for value in exits["latency_up_to_us"])
    mean = f"{point['expected_latency_of_files_us']:.1f} us on average"
    lines = [f"- to each exit takes {told} us, {exits['latency_method']}; {mean}"]
    if "joined" in exits:
        told = ", ".join(f"{value:.1f}" for value in exits["joined"]["measured_latency_at_exit_us"])
        lines.append(
            f"- `{exits['joined']['file']}` has all stages in one and stops early by itself: one run that leaves at "
            f"each exit took {told} us in ONNX Runtime on the host that exported it"
        )
    return lines


def _about_the_stream(streaming: dict[str, Any]) -> list[str]:
    if "refused" in streaming:
        return []
    if "stages" in streaming:
        return [
            f"`{'`, `'.join(streaming['stages'])}` listen: `repareto stream` gives them {streaming['hop_frames']} new "
            "frames at a time and stops at the first exit that is sure. A stage that was not needed catches up when it "
            f"is, so that the longest hop may take {streaming['longest_hop_us']:.0f} us. They compute in float32.",
        ]
    lines = [
        f"`{streaming['file']}` listens: it takes {streaming['hop_frames']} new frames at a time and the states "
        "that it gave for those before (zeros at first).",
        f"The states hold {streaming['state_bytes']} bytes; a hop took {streaming['hop_latency_us']['minimum']:.1f} us "
        "in ONNX Runtime on the machine that exported it. It computes in float32.",
    ]
    ships = streaming["ships"]
    if "refused" not in ships and ships["file"] != streaming["file"]:
        lines.append(
            f"`{ships['file']}` does the same in {ships['precision']}, with states of {ships['state_bytes']} bytes."
        )
    return lines


def _about_sparse_weights(manifest: dict[str, Any]) -> list[str]:
    if "sparse_weights" not in manifest:
        return []
    files = manifest["sparse_weights"]["files"].values()
    dense, sparse = (sum(file[key] for file in files) for key in ("weights_bytes", "sparse_weights_bytes"))
    return [
        f"`*.rpsw` has the weights that ship without their zeros, {sparse} bytes in place of {dense}; `decoder.c`",
        "reads it, and `*.structure.onnx` is the rest of the file.",
    ]


def _about_what_ships(manifest: dict[str, Any]) -> list[str]:
    ships = manifest["ships"]
    if ships == "model.onnx":
        return []
    names = f"`{ships}` is" if isinstance(ships, str) else f"`{'`, `'.join(ships)}` are"
    lines = [f"{names} what ships on {manifest['device']}, and what the errors above are of."]
    if manifest["float32"]:
        before = manifest["float32"][f"{FLOAT_PREFIX}test_error"]
        lines.append(f"Before it was quantised the model had {100 * before:.2f} % error on the test split.")
    return [*lines, ""]
