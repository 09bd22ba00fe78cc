"""An export with early exits, made a user's own: what its folder becomes of some recordings, and what that costs.

New files go beside the old ones, and the manifest that names them is replaced last, in one step: whatever interrupts,
the folder holds one whole model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...spaces.errors import UserError
from ...trainers.data.dataset import NO_LABEL
from ...trainers.exits.adapt import adapt
from ...trainers.exits.operating_points import OperatingPoint, point_at
from ...trainers.exits.personal import STEPS, Head, TrainingCost, fine_tuning_macs, head_training_cost
from ...trainers.exits.temperature import softmax
from ..devices.host.onnx_runtime import make_session
from ..devices.shipped import OUTPUT_NAME
from ..files import write_atomically
from ..predict import FrontEnd, features_of, front_end_of
from .joined import joined_onnx
from .runner import MANIFEST, read_manifest

FEWEST = 15
TEST_SHARE = 1 / 3
GLOBAL_KEY = "exits_of_all_users"


@dataclass(frozen=True)
class Recordings:
    """What a user's folder holds: features (n, *input_shape), and classes (n,) or ``NO_LABEL``."""

    features: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Personalised:
    """Before and after, on recordings that neither trained nor set thresholds; None where none has a label."""

    before: OperatingPoint | None
    after: OperatingPoint | None
    last_error: float | None
    last_cost: float
    """Of all stages, in ``cost_unit`` as the expected costs."""
    cost_unit: str
    cost: TrainingCost
    fine_tuning_macs: int
    labelled: int
    pseudo_labelled: int
    off: tuple[int, ...]
    """Exits that are off, counted from 1."""


def personalize(
    folder: Path, data: Path, *, labels: int | None = None, seed: int = 0, say: Callable[[str], None]
) -> Personalised:
    """Adapt the early exits of an export in ``folder`` to the recordings in ``data``.

    Of those with a label a third only tests, and of the rest ``labels`` at most are learnt from with their label.

    It starts from the exits of all users, so that doing it again does it anew. Raises :class:`UserError` for an export
    without early exits and for a folder that has too little, of one class or of a label that the model does not know.
    """
    manifest = read_manifest(folder)
    if "transcription" in manifest:
        raise UserError(f"{folder}: its model transcribes, and only classifiers can be made a user's own")
    exits = manifest.get(GLOBAL_KEY) or manifest.get("exits")
    if exits is None:
        raise UserError(f"{folder}: has no early exits to personalise (export a trial with space.exits)")
    user = read_recordings(data, manifest, front_end_of(folder, manifest), say)
    rng = np.random.default_rng(seed)
    shown, tested, labelled = _split(user.labels, labels, rng)
    files = [(folder / name).read_bytes() for name in exits["stages"]]
    if not all(name.endswith(".onnx") for name in exits["stages"]) or any(map(_is_quantised, files)):
        raise UserError(
            f"{folder}: only ONNX stages in float32 can learn (export a trial of a study of host-onnxruntime)"
        )
    heads = [_head_of(content) for content in files]
    seen = _run(files, user.features)
    used = np.where(np.isin(shown, labelled), user.labels[shown], NO_LABEL)
    adapted = adapt(heads, [own[shown] for own in seen], exits["temperatures"][-1], used, rng=rng)
    truth, costs = user.labels[tested], exits["costs_up_to"][exits["cost_unit"]]
    unit = {"latency_us": "us", "macs": "MACs"}[exits["cost_unit"]]

    def told(heads: Sequence[Head], temperatures: Sequence[float], point: dict[str, Any]) -> OperatingPoint | None:
        if not len(tested):
            return None
        logits = [head(own[tested]) for head, own in zip(heads, seen, strict=True)]
        chances = np.stack([softmax(*both) for both in zip(logits, temperatures, strict=True)], 1)
        return point_at(point["policy"], point["thresholds"], chances, chances.argmax(2) != truth[:, None], costs)

    point = {"policy": "confidence", "thresholds": list(adapted.thresholds)}
    before = told(heads, exits["temperatures"], exits["points"][exits["chosen"]])
    last_alone = told(heads, exits["temperatures"], {"policy": "confidence", "thresholds": [None] * (len(heads) - 1)})
    after = told(adapted.heads, adapted.temperatures, point)
    macs = round(exits["costs_up_to"]["macs"][-1])
    counts = tuple(head.weight.shape[1] for head in heads)
    passes = STEPS * adapted.passes
    new_files = [_with_head(content, head) for content, head in zip(files, adapted.heads, strict=True)]
    _switch(folder, manifest, exits, new_files, adapted.temperatures, point)
    return Personalised(
        before,
        after,
        None if last_alone is None else last_alone.error,
        costs[-1],
        unit,
        head_training_cost(counts, passes, len(shown), macs, len(manifest["labels"])),
        fine_tuning_macs(len(shown), macs),
        len(labelled),
        adapted.pseudo_labelled,
        tuple(number for number, bar in enumerate(adapted.thresholds, 1) if bar is None),
    )


