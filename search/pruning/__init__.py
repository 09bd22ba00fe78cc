"""Pruning of a model that was trained before, outside any search."""
