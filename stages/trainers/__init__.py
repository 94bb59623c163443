"""Trainers: LoRA adapters one by one (peft), many at once (batched), and the outer update (sft)."""
