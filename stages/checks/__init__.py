"""Checks of what a run depends on: packages, the machine, models, servers. Each gives findings with the next move."""
