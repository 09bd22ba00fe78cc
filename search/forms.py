"""What of a fused network runs on a device, and what it costs there: the whole for a window, its streaming form for a
hop, or the stages of one with early exits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from ..spaces.exits.network import AllAnswers, MultiExit
from ..spaces.streaming import Streaming
from .exits.costs import measured_stages, stage_profiles, whole_profile
from .exits.files import bundled, quantised_stages, stage_files, unbundled

if TYPE_CHECKING:
    from .devices.base import Device
    from .devices.graph import Graph
    from .devices.profile import Profile


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

    def file_name(self, target: Device) -> str:
        """What that file is called."""
        if self.stream is None or target.stream_file_name is None:
            return target.file_name
        return target.stream_file_name


class ExitForm(Form):
    """A network with early exits: its stages run one after the other until an exit is sure.

    :meth:`convert` gives the file of the last exit alone, which needs no runner; the stages are files of their own.
    Where they are quantised it gives all of them in one file.
    """

    @property
    def network(self) -> MultiExit:
        assert isinstance(self.fused, MultiExit)
        return self.fused

    def graph(self) -> Graph:
        """All that is computed for an example that no early exit is sure of, as one graph."""
        return Form(AllAnswers(self.network), self.input_shape).graph()

    def profile(self, target: Device) -> Profile:
        """The worst case: all stages, one after the other."""
        return whole_profile(stage_profiles(self.network, self.input_shape, target))

    def convert(self, target: Device, samples: np.ndarray | None, labels: Sequence[str]) -> bytes:
        if not target.quantises:
            return super().convert(target, samples, labels)
        assert samples is not None, "int8 stages need samples"
        return bundled(quantised_stages(stage_files(self.network, self.input_shape, labels), samples))

    def stages(self, target: Device, content: bytes) -> list[bytes]:
        """The file of each stage, where ``content`` is what :meth:`convert` gave."""
        return unbundled(content) if target.quantises else stage_files(self.network, self.input_shape)

    def measure(self, target: Device, content: bytes, planned: Profile) -> Profile:
        """The same of the stages' files, with the plan of the memory."""
        stages = stage_profiles(self.network, self.input_shape, target)
        measured = measured_stages(self.stages(target, content), stages, target)
        return replace(whole_profile(measured), graph_digest=planned.graph_digest)

    def file_name(self, target: Device) -> str:
        return "stages.int8.zip" if target.quantises else super().file_name(target)
