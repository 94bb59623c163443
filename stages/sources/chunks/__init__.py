"""Texts cut into chunks, each a task: by headings, then by tokens; and what has changed since they were cut before."""
