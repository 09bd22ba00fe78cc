"""What is called the same in every file that ships, whatever its format."""

INPUT_NAME, OUTPUT_NAME = "features", "logits"
LABELS_KEY = "repareto.labels"
"""Of the class labels, as a list in JSON, in the file's metadata."""
