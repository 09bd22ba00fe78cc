"""Fetch Google Speech Commands: continued where it was cut, checked, and in place only when it is whole."""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import http.client
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...spaces.errors import UserError, nearest_hint
from .listing import SUFFIXES, TESTING_LIST, VALIDATION_LIST, list_recordings

BLOCK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0
PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class Archive:
    """A tar archive, compressed or not, of folders of recordings."""

    url: str
    """Where it is, http or https."""
    sha256: str
    """Of the archive's bytes, 64 hexadecimal digits."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UserError(f"--url {self.url}: must begin with http:// or https://")
        if not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise UserError(f"--sha256 {self.sha256}: must be 64 hexadecimal digits, as `sha256sum` prints them")


ARCHIVES = {
    # Version 0.02, 2,428,923,189 bytes. Address: torchaudio 0.9, datasets/speechcommands.py. Digest: `_CHECKSUMS` of
    # later versions of that file, and url_checksums/speech_commands.txt of TensorFlow Datasets.
    "speech_commands": Archive(
        "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    ),
}


def archive_of(name: str, url: str | None = None, sha256: str | None = None) -> Archive:
    """The archive of one of ``ARCHIVES``, or a copy of it elsewhere; raises :class:`UserError` for another name."""
    if name not in ARCHIVES:
        raise UserError(f"download {name!r}: no such recordings; {nearest_hint(name, ARCHIVES)}")
    return Archive(url or ARCHIVES[name].url, sha256 or ARCHIVES[name].sha256)


def download(archive: Archive, folder: Path, say: Callable[[str], None]) -> None:
    """Make ``folder`` of what the archive holds; where it has been made already, only say so.

    ``<folder>.part`` beside it keeps what came before a failure or Ctrl-C, and the next call goes on from there.
    Raises :class:`UserError` where the server, the disk, the checksum, the archive or ``folder`` is in the way.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        _refuse_other_content(folder)
        say(f"{folder}: already there")
        return
    part = folder.with_name(f"{folder.name}.part")
    with _disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _lock(file)
            try:
                if not _is_whole(part, archive):
                    _fetch(archive, file)
                    file.flush()
                    _check(part, archive)
                say(f"unpacking to {folder}")
                _unpack(part, archive, folder)
                part.unlink()
            finally:
                if not file.tell():  # nothing came that could be continued
                    part.unlink(missing_ok=True)
    say(f"wrote {folder}")


def _refuse_other_content(folder: Path) -> None:
    missing = _missing(folder) if folder.is_dir() else "it is a file"
    if missing:
        raise UserError(f"{folder}: already there, but no Speech Commands ({missing}); name another folder")


def _missing(folder: Path) -> str | None:
    """What ``folder`` lacks of the layout of Speech Commands, None where it lacks nothing."""
    for name in (VALIDATION_LIST, TESTING_LIST):
        if not (folder / name).is_file():
            return f"{name} is missing"
    try:
        list_recordings(folder)
    except UserError:
        return f"no folder in it holds {' or '.join(SUFFIXES)} files"
    return None


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{folder}: the disk is full; make room (archive and recordings together need some 6 GB):"
                " the same command goes on from here"
            ) from error
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); name another folder") from error


def _lock(part: IO[bytes]) -> None:
    """Two downloads that append to one file would spoil it."""
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{part.name}: another download writes to it; wait until it has ended") from error


def _fetch(archive: Archive, part: IO[bytes]) -> None:
    """Append what is missing to ``part``; start again where the server cannot go on in the middle."""
    with _network_errors(archive):
        response = _request(archive, part.tell())
    with response:
        if part.tell() and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            part.truncate(0)
            part.seek(0)
        start_bytes = part.tell()
        length = response.headers.get("Content-Length")
        total_bytes = None if length is None else start_bytes + int(length)
        progress = _Progress(start_bytes, total_bytes)
        for block in _blocks(archive, response):
            part.write(block)
            progress.show(part.tell())
        progress.end()
    if total_bytes is not None and part.tell() < total_bytes:
        raise UserError(
            f"{archive.url}: the connection ended after {_megabytes(part.tell())} of {_megabytes(total_bytes)};"
            " the same command goes on from there"
        )


def _blocks(archive: Archive, response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What the server sends; errors in reading it are the network's, errors in writing it are not."""
    while True:
        with _network_errors(archive):
            block = response.read(BLOCK_BYTES)
        if not block:
            return
        yield block


def _request(archive: Archive, start: int) -> http.client.HTTPResponse:
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(archive.url, headers=headers)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        # The part is no beginning of this file: it is as long or longer, and its checksum is another.
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _request(archive, 0)
        raise
    # Some servers and caches send another part than the one asked for.
    sent = response.headers.get("Content-Range", "")
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and not sent.startswith(f"bytes {start}-"):
        response.close()
        return _request(archive, 0)
    return response


@contextmanager
def _network_errors(archive: Archive) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{archive.url}: the server answers {error.code} {error.reason}; name a copy of it with --url"
        ) from error
    except urllib.error.URLError as error:
        raise UserError(
            f"{archive.url}: cannot be reached ({_reason(error.reason)}); check the network or name a copy with --url"
        ) from error
    except (http.client.HTTPException, OSError) as error:
        raise UserError(
            f"{archive.url}: the connection was lost ({_reason(error)}); the same command goes on from there"
        ) from error


def _reason(error: BaseException | str) -> str:
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__


class _Progress:
    """One line on a terminal, written over and over; nothing elsewhere."""

    def __init__(self, start_bytes: int, total_bytes: int | None) -> None:
        self._start_bytes, self._total_bytes = start_bytes, total_bytes
        self._started = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def show(self, done_bytes: int) -> None:
        now = time.monotonic()
        if not self._terminal or now - self._shown < PROGRESS_SECONDS:
            return
        self._shown = now
        speed = (done_bytes - self._start_bytes) / (now - self._started)
        total = f" of {_megabytes(self._total_bytes)}" if self._total_bytes else ""
        print(f"\r{_megabytes(done_bytes)}{total}, {_megabytes(speed)}/s ", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._terminal and self._shown > self._started:
            print(file=sys.stderr, flush=True)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def _is_whole(part: Path, archive: Archive) -> bool:
    return part.stat().st_size > 0 and _sha256(part) == archive.sha256.lower()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(part: Path, archive: Archive) -> None:
    found = _sha256(part)
    if found != archive.sha256.lower():
        part.unlink()
        raise UserError(
            f"{archive.url}: its SHA-256 is {found} and not {archive.sha256.lower()}; nothing of it was kept:"
            " try again, or name the right one with --sha256"
        )


def _unpack(part: Path, archive: Archive, folder: Path) -> None:
    """Into a folder of its own, which takes its name at the end; the lock makes this process the only one here."""
    scratch = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    try:
        scratch.mkdir()
        reason = _extract(part, scratch) or _missing(scratch)
        if reason:
            part.unlink()
            raise UserError(f"{archive.url}: not an archive of Speech Commands ({reason}); nothing of it was kept")
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(part: Path, folder: Path) -> str | None:
    """Extract what may be extracted; the reason where the archive cannot be."""
    try:
        with tarfile.open(part) as archive:
            # The filter refuses members that would be written elsewhere, and devices.
            archive.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        return f"unsafe: {error}"
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"no tar archive: {error}"
    return None
