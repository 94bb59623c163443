"""Flags that several commands share: one name, one meaning, one help text."""
