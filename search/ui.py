"""The MLflow UI on a store."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from ..spaces.errors import UserError
from .tracking import default_artifacts, default_tracking_uri

HOST = "127.0.0.1"


def serve(store: Path, port: int) -> None:
    """Serve the UI until it is interrupted; raises :class:`UserError` for a port in use or a store without runs."""
    if not (store / "mlflow.db").exists():
        raise UserError(f"{store}: no MLflow store there (run a search first, or name its store with --store)")
    _refuse_used(port)
    print(f"MLflow UI: http://{HOST}:{port}  (Ctrl-C ends it)", flush=True)
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
        "--backend-store-uri", default_tracking_uri(store), "--default-artifact-root", default_artifacts(store),
    ]  # fmt: skip
    # The server has processes of its own, so it gets a session that can be ended as a whole.
    process = subprocess.Popen(command, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        code = process.wait()
    except KeyboardInterrupt:
        return
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    if code:
        raise UserError(f"the MLflow server ended with exit code {code}; its own message stands above")


def _refuse_used(port: int) -> None:
    with socket.socket() as probe:
        # As the server does it: a port that another server has just left is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port} is in use; choose another with --port {port + 1}") from error
