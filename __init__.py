"""repareto: a distributed search for small on-device models. What you deploy is what you search.

    import repareto

    study = repareto.run_search("examples/digits.yaml", trials=6)   # or a mapping in place of a file
    for record in study.front:
        print(record.number, record.measurement.figures["error"], record.measurement.figures["latency_us"])
    study.export("digits", bounds={"latency": "2ms"})
    repareto.profile("digits/model.onnx").profile.peak_memory_bytes

The names below load what they need when they are first used. ``help(repareto.run_search)`` tells of each.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .search.api.models import enroll as enroll
    from .search.api.models import import_model as import_model
    from .search.api.models import personalize as personalize
    from .search.api.models import predict as predict
    from .search.api.models import profile as profile
    from .search.api.models import prune as prune
    from .search.api.study import OpenStudy as OpenStudy
    from .search.api.study import compare as compare
    from .search.api.study import open_study as open_study
    from .search.api.study import run_search as run_search
    from .search.listen import Listener as Listener
    from .search.listen import blocks_of as blocks_of
    from .spaces.errors import UserError as UserError

__version__ = "0.1.0"

# The sub-package `search` has the name that a function would have: hence `run_search`.
_HOMES = {
    "search.api.study": ("run_search", "open_study", "OpenStudy", "compare"),
    "search.api.models": ("profile", "import_model", "prune", "predict", "personalize", "enroll"),
    "search.listen": ("Listener", "blocks_of"),
    "spaces.errors": ("UserError",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
