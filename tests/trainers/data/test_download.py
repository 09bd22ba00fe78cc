"""A download over real HTTP, from a server of our own that can be cut, refuse parts and refuse altogether."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repareto.spaces.errors import UserError
from repareto.trainers.data import download as module
from repareto.trainers.data.download import ARCHIVES, Archive, archive_of, download
from repareto.trainers.data.speech_commands import SpeechCommands


class Server(ThreadingHTTPServer):
    """Serves ``body`` at any path but /missing and keeps the Range header of each request."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.ranges_work = True
        self.wrong_range = False
        self.cut_after: int | None = None
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/speech.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path == "/missing":
            self.send_error(404)
            return
        body, start = self.server.body, 0
        if asked and self.server.ranges_work:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            start = 0 if self.server.wrong_range else start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : self.server.cut_after])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep the output of the tests clean."""


def tar_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def wav(seconds: float, seed: int) -> bytes:
    stream = io.BytesIO()
    samples = np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds))
    soundfile.write(stream, samples, 16000, format="WAV")
    return stream.getvalue()


@pytest.fixture(scope="module")
def recordings() -> dict[str, bytes]:
    """The layout of Speech Commands: two words of twelve speakers, a noise, both lists."""
    words = {
        f"./{word}/{speaker:08x}_nohash_0.wav": wav(0.2, speaker) for word in ("yes", "no") for speaker in range(12)
    }
    lists = {
        "./validation_list.txt": b"yes/00000000_nohash_0.wav\nno/00000000_nohash_0.wav\n",
        "./testing_list.txt": b"yes/00000001_nohash_0.wav\nno/00000001_nohash_0.wav\n",
    }
    return {**words, **lists, "./_background_noise_/fan.wav": wav(3.0, 99), "./README.md": b"words"}


@pytest.fixture
def server(recordings: dict[str, bytes]) -> Iterator[Server]:
    with Server(tar_of(recordings)) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def get(server: Server, tmp_path: Path) -> Callable[..., list[str]]:
    """Download what ``server`` has to the folder "speech"; return what was said."""

    def get(url: str | None = None, sha256: str | None = None) -> list[str]:
        said: list[str] = []
        digest = sha256 or hashlib.sha256(server.body).hexdigest()
        download(Archive(url or server.url, digest), tmp_path / "speech", said.append)
        return said

    return get


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_downloaded_is_a_data_source(
    get: Callable[..., list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "speech"
    assert get() == [f"unpacking to {folder}", f"wrote {folder}"]
    assert names(tmp_path) == ["speech"]
    assert capfd.readouterr().err == ""  # no progress where nobody looks
    data = SpeechCommands(folder, silence=True, cache=tmp_path / "cache").load(seed=0)
    assert data.labels == ("no", "yes", "silence")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [30, 3, 3]
    assert data.notes == ()


def test_a_second_time_nothing_is_fetched(get: Callable[..., list[str]], server: Server, tmp_path: Path) -> None:
    get()
    assert get() == [f"{tmp_path / 'speech'}: already there"]
    assert len(server.asked) == 1


def test_an_empty_folder_is_filled(get: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    get()
    assert "yes" in names(tmp_path / "speech")


def test_a_folder_of_something_else_is_left_alone(get: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "speech" / "yes").mkdir(parents=True)
    (tmp_path / "speech" / "yes" / "mine.wav").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"no Speech Commands \(validation_list.txt is missing\); name another folder"):
        get()
    assert names(tmp_path / "speech") == ["yes"]


def test_a_file_of_that_name_is_left_alone(get: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "speech").write_bytes(b"mine")
    with pytest.raises(UserError, match="it is a file"):
        get()
    assert (tmp_path / "speech").read_bytes() == b"mine"


def test_a_cut_download_goes_on_where_it_was_cut(get: Callable[..., list[str]], server: Server, tmp_path: Path) -> None:
    server.cut_after = 5000
    with pytest.raises(UserError, match=r"ended after 0.0 MB of 0.\d MB; the same command goes on from there"):
        get()
    assert names(tmp_path) == ["speech.part"]
    assert (tmp_path / "speech.part").read_bytes() == server.body[:5000]
    server.cut_after = None
    get()
    assert server.asked == [None, "bytes=5000-"]
    assert names(tmp_path) == ["speech"]


@pytest.mark.parametrize("how", ["ranges_work", "wrong_range"])
def test_a_server_that_cannot_go_on_in_the_middle(
    get: Callable[..., list[str]], server: Server, tmp_path: Path, how: str
) -> None:
    setattr(server, how, how == "wrong_range")
    (tmp_path / "speech.part").write_bytes(server.body[:5000])
    get()
    assert server.asked == (["bytes=5000-"] if how == "ranges_work" else ["bytes=5000-", None])
    assert names(tmp_path) == ["speech"]


def test_a_part_that_is_longer_than_the_file_is_fetched_again(
    get: Callable[..., list[str]], server: Server, tmp_path: Path
) -> None:
    (tmp_path / "speech.part").write_bytes(server.body + b"more")
    get()
    assert server.asked == [f"bytes={len(server.body) + 4}-", None]
    assert names(tmp_path) == ["speech"]


def test_a_part_that_is_whole_needs_no_server(get: Callable[..., list[str]], server: Server, tmp_path: Path) -> None:
    (tmp_path / "speech.part").write_bytes(server.body)
    get()
    assert server.asked == []
    assert names(tmp_path) == ["speech"]


def test_a_wrong_checksum_leaves_nothing(get: Callable[..., list[str]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"its SHA-256 is [0-9a-f]{{64}} and not {'0' * 64}; nothing of it was kept"):
        get(sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_missing_file_is_told(get: Callable[..., list[str]], server: Server, tmp_path: Path) -> None:
    url = server.url.replace("speech.tar.gz", "missing")
    with pytest.raises(UserError, match=f"{url}: the server answers 404 Not Found; name a copy of it with --url"):
        get(url=url)
    assert names(tmp_path) == []


def test_a_refused_connection_is_told(get: Callable[..., list[str]], tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound but not listening: nothing can answer there
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match=r"cannot be reached \(Connection refused\); check the network"):
            get(url=f"http://127.0.0.1:{bound.getsockname()[1]}/speech.tar.gz")
    assert names(tmp_path) == []


def test_a_server_that_falls_silent_is_told(
    get: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(UserError, match="timed out"):
        get(url=f"http://127.0.0.1:{listening.getsockname()[1]}/speech.tar.gz")
    assert names(tmp_path) == []


def test_ctrl_c_keeps_the_part(
    get: Callable[..., list[str]], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object, done_bytes: int) -> None:
        if done_bytes >= 2000:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "BLOCK_BYTES", 1000)
        patched.setattr(module._Progress, "show", interrupt)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert names(tmp_path) == ["speech.part"]
    get()
    assert server.asked == [None, "bytes=2000-"]


def test_ctrl_c_in_the_unpacking_leaves_no_half_folder(
    get: Callable[..., list[str]], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Path, folder: Path) -> None:
        (folder / "yes").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_extract", interrupt)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert names(tmp_path) == ["speech.part"]
    get()
    assert len(server.asked) == 1
    assert names(tmp_path) == ["speech"]


def test_what_a_killed_process_left_is_cleared(get: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "speech.unpacking" / "half").mkdir(parents=True)
    get()
    assert "half" not in names(tmp_path / "speech")
    assert names(tmp_path) == ["speech"]


def test_a_full_disk_is_told(get: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "speech.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full; make room"):
        get()
    assert not (tmp_path / "speech").exists()


def test_a_folder_that_cannot_be_made_is_told(get: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "speech.part").mkdir()
    with pytest.raises(UserError, match=r"speech: cannot be written \(Is a directory\)"):
        get()


def test_two_downloads_to_one_folder(get: Callable[..., list[str]], tmp_path: Path) -> None:
    with (tmp_path / "speech.part").open("ab") as other:
        module._lock(other)
        with pytest.raises(UserError, match="another download writes to it"):
            get()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"../outside.wav": b"x"}, "unsafe: '../outside.wav' would be extracted to"),
        ({"./testing_list.txt": None}, "testing_list.txt is missing"),
        ({"words": None}, "no folder in it holds .flac or .wav files"),
    ],
)
def test_an_archive_of_something_else(
    get: Callable[..., list[str]],
    server: Server,
    recordings: dict[str, bytes],
    tmp_path: Path,
    change: dict[str, bytes | None],
    reason: str,
) -> None:
    files = {name: body for name, body in {**recordings, **change}.items() if body is not None}
    if "words" in change:
        files = {name: body for name, body in files.items() if not re.match(r"\./(yes|no)/", name)}
    server.body = tar_of(files)
    with pytest.raises(UserError, match=re.escape(f"not an archive of Speech Commands ({reason}")):
        get()
    assert names(tmp_path) == []


@pytest.mark.parametrize("body", [b"a page and no archive", b""])
def test_what_is_no_archive(get: Callable[..., list[str]], server: Server, tmp_path: Path, body: bytes) -> None:
    server.body = body
    with pytest.raises(UserError, match="no tar archive: "):
        get()
    assert names(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_archive_is_told(get: Callable[..., list[str]], server: Server, tmp_path: Path, damage: str) -> None:
    half = gzip.decompress(server.body)[:50_000]
    server.body = server.body[:-2000] if damage == "cut" else gzip.compress(half) + b"no gzip"
    with pytest.raises(UserError, match="no tar archive: "):
        get()
    assert names(tmp_path) == []


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    progress = module._Progress(0, 2_000_000)
    progress.show(1_000_000)
    progress.end()
    line = capsys.readouterr().err
    assert line.startswith("\r1.0 MB of 2.0 MB, ") and line.endswith(" MB/s \n")


def test_the_archive_may_be_a_copy() -> None:
    assert archive_of("speech_commands") == ARCHIVES["speech_commands"]
    assert archive_of("speech_commands", "http://mirror/a.tar").sha256 == ARCHIVES["speech_commands"].sha256
    assert archive_of("speech_commands", None, "a" * 64) == Archive(ARCHIVES["speech_commands"].url, "a" * 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("speech_comands",), "'speech_comands': no such recordings; did you mean speech_commands?"),
        (("speech_commands", "file:///a.tar"), "--url file:///a.tar: must begin with http:// or https://"),
        (("speech_commands", None, "abc"), "--sha256 abc: must be 64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_asked_for(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        archive_of(*arguments)
