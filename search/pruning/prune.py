"""A trained model made smaller, or sparse, to a target: the level is found before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...spaces.errors import UserError, nearest_hint
from ...spaces.sparsity.slicing import sliced_to_levels
from ...spaces.sparsity.space import BLOCK, CHANNEL, HEAD, LARGEST_LEVEL, METHODS, NONE, SUPERNET, WEIGHT, Sparsity
from ...trainers.data.dataset import Dataset
from ...trainers.data.front_ends import Datasets
from ...trainers.pruning import pruning_trainer
from ...trainers.supervised import TrainingConfig, TrainingDivergedError
from ..config import Config
from ..devices.profile import Profile
from ..exits.bounds import Bounds
from ..export import export_of
from ..objectives import Budget
from ..packaging.package import Export, Extras, refuse_existing, write_export
from ..packaging.samples import Samples
from ..parts import Parts
from ..records import profile_figures
from ..retraining import with_model
from ..run import load_data, versions
from ..shipping import Shipped, Shipping
from ..sparse_weights.files import refuse_other_files
from ..study_data import describe_data
from ..tasks import task_named
from .origin import Origin
from .target import least_level, parse_target

ERRORS = ("error", "test_error")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """How to prune. Channels where the method has the choice; without ``epochs`` as many as the study trained for."""

    method: str
    target: str
    granularity: str | None = None
    epochs: int | None = None
    sparse_weights: bool = False
    """Whether they are written without their zeros, too."""


@dataclass(frozen=True)
class Pruned:
    """Figures before and after, got alike: errors of what ships, the rest as the device knows it before training."""

    before: Mapping[str, float]
    after: Mapping[str, float]
    manifest: Mapping[str, Any]


def prune(origin: Origin, asked: Asked, data: Mapping[str, Any], out: Path, *, force: bool, say: Say) -> Pruned:
    """Prune a model to a target while it is trained on its study's data, and write it as an export in ``out``.

    ``data`` replaces keys of the study's ``data``. Raises :class:`UserError` for a method or a target that cannot be,
    for other data than the model was made for, and for a folder that is there (unless ``force``).
    """
    refuse_existing(out, force=force)
    target = parse_target(asked.target)
    method, granularity = _chosen(asked, target)
    parts = Parts(Config(**{**origin.config.model_dump(), "data": {**origin.config.data, **data}}))
    if asked.sparse_weights:
        refuse_other_files(parts.device)
    if origin.calibration is not None:
        parts.device.use_calibration(origin.calibration)
    if granularity != WEIGHT:
        _tell_what_stays_whole(origin, granularity, say)
    profile_at = partial(_profile_at, origin, parts, granularity)
    level = target if isinstance(target, float) else least_level(lambda level: _figures(profile_at(level)), target)
    sparsity = Sparsity(method, granularity, (level,))
    say(f"{origin.title}: {method} takes out {level:.0%} of its {granularity}s")
    dataset = _load(origin, parts, say)
    training = parts.training.overridden(origin.record.candidate.training())
    epochs = asked.epochs or training.epochs
    model = _trained(origin, sparsity, dataset, replace(training, epochs=epochs), say)
    shipped = _shipped(origin, parts, training, dataset, model, sparsity)
    profile = task_named(origin.data).form(shipped.fused, origin.input_shape).profile(parts.device)
    assert origin.record.measurement is not None
    before = _told(origin.record.measurement.figures, profile_at(0.0), origin.fused)
    after = _told(shipped.judged.figures, profile, shipped.fused)
    if isinstance(target, Budget) and target.excess(after) > 0:
        say(f"the target is missed: {target.explain(after)}")
    how = {"method": method, "granularity": granularity, "level": level, "target": asked.target, "epochs": epochs}
    about = {"pruned": [*origin.pruned, {**how, "before": before}]}
    export = _export(origin, parts, dataset, shipped, profile, about)
    return Pruned(before, after, write_export(export, out, Extras(sparse_weights=asked.sparse_weights)))


def _chosen(asked: Asked, target: Budget | float) -> tuple[str, str]:
    """Return the method and what it takes out."""
    # One network is wanted, and a supernet is many.
    methods = [name for name in METHODS if name not in (NONE, SUPERNET)]
    if asked.method not in methods:
        raise UserError(f"--method {asked.method}: is unknown ({nearest_hint(asked.method, methods)})")
    able = METHODS[asked.method]
    granularity = asked.granularity or (CHANNEL if CHANNEL in able else able[0])
    if granularity not in able:
        raise UserError(
            f"--granularity {granularity}: {asked.method} takes out {' or '.join(f'{one}s' for one in able)}"
        )
    if granularity == WEIGHT and isinstance(target, Budget):
        raise UserError(
            f"--target {asked.target}: {asked.method} makes single weights zero, which changes no such figure "
            "(give level=0.5, or a method of channels)"
        )
    return asked.method, granularity


def _tell_what_stays_whole(origin: Origin, granularity: str, say: Say) -> None:
    _, report = sliced_to_levels(origin.fused, origin.input_shape, (LARGEST_LEVEL,), granularity)
    names = ", ".join(report.unknown_operators)
    if not report.removed:
        without = "it has none to spare" if granularity in (HEAD, BLOCK) else "none is there that is no input or output"
        why = f"they go through {names}, which is not known" if names else without
        raise UserError(f"{origin.title}: no {granularity} can be removed, for {why} (try --granularity weight)")
    if names:
        say(f"left whole: channels that go through {names}, which is not known")


def _profile_at(origin: Origin, parts: Parts, granularity: str, level: float) -> Profile:
    """What the skeleton that a level leaves costs: sizes are known without training."""
    skeleton = copy.deepcopy(origin.fused).to("meta")
    sliced, _ = sliced_to_levels(skeleton, origin.input_shape, (level,), granularity)
    return task_named(origin.data).form(sliced, origin.input_shape).profile(parts.device)


def _figures(profile: Profile) -> dict[str, float]:
    return profile_figures(asdict(profile))


def _load(origin: Origin, parts: Parts, say: Say) -> Dataset:
    """Return the data through the model's own front end; raises :class:`UserError` where it is of another kind."""
    overrides = origin.record.candidate.front_end()
    dataset = load_data(parts, say, [v for v in parts.variants if v.overrides == overrides]).first
    for name, found, needed in (
        ("labels", list(dataset.labels), list(origin.data["labels"])),
        ("features of shape", dataset.input_shape, origin.input_shape),
    ):
        if found != needed:
            raise UserError(f"--data: has {name} {found}, and the model was made for {needed} (name the study's data)")
    return dataset


