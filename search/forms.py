"""What of a fused network runs on a device, and what it costs there: the whole for a window, its streaming form for a
hop, or the stages of one with early exits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from ..spaces.exits.network import AllAnswers, MultiExit
from ..spaces.streaming import Streaming
from .exits.costs import stage_graphs, stage_profiles, whole_profile
from .exits.files import bundled, unbundled

if TYPE_CHECKING:
    from .devices.base import Device
    from .devices.graph import Graph
    from .devices.profile import Profile
    from .devices.stages import Stages


@dataclass(frozen=True)
class Form:
    """What of a fused network in eval mode runs on a device: all of it for a window, or its streaming form for a hop.

    ``input_shape`` is of a window, without the batch.
    """

    fused: nn.Module
    input_shape: tuple[int, ...]
    stream: Streaming | None = None

    def graph(self) -> Graph:
        """What is computed each time it runs."""
        from .devices.readers.torch_reader import read_module

        if self.stream is None:
            return read_module(self.fused, (1, *self.input_shape))
        return read_module(self.stream, self.stream.input_shapes(self.input_shape))

    def stage_graphs(self) -> list[Graph]:
        """The same in its stages, where it has early exits; otherwise nothing."""
        return []

    def profile(self, target: Device) -> Profile:
        """What it costs on a device, before it is trained."""
        return target.profile(self.graph())

    def convert(self, target: Device, samples: np.ndarray | None, labels: Sequence[str]) -> bytes:
        """The file that ships, see :meth:`Device.convert`."""
        if self.stream is None:
            return target.convert(self.fused, self.input_shape, samples, labels)
        return target.convert_stream(self.stream, self.input_shape, samples, labels)

    def measure(self, target: Device, content: bytes, planned: Profile) -> Profile:
        """What the file that ships costs, see :meth:`Device.measure`."""
        return target.measure(content, planned)

    def answers(self, target: Device, content: bytes) -> Callable[[np.ndarray], np.ndarray]:
        """How that file answers for whole windows (n, *input_shape): logits; of early exits those of the last."""
        if self.stream is None:
            return lambda features: target.run(content, features)
        from .devices.stream import hear_windows

        return lambda features: hear_windows(target.open_stream(content), features)

    def files(self, target: Device, content: bytes) -> dict[str, bytes]:
        """What a user gets of that file, by name."""
        return {self.file_name(target): content}

    def file_name(self, target: Device) -> str:
        """What that file is called."""
        if self.stream is None or target.stream_file_name is None:
            return target.file_name
        return target.stream_file_name


class ExitForm(Form):
    """A network with early exits: its stages run one after the other until an exit is sure.

    :meth:`convert` gives the files of all stages in one.
    """

    @property
    def network(self) -> MultiExit:
        assert isinstance(self.fused, MultiExit)
        return self.fused

    def graph(self) -> Graph:
        """All that is computed for an example that no early exit is sure of, as one graph."""
        return Form(AllAnswers(self.network), self.input_shape).graph()

    def stage_graphs(self) -> list[Graph]:
        return stage_graphs(self.network, self.input_shape)

    def profile(self, target: Device) -> Profile:
        """The worst case: all stages, one after the other."""
        return whole_profile(self.stage_profiles(target))

    def stage_profiles(self, target: Device) -> list[Profile]:
        """What each stage costs on a device, before it is trained."""
        return stage_profiles(self.network, self.input_shape, target)

    def convert(self, target: Device, samples: np.ndarray | None, labels: Sequence[str]) -> bytes:
        return bundled(target.convert_stages(self.network, self.input_shape, samples, labels))

    def answers(self, target: Device, content: bytes) -> Callable[[np.ndarray], np.ndarray]:
        stages = self.open(target, content)
        return lambda features: stages.all_answers(features)[:, -1]

    def files(self, _target: Device, content: bytes) -> dict[str, bytes]:
        return unbundled(content)

    def open(self, target: Device, content: bytes) -> Stages:
        """The stages at work on this host, where ``content`` is what :meth:`convert` gave."""
        return target.open_stages(list(self.files(target, content).values()))

    def measured_stages(self, target: Device, content: bytes) -> list[Profile]:
        """What each stage costs, by the device's own tools on its file."""
        return target.measure_stages(list(self.files(target, content).values()), self.stage_profiles(target))

    def measure(self, target: Device, content: bytes, planned: Profile) -> Profile:
        """The worst case of the stages' files."""
        return replace(whole_profile(self.measured_stages(target, content)), graph_digest=planned.graph_digest)

    def file_name(self, _target: Device) -> str:
        return "stages.zip"
