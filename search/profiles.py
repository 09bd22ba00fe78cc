"""What `repareto profile` says of a model: read from a file or a config, profiled, laid out layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spaces.errors import UserError
from ..spaces.imports import make_importable
from ..spaces.space import Candidate
from .devices import targets
from .devices.base import Device
from .devices.boards.device import BoardDevice
from .devices.graph import Graph
from .devices.memory import MemoryPlan
from .devices.profile import Figure, Profile
from .devices.report.advice import Advice, advise
from .devices.report.compare import compare
from .devices.report.layers import Layer, layer_table
from .devices.report.traits import Traits, traits_of, traits_of_board
from .exits.costs import whole_profile

if TYPE_CHECKING:
    from .config import Config
    from .run import Say

MODEL_SUFFIXES = (".pt2", ".onnx", ".tflite")
CONFIG_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Subject:
    """A model to profile: its graph, and the file or the candidate that it is from."""

    title: str
    graph: Graph
    path: Path | None = None
    candidate: Candidate | None = None
    stages: tuple[Graph, ...] = ()
    """Of a network with early exits."""

    @property
    def suffix(self) -> str:
        """That of its file, "" where there is none."""
        return self.path.suffix if self.path else ""

    @property
    def precision(self) -> str:
        """That of its weights, or of its input where it has none."""
        dtypes = {self.graph.tensors[name].dtype for name in self.graph.weights or self.graph.inputs}
        return "int8" if dtypes & {"int8", "uint8"} else "fp32"


@dataclass(frozen=True)
class Report:
    """All that is known of a model on a device. ``graph`` is what runs there.

    Of a network with early exits ``profile`` is of all ``stages``, ``layers`` are those of one after the other, and
    ``graph`` and ``plan`` are of the stage that takes the most memory while it runs.
    """

    title: str
    graph: Graph
    profile: Profile
    plan: MemoryPlan
    layers: tuple[Layer, ...]
    advice: tuple[Advice, ...]
    candidate: Candidate | None = None
    stages: tuple[Profile, ...] = ()

    @property
    def peak(self) -> Layer | None:
        """The layer while which the most memory is taken."""
        return next((layer for layer in self.layers if layer.makes_peak), None)


def subject_and_device(
    model: str | Path | Mapping[str, Any], device: str | None, overrides: Sequence[str], say: Say
) -> tuple[Subject, Device]:
    """Read a model file or a config, and find the device that it is to be profiled for: a config names its own."""
    source = Path(model) if isinstance(model, str) else model
    if isinstance(source, Path) and source.suffix not in CONFIG_SUFFIXES:
        target = targets.device(device or "host-onnxruntime")
        return read_file(source), target
    from .config import ConfigFile

    make_importable(*([source.parent] if isinstance(source, Path) else []), ".")
    settings = ConfigFile(source, [*overrides, *([f"device={device}"] if device else [])])
    with settings.naming_lines():
        config = settings.validated()
        return middle_of(config, say), targets.device(config.device)


def read_file(path: Path) -> Subject:
    """The model of a ``.pt2``, ``.onnx`` or ``.tflite`` file.

    Raises :class:`UserError` for another suffix, and for a missing, corrupt or dynamic model.
    """
    if path.suffix == ".pt2":
        from .devices.readers.pt2_reader import read_pt2

        return Subject(path.name, read_pt2(path), path)
    if path.suffix == ".onnx":
        from .devices.readers.onnx_reader import read_onnx

        return Subject(path.name, read_onnx(path), path)
    if path.suffix == ".tflite":
        from .devices.tflite.read import read_tflite

        return Subject(path.name, read_tflite(path), path)
    raise UserError(f'{path}: cannot profile a "{path.suffix}" file (give a .pt2, .onnx or .tflite model, or a config)')


def middle_of(config: Config, say: Say) -> Subject:
    """The fused model of the candidate in the middle of a config's space, for the config's data."""
    from .models import fused_skeleton
    from .parts import Parts
    from .run import load_data
    from .tasks import task_of

    parts = Parts(config)
    candidate = parts.space.middle()
    variants = [variant for variant in parts.variants if variant.overrides == candidate.front_end()]
    dataset = load_data(parts, say, variants).first
    skeleton = fused_skeleton(parts.space, candidate, dataset.input_shape, len(dataset.labels))
    form = task_of(dataset).form(skeleton, dataset.input_shape)
    return Subject(config.study, form.graph(), candidate=candidate, stages=tuple(form.stage_graphs()))


def report_on(subject: Subject, device: Device, measure: bool = False) -> Report:
    """Profile a model on a device; with ``measure``, by the device's own tool on the file itself.

    Raises :class:`UserError` for a file that the device cannot take, or that is not the one that it measures.
    """
    if subject.stages:
        return _report_on_stages(subject, device, measure)
    _refuse_foreign(subject, device)
    graph = device.lowered(subject.graph)
    times_us = device.layer_times_us(subject.graph)
    plan = device.memory_plan(subject.graph)
    profile = _profile(subject, device, measure)
    return Report(
        title=subject.title,
        graph=graph,
        profile=profile,
        plan=plan,
        layers=layer_table(graph, plan, times_us),
        advice=advise(graph, _traits(device), times_us, profile.unknown_operators),
        candidate=subject.candidate,
    )


def _report_on_stages(subject: Subject, device: Device, measure: bool) -> Report:
    parts = [report_on(replace(subject, graph=graph, stages=()), device, measure) for graph in subject.stages]
    heaviest = max(parts, key=lambda part: part.plan.peak_bytes)
    layers = [
        replace(layer, name=f"stage {number}: {layer.name}", makes_peak=layer.makes_peak and part is heaviest)
        for number, part in enumerate(parts, 1)
        for layer in part.layers
    ]
    profiles = tuple(part.profile for part in parts)
    return replace(
        heaviest,
        profile=whole_profile(profiles),
        layers=tuple(layers),
        advice=tuple(dict.fromkeys(piece for part in parts for piece in part.advice)),
        stages=profiles,
    )


def _traits(device: Device) -> Traits:
    return traits_of_board(device.tool.board) if isinstance(device, BoardDevice) else traits_of(device.runtime)


def _refuse_foreign(subject: Subject, device: Device) -> None:
    """Raise :class:`UserError` for a file that another runtime takes, or that is in another precision for good."""
    suffix, own = subject.suffix, Path(device.file_name).suffix
    if suffix in (".onnx", ".tflite") and suffix != own:
        given = "give one, a .pt2" if own in MODEL_SUFFIXES else "give a .pt2"
        raise UserError(f"{subject.path}: {device.name} runs {own} files ({given} or a config, or name another device)")
    # A float32 ONNX file is what an int8 one is made from.
    is_final = suffix == ".tflite" or (suffix == ".onnx" and subject.precision == "int8")
    if is_final and subject.precision != device.precision:
        raise UserError(
            f"{subject.path}: its weights are {subject.precision}, and {device.name} runs {device.precision} "
            "(give a file of that precision, a .pt2 or a config, or name another device)"
        )


def _profile(subject: Subject, device: Device, measure: bool) -> Profile:
    if isinstance(device, BoardDevice) and subject.path is not None and subject.suffix == Path(device.file_name).suffix:
        told = device.profile_file(subject.path.read_bytes(), subject.graph)
        if told is not None:
            return told
    planned = device.profile(subject.graph)
    own = Path(device.file_name).suffix
    if subject.path is None or subject.suffix != own or subject.precision != device.precision:
        if measure and own not in MODEL_SUFFIXES:
            raise UserError(f"--measure: {own} files are measured where they are made, by `search` and `export`")
        if measure:
            raise UserError(
                f"--measure: {device.name} measures {device.precision} {own} files "
                "(give one; `repareto export` writes the one that ships)"
            )
        return planned
    if measure:
        return device.measure(subject.path.read_bytes(), planned)
    if planned.flash_bytes.method in ("estimated", "simulated"):
        return planned  # more than the file: the code that it links, or what a compiler makes of it
    size = Figure(subject.path.stat().st_size, "bytes", "measured", f"the size of {subject.path.name}")
    return replace(planned, flash_bytes=size)


def report_data(report: Report, other: Report | None = None) -> dict[str, Any]:
    """A report as JSON-serialisable data, for scripts; compared with another where one is given."""
    peak = report.peak
    data: dict[str, Any] = {
        "model": report.title,
        "candidate": dict(report.candidate) if report.candidate else None,
        "profile": asdict(report.profile),
        "memory": {
            "activation_bytes": report.plan.peak_bytes,
            "lower_bound_bytes": report.plan.lower_bound_bytes,
            "peak_layer": peak.name if peak else None,
        },
        "layers": [asdict(layer) for layer in report.layers],
        **({"stages": [asdict(stage) for stage in report.stages]} if report.stages else {}),
        "advice": [asdict(advice) for advice in report.advice],
    }
    if other is not None:
        differences = {
            difference.name: {"ratio": difference.ratio, "note": difference.note}
            for difference in compare(report.profile, other.profile)
        }
        data["against"] = {"model": other.title, "profile": asdict(other.profile), "differences": differences}
    return data
