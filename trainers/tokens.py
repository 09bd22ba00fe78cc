"""Transcripts as tokens, of which the first is CTC's blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import numpy as np

from ..spaces.errors import UserError

if TYPE_CHECKING:
    # Who only reads what an export answered waits for no torch.
    import torch

BLANK = 0
"""The token that stands for none: in what a network answers, and behind the end of a transcript."""
BLANK_LABEL = "<blank>"
Tokens = tuple[int, ...]
Unit = Literal["word", "character"]
Labels = TypeVar("Labels", np.ndarray, "torch.Tensor")


@dataclass(frozen=True)
class TranscriptionTask:
    """What the tokens of a data set are: whole words, or characters with the spaces between words."""

    unit: Unit = "word"

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise UserError(f"data.unit {self.unit!r}: must be {' or '.join(get_args(Unit))}")

    def symbols_of(self, text: str) -> list[str]:
        """The tokens of a text, by name; how many spaces stand between words is no matter."""
        words = text.split()
        return words if self.unit == "word" else list(" ".join(words))

    def text_of(self, tokens: Tokens, labels: Sequence[str]) -> str:
        """The text that some tokens spell."""
        return (" " if self.unit == "word" else "").join(labels[token] for token in tokens)


def padded(transcripts: Sequence[Tokens]) -> np.ndarray:
    """Transcripts of several lengths as one array (n, longest), int64, blanks behind the shorter ones."""
    longest = max(map(len, transcripts), default=0)
    rows = np.full((len(transcripts), longest), BLANK, np.int64)
    for row, tokens in zip(rows, transcripts, strict=True):
        row[: len(tokens)] = tokens
    return rows


def transcripts_of(labels: np.ndarray) -> list[Tokens]:
    """The transcripts that :func:`padded` put into (n, longest)."""
    return [tuple(int(token) for token in row[row != BLANK]) for row in labels]


def steps_needed(labels: Labels) -> Labels:
    """How many steps each transcript of (n, longest) takes at least, (n,): one a token, one more between equal ones."""
    repeats = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != BLANK)
    return (labels != BLANK).sum(1) + repeats.sum(1)
