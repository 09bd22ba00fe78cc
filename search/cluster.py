"""The Ray cluster that a search runs on: connecting to it, and how many trials it holds."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import warnings
from typing import Any

import ray

from ..spaces.errors import UserError, first_line
from .config import WorkersSection

CONNECT_SECONDS = 5.0
SECONDS_BETWEEN_COUNTS = 2.0


def connect(workers: WorkersSection) -> None:
    """Connect to the cluster of ``workers.address``, or start a quiet local one.

    Raises :class:`UserError` where no cluster answers or it does not let this process in.
    """
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"address": "local", "include_dashboard": False}
    if workers.address is not None:
        # Ray itself would wait for minutes.
        _refuse_silent(workers.address)
        options = {"address": workers.address}
    _silence()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(
                **options,
                runtime_env={"env_vars": {"OMP_NUM_THREADS": str(workers.threads)}},
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        except ray.exceptions.AuthenticationError as error:
            raise UserError(
                f"workers.address {workers.address!r}: that cluster does not let this process in; "
                "set RAY_AUTH_MODE=token, and its token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
            ) from error
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise UserError(
                f"workers.address {workers.address!r}: no Ray cluster answers there ({first_line(error)})"
            ) from error


def _silence() -> None:
    """Keep Ray from printing traces and hints for each lost worker: the search says in a line what it makes of it."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # The switch for all that raylets and workers print; log_to_driver leaves the raylets'.
    ray._private.worker._worker_logs_enabled = False


def _refuse_silent(address: str) -> None:
    """Raise :class:`UserError` for an address of the form ``host:port`` at which nothing answers."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"workers.address {address!r}: no Ray cluster answers there ({error}); is its head running?"
        ) from error


class Places:
    """How many trials the cluster holds; follows it as nodes come and go."""

    def __init__(self, workers: WorkersSection) -> None:
        """Look at the cluster; raises :class:`UserError` where not even one trial fits and none is asked for."""
        self._workers = workers
        cpus, gpus = _cluster()
        self.gpus_a_trial = gpus_a_trial(workers, cpus, gpus)
        if workers.count is None and _places(workers, self.gpus_a_trial, cpus, gpus) < 1:
            raise UserError(
                f"workers: a trial wants {workers.cpus:g} CPUs and {self.gpus_a_trial:g} GPUs, "
                f"the cluster has {cpus:g} and {gpus:g}; want less, or set workers.count where nodes come on demand"
            )
        self._count = 0
        self._next_look = 0.0

    def now(self) -> int:
        """Return the places of this moment, as of the last few seconds.

        Where ``workers.count`` is set, it is that: what does not fit waits, which makes an autoscaler add nodes.
        """
        if self._workers.count is not None:
            return self._workers.count
        if time.monotonic() >= self._next_look:
            self._count = _places(self._workers, self.gpus_a_trial, *_cluster())
            self._next_look = time.monotonic() + SECONDS_BETWEEN_COUNTS
        return self._count


def _cluster() -> tuple[float, float]:
    resources = ray.cluster_resources()
    return resources.get("CPU", 0.0), resources.get("GPU", 0.0)


def gpus_a_trial(workers: WorkersSection, cpus: float, gpus: float) -> float:
    """Return the GPUs of each trial: as configured, or a fair share of those there are."""
    if workers.gpus is not None:
        return workers.gpus
    # Ray counts fractions in ten-thousandths.
    share = gpus / max(1, workers.count or int(cpus // workers.cpus))
    return min(1.0, math.floor(share * 10_000) / 10_000)


def _places(workers: WorkersSection, gpus_each: float, cpus: float, gpus: float) -> int:
    places = int(cpus // workers.cpus)
    return min(places, int(gpus // gpus_each)) if gpus_each > 0 else places
