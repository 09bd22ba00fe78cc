"""A person's view: the MLflow UI in a real browser."""

import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from tests.integration.commands import REPARETO, environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def ui(finished_study):
    """Serve the study's store and return the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([REPARETO, "ui", "--port", str(port)], cwd=finished_study.folder, env=environment())
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_the_front_is_seen_in_the_mlflow_ui(ui, finished_study, tmp_path):
    from playwright.sync_api import sync_playwright

    client = MlflowClient(tracking_uri=f"sqlite:///{finished_study.store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits").experiment_id
    (parent,) = client.search_runs([experiment], "tags.role = 'study'")
    finished = client.search_runs([experiment], "tags.state = 'finished'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        try:
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.goto(f"{ui}/#/experiments/{experiment}/runs")
            page.locator(f'a[href*="/runs/{parent.info.run_id}"]').first.click(timeout=60_000)
            page.get_by_role("tab", name="Artifacts").click(timeout=60_000)
            page.get_by_text("front.html").first.click(timeout=60_000)
            points = page.frame_locator("iframe").locator(".scatterlayer .point")
            points.first.wait_for(timeout=60_000)
            # Every model trained in full stands in each of the two plots.
            assert points.count() == 2 * len(finished)
            page.screenshot(path=tmp_path / "front.png")
        finally:
            browser.close()
