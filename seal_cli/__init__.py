"""The shell around `stages`: bytes, flags, colours, exit codes."""
