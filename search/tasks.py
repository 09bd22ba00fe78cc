"""What models are for, and what follows: what of a model is profiled, what ships, and how it is judged.

A classifier answers for one window. A wake word's model listens: it ships as a network that takes hop after hop, or,
where it has no such form, as one that looks at a whole window ten times a second. A transcriber answers for one window
as a classifier does, with tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ..spaces.errors import UserError
from ..spaces.exits.network import MultiExit
from ..spaces.fusion import fused_copy
from ..trainers.data.dataset import Dataset, Split
from ..trainers.hearing import (
    Heard,
    hear_by_windows,
    hear_with,
    judge,
    misses,
    streaming_or_none,
    window_step,
)
from ..trainers.judgement import Judgement
from ..trainers.supervised import error_rate
from ..trainers.transcription import answers_of, judge_transcripts, token_error
from .forms import ExitForm, Form

if TYPE_CHECKING:
    from .devices.base import Device
    from .devices.stream import Stream


class Task(ABC):
    """A use of models."""

    name: str

    @abstractmethod
    def form(self, fused: nn.Module, input_shape: tuple[int, ...]) -> Form:
        """What runs on a device of a fused network in eval mode."""

    @abstractmethod
    def validation_error(self, model: nn.Module, dataset: Dataset, device: str) -> float:
        """How a network in training fares on what does not train it."""

    @abstractmethod
    def judge(self, fused: nn.Module, dataset: Dataset, device: str) -> Judgement:
        """How a fused network in eval mode fares."""

    @abstractmethod
    def judge_file(self, target: Device, content: bytes, form: Form, dataset: Dataset) -> Judgement:
        """How the file that ships of a form fares."""

    def mistakes(self, logits: np.ndarray, split: Split) -> float:
        """The share of a split's examples whose answers are wrong, each heard alone: to hold two files against each
        other. ``logits`` are (n, classes)."""
        return float((logits.argmax(1) != split.labels).mean())

    @abstractmethod
    def refuse_device(self, target: Device) -> None:
        """Raise :class:`UserError` for a device on which no model of this task can run."""


class Classification(Task):
    """One answer for one example, on any device."""

    name = "classification"

    def form(self, fused: nn.Module, input_shape: tuple[int, ...]) -> Form:
        return _whole_or_staged(fused, input_shape)

    def validation_error(self, model: nn.Module, dataset: Dataset, device: str) -> float:
        return error_rate(fused_copy(model.eval()), dataset.validation, device=device)

    def judge(self, fused: nn.Module, dataset: Dataset, device: str) -> Judgement:
        splits = {"error": dataset.validation, "test_error": dataset.test}
        return Judgement({key: error_rate(fused, split, device=device) for key, split in splits.items()})

    def judge_file(self, target: Device, content: bytes, _form: Form, dataset: Dataset) -> Judgement:
        def error(split: Split) -> float:
            return self.mistakes(target.run(content, split.features), split)

        return Judgement({"error": error(dataset.validation), "test_error": error(dataset.test)})

    def refuse_device(self, target: Device) -> None:
        pass


class WakeWordDetection(Task):
    """Misses of a word in a stream, at a number of false alarms an hour."""

    name = "wakeword"

    def form(self, fused: nn.Module, input_shape: tuple[int, ...]) -> Form:
        return Form(fused, input_shape, streaming_or_none(fused, input_shape))

    def validation_error(self, model: nn.Module, dataset: Dataset, device: str) -> float:
        return misses(hear_with(fused_copy(model.eval()), dataset, device), dataset)

    def judge(self, fused: nn.Module, dataset: Dataset, device: str) -> Judgement:
        return judge(hear_with(fused, dataset, device), dataset)

    def judge_file(self, target: Device, content: bytes, form: Form, dataset: Dataset) -> Judgement:
        def by_windows(features: np.ndarray) -> Heard:
            frames, step = dataset.input_shape[-1], window_step(dataset.front_end)
            return hear_by_windows(lambda windows: target.run(content, windows), features, frames, step)

        def by_hops(features: np.ndarray) -> Heard:
            return _hear_file(target.open_stream(content), features)

        return judge(by_windows if form.stream is None else by_hops, dataset)

    def refuse_device(self, target: Device) -> None:
        if target.stream_file_name is None:
            raise UserError(f"device {target.name}: takes no network that listens hop by hop (name another device)")


class Transcription(Task):
    """Tokens for one utterance, on any device; edits over the tokens that were said."""

    name = "transcription"

    def form(self, fused: nn.Module, input_shape: tuple[int, ...]) -> Form:
        return _whole_or_staged(fused, input_shape)

    def validation_error(self, model: nn.Module, dataset: Dataset, device: str) -> float:
        return token_error(answers_of(model, device), dataset.validation)

    def judge(self, fused: nn.Module, dataset: Dataset, device: str) -> Judgement:
        return judge_transcripts(answers_of(fused, device), dataset)

    def judge_file(self, target: Device, content: bytes, _form: Form, dataset: Dataset) -> Judgement:
        return judge_transcripts(lambda features: target.run(content, features), dataset)

    def mistakes(self, logits: np.ndarray, split: Split) -> float:
        return token_error(lambda _features: logits, split)

    def refuse_device(self, target: Device) -> None:
        pass


def _whole_or_staged(fused: nn.Module, input_shape: tuple[int, ...]) -> Form:
    return (ExitForm if isinstance(fused, MultiExit) else Form)(fused, input_shape)


def _hear_file(stream: Stream, features: np.ndarray) -> Heard:
    """Let a file that ships hear a sound (bands, frames), one hop after the other."""
    stream.reset()
    hop_frames = stream.hop_shape[-1]
    hops = features.shape[1] // hop_frames
    shape = (len(features), hops, *stream.hop_shape[1:-1], hop_frames)
    cut = features[:, : hops * hop_frames].astype(np.float32).reshape(shape).swapaxes(0, 1)
    first = min(hops, stream.window_hops - 1)
    return Heard(np.stack([stream.step(hop) for hop in cut])[first:], hop_frames, first)


TASKS: Mapping[str, Task] = {task.name: task for task in (Classification(), WakeWordDetection(), Transcription())}


def task_of(dataset: Dataset) -> Task:
    """What the models of a data set are for."""
    if dataset.transcription:
        return TASKS["transcription"]
    return TASKS["wakeword" if dataset.detection else "classification"]


def task_named(data: Mapping[str, Any]) -> Task:
    """The same, of what a study keeps of its data."""
    return TASKS[data.get("task", "classification")]
