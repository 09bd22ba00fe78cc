"""Models as objects: what one costs, one made smaller, run, or made one user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...spaces.errors import UserError
from ...spaces.imports import make_importable

if TYPE_CHECKING:
    from torch import nn

    from ..enroll import Enrolled
    from ..exits.personalize import Personalised
    from ..exits.runner import Answer
    from ..importing import Imported
    from ..profiles import Report
    from ..pruning.origin import Origin
    from ..pruning.prune import Pruned
    from .study import ConfigSource

Say = Callable[[str], None]


def profile(
    model: ConfigSource,
    device: str | None = None,
    *,
    overrides: Iterable[str] = (),
    measure: bool = False,
    say: Say = print,
) -> Report:
    """Return what a model costs on a device, layer by layer, and what does not run well there.

    ``model`` is a ``.pt2``, ``.onnx`` or ``.tflite`` file, or a config, a file or a mapping, of which the candidate in
    the middle of its space is taken, with ``overrides`` as ``run_search`` has them. ``device`` is by default the
    config's, or ``host-onnxruntime``. With ``measure`` the device's own tool runs the file. Figures are in
    ``report.profile``: microseconds, bytes, each with the method that it was got by.

    Raises :class:`UserError` for a model that cannot be read, an unknown device, and a file that it does not run.
    """
    from ..profiles import report_on, subject_and_device

    return report_on(*subject_and_device(model, device, list(overrides), say), measure)


@dataclass(frozen=True)
class ImportedModel:
    """A model of one's own: fused and compared, profiled, and what was written of it."""

    imported: Imported
    """``fused``, the module, and ``report``, how its outputs compare with those of what was given."""
    profiled: Report
    manifest: Mapping[str, Any] | None
    """Of the package; None where none was asked for."""


def import_model(
    model: str | nn.Module,
    input_shape: Sequence[int],
    *,
    device: str = "host-onnxruntime",
    out: str | Path | None = None,
    labels: Sequence[str] = (),
    samples: str | Path | None = None,
    formats: Sequence[str] = (),
    force: bool = False,
) -> ImportedModel:
    """Fuse a PyTorch model of one's own, compare and profile it, and write it as a package where ``out`` says.

    ``model`` is a module, or ``"FILE.py:function"``, whose function returns one; it gives a row of logits for each
    input of ``input_shape``. ``samples`` is a ``.npy`` file of features, or a ``.npz`` with ``labels``, for the ranges
    of int8 files and to check on; ``labels`` name the outputs, ``formats`` are written beside ``device``'s own.

    Raises :class:`UserError` for what cannot be fused or run, and for a folder that is there (unless ``force``).
    """
    from ..devices import targets
    from ..importing import export_of_imported, fused_model, read_samples
    from ..packaging.package import Extras, refuse_existing, write_export
    from ..profiles import Subject, report_on

    if out is not None:
        refuse_existing(Path(out), force=force)
    target = targets.device(device)
    known = None if samples is None else read_samples(Path(samples), tuple(input_shape))
    imported = fused_model(model, input_shape)
    report = report_on(Subject(imported.origin, imported.form.graph()), target)
    if out is None:
        return ImportedModel(imported, report, None)
    package = export_of_imported(imported, target, labels, known, report.profile)
    return ImportedModel(imported, report, write_export(package, Path(out), Extras(tuple(formats))))


def prune(
    model: str | Path,
    target: str,
    out: str | Path,
    *,
    method: str = "magnitude",
    granularity: str | None = None,
    epochs: int | None = None,
    data: Mapping[str, Any] | None = None,
    trial: int | None = None,
    sparse_weights: bool = False,
    force: bool = False,
    store: str | None = None,
    ledger: str | None = None,
    say: Say = print,
) -> Pruned:
    """Take channels or weights out of a trained model, write what is left in ``out``, and return figures of both.

    ``model`` is the name of a study, of which ``trial`` is taken or its best, or a folder that was exported.
    ``target`` is what it is to come to: a bound such as ``"latency=2ms"``, or a share such as ``"level=0.5"``. It is
    trained meanwhile, for as many ``epochs`` as it was by default; ``data`` replaces keys of its study's data, such as
    ``{"folder": "recordings"}``.

    Raises :class:`UserError` for a method or a target that cannot be, and for a folder that is there.
    """
    from ..pruning.prune import Asked
    from ..pruning.prune import prune as shrink

    asked = Asked(method, target, granularity, epochs, sparse_weights)
    return shrink(_origin(model, trial, store, ledger), asked, data or {}, Path(out), force=force, say=say)


def _origin(model: str | Path, trial: int | None, store: str | None, ledger: str | None) -> Origin:
    from ..choose import choose
    from ..pruning.origin import of_export, of_trial

    if Path(model).is_dir():
        if trial is not None:
            raise UserError(f"--trial {trial}: {model} is a folder, and holds one model (leave it out)")
        make_importable(".")
        return of_export(Path(model))
    from .study import open_study

    study = open_study(str(model), store=store, ledger=ledger)
    study.make_importable()
    config = study.config
    return of_trial(study.ledger, config, choose(study.results, number=trial, bounds=config.parsed_budgets()))


def predict(folder: str | Path, files: Iterable[str | Path], *, operating_point: int | None = None) -> Iterator[Answer]:
    """Say what is in each file, one after another, with an exported classifier or transcriber.

    An answer has a ``label`` (of a transcriber, the text), its ``probability``, and at which ``exit`` of how many
    ``exits`` it was given. Files are WAV or FLAC of any rate, or features as ``.npy``. A model with early exits stops
    as soon as it is sure, by its ``operating_point``, that which was exported by default. Raises :class:`UserError` for
    a folder that is no export, and at a file that cannot be read.
    """
    from ..exits.runner import StagedModel, read_manifest
    from ..predict import features_of, front_end_of

    manifest = read_manifest(Path(folder))
    model, front_end = StagedModel(Path(folder), operating_point), front_end_of(Path(folder), manifest)
    for path in files:
        yield model(features_of(Path(path), manifest, front_end))


def personalize(
    folder: str | Path, data: str | Path, *, labels: int | None = None, seed: int = 0, say: Say = print
) -> Personalised:
    """Adapt an export's early exits to one user in place, and return accuracy, exit rates and cost before and after.

    ``data`` has a user's recordings as ``<label>/<file>``, and files without a label. ``labels`` is how many labels to
    learn from, all by default; ``seed`` draws which recordings only test. Raises :class:`UserError` for an export
    without early exits, and for recordings that are too few.
    """
    from ..exits.personalize import personalize as adapt

    return adapt(Path(folder), Path(data), labels=labels, seed=seed, say=say)


def enroll(folder: str | Path, data: str | Path, *, false_alarms: float = 2.0, say: Say = print) -> Enrolled:
    """Fit the threshold of an exported wake word to one user in place, and return what that costs in false alarms.

    ``data`` is a folder of three recordings of the word or more; ``false_alarms`` an hour are the most that a user who
    is hard to hear may cost. Raises :class:`UserError` for an export of anything else.
    """
    from ..enroll import enroll as fit

    return fit(Path(folder), Path(data), most_false_alarms=false_alarms, say=say)
