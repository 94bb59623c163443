"""Domains: each writes the prompts, turns self-edits into training data, and asks the questions."""
