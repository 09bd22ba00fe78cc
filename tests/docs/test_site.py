"""The documentation site: it builds without a warning, links lead somewhere, no other host is asked for anything."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from repareto.search.config import Config
from tests.integration.browser import chromium, needs_chromium

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", str(DOCS), str(out)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert built.returncode == 0, built.stderr
    return out


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_every_document_is_a_page_that_can_be_found(site: Path) -> None:
    index = (site / "index.html").read_text()
    for document in DOCS.rglob("*.md"):
        page = document.relative_to(DOCS).with_suffix(".html").as_posix()
        assert (site / page).exists()
        assert page == "index.html" or f'href="{page}"' in index, f"{page} is in no list of docs/index.md"


def test_reference_has_what_the_code_takes(site: Path) -> None:
    commands = (site / "reference" / "command-line.html").read_text()
    assert all(f'id="repareto-{name}"' in commands for name in ("search", "export", "profile", "doctor"))
    keys = re.sub(r"<[^>]+>", "", (site / "reference" / "config.html").read_text())
    assert all(name in keys for name in Config.model_fields)
    assert "Peak of the schedule: linear warm-up" in keys, "what the class says of a field"


def test_figures_that_do_not_hold_are_told(site: Path) -> None:
    text = (site / "figures.html").read_text()
    assert "sparsity.json" in text
    assert text.count("<strong>no</strong>") > 10


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"([^\"]+)\"|<link[^>]*\shref=\"([^\"]+)\"")
    for page in site.rglob("*.html"):
        for found in fetched.findall(page.read_text()):
            assert not re.match(r"(?:https?:)?//", "".join(found)), (page.name, found)
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(?:https?:)?//|@import", style.read_text()), style.name


@needs_chromium
def test_a_reader_without_a_network_reads_and_searches(address: str) -> None:
    with chromium() as watched:
        page = watched.page
        page.goto(f"{address}/index.html")
        assert page.locator("article img").first.evaluate("image => image.naturalWidth") > 100
        page.locator(".sidebar-tree a", has_text="Sparsity").first.click()
        assert page.locator("h1").inner_text().startswith("Sparsity")
        page.goto(f"{address}/search.html?q=personalize")
        page.locator("#search-results ul li").first.wait_for()
        assert [url for url in watched.requests if not url.startswith((address, "data:"))] == []
        assert watched.complaints == []
