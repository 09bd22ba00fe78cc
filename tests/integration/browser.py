"""A real headless Chromium, and what it complained of or asked the network for."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)


@dataclass
class Watched:
    """A page, the addresses that it asked for and what its console said."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Watched]:
    """Open an empty page that is watched from its first request on."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        try:
            watched = Watched(browser.new_page(viewport={"width": 1600, "height": 1000}))
            watched.page.on("request", lambda request: watched.requests.append(request.url))
            watched.page.on("console", lambda message: watched.complaints.append(f"{message.type}: {message.text}"))
            watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
            yield watched
        finally:
            browser.close()