def _trained(origin: Origin, sparsity: Sparsity, dataset: Dataset, training: TrainingConfig, say: Say) -> nn.Module:
    """Return a copy of the model after training in which it became sparse, unsliced."""
    assert origin.record.measurement is not None
    seed, device = origin.record.measurement.seed, _torch_device()
    trainer = pruning_trainer(origin.fused, dataset, training, sparsity, seed=seed, device=device)
    task = task_named(origin.data)
    for number in range(1, training.epochs + 1):
        try:
            loss = trainer.train_epoch().loss
        except TrainingDivergedError as error:
            raise UserError(f"{origin.title}: {error} (try another method, or a lower level)") from error
        wrong = task.validation_error(trainer.model, dataset, device)
        say(f"epoch {number} of {training.epochs}: loss {loss:.3f}, validation error {100 * wrong:.2f} %")
    return trainer.model


def _shipped(
    origin: Origin, parts: Parts, training: TrainingConfig, dataset: Dataset, model: nn.Module, sparsity: Sparsity
) -> Shipped:
    assert origin.record.measurement is not None
    bounds = Bounds.of(parts.config.parsed_budgets())
    seed = origin.record.measurement.seed
    try:
        return Shipping(dataset, training, parts.device, bounds, seed, _torch_device()).ship(model, sparsity)
    except RuntimeError as error:
        raise UserError(f"{origin.title}: what is left of it cannot ship: {error}") from error


def _torch_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _told(errors: Mapping[str, float], profile: Profile, fused: nn.Module) -> dict[str, float]:
    kernels = [parameter for parameter in fused.parameters() if parameter.dim() > 1]
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.numel() for kernel in kernels)
    return {**{key: errors[key] for key in ERRORS}, **_figures(profile), "zero_weights": zeros}


def _export(
    origin: Origin, parts: Parts, dataset: Dataset, shipped: Shipped, profile: Profile, about: Mapping[str, Any]
) -> Export:
    """What is written: the trial that the model is from, with the figures that it has now."""
    form = task_named(origin.data).form(shipped.fused, origin.input_shape)
    content = shipped.content or form.convert(parts.device, None, dataset.labels)
    record = with_model(origin.record, shipped, profile, parts.config.parsed_objectives())
    data = describe_data(Datasets.single(dataset))
    about = {**about, "versions": versions()}
    return export_of(form, parts.device, content, parts.config, record, data, about, Samples.of(dataset))
