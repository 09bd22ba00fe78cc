"""Transcripts as arrays and as texts."""

import numpy as np
import pytest
import torch

from repareto.spaces.errors import UserError
from repareto.trainers.tokens import TranscriptionTask, padded, steps_needed, transcripts_of


def test_transcripts_come_back_from_their_padding() -> None:
    transcripts = [(1, 2, 2), (), (3,)]
    rows = padded(transcripts)
    assert rows.tolist() == [[1, 2, 2], [0, 0, 0], [3, 0, 0]]
    assert rows.dtype == np.int64
    assert transcripts_of(rows) == transcripts
    assert padded([]).shape == (0, 0)


def test_equal_neighbours_take_a_step_more() -> None:
    rows = padded([(1, 2, 2, 2), (1, 2, 1), (4,), ()])
    assert steps_needed(rows).tolist() == [6, 3, 1, 0]
    assert steps_needed(torch.from_numpy(rows)).tolist() == [6, 3, 1, 0]


def test_texts_of_words_and_of_characters() -> None:
    words, characters = TranscriptionTask("word"), TranscriptionTask("character")
    assert words.symbols_of(" one  two ") == ["one", "two"]
    assert characters.symbols_of(" a  bé ") == ["a", " ", "b", "é"]
    assert words.text_of((2, 1), ("<blank>", "one", "two")) == "two one"
    assert characters.text_of((3, 1, 2), ("<blank>", " ", "b", "a")) == "a b"
    with pytest.raises(UserError, match=r"data\.unit 'words': must be word or character"):
        TranscriptionTask("words")  # type: ignore[arg-type]
