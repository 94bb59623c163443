"""Log-probabilities that servers tell."""