def read_recordings(
    folder: Path, manifest: dict[str, Any], front_end: Callable[[], FrontEnd], say: Callable[[str], None]
) -> Recordings:
    """Return what a user's folder holds: ``<label>/<file>``, and files of no label directly in it.

    Silent and unreadable ones are named and left out.
    """
    if not folder.is_dir():
        raise UserError(f"--data {folder}: there is no such folder")
    known: list[str] = manifest["labels"]
    features, labels = [], []
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        files = sorted(path for path in place.iterdir() if path.suffix.lower() in (".wav", ".flac", ".npy"))
        if files and place != folder and place.name not in known:
            raise UserError(f"--data {place}: the model does not know {place.name!r} (it knows {', '.join(known)})")
        for path in files:
            try:
                features.append(features_of(path, manifest, front_end))
            except UserError as error:
                say(f"left out: {error}")
                continue
            labels.append(NO_LABEL if place == folder else known.index(place.name))
    if len(features) < FEWEST:
        raise UserError(f"--data {folder}: has {len(features)} recordings that can be used; give {FEWEST} or more")
    present = set(labels) - {NO_LABEL}
    if len(present) == 1:
        raise UserError(
            f"--data {folder}: all labels are {known[present.pop()]!r}, so that exits would learn to say nothing else "
            "(give two or more classes, or files without a label)"
        )
    return Recordings(np.stack(features), np.array(labels))


def _split(labels: np.ndarray, most: int | None, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which recordings are learnt from, which only test, and which of the former show their label."""
    known = rng.permutation(np.flatnonzero(labels != NO_LABEL))
    tested = known[: round(len(known) * TEST_SHARE)]
    shown = np.setdiff1d(np.arange(len(labels)), tested)
    return shown, np.sort(tested), known[len(tested) :][:most]


def _head_of(content: bytes) -> Head:
    """Return the linear layer that gives a stage's logits."""
    import onnx

    graph = onnx.load_from_string(content).graph
    layer = _layer(graph)
    stored = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}
    return Head(stored[layer.input[1]], stored[layer.input[2]])


def _is_quantised(content: bytes) -> bool:
    import onnx

    return any(node.op_type == "QuantizeLinear" for node in onnx.load_from_string(content).graph.node)


def _layer(graph: Any) -> Any:
    (layer,) = (node for node in graph.node if OUTPUT_NAME in node.output)
    assert layer.op_type == "Gemm" and any(a.name == "transB" and a.i for a in layer.attribute), layer.op_type
    return layer


def _with_head(content: bytes, head: Head) -> bytes:
    import onnx

    model = onnx.load_from_string(content)
    layer = _layer(model.graph)
    new = {layer.input[1]: head.weight, layer.input[2]: head.bias}
    for weight in model.graph.initializer:
        if weight.name in new:
            weight.CopyFrom(onnx.numpy_helper.from_array(new[weight.name].astype(np.float32), weight.name))
    return model.SerializeToString()


def _run(files: Sequence[bytes], features: np.ndarray) -> list[np.ndarray]:
    """Return the features (n, d) of each head."""
    x, seen = features, []
    for content in files:
        session = make_session(_with_features(content))
        *hidden, _, own = session.run(None, {session.get_inputs()[0].name: x})
        seen.append(own.astype(float))
        x = hidden[0] if hidden else x
    return seen


def _with_features(content: bytes) -> bytes:
    """Return a stage that gives what its linear layer takes as one more output."""
    import onnx

    model = onnx.load_from_string(content)
    model.graph.output.append(onnx.ValueInfoProto(name=_layer(model.graph).input[0]))
    return model.SerializeToString()


def _switch(
    folder: Path,
    manifest: dict[str, Any],
    exits: dict[str, Any],
    files: Sequence[bytes],
    temperatures: Sequence[float],
    point: dict[str, Any],
) -> None:
    """Write the new stages under names of their own, then the manifest that names them."""
    joined = joined_onnx(files, temperatures, point["policy"], point["thresholds"], manifest["labels"])
    written = {_own_name(f"stage{number}", content): content for number, content in enumerate(files, 1)}
    written[_own_name("exits", joined)] = joined
    for name, content in written.items():
        write_atomically(folder / name, content)
    *stages, joined_name = written
    own = {**exits, "stages": stages, "temperatures": list(temperatures), "points": [point], "chosen": 0}
    # The time that its layers take is what it was.
    of_all = exits.get("joined", {})
    own["joined"] = {
        "file": joined_name,
        **{key: of_all[key] for key in of_all.keys() & {"measured_latency_at_exit_us"}},
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in written.items()}
    sums = {**manifest.get("sha256", {}), **digests}
    document = {**manifest, "exits": own, GLOBAL_KEY: exits, "sha256": sums}
    write_atomically(folder / MANIFEST, (json.dumps(document, indent=2) + "\n").encode())


def _own_name(stem: str, content: bytes) -> str:
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.onnx"
