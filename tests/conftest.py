"""What holds for every test."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def tracking_uri_is_forgotten() -> Iterator[None]:
    """MLflow keeps the last tracking server in the environment, where the next test's searches would find it."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
