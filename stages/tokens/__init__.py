"""Texts as token ids and back, and how many tokens there will be."""
