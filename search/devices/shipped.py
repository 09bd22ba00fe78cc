"""What is called the same in every file that ships, whatever its format."""

INPUT_NAME, OUTPUT_NAME = "features", "logits"
LABELS_KEY = "repareto.labels"
"""Of the class labels, as a list in JSON, in the file's metadata."""


def first_line(error: BaseException) -> str:
    """What an exception of a runtime says in its first line; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
