"""Templates that are more than one prompt: those that ask several times, and mixes of others."""
