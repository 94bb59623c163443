"""Many LoRA adapters trained at once on one frozen model. `trainer.py` is the file to read first."""
