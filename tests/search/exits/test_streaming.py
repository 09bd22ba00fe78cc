"""A hop that stops early leaves stages behind, which catch up before they answer as if they had run all along."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.search.exits.streaming import StreamStages, largest_difference, stream_files, write_stages_that_listen
from repareto.search.listen import Listener
from repareto.spaces.exits.streaming import StreamingExits, streaming_exits
from repareto.trainers.exits.temperature import softmax
from repareto.trainers.features import LogMel
from tests.spaces.exits.test_streaming import SHAPE, causal_network

LABELS = ["low", "high", "silence", "unknown"]


@cache
def stream() -> StreamingExits:
    return streaming_exits(causal_network(), SHAPE)


@cache
def files() -> tuple[bytes, ...]:
    return tuple(stream_files(stream(), LABELS))


@cache
def heard_in_full(hops: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Hops of a sound (h, bands, frames), and the logits of each exit where every stage runs, (h, e, c)."""
    sound = np.random.default_rng(0).standard_normal((hops, SHAPE[0], stream().hop_frames)).astype(np.float32)
    stages = StreamStages(files(), stream().memory_hops)
    return sound, np.stack([np.stack(list(stages.answers(hop))) for hop in sound])


def check(depths: list[int]) -> StreamStages:
    """Hear hops of which each goes as far as an exit, and compare every answer with that of stages that always run."""
    sound, expected = heard_in_full()
    stages = StreamStages(files(), stream().memory_hops)
    for hop, depth, own in zip(sound, depths, expected, strict=False):
        for exit, logits in zip(range(depth), stages.answers(hop), strict=False):
            np.testing.assert_allclose(logits, own[exit], rtol=1e-5, atol=1e-6)
    return stages


@given(depths=st.lists(st.sampled_from([1, 1, 1, 1, 1, 1, 1, 2, 3]), min_size=1, max_size=48))
@settings(max_examples=60, deadline=None)
def test_whoever_answers_answers_as_if_all_had_always_run(depths: list[int]) -> None:
    check(depths)


def test_who_is_far_behind_hears_no_more_than_it_remembers() -> None:
    memory = stream().memory_hops
    quiet = 47
    assert quiet > memory[1]
    stages = check([*[1] * quiet, 3])
    assert stages.hops_run == [48, memory[1], memory[2]]
    assert check([1, 2, 1, 3]).hops_run == [4, 4, 4]
    # Within what it remembers the second hears all, and the third is long behind.
    behind = memory[1] - 2
    assert check([2] * 30 + [1] * behind + [3]).hops_run == [31 + behind, 31 + behind, memory[2]]


def test_a_window_from_silence_is_answered_as_the_network_does(tmp_path: Path) -> None:
    windows = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(3))
    assert largest_difference(StreamStages(files(), stream().memory_hops), causal_network(), windows) < 1e-5
    told = write_stages_that_listen(causal_network(), windows, LABELS, tmp_path)
    assert told["stages"] == ["streaming1.onnx", "streaming2.onnx", "streaming3.onnx"]
    assert told["longest_hop_us"] > sum(told["stage_latency_us"]) and told["state_bytes"] > 0


@pytest.mark.parametrize("threshold", [0.0, None])
def test_a_listener_stops_at_the_first_exit_that_is_sure(tmp_path: Path, threshold: float | None) -> None:
    """Scores are the probabilities of the exit that answers, at its temperature."""
    log_mel = LogMel(bands=SHAPE[0])
    point = {"policy": "confidence", "thresholds": [threshold, threshold]}
    windows = torch.zeros(1, *SHAPE)
    manifest = {
        "front_end": {**log_mel.describe(), "mean": 0.0, "std": 1.0},
        "labels": LABELS,
        "streaming": write_stages_that_listen(causal_network(), windows, LABELS, tmp_path),
        "exits": {"temperatures": [0.7, 1.0, 2.0], "points": [point], "chosen": 0},
    }
    # The weights of what listens are those of all users.
    own = {**manifest["exits"], "temperatures": [9.0] * 3}
    personalised = {**manifest, "exits": own, "exits_of_all_users": manifest["exits"]}
    (tmp_path / "manifest.json").write_text(json.dumps(personalised if threshold is None else manifest))
    listener = Listener(tmp_path)
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    scores = list(listener.scores(np.array_split(sound, 7)))
    stages = StreamStages(files(), stream().memory_hops)
    features = log_mel(sound[None])[0]
    hops = np.split(features[:, : len(scores) * stages.hop_shape[-1]], len(scores), axis=1)
    exit, temperature = (0, 0.7) if threshold == 0 else (2, 2.0)
    expected = [softmax(list(stages.answers(hop))[exit], temperature)[:2] for hop in hops]
    np.testing.assert_allclose(scores[stream().window_hops :], expected[stream().window_hops :], rtol=1e-3)
    worked = "100 %, 0 %, 0 %" if threshold == 0 else "100 %, 100 %, 100 %"
    assert any(f"the 3 stages worked on {worked} of the hops" in remark for remark in listener.remarks())
