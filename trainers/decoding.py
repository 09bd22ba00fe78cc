"""From a CTC network's answers to tokens: the best path, and the best of few prefixes.

A path has one token or a blank a step; it stands for the tokens that are left when repeats are joined and blanks
dropped (Graves et al. 2006, "Connectionist Temporal Classification"). Many paths stand for the same
tokens: the best path takes the likeliest one, a beam sums over those of each prefix.

Shape legend: n examples, s steps, k tokens with the blank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .tokens import BLANK, Tokens


def greedy(logits: np.ndarray) -> list[Tokens]:
    """The tokens of the likeliest path of each of ``logits`` (n, s, k)."""
    paths = logits.argmax(axis=2)
    starts = np.ones(paths.shape, bool)
    starts[:, 1:] = paths[:, 1:] != paths[:, :-1]
    kept = starts & (paths != BLANK)
    return [tuple(int(token) for token in path[mask]) for path, mask in zip(paths, kept, strict=True)]


@dataclass(frozen=True)
class Hypothesis:
    """Some tokens and the logarithm of their probability: of all paths that the beam kept."""

    tokens: Tokens
    log_probability: float


def prefix_beam(logits: np.ndarray, beam: int) -> list[Hypothesis]:
    """The likeliest tokens for ``logits`` (s, k), best first, at most ``beam`` of them.

    Prefix beam search (Hannun et al. 2014, arXiv 1408.2873, algorithm 1, without a language model): the paths of each
    prefix are summed, those that end in a blank apart from those that end in its last token. Exact where the beam
    holds all prefixes. Takes O(s beam k) time.
    """
    assert beam >= 1
    prefixes: list[Tokens] = [()]
    # Log-probabilities of each prefix's paths, by what they end in.
    blank_ended, token_ended = np.zeros(1), np.full(1, -np.inf)
    for step in _log_softmax(logits):
        last = np.array([prefix[-1] if prefix else BLANK for prefix in prefixes])
        either = np.logaddexp(blank_ended, token_ended)
        grown = either[:, None] + step
        # The same token again needs a blank between; of a blank nothing grows.
        grown[np.arange(len(last)), last] = blank_ended + step[last]
        grown[:, BLANK] = -np.inf
        blank_ended, token_ended = either + step[BLANK], token_ended + step[last]
        _join_grown(prefixes, grown, token_ended)
        scores = np.concatenate([np.logaddexp(blank_ended, token_ended), grown.ravel()])
        best = [place for place in np.argsort(-scores, kind="stable")[:beam] if scores[place] > -np.inf]
        prefixes, blank_ended, token_ended = _kept(best, prefixes, blank_ended, token_ended, grown)
    scores = np.logaddexp(blank_ended, token_ended)
    return [Hypothesis(prefixes[place], float(scores[place])) for place in np.argsort(-scores, kind="stable")]


def _join_grown(prefixes: list[Tokens], grown: np.ndarray, token_ended: np.ndarray) -> None:
    """Give the paths of a prefix that grew into another one of the beam to that one."""
    places = {prefix: place for place, prefix in enumerate(prefixes)}
    for prefix, place in places.items():
        parent = places.get(prefix[:-1]) if prefix else None
        if parent is not None:
            token_ended[place] = np.logaddexp(token_ended[place], grown[parent, prefix[-1]])
            grown[parent, prefix[-1]] = -np.inf


def _kept(
    best: list[int], prefixes: list[Tokens], blank_ended: np.ndarray, token_ended: np.ndarray, grown: np.ndarray
) -> tuple[list[Tokens], np.ndarray, np.ndarray]:
    """The prefixes at some places of (those there were, those grown from each by each token)."""
    tokens, held = grown.shape[1], len(prefixes)
    kept: list[tuple[Tokens, float, float]] = []
    for place in best:
        if place < held:
            kept.append((prefixes[place], blank_ended[place], token_ended[place]))
        else:
            parent, token = divmod(int(place) - held, tokens)
            kept.append(((*prefixes[parent], token), -np.inf, grown[parent, token]))
    names, blanks, ends = zip(*kept, strict=True)
    return list(names), np.array(blanks), np.array(ends)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    normalised: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalised
