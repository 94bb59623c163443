"""The card of an update: what it taught, cost and broke, and whether that is good enough."""
