"""A network with early exits that listens, as files and at work: a hop stops at the first exit that is sure."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...spaces.exits.chain import ExitChain
from ...spaces.exits.streaming import StreamingExits, streaming_exits
from ..devices.host.onnx_runtime import exported, make_session, measure_latency_us
from ..devices.shipped import LABELS_KEY
from ..devices.stages import Stages, stage_ends
from ..devices.stream import NEW_STATE, STATE
from .personalize import GLOBAL_KEY
from .runner import EarlyStopping


def stream_files(stream: StreamingExits, labels: Sequence[str]) -> list[bytes]:
    """Return an ONNX file for each stage: frames and states in, what the stage gives and the new states out."""
    files = []
    for number, (stage, shape) in enumerate(zip(stream.stages, stream.frame_shapes, strict=True), 1):
        states = stage.state_shapes
        (source,), results = stage_ends(number, len(stream.stages))
        names = (
            [source, *(f"{STATE}{place}" for place in range(len(states)))],
            [*results, *(f"{NEW_STATE}{place}" for place in range(len(states)))],
        )
        examples = tuple(torch.zeros(1, *size) for size in (shape, *states))
        files.append(exported(stage, examples, names, {LABELS_KEY: json.dumps(list(labels))}))
    return files


class StreamStages(Stages):
    """Streaming stages in ONNX Runtime that have heard silence so far; each call of :meth:`answers` takes one hop."""

    def __init__(self, files: Sequence[bytes], memory_hops: Sequence[int]) -> None:
        self._stages = [_Stage(content, hops) for content, hops in zip(files, memory_hops, strict=True)]

    @property
    def hop_shape(self) -> tuple[int, ...]:
        """Of what a hop brings, without the batch."""
        return self._stages[0].frame_shape

    @property
    def hops_run(self) -> list[int]:
        """How many hops each stage has worked on."""
        return [stage.hops_run for stage in self._stages]

    def reset(self) -> None:
        """Forget what was heard."""
        for stage in self._stages:
            stage.forget()

    def answers(self, features: np.ndarray) -> Iterator[np.ndarray]:
        self._stages[0].give([features[None].astype(np.float32)], after_gap=False)
        for place, stage in enumerate(self._stages):
            had_gap = stage.has_gap
            hidden, logits = stage.catch_up()
            if place + 1 < len(self._stages):
                self._stages[place + 1].give(hidden, had_gap)
            yield logits[0]


class _Stage:
    """One stage, its states, and what waits for it: at most the ``memory_hops`` hops that its answer depends on."""

    def __init__(self, content: bytes, memory_hops: int) -> None:
        self._session = make_session(content)
        frames, *states = self._session.get_inputs()
        self._names = [frames.name, *(state.name for state in states)]
        self.frame_shape = tuple(int(size) for size in frames.shape[1:])
        self._silence = [np.zeros(state.shape, np.float32) for state in states]
        self._waiting: deque[np.ndarray] = deque(maxlen=memory_hops)
        self.hops_run = 0
        self.forget()

    def forget(self) -> None:
        self._states = self._silence
        self._waiting.clear()
        self.has_gap = False

    def give(self, hops: Sequence[np.ndarray], after_gap: bool) -> None:
        """Let hops wait; ``after_gap`` says that some before them are missing."""
        if after_gap:
            self._waiting.clear()
        self.has_gap |= after_gap or len(self._waiting) + len(hops) > self._waiting.maxlen  # type: ignore[operator]
        self._waiting.extend(hops)

    def catch_up(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Run what waits; return the map of each hop and the logits of the last."""
        if self.has_gap:
            self._states, self.has_gap = self._silence, False
        hidden, logits = [], np.zeros(0)
        for frames in self._waiting:
            feed = dict(zip(self._names, (frames, *self._states), strict=True))
            results = self._session.run(None, feed)
            *maps, logits = results[: len(results) - len(self._states)]
            self._states = results[len(results) - len(self._states) :]
            hidden += maps
        self.hops_run += len(self._waiting)
        self._waiting.clear()
        return hidden, logits


