"""The trials of ``noop.py`` in plain Ray Tune. It imports nothing of repareto, whose defaults are not the peer's."""

from __future__ import annotations

from typing import Any

from ray import tune

from .noop_parameters import FLAGS, RATES, WIDTHS


def plain_space(trial: Any) -> None:
    """The same parameters, defined by run as Optuna's users write them."""
    for index in range(WIDTHS):
        trial.suggest_int(f"width{index}", 4, 64)
    for index in range(RATES):
        trial.suggest_float(f"rate{index}", 1e-4, 1e-1, log=True)
    for index in range(FLAGS):
        trial.suggest_categorical(f"flag{index}", [False, True])


class PlainNoop(tune.Trainable):
    """A class trainable that ends at once, the fastest kind that Ray Tune has."""

    def setup(self, config: dict[str, Any]) -> None:
        self.width = config["width0"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.width = new_config["width0"]
        return True

    def step(self) -> dict[str, Any]:
        return {"done": True, "error": 1 / (1 + self.width), "latency_us": self.width, "peak_memory_bytes": self.width}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept."""
