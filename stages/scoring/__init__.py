"""From answers to verdicts to scores, and from scores to the best self-edits."""
