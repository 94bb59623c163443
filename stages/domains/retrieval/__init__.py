"""Passages of a library that stand in prompts, found by their words."""
