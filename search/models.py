"""From a candidate to its model: the fused skeleton before training, the fused weights after."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..spaces.errors import UserError
from ..spaces.fusion import fused_copy, fused_in_place
from ..spaces.space import Candidate, SearchSpace, load_space
from ..spaces.sparsity.blocks import with_blocks_of
from ..spaces.sparsity.slicing import sliced_to_counts, sliced_to_levels
from ..spaces.sparsity.space import BLOCK, Sparsity
from .config import Config
from .devices.base import Device
from .devices.profile import Profile
from .files import WEIGHTS, BrokenFileError, Files, model_folder, study_folder, trial_folder, unseal
from .forms import Form
from .ledger import Ledger
from .records import TrialRecord, network_of
from .study_data import data_of
from .tasks import TASKS, Task, task_named

REMEMBERED = 10_000
"""Profiles that are kept, the latest: a sampler that looks at many candidates would fill the memory in time."""


class Appraiser:
    """Profiles candidates before training. Equal candidates are profiled once, equal fused graphs share a profile.

    ``input_shape_of`` says what a candidate takes, which follows from its front end.
    """

    def __init__(
        self,
        space: SearchSpace,
        device: Device,
        input_shape_of: Callable[[Candidate], tuple[int, ...]],
        classes: int,
        task: Task = TASKS["classification"],
    ) -> None:
        self._space, self._device, self._task = space, device, task
        self._input_shape_of, self._classes = input_shape_of, classes
        self._known: dict[Candidate, Profile] = {}

    def __call__(self, candidate: Candidate) -> Profile:
        if candidate not in self._known:
            input_shape = self._input_shape_of(candidate)
            skeleton = fused_skeleton(self._space, candidate, input_shape, self._classes)
            profile = self._task.form(skeleton, input_shape).profile(self._device)
            _refuse_free_operators(profile)
            self._known[candidate] = profile
            if len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
            return profile
        return self._known[candidate]


def _refuse_free_operators(profile: Profile) -> None:
    """Raise :class:`UserError` where a simulator leaves operators out: a search would move its work there."""
    if profile.latency_us and profile.latency_us.method == "simulated" and profile.unknown_operators:
        names = ", ".join(profile.unknown_operators)
        raise UserError(f"{profile.device}: the time of {names} is in no figure, for its accelerator has not got it")


def fused_skeleton(space: SearchSpace, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the model that would ship without weights, on torch's ``meta`` device, in eval mode: fused and sliced."""
    with torch.device("meta"):
        # A copy would take as long as all the rest.
        fused = fused_in_place(space.build(candidate, input_shape, classes).eval())
    sparsity = Sparsity.of(candidate.sparsity())
    if sparsity is None or not sparsity.cuts_channels:
        return fused
    # Where training decides on the structure, it ends with one that is no larger than this.
    return sliced_to_levels(fused, input_shape, sparsity.levels, sparsity.granularity)[0]


def _structured(
    fused: nn.Module, input_shape: tuple[int, ...], record: TrialRecord, weights: Mapping[str, Tensor]
) -> nn.Module:
    """Return an untrained fused model with as many channels as a finished trial ships with, or with its blocks."""
    assert record.measurement is not None
    structure, sparsity = record.measurement.details.get("sparsity"), Sparsity.of(record.candidate.sparsity())
    if structure is None or sparsity is None:
        return fused
    if sparsity.granularity == BLOCK:
        return with_blocks_of(fused, weights)
    return sliced_to_counts(fused, input_shape, structure["kept"], sparsity.granularity)[0]


def load_trained_model(ledger: Ledger, config: Config, record: TrialRecord) -> nn.Module:
    """Return the fused, trained model of a finished trial, in eval mode on the CPU.

    Raises :class:`UserError` where its weights are gone.
    """
    folder = _folder_of(config, record)
    content = folder.read(WEIGHTS)
    if content is None:
        raise UserError(f"trial {record.number}: its weights are gone ({folder.place(WEIGHTS)})")
    try:
        weights = unseal(content)
    except BrokenFileError as error:
        raise UserError(f"trial {record.number}: its weights are broken ({folder.place(WEIGHTS)}: {error})") from error
    data = data_of(ledger.header(), record.candidate)
    space = load_space(config.space)
    input_shape = tuple(data["input_shape"])
    fused = fused_copy(space.build(record.candidate, input_shape, len(data["labels"])).eval())
    model = _structured(fused, input_shape, record, weights)
    model.load_state_dict(weights)
    return model


def _folder_of(config: Config, record: TrialRecord) -> Files:
    return model_folder(trial_folder(study_folder(config.store, config.study), record.number), network_of(record))


def trained_form(ledger: Ledger, config: Config, record: TrialRecord) -> Form:
    """Return what of a finished trial's model runs on a device; raises as :func:`load_trained_model`."""
    model = load_trained_model(ledger, config, record)
    data = data_of(ledger.header(), record.candidate)
    return task_named(data).form(model, tuple(data["input_shape"]))


def shipped_file(ledger: Ledger, config: Config, record: TrialRecord, device: Device, form: Form) -> bytes:
    """Return the file of a finished trial, whose ``form`` is given, that would ship on a device of the search.

    A quantised one is that which the worker scored; any other is made from the weights. Raises :class:`UserError` where
    it is gone.
    """
    if not device.quantises:
        return form.convert(device, None, data_of(ledger.header(), record.candidate)["labels"])
    folder = _folder_of(config, record)
    content = folder.read(device.file_name)
    if content is None:
        raise UserError(f"trial {record.number}: the file that ships is gone ({folder.place(device.file_name)})")
    return content
