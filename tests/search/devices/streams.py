"""Causal networks that tests of streaming files share, and torch's answers hop by hop."""

import random
from functools import cache

import numpy as np
import torch
from torch import nn

from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Choice, Int
from repareto.spaces.streaming import Streaming, streaming
from tests.spaces.networks import randomise_norms

SHAPES = ((6, 23), (1, 5, 24))
LABELS = ["a", "b", "c"]
SPACE = RepCNN(width=Int(4, 8, step=4), stages=Int(1, 3), padding="causal")


def fused_network(seed: int, shape: tuple[int, ...]) -> nn.Module:
    """A random candidate."""
    torch.manual_seed(seed)
    network = SPACE.build(SPACE.draw(random.Random(seed)), shape, len(LABELS)).eval()
    return fused_copy(randomise_norms(network, seed))


def windows(shape: tuple[int, ...], count: int, seed: int = 0) -> np.ndarray:
    """Noise, (count, *shape)."""
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def torch_hears(stream: Streaming, sound: np.ndarray) -> np.ndarray:
    """The logits (hops, classes) of torch over a sound (*bands, frames) of whole hops."""
    states, heard = stream.silence(), []
    with torch.no_grad():
        for hop in torch.from_numpy(sound)[None].split(stream.hop_frames, dim=-1):
            logits, *new = stream(hop, *states)
            states = tuple(new)
            heard.append(logits)
    return torch.cat(heard).numpy()


KEYWORD_SHAPE = (8, 32)


def keywords(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows (count, *KEYWORD_SHAPE) of noise with a rising tone, a falling tone or none, and which of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    features = 0.5 * rng.standard_normal((count, *KEYWORD_SHAPE)).astype(np.float32)
    frames = np.arange(KEYWORD_SHAPE[1])
    for window, label in zip(features, labels, strict=True):
        bands = frames // 4 if label == 1 else 7 - frames // 4
        if label:
            window[bands, frames] += 2
    return features, labels


@cache
def keyword_network() -> nn.Module:
    """A fused causal network that was trained on ``keywords`` for a moment."""
    space = RepCNN(
        form=Choice(("separable",)), stages=Int(2, 2), width=Int(16, 16), blocks=Int(1, 1), kernel=Choice((5,)),
        conv_branches=Int(2, 2), pointwise=Choice((True,)), identity=Choice((True,)), padding="causal",
    )  # fmt: skip
    torch.manual_seed(0)
    network = space.build(space.middle(), KEYWORD_SHAPE, 3)
    features, labels = (torch.from_numpy(values) for values in keywords(1024, 0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(6):
        for rows in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(network(features[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return fused_copy(network.eval())


def keyword_stream() -> Streaming:
    """That network hop by hop."""
    return streaming(keyword_network(), KEYWORD_SHAPE)
