"""How far a network's transcripts are from what was said.

Shape legend: n examples, s steps, k tokens with the blank.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from torch import nn

from .data.dataset import Dataset, Split
from .decoding import greedy, prefix_beam
from .judgement import Judgement
from .tokens import transcripts_of

Answer = Callable[[np.ndarray], np.ndarray]
"""Takes normalised features (n, bands, frames), gives logits (n, s, k)."""
BEAM = 8
MISHEARD_SHOWN = 5
_EXAMPLES_A_PIECE = 256


def answers_of(model: nn.Module, device: str = "cpu") -> Answer:
    """How a network on ``device`` answers in eval mode; it is left in the mode that it is in."""

    @torch.no_grad()
    def answer(features: np.ndarray) -> np.ndarray:
        was_training = model.training
        model.eval()
        starts = range(0, len(features), _EXAMPLES_A_PIECE)
        pieces = (features[start : start + _EXAMPLES_A_PIECE].astype(np.float32) for start in starts)
        logits = [model(torch.from_numpy(piece).to(device)).cpu().numpy() for piece in pieces]
        model.train(was_training)
        return np.concatenate(logits)

    return answer


def edits(references: Sequence[Sequence[Hashable]], hypotheses: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Insertions, deletions and substitutions of each, (n,)."""
    # A network that knows no transcripts needs it not, and each process would wait for it.
    from rapidfuzz.distance import Levenshtein

    return np.array([Levenshtein.distance(*pair) for pair in zip(references, hypotheses, strict=True)])


def edit_rate(references: Sequence[Sequence[Hashable]], hypotheses: Sequence[Sequence[Hashable]]) -> float:
    """All edits over the length of all references; above 1 where much is inserted."""
    return int(edits(references, hypotheses).sum()) / sum(map(len, references))


def token_error(answer: Answer, split: Split) -> float:
    """The edit rate of tokens, each answer taken by its best path."""
    return edit_rate(transcripts_of(split.labels), greedy(answer(split.features)))


def judge_transcripts(answer: Answer, dataset: Dataset) -> Judgement:
    """Token errors of both held-out splits, and what words, characters and a beam make of the test split."""
    task = dataset.transcription
    assert task is not None
    logits, references = answer(dataset.test.features), transcripts_of(dataset.test.labels)
    best_paths = greedy(logits)
    said, heard = ([task.text_of(tokens, dataset.labels) for tokens in side] for side in (references, best_paths))
    figures = {
        "error": token_error(answer, dataset.validation),
        "test_error": edit_rate(references, best_paths),
        "test_beam_error": edit_rate(references, [prefix_beam(one, BEAM)[0].tokens for one in logits]),
        "test_word_error": edit_rate([text.split() for text in said], [text.split() for text in heard]),
        "test_character_error": edit_rate(said, heard),
    }
    misheard = [{"said": one, "heard": other} for one, other in zip(said, heard, strict=True) if one != other]
    return Judgement(figures, {"misheard": misheard[:MISHEARD_SHOWN]})
