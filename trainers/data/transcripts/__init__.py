"""Data whose labels are transcripts: strings of words, and a user's own corpus."""
