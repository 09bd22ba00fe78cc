"""What ships of a trained network and how it fares: fused, sliced, its exits calibrated, quantised."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ..spaces.errors import UserError
from ..spaces.exits.network import MultiExit, fuse_all_answers
from ..spaces.fusion import FusionReport
from ..spaces.sparsity.slicing import slice_to_shipped
from ..spaces.sparsity.space import Sparsity
from ..trainers.data.dataset import Dataset
from ..trainers.judgement import Judgement
from ..trainers.quantization import fine_tune_int8
from ..trainers.supervised import TrainingConfig
from .devices.extras import MissingExtraError
from .exits.bounds import Bounds
from .exits.costs import stage_profiles
from .exits.headroom import personal_figures
from .exits.judging import SPLITS, judge_exits, judge_logits
from .forms import ExitForm
from .records import FLOAT_PREFIX
from .tasks import task_of

if TYPE_CHECKING:
    from .devices.base import Device

FUSION_SAMPLES = 64
CALIBRATION_SAMPLES = 1000


@dataclass(frozen=True)
class Shipped:
    """A trained network as it ships."""

    fused: nn.Module
    """In float32, in eval mode on the CPU."""
    fusion: FusionReport
    judged: Judgement
    """Of the file that ships; where that is quantised, figures of ``fused`` stand beside it under ``FLOAT_PREFIX``."""
    content: bytes | None
    """That file, where it is quantised."""
    kept: tuple[int, ...] | None
    """Channels that are left of each width, where some were cut out."""


@dataclass(frozen=True)
class Shipping:
    """What a network was trained on and is made for."""

    dataset: Dataset
    training: TrainingConfig
    """Of the network itself."""
    target: Device | None
    exit_bounds: Bounds
    seed: int
    device: str
    """A torch device, on which it is judged."""

    def ship(self, model: nn.Module, sparsity: Sparsity | None) -> Shipped:
        """Return what ships of a trained model, which is put into eval mode on the CPU.

        Raises RuntimeError where what ships computes something else, or where a tool refuses the model.
        """
        # Compared on the CPU, in true float32: a GPU may round convolutions to TF32.
        model = model.eval().cpu()
        samples = torch.from_numpy(self.dataset.validation.features[:FUSION_SAMPLES].copy()).float()
        fused, report = fuse_all_answers(model, samples)
        _refuse_difference("fused", report)
        kept = None
        if sparsity is not None and sparsity.cuts_channels:
            fused, report, kept = slice_to_shipped(model, fused, samples, sparsity)
            _refuse_difference("sliced", report)
        content, judged = None, None
        if self.target is not None and self.target.quantises:
            content, judged = self._quantised(fused, self.target)
        in_float = self._judge(fused.to(self.device))
        fused.cpu()
        if judged is None:
            return Shipped(fused, report, in_float, None, kept)
        before = {FLOAT_PREFIX + key: figure for key, figure in in_float.figures.items()}
        return Shipped(fused, report, Judgement(judged.figures | before, judged.details), content, kept)

    def _judge(self, fused: nn.Module) -> Judgement:
        if isinstance(fused, MultiExit):
            assert self.target is not None, "what exits are expected to cost hangs on the device"
            stages = stage_profiles(fused, self.dataset.input_shape, self.target)
            judged = judge_exits(fused, self.dataset, stages, self.exit_bounds, self.device)
        else:
            judged = task_of(self.dataset).judge(fused, self.dataset, self.device)
        personal = personal_figures(fused, self.dataset, self.device) if self.dataset.users else {}
        return Judgement(judged.figures | personal, judged.details)

    def _quantised(self, fused: nn.Module, target: Device) -> tuple[bytes, Judgement]:
        """Return the file that ships, and how it fares."""
        dataset, task = self.dataset, task_of(self.dataset)
        if epochs := self.training.quantization_aware_epochs:
            model = copy.deepcopy(fused)
            fused = fine_tune_int8(model, dataset, self.training, epochs, seed=self.seed, device=self.device)
        rng = np.random.default_rng(self.seed)
        chosen = rng.permutation(len(dataset.train))[:CALIBRATION_SAMPLES]
        samples = dataset.train.features[chosen].astype(np.float32)
        with _blamed_on_the_model():
            form = task.form(fused, dataset.input_shape)
            content = form.convert(target, samples, dataset.labels)
            if isinstance(form, ExitForm):
                return content, self._judge_stages(form, target, content)
            return content, task.judge_file(target, content, form, dataset)

    def _judge_stages(self, form: ExitForm, target: Device, content: bytes) -> Judgement:
        stages = form.open(target, content)
        logits = {name: stages.all_answers(getattr(self.dataset, name).features) for name in SPLITS}
        profiles = form.stage_profiles(target)
        return judge_logits(logits, self.dataset, form.network.policies, profiles, self.exit_bounds)


def _refuse_difference(form: str, report: FusionReport) -> None:
    if not report.ok:
        raise RuntimeError(
            f"the {form} model differs from the trained one by {report.largest_relative_difference:.2g} "
            f"(relative; tolerance {report.tolerance:g})"
        )


@contextmanager
def _blamed_on_the_model() -> Iterator[None]:
    """Let a tool's refusal of a model fail that model, and not the search as a full disk or a missing tool does."""
    try:
        yield
    except MissingExtraError:
        raise
    except UserError as error:
        raise RuntimeError(str(error)) from error
