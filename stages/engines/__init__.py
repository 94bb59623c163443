"""Who computes: engines sample, trainers fit. `base.py` holds the protocols and imports nothing heavy."""
