"""Pages that a browser shows without a network: a study's front, and fronts laid over one another."""
