"""Runs a search, or another command, as a job on a Ray cluster: the code travels with it, its log comes back."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spaces.errors import UserError, first_line
from ..spaces.imports import make_importable
from .addresses import has_password, is_url, options_of, without_password
from .jobs import connect, follow

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from .config import Config, ConfigFile

PACKAGE = Path(__file__).parents[1]
# What a user's own modules may have in all: the head keeps them in memory.
# What a search may need on a node.
EXTRAS = ("cluster", "mcu")
MODULES_BYTES = 10 * 2**20


def launch(
    config: Path,
    address: str,
    overrides: list[str],
    trials: int | None,
    time_budget: str | None,
    *,
    detach: bool,
    install: bool,
    say: Callable[[str], None],
) -> int:
    """Run the search of ``config`` on the cluster whose dashboard is at ``address``; return its exit status.

    With ``detach`` that is 0 as soon as the cluster has the job. With ``install`` the nodes install what the project
    depends on. Raises :class:`UserError` for a mistake in the config, before anything is sent, and for an address
    that is no Ray dashboard or lets nobody in.
    """
    search, words = _checked_search(config, overrides, trials, time_budget)
    study = search.study
    again = f"{study}{options_of(search)} --address {address}"
    _refuse_secrets([*words, config.read_text(encoding="utf-8")])
    client = connect(address)
    with tempfile.TemporaryDirectory(prefix="repareto-job-") as folder:
        work = copy_modules(config.absolute().parent, Path(folder) / "work")
        shutil.copy(config, work)
        if search.device.endswith(".toml"):
            shutil.copy(search.device, work)
        job = _submit(client, f"repareto-{study}", words, Path(folder), {"study": study}, install=install)
    say(f"job {job}: study {study} on {address}")
    if detach:
        say(f"look at it:  repareto status {again}")
        say(f"stop it:     repareto stop {again}")
        return 0
    try:
        return follow(client, job, address)
    except KeyboardInterrupt:
        say(f"the search goes on without you; it ends by:  repareto stop {again}")
        return 130


def run_as_job(address: str, words: Sequence[str]) -> int:
    """Run ``repareto`` with these words on the cluster, print what it prints, and return its exit status."""
    _refuse_secrets(words)
    client = connect(address)
    with tempfile.TemporaryDirectory(prefix="repareto-job-") as folder:
        # A study's own space may be here, as for the same command without an address.
        copy_modules(Path.cwd(), Path(folder) / "work")
        job = _submit(client, f"repareto-{words[0]}", words, Path(folder), {"command": words[0]})
    try:
        return follow(client, job, address)
    except KeyboardInterrupt:
        client.stop_job(job)
        raise


def _checked_search(
    config: Path, overrides: list[str], trials: int | None, time_budget: str | None
) -> tuple[Config, list[str]]:
    """Return the config and the words of ``repareto`` that search by it, once all that was tried here."""
    from .config import ConfigFile
    from .parts import Parts
    from .units import parse_quantity

    make_importable(config.parent, ".")
    settings = ConfigFile(config, overrides)
    more = _store(settings)
    if trials is not None:
        more += ["--trials", str(trials)]
    if time_budget is not None:
        try:
            parse_quantity(time_budget, "duration")
        except UserError as error:
            raise UserError(f"--time-budget {error}") from error
        more += ["--time-budget", time_budget]
    study = settings.validated()
    with settings.naming_lines():
        Parts(study)
    words = ["search", config.name, *(word for text in overrides for word in ("--set", text))]
    return study, [*words, *more, "--set", "workers.address=auto"]


def _store(settings: ConfigFile) -> list[str]:
    """Return the words that name the store, none where the config or the cluster does.

    Raises :class:`UserError` for a folder that would lie in the job's own.
    """
    named, place = settings.values.get("store"), settings.place(("store",))
    words: list[str] = []
    if named is None and (named := os.environ.get("REPARETO_STORE")):
        place, words = "REPARETO_STORE: ", ["--set", f"store={named}"]
    if isinstance(named, str) and not is_url(named) and not Path(named).expanduser().is_absolute():
        raise UserError(
            f"{place}store {named!r}: would lie in the job's own folder, which is thrown away with it; "
            "name an absolute folder that all nodes share, or a bucket such as s3://bucket/prefix"
        )
    return words


def _submit(
    client: JobSubmissionClient,
    name: str,
    words: Sequence[str],
    folder: Path,
    labels: dict[str, str],
    *,
    install: bool = False,
) -> str:
    """Submit ``repareto`` with these words, the package and the folder's ``work``, and return the job's id."""
    environment: dict[str, Any] = {
        "py_modules": [str(copy_package(folder))],
        "working_dir": str(folder / "work"),
    }
    if install:
        environment["pip"] = requirements()
    try:
        return client.submit_job(
            entrypoint=shlex.join(["python", "-m", "repareto.search", *words]),
            submission_id=f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}",
            runtime_env=environment,
            metadata=labels,
        )
    except (OSError, RuntimeError) as error:
        raise UserError(f"the cluster does not take the job ({first_line(error)})") from error


def _refuse_secrets(texts: Sequence[str]) -> None:
    """Raise :class:`UserError` for a URL with a password in what would be sent."""
    for text in texts:
        if has_password(text):
            place = next(without_password(line).strip() for line in text.splitlines() if has_password(line))
            raise UserError(
                f"{place}: a password would stand in Ray's dashboard for all to see; "
                "leave it out and set it in the environment of the cluster's nodes"
            )


def copy_package(folder: Path) -> Path:
    """Copy this package into ``folder`` as nodes import it, and return where it lies.

    What stands beside it in a checkout is left out: a folder of that name, tests and environments would be sent too.
    """
    copy = folder / "repareto"
    copy.mkdir(parents=True)
    shutil.copy(PACKAGE / "__init__.py", copy)
    for name in ("search", "spaces", "trainers"):
        shutil.copytree(PACKAGE / name, copy / name, ignore=_ignored)
    return copy


def copy_modules(source: Path, folder: Path) -> Path:
    """Copy the modules and packages that lie in ``source`` into ``folder``: a user's own space may be among them.

    Raises :class:`UserError` where they are larger than what is sent with a job.
    """
    folder.mkdir(parents=True)
    size = 0
    for path in sorted(source.iterdir()):
        # The package itself, in a checkout of that name, travels on its own.
        if path.name.startswith(".") or path.name == "repareto":
            continue
        if path.suffix == ".py" and path.is_file():
            files = [path]
        elif (path / "__init__.py").is_file():
            files = list(_files(path))
        else:
            continue
        size += sum(file.stat().st_size for file in files)
        if size > MODULES_BYTES:
            raise UserError(
                f"{path}: with it the modules in {source} have {size / 2**20:.0f} MiB, and a job takes "
                f"{MODULES_BYTES / 2**20:.0f}; work in a folder that has the config and its own modules only"
            )
        for file in files:
            target = folder / file.relative_to(path.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return folder


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        ignored = _ignored(parent, [*folders, *names])
        folders[:] = [name for name in folders if name not in ignored]
        yield from (Path(parent) / name for name in names if name not in ignored)


def _ignored(_folder: str, names: Sequence[str]) -> set[str]:
    return {name for name in names if name.startswith(".") or name == "__pycache__" or name.endswith(".pyc")}


def requirements() -> list[str]:
    """Return what the project depends on, as pip reads it, without Ray: a node's own has to stay."""
    from packaging.requirements import Requirement

    try:
        texts = metadata.requires("repareto") or []
    except metadata.PackageNotFoundError as error:
        raise UserError("--install: repareto is not installed here, so what it depends on is not known") from error
    found = [Requirement(text) for text in texts]
    wanted = [
        each for each in found if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in EXTRAS)
    ]
    return [str(each).partition(";")[0].strip() for each in wanted if each.name != "ray"]
