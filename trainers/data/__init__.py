"""Where training data comes from: sources that load a :class:`~repareto.trainers.data.dataset.Dataset`."""

from __future__ import annotations

from dataclasses import is_dataclass

from ...spaces.errors import UserError
from ...spaces.imports import load_class

SOURCES = {
    "digits": "repareto.trainers.data.digits:Digits",
    "joined_recordings": "repareto.trainers.data.transcripts.joined:JoinedRecordings",
    "manifest": "repareto.trainers.data.transcripts.manifest:Manifest",
    "speech_commands": "repareto.trainers.data.speech_commands:SpeechCommands",
    "synthetic": "repareto.trainers.data.synthetic:Synthetic",
    "synthetic_strings": "repareto.trainers.data.transcripts.synthetic:SyntheticStrings",
    "wakeword": "repareto.trainers.data.wakeword:WakeWord",
}
"""Names for the configuration; import paths and not classes, so that naming them imports neither torch nor audio."""


def data_source(name: str) -> type:
    """The class of a data source, whose instances have ``load(seed=...)``.

    ``name`` is one of ``SOURCES`` or the import path of a class of your own, "package.module:Class". Raises
    :class:`UserError` for a name that is neither, and for a class that is no dataclass with a ``load`` method.
    """
    source = load_class(name, SOURCES, "data source")
    if not (is_dataclass(source) and callable(getattr(source, "load", None))):
        raise UserError(f"data source {name!r}: must be a dataclass with the method load(self, *, seed) -> Dataset")
    return source
