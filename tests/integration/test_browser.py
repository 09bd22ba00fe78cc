"""A person's view: the MLflow UI in a real browser."""

import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.integration.browser import chromium, needs_chromium
from tests.integration.commands import REPARETO, environment

pytestmark = needs_chromium
WITHOUT_ASSISTANT = {"x": 0, "y": 0, "width": 1180, "height": 840}


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


@pytest.fixture
def pictures(tmp_path):
    """Where the screenshot for the documents goes: a folder that ``make gallery`` names."""
    folder = Path(os.environ.get("REPARETO_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_front_is_seen_in_the_mlflow_ui(ui, finished_study, pictures, tmp_path):
    client = MlflowClient(tracking_uri=f"sqlite:///{finished_study.store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits").experiment_id
    (parent,) = client.search_runs([experiment], "tags.role = 'study'")
    trained = [
        run for state in ("finished", "stopped") for run in client.search_runs([experiment], f"tags.state = '{state}'")
    ]
    members = client.search_runs([experiment], "tags.on_front = 'true'")
    with chromium() as watched:
        page = watched.page
        page.goto(f"{ui}/#/experiments/{experiment}/runs")
        page.locator(f'a[href*="/runs/{parent.info.run_id}"]').first.click(timeout=60_000)
        # The run opens on the front: a picture, and names that lead to the models.
        picture = page.locator('img[src*="front.png"]')
        picture.wait_for(timeout=60_000)
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        for member in members:
            assert page.locator(f'a[href*="{member.info.run_id}"]', has_text=member.info.run_name).count()
        page.screenshot(path=pictures / "mlflow_run.png", clip=WITHOUT_ASSISTANT)
        page.get_by_role("tab", name="Artifacts").click(timeout=60_000)
        page.get_by_text("front.html").first.click(timeout=60_000)
        frame = page.frame_locator("iframe")
        frame.locator("body[data-ready]").wait_for(timeout=60_000)
        # What was trained stands in each of the three pairs of objectives.
        assert frame.locator("circle.point").count() >= 3 * len(trained)
        watched.complaints.clear()
        row = frame.locator("tr[data-item]").first
        row.click()
        # MLflow lets the page open nothing: the address of the run is there to be copied.
        address = frame.locator("input#run").input_value()
        assert address.startswith(f"{ui}/#/experiments/{experiment}/runs/")
        assert address.rsplit("/", 1)[1] in {member.info.run_id for member in members}
        frame.locator("input#run").click()
        assert watched.complaints == []
        page.screenshot(path=tmp_path / "front.png")
        page.get_by_text("trials.json").first.click(timeout=60_000)
        page.get_by_text("on_front", exact=True).first.wait_for(timeout=60_000)
        page.screenshot(path=tmp_path / "table.png")
