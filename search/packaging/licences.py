"""Under which licences the parts of a package stand, as far as repareto knows."""

from __future__ import annotations

from collections.abc import Mapping

SPEECH = (
    "made by eSpeak NG, a program under the GPL-3; what it says is no part of the program, and the project claims "
    "no rights in it"
)
OF_SOURCES: Mapping[str, str] = {
    "digits": "Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, CC BY 4.0",
    "synthetic": SPEECH,
    "synthetic_strings": SPEECH,
}
YOURS = "yours: nobody but you knows under which licence the recordings stand"
MODEL = "of whoever ran the search; repareto claims no rights in what it trains"
RUNTIMES = "ONNX Runtime: MIT; LiteRT and TensorFlow Lite Micro: Apache 2.0; ExecuTorch and torch: BSD-3-Clause"
CODE = "what repareto wrote itself (front_end.onnx, decoder.c, model_data.h): Apache 2.0"


def licences_of(source: str, name: str) -> dict[str, str]:
    """Return a note for the model, the data of a source, the code in the package and the runtimes that it needs."""
    return {"model": MODEL, f"data {name}": OF_SOURCES.get(source, YOURS), "code": CODE, "runtimes": RUNTIMES}
