"""The library: pure functions over records. `records/record.py` is the file to read first."""
