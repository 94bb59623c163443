"""Folders that are data sets: which files belong to them, and their tables as rows."""
