"""Judges decide whether an answer is right, and may leave it unscored."""
