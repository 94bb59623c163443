"""The library: pure functions over records. `records.py` is the file to read first."""