class ExitStream:
    """Takes hop after hop and answers with the logarithms of the probabilities at the first exit that is sure."""

    def __init__(
        self,
        stages: StreamStages,
        stop_early: EarlyStopping,
        window_hops: int,
        labels: Sequence[str],
        stage_latency_us: Sequence[float],
    ) -> None:
        self._stages, self._stop_early, self._stage_latency_us = stages, stop_early, stage_latency_us
        self.hop_shape, self.window_hops, self.labels = stages.hop_shape, window_hops, list(labels)
        self._hops = 0

    @classmethod
    def of(cls, folder: Path, manifest: Mapping[str, Any]) -> ExitStream:
        """The stream of an export, at its operating point; of a personalised one with the exits of all users."""
        streaming, exits = manifest["streaming"], manifest.get(GLOBAL_KEY) or manifest["exits"]
        stages = StreamStages([(folder / name).read_bytes() for name in streaming["stages"]], streaming["memory_hops"])
        point = exits["points"][exits["chosen"]]
        stop_early = EarlyStopping(stages, exits["temperatures"], point["policy"], point["thresholds"])
        return cls(stages, stop_early, streaming["window_hops"], manifest["labels"], streaming["stage_latency_us"])

    def reset(self) -> None:
        """Forget what was heard."""
        self._stages.reset()

    def step(self, frames: np.ndarray) -> np.ndarray:
        """Return the logits (classes,) after one more hop of features, of ``hop_shape``."""
        probabilities, _ = self._stop_early(frames)
        self._hops += 1
        return np.log(np.maximum(probabilities, np.finfo(float).tiny)).astype(np.float32)

    def remark(self) -> str:
        """What the hops so far have cost."""
        shares = np.array(self._stages.hops_run) / max(1, self._hops)
        told = ", ".join(f"{100 * share:.0f} %" for share in shares)
        spent, all_us = float(shares @ np.array(self._stage_latency_us)), sum(self._stage_latency_us)
        return (
            f"the {len(shares)} stages worked on {told} of the hops: {spent:.1f} us a hop where all of them take "
            f"{all_us:.1f} us (as measured where it was exported)"
        )


def write_stages_that_listen(
    network: ExitChain, inputs: torch.Tensor, labels: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write the streaming stages of a fused network, and return what a manifest says of them.

    Raises :class:`UserError` for a network that has no streaming form.
    """
    stream = streaming_exits(network, inputs.shape[1:])
    files = stream_files(stream, labels)
    names = [f"streaming{number}.onnx" for number in range(1, len(files) + 1)]
    for name, content in zip(names, files, strict=True):
        (folder / name).write_bytes(content)
    states = sum(torch.Size(shape).numel() for stage in stream.stages for shape in stage.state_shapes)
    waiting = [
        hops * torch.Size(shape).numel()
        for hops, shape in zip(stream.memory_hops[1:], stream.frame_shapes[1:], strict=True)
    ]
    times_us = [measure_latency_us(content).min_us for content in files]
    return {
        "stages": names,
        "memory_hops": list(stream.memory_hops),
        "precision": "fp32",
        "hop_frames": stream.hop_frames,
        "window_hops": stream.window_hops,
        "state_bytes": 4 * states,
        "waiting_bytes": 4 * sum(waiting),
        "largest_difference_from_window": largest_difference(StreamStages(files, stream.memory_hops), network, inputs),
        "stage_latency_us": times_us,
        "longest_hop_us": float(np.dot(times_us, [1, *stream.memory_hops[1:]])),
    }


@torch.no_grad()
def largest_difference(stages: StreamStages, network: ExitChain, windows: torch.Tensor) -> float:
    """Return the largest absolute difference of any exit's logits between stages that hear whole ``windows``
    (n, *input_shape), each from silence, and torch. Later stages run at the last hop alone."""
    largest = 0.0
    expected = torch.stack(network.answers(windows), 1).numpy()
    for window, logits in zip(windows.numpy(), expected, strict=True):
        stages.reset()
        *before, last = np.split(window, window.shape[-1] // stages.hop_shape[-1], axis=-1)
        for hop in before:
            next(stages.answers(hop))
        largest = max(largest, float(np.abs(np.stack(list(stages.answers(last))) - logits).max()))
    return largest
