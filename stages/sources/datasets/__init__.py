"""Folders that are datasets: which files belong to them, and their tables as rows."""
