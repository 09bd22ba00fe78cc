"""What a study keeps of its data, and what of that holds for one of its candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..spaces.space import Candidate
from ..trainers.data.dataset import Dataset
from ..trainers.data.front_ends import Datasets
from .tasks import task_of


def describe_data(datasets: Datasets) -> dict[str, Any]:
    """Return what the models of a study are made for, and how much data there was.

    Where candidates choose among front ends, ``variants`` has what differs from that of the first.
    """
    first = datasets.first
    described = {
        "name": first.name,
        "labels": list(first.labels),
        **_of_a_front_end(first),
        **_of_the_task(first),
    }
    if len(datasets.variants) == 1:
        return described
    variants = [{"overrides": dict(overrides), **_of_a_front_end(data)} for overrides, data in datasets.variants]
    return {**described, "variants": variants}


def _of_the_task(dataset: Dataset) -> dict[str, Any]:
    settings = {"detection": dataset.detection, "transcription": dataset.transcription}
    told = {key: asdict(task) for key, task in settings.items() if task}
    # Older studies classify, and say nothing of it.
    return {"task": task_of(dataset).name, **told} if told else {}


def _of_a_front_end(dataset: Dataset) -> dict[str, Any]:
    return {
        "input_shape": list(dataset.input_shape),
        "examples": {name: len(getattr(dataset, name)) for name in ("train", "validation", "test")},
        "front_end": dataset.front_end,
    }


def data_of(header: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    """Return what a candidate was made for, of a ledger's header: see :func:`describe_data`, without ``variants``."""
    data = dict(header["data"])
    variants = data.pop("variants", None)
    if variants is None:
        return data
    overrides = candidate.front_end()
    (own,) = (variant for variant in variants if variant["overrides"] == overrides)
    return {**data, **{key: value for key, value in own.items() if key != "overrides"}}
