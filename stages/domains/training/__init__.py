"""Training data beside what a self-edit says."""
