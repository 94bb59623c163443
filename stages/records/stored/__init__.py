"""Records that are read when they are asked for: of a file's lines, by their keys."""
