"""One file per command: flags in, one call of the stage, the exit code out."""
