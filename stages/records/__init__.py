"""The record: its sections, how its JSON lines are read, and the plan of a run's lines."""
