"""Whether this machine can do what a search needs, and what to do where it cannot."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from ..spaces.errors import UserError, first_line
from .addresses import is_url, ledger_address, without_password

SCARCE_BYTES = 2 * 2**30
CONNECT_SECONDS = 3.0
EXTRAS = {
    "speech": ("espeakng-loader", "synthetic speech as data"),
    "litert": ("ai-edge-litert", "LiteRT, and every .tflite file"),
    "mcu": ("tflite-micro", "microcontrollers and Ethos-U"),
    "executorch": ("executorch", "programs for phones"),
    "cluster": ("psycopg", "a ledger in PostgreSQL"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``mend`` says what to do, "" where nothing has to be done."""

    what: str
    told: str
    mend: str = ""
    is_needed: bool = False
    """Whether no search runs without it."""


def examine(store: str, ledger: str | None, tracking: str | None) -> Iterator[Finding]:
    """Look at the machine, the extras, the store, the ledger, and the servers that the environment names."""
    yield from _machine()
    yield from _extras()
    yield _store(store)
    yield _ledger(store, ledger)
    if tracking and tracking.startswith("http"):
        yield _server("MLflow", tracking, "start it, or unset MLFLOW_TRACKING_URI to use the store's own")
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("http"):
        yield _server("Ray cluster", address, "start it, or unset RAY_ADDRESS to search on this machine")


def _machine() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("processors", f"{cores}: as many trials at once, unless workers.cpus says otherwise")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        yield Finding("GPUs", names)
    else:
        yield Finding("GPUs", "none; training runs on the processors")
    yield Finding("torch", f"{torch.__version__}")


def _extras() -> Iterator[Finding]:
    for extra, (package, used_for) in EXTRAS.items():
        try:
            yield Finding(f"extra {extra}", f"{package} {metadata.version(package)}: {used_for}")
        except metadata.PackageNotFoundError:
            yield Finding(f"extra {extra}", f"not here; for {used_for}", f'pip install "repareto[{extra}]"')


def _store(store: str) -> Finding:
    if is_url(store):
        return Finding("store", f"{without_password(store)}: a bucket, looked at when a search begins")
    folder = Path(store).absolute()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        mend = "choose another with REPARETO_STORE or store: in the config"
        return Finding("store", f"{existing} cannot be written", mend, is_needed=True)
    free = shutil.disk_usage(existing).free
    mend = "make room: checkpoints and weights of each trial are kept there" if free < SCARCE_BYTES else ""
    return Finding("store", f"{store}: {free / 2**30:.1f} GiB free", mend)


def _ledger(store: str, ledger: str | None) -> Finding:
    from .database import open_storage

    try:
        address = ledger_address(store, ledger)
        if isinstance(address, Path) and not (address / "ledger.db").exists():
            return Finding("ledger", f"none in {address} yet; the first search makes it")
        storage = open_storage(address, create=False)
        names = sorted(study.study_name for study in storage.get_all_studies())
    except UserError as error:
        return Finding("ledger", first_line(error), "see above", is_needed=True)
    return Finding("ledger", f"{without_password(address)}: {', '.join(names) or 'no studies'}")


def _server(what: str, address: str, mend: str) -> Finding:
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    shown = f"{parts.hostname}:{port}"
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except OSError as error:
        return Finding(what, f"{shown} does not answer ({error.strerror or first_line(error)})", mend, is_needed=True)
    return Finding(what, f"{shown} answers")
