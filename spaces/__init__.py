"""What a candidate is: search spaces, branched blocks and their fusion. Needs torch alone.

Names load on first use, so that the command line can speak of errors without waiting for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .branches import BranchedConv as BranchedConv
    from .branches import ConvShape as ConvShape
    from .branches import Fusable as Fusable
    from .branches import Topology as Topology
    from .errors import UserError as UserError
    from .fusion import FusionReport as FusionReport
    from .fusion import fuse as fuse
    from .fusion import fused_copy as fused_copy
    from .mlperf_tiny import MLPerfTiny as MLPerfTiny
    from .repcnn import RepCNN as RepCNN
    from .space import Candidate as Candidate
    from .space import Choice as Choice
    from .space import Float as Float
    from .space import Int as Int
    from .space import Parameter as Parameter
    from .space import SearchSpace as SearchSpace
    from .space import load_space as load_space

_HOMES = {
    "branches": ("BranchedConv", "ConvShape", "Fusable", "Topology"),
    "errors": ("UserError",),
    "fusion": ("FusionReport", "fuse", "fused_copy"),
    "mlperf_tiny": ("MLPerfTiny",),
    "repcnn": ("RepCNN",),
    "space": ("Candidate", "Choice", "Float", "Int", "Parameter", "SearchSpace", "load_space"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
