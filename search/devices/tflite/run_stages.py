"""The stages of a network with early exits at work in LiteRT; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..stages import Stages
from .runtime import Ends, make_interpreter, read_metadata


class TfliteStages(Stages):
    """Stages in LiteRT, on one thread; the map between two is copied as it is.

    Raises ``UserError`` for files that LiteRT refuses.
    """

    def __init__(self, files: Sequence[bytes]) -> None:
        self._runtimes = [make_interpreter(content) for content in files]
        self._ends = [
            Ends(runtime, read_metadata(content), output=-1)
            for runtime, content in zip(self._runtimes, files, strict=True)
        ]

    def answers(self, features: np.ndarray) -> Iterator[np.ndarray]:
        (x,) = self._ends[0].rows(features[None])
        for runtime, ends in zip(self._runtimes, self._ends, strict=True):
            runtime.set_tensor(ends.source["index"], x)
            runtime.invoke()
            yield ends.logits(runtime.get_tensor(ends.result["index"])[None])[0]
            x = runtime.get_tensor(runtime.get_output_details()[0]["index"])
